//! Sweeps: how chunks are removed while others make artifacts. The rule is in [`crate::rules::garbage`].
//!
//! *Invariant:* an artifact that is committed has all its chunks, whoever removed what meanwhile. Nothing of that depends on clocks:
//! not on equal ones, and not on how long anybody stands still. Only this is a matter of time: others give a sweep up [`PATIENCE`]
//! after they have seen it first, so that one whose sweeper is dead does not hold them up. If it lives, that costs new names for some
//! chunks, and nothing else; so a sweeper has done what it can [`BUDGET`] after it asked for the sweep, well before.

mod records;
mod removing;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use registry_common::chunks::Chunk;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tokio::time::{Instant, timeout};

use self::records::{Begin, Over, condemned_key, has_one_of, newest, recorded, sweep_of};
use super::transaction::{Tx, decode};
use super::{Intent, Registry, kinds};
use crate::chunks::{Names, Place};
use crate::error::Error;
use crate::rules::garbage::Sweep;
use crate::store::{Kind, Revision};
use crate::stored::SweepRecord;

/// How long a sweeper may take for one sweep.
const BUDGET: Duration = Duration::from_secs(60);
/// How long a sweep that is not over is waited for.
const PATIENCE: Duration = Duration::from_secs(2 * 60);
/// How long a call waits for a sweep.
const WAIT: Duration = Duration::from_secs(10);
/// How often it looks, if nothing wakes it.
const POLL: Duration = Duration::from_millis(200);

/// What this process knows of sweeps.
#[derive(Debug)]
pub(crate) struct Sweeps {
    /// How long it waits for one to be over.
    patience: Duration,
    seen: Mutex<Seen>,
    /// The store refused the last time to remove chunks.
    refused: AtomicBool,
}

impl Default for Sweeps {
    fn default() -> Self {
        Self { patience: PATIENCE, seen: Mutex::default(), refused: AtomicBool::new(false) }
    }
}

#[derive(Debug, Default)]
struct Seen {
    /// Sweeps up to this generation have ended, whatever their record says.
    ended: u64,
    /// The sweepers of those up to this generation are dead.
    dead: u64,
    /// The newest one that was not over, and since when it is known.
    since: Option<(u64, Instant)>,
}

/// What is known of a sweep that is recorded as under way.
enum Judged {
    /// It may be.
    UnderWay,
    /// It has ended: nothing of it can happen any more.
    Ended,
    /// It is not waited for any longer.
    Lost,
}

impl Sweeps {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, generation: u64) -> Judged {
        let mut seen = self.seen();
        let since = match seen.since {
            Some((known, since)) if known == generation => since,
            _ => seen.since.insert((generation, Instant::now())).1,
        };
        if generation <= seen.ended {
            Judged::Ended
        } else if generation <= seen.dead || since.elapsed() >= self.patience {
            Judged::Lost
        } else {
            Judged::UnderWay
        }
    }
}

/// What a publisher knows when it begins to look at its chunks.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// The newest sweep whose effect it will see.
    pub(crate) settled: u64,
    /// What chunks are called, as of that sweep or a later one.
    pub(crate) names: Arc<Names>,
}

/// A sweep that was committed: its chunks may be removed until the deadline.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) generation: u64,
    /// What is listed in this revision or earlier stays.
    pub(crate) revision: Revision,
    pub(crate) deadline: Instant,
    /// Its chunks are damaged, and put aside.
    quarantine: bool,
}

impl Registry {
    /// The same registry as another server sees it, which waits so long for the sweeps of this one.
    #[cfg(test)]
    pub(crate) fn with_patience(&self, patience: Duration) -> Self {
        self.clone().with(|parts| parts.sweeps = Arc::new(Sweeps { patience, ..Sweeps::default() }))
    }

    /// The same as if nobody else used its folder.
    #[cfg(test)]
    pub(crate) fn alone(self) -> Self {
        self.with(|parts| parts.chunks = parts.chunks.clone().alone())
    }

    /// Does not wait for a sweep that is not over. Only when nobody else uses the store: before it is served. In a folder of its own
    /// such a sweep has ended with its process; an object store may still work on what it was asked for.
    pub(crate) async fn bury_sweep(&self) -> Result<(), Error> {
        let sweep = newest(&*self.store).await?;
        let mut seen = self.sweeps.seen();
        let known = if self.chunks.is_alone() { &mut seen.ended } else { &mut seen.dead };
        *known = sweep.generation;
        Ok(())
    }

    /// What is recorded of sweeps, as far as it still holds. The newest one is given up if it was waited for long enough.
    async fn judged(&self) -> Result<SweepRecord, Error> {
        let record = recorded(&*self.store).await?;
        if !record.under_way {
            return Ok(record);
        }
        match self.sweeps.judge(record.generation) {
            Judged::UnderWay => Ok(record),
            Judged::Ended => Ok(SweepRecord { under_way: false, ..record }),
            Judged::Lost => {
                tracing::warn!(sweep = record.generation, "a sweep is given up: its chunks get new names");
                let known = pb::Sweep { generation: record.generation.cast_signed(), ..Default::default() };
                self.commit(Intent::own(), Over::GivenUp(known)).await?;
                recorded(&*self.store).await
            }
        }
    }

    async fn sweep(&self) -> Result<Sweep, Error> {
        Ok(sweep_of(&self.judged().await?))
    }

    /// Whether the newest sweep was given up: the next one may be as well.
    pub(crate) async fn gave_up_sweep(&self) -> Result<bool, Error> {
        let record = self.judged().await?;
        Ok(record.given_up.last() == Some(&record.generation))
    }

    /// What is known before chunks are looked at.
    pub(super) async fn look(&self) -> Result<Look, Error> {
        let record = self.judged().await?;
        Ok(Look { settled: sweep_of(&record).settled(), names: self.chunks.names_as_of(&record.given_up).await? })
    }

    /// For a publisher who saw the effect of all sweeps up to a generation, and found now that there are others. Answers the
    /// newest one, if none of them has one of these chunks; otherwise `None`, once those that have are over: look again.
    /// [`Error::ChunksCollected`] if that takes long.
    pub(crate) async fn unharmed(
        &self,
        settled: u64,
        artifact: &str,
        namespace: &str,
        chunks: &[Chunk],
    ) -> Result<Option<u64>, Error> {
        let newest = self.sweep().await?;
        for generation in settled + 1..=newest.generation {
            let harmed = match self.store.get(kinds::CONDEMNED, &condemned_key(generation)).await? {
                Some(record) => has_one_of(&decode(&record)?, namespace, chunks),
                None => true,
            };
            if harmed {
                let over = self.until_over(generation).await?;
                return if over { Ok(None) } else { Err(Error::ChunksCollected(artifact.to_owned())) };
            }
        }
        Ok(Some(newest.generation))
    }

    /// Waits until a sweep is over, but not for ever: false if it is not.
    async fn until_over(&self, generation: u64) -> Result<bool, Error> {
        let mut head = self.store.head();
        let over = async {
            while self.sweep().await?.settled() < generation {
                // Also when nothing wakes: the wake-up is a hint.
                let _ = timeout(POLL, head.changed()).await;
            }
            Ok(true)
        };
        timeout(WAIT, over).await.unwrap_or(Ok(false))
    }

    /// Commits that these chunks are about to be removed, under the names that were found before.
    ///
    /// # Errors
    /// `COLLECTION_RUNNING` if others are being removed.
    pub(crate) async fn begin_sweep(
        &self,
        intent: &Intent,
        chunks: &BTreeSet<Place>,
        quarantine: bool,
    ) -> Result<Begun, Error> {
        self.chunks.check_owner(&*self.store).await?;
        let deadline = Instant::now() + BUDGET;
        let over = self.sweep().await?.settled();
        let (generation, revision) = self.commit(intent.clone(), Begin::new(chunks, over, quarantine)).await?;
        Ok(Begun { generation, revision, deadline, quarantine })
    }
}

/// Fails with [`Error::ChunksCollected`] if there are sweeps whose effect a publisher has not seen.
pub(super) async fn check_settled(tx: &Tx<'_>, settled: u64, artifact: &str) -> Result<(), Error> {
    if newest(&*tx.store).await?.generation == settled {
        return Ok(());
    }
    Err(Error::ChunksCollected(artifact.to_owned()))
}

/// What [`check_settled`] reads.
pub(super) fn reads() -> (Kind, Vec<u8>) {
    (kinds::SWEEP, Vec::new())
}

fn running() -> Error {
    let detail = "another collection is removing chunks";
    Error::precondition(ErrorReason::CollectionRunning, "sweeps", detail)
}

fn is_running(error: &Error) -> bool {
    matches!(error, Error::Precondition { reason: ErrorReason::CollectionRunning, .. })
}
