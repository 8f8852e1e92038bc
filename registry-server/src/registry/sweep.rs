//! Sweeps: how chunks are removed while others make artifacts. The rule is in [`crate::rules::garbage`].
//!
//! *Invariant:* an artifact that is committed has all its chunks, whoever removed what meanwhile. Nothing of that depends on clocks
//! that are equal. One thing is a matter of time: a sweeper that dies never commits its sweep's end, so others give it up
//! [`PATIENCE`] after they have seen it first; a sweeper that lives stops [`BUDGET`] after it asked for the sweep, long before.

use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use registry_common::chunks::Chunk;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tokio::time::{Instant, timeout};

use super::transaction::{Tx, decode, event};
use super::{Committed, Intent, Mutation, Registry, kinds};
use crate::chunks::ChunkError;
use crate::error::Error;
use crate::rules::garbage::Sweep;
use crate::store::{Kind, Read, Revision};
use crate::stored::condemned_record::Namespace;
use crate::stored::{CondemnedRecord, SweepRecord};

/// How long a sweeper may take for one sweep.
const BUDGET: Duration = Duration::from_secs(60);
/// How long a sweep without an end is waited for. The difference is for requests that the object store still works on.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How long a call waits for a sweep.
const WAIT: Duration = Duration::from_secs(10);
/// How often it looks, if nothing wakes it.
const POLL: Duration = Duration::from_millis(200);
/// The chunks of so many sweeps are known. A publisher who saw none of them looks at its chunks again.
const KEPT: u64 = 64;

/// A chunk by its namespace and its BLAKE3.
pub(crate) type Place = (String, [u8; 32]);

/// What this process knows of the sweeps of others.
#[derive(Debug)]
pub(crate) struct Sweeps {
    /// How long it waits for the end of one.
    patience: Duration,
    seen: Mutex<Seen>,
}

impl Default for Sweeps {
    fn default() -> Self {
        Self { patience: PATIENCE, seen: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct Seen {
    /// Sweeps up to this generation are over, whatever their record says.
    dead: u64,
    /// The newest one that had not ended, and since when it is known.
    since: Option<(u64, Instant)>,
}

impl Sweeps {
    /// The sweep as far as it matters: one whose sweeper must be dead is over.
    fn judge(&self, mut sweep: Sweep) -> Sweep {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if sweep.under_way {
            let since = match seen.since {
                Some((generation, since)) if generation == sweep.generation => since,
                _ => seen.since.insert((sweep.generation, Instant::now())).1,
            };
            if since.elapsed() >= self.patience {
                seen.dead = seen.dead.max(sweep.generation);
            }
            sweep.under_way = sweep.generation > seen.dead;
        }
        sweep
    }
}

/// A sweep that was committed: its chunks may be removed until the deadline.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) generation: u64,
    /// What is listed in this revision or earlier stays.
    pub(crate) revision: Revision,
    pub(crate) deadline: Instant,
}

impl Registry {
    /// The same registry as another server sees it, which waits so long for the sweeps of this one.
    #[cfg(test)]
    pub(crate) fn with_patience(&self, patience: Duration) -> Self {
        let sweeps = Arc::new(Sweeps { patience, seen: Mutex::default() });
        Self { sweeps, ..self.clone() }
    }

    /// Gives up a sweep that has not ended. Only when nobody else uses the store: before it is served.
    pub(crate) async fn bury_sweep(&self) -> Result<(), Error> {
        let sweep = newest(&*self.store).await?;
        self.sweeps.seen.lock().unwrap_or_else(PoisonError::into_inner).dead = sweep.generation;
        Ok(())
    }

    async fn sweep(&self) -> Result<Sweep, Error> {
        Ok(self.sweeps.judge(newest(&*self.store).await?))
    }

    /// The newest sweep that shows in what is looked at from now on.
    pub(super) async fn settled(&self) -> Result<u64, Error> {
        Ok(self.sweep().await?.settled())
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
            let harmed = match self.store.get(kinds::CONDEMNED, &sweep_key(generation)).await? {
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

    /// Waits for the end of a sweep, but not for ever: false if it did not come.
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

    /// Commits that these chunks are about to be removed.
    ///
    /// # Errors
    /// `COLLECTION_RUNNING` if others are being removed.
    pub(crate) async fn begin_sweep(
        &self,
        intent: &Intent,
        chunks: &BTreeSet<Place>,
        quarantine: bool,
    ) -> Result<Begun, Error> {
        let deadline = Instant::now() + BUDGET;
        let dead = self.sweep().await?.settled();
        let begin = BeginSweep { condemned: condemned(chunks), count: chunks.len() as u64, dead, quarantine };
        let (generation, revision) = self.commit(intent.clone(), begin).await?;
        Ok(Begun { generation, revision, deadline })
    }

    /// The same, but waits for others first.
    async fn begin_sweep_in_turn(&self, intent: &Intent, chunks: &BTreeSet<Place>) -> Result<Begun, Error> {
        let give_up = Instant::now() + WAIT;
        loop {
            match self.begin_sweep(intent, chunks, true).await {
                Err(error) if is_running(&error) && Instant::now() < give_up => {
                    self.until_over(newest(&*self.store).await?.generation).await?;
                }
                begun => return begun,
            }
        }
    }

    /// Commits that nothing more is removed.
    pub(crate) async fn end_sweep(&self, intent: &Intent, begun: &Begun, removed: pb::Sweep) -> Result<(), Error> {
        let sweep = pb::Sweep { generation: begun.generation.cast_signed(), ..removed };
        self.commit(intent.clone(), EndSweep(sweep)).await.map(drop)
    }

    /// Puts a chunk aside if it is damaged, as a reader has found.
    pub(super) async fn put_aside_if_damaged(&self, namespace: &str, found: &ChunkError) -> Result<(), Error> {
        let ChunkError::Damaged { chunk, problem } = found else { return Ok(()) };
        tracing::error!(namespace, chunk = chunk.hex(), problem, "a chunk is damaged");
        // Bytes that are kept with a record can't be put aside, and others may have been faster.
        if !self.chunks.missing(namespace, vec![chunk.blake3]).await?.is_empty() {
            return Ok(());
        }
        self.put_aside(&Intent::own(), vec![(namespace.to_owned(), *chunk)]).await.map(drop)
    }

    /// Puts those of some chunks aside that are damaged, so that they count as missing and may be looked at. A sweep, so that none is
    /// put aside that somebody has mended meanwhile and relies on. Answers how many were.
    pub(crate) async fn put_aside(&self, intent: &Intent, chunks: Vec<(String, Chunk)>) -> Result<i64, Error> {
        let (registry, intent) = (self.clone(), intent.clone());
        // On its own, so that the sweep ends even if the caller goes away.
        let sweeping = tokio::spawn(async move {
            let places = chunks.iter().map(|(namespace, chunk)| (namespace.clone(), chunk.blake3)).collect();
            let begun = registry.begin_sweep_in_turn(&intent, &places).await?;
            let put_aside = async {
                let mut removed = pb::Sweep { quarantine: true, ..Default::default() };
                for (namespace, chunk) in &chunks {
                    if let Some(size) = registry.chunks.quarantine(namespace, chunk).await? {
                        removed.chunk_count += 1;
                        removed.size_bytes += size.cast_signed();
                    }
                }
                Ok::<_, Error>(removed)
            };
            let removed = begun.within(put_aside).await?;
            registry.end_sweep(&intent, &begun, removed).await?;
            Ok(removed.chunk_count)
        });
        sweeping.await.map_err(Error::internal)?
    }
}

impl Begun {
    /// Removes something, if there is time for it. After a failure the sweep must not be ended: what was asked of the object store
    /// may still happen.
    pub(crate) async fn within<T>(&self, removing: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let late = |_| Err(crate::store::StoreError::Unavailable("removing chunks takes too long".to_owned()).into());
        tokio::time::timeout_at(self.deadline, removing).await.unwrap_or_else(late)
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

async fn newest<R: Read + ?Sized>(records: &R) -> Result<Sweep, Error> {
    let Some(record) = records.get(kinds::SWEEP, &[]).await? else { return Ok(Sweep::default()) };
    let SweepRecord { generation, under_way } = decode(&record)?;
    Ok(Sweep { generation, under_way })
}

fn running() -> Error {
    let detail = "another collection is removing chunks";
    Error::precondition(ErrorReason::CollectionRunning, "sweeps", detail)
}

fn is_running(error: &Error) -> bool {
    matches!(error, Error::Precondition { reason: ErrorReason::CollectionRunning, .. })
}

fn condemned(chunks: &BTreeSet<Place>) -> CondemnedRecord {
    let mut namespaces: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (namespace, blake3) in chunks {
        namespaces.entry(namespace).or_default().extend_from_slice(blake3);
    }
    let listed = namespaces.into_iter();
    let namespaces =
        listed.map(|(namespace, blake3)| Namespace { namespace: namespace.to_owned(), blake3: Bytes::from(blake3) });
    CondemnedRecord { namespaces: namespaces.collect() }
}

fn has_one_of(condemned: &CondemnedRecord, namespace: &str, chunks: &[Chunk]) -> bool {
    let mut here = condemned.namespaces.iter().filter(|here| here.namespace == namespace);
    here.any(|here| {
        let (listed, _) = here.blake3.as_chunks::<32>();
        chunks.iter().any(|chunk| listed.binary_search(&chunk.blake3).is_ok())
    })
}

struct BeginSweep {
    condemned: CondemnedRecord,
    count: u64,
    /// Sweeps up to this generation are over, even if they have not ended.
    dead: u64,
    quarantine: bool,
}

#[async_trait]
impl Mutation for BeginSweep {
    /// Its generation and its revision.
    type Answer = (u64, Revision);

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before = newest(&*tx.store).await?;
        if before.under_way && before.generation > self.dead {
            return Err(running());
        }
        let generation = before.generation + 1;
        tx.put(kinds::SWEEP, Vec::new(), &SweepRecord { generation, under_way: true }, Vec::new()).await?;
        tx.put(kinds::CONDEMNED, sweep_key(generation), &self.condemned, Vec::new()).await?;
        tx.store.remove(kinds::CONDEMNED, &sweep_key(generation.saturating_sub(KEPT))).await?;
        let sweep = pb::Sweep {
            generation: generation.cast_signed(),
            chunk_count: self.count.cast_signed(),
            quarantine: self.quarantine,
            ..Default::default()
        };
        tx.record(event_of(event_type::SWEEP_STARTED, sweep));
        Ok(())
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        let revision = committed.revision;
        let event = committed.into_event(event_type::SWEEP_STARTED)?;
        match event.after.and_then(|after| after.resource) {
            Some(pb::resource::Resource::Sweep(sweep)) => Ok((sweep.generation.cast_unsigned(), revision)),
            _ => Err(Error::internal("a sweep began without an event of its own")),
        }
    }
}

struct EndSweep(pb::Sweep);

#[async_trait]
impl Mutation for EndSweep {
    type Answer = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let generation = self.0.generation.cast_unsigned();
        // Others may have given it up.
        if newest(&*tx.store).await? != (Sweep { generation, under_way: true }) {
            return Ok(());
        }
        tx.put(kinds::SWEEP, Vec::new(), &SweepRecord { generation, under_way: false }, Vec::new()).await?;
        tx.record(event_of(event_type::SWEEP_ENDED, self.0));
        Ok(())
    }

    fn answer(_: Committed) -> Result<(), Error> {
        Ok(())
    }
}

fn event_of(r#type: &str, sweep: pb::Sweep) -> pb::Event {
    pb::Event {
        resource_name: format!("sweeps/{}", sweep.generation),
        after: Some(pb::Resource { resource: Some(pb::resource::Resource::Sweep(sweep)) }),
        ..event(r#type)
    }
}

/// The place of a sweep, and of the chunks that it removes.
fn sweep_key(generation: u64) -> Vec<u8> {
    generation.to_be_bytes().to_vec()
}
