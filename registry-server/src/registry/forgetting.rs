//! Forgetting request ids: the records of requests that are old enough are removed, so that the state does not grow by every request.
//!
//! A pass walks the log from where the one before ended, which a record tells, and removes in batches. Each batch is a commit like any
//! other: whoever carries the log out, a restore or a verification, forgets at the same revision. If several servers are at it, the one
//! that commits a batch first goes on, and the others end.
//!
//! The record of a request whose revision can't be read stays: only the events tell of it.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use uuid::Uuid;

use super::transaction::{Tx, decode, event};
use super::{Committed, Intent, Mutation, Registry, count, kinds};
use crate::error::Error;
use crate::rules::forgetting::{Age, age};
use crate::store::{Kind, LogEntry, Read, Revision};
use crate::stored::{ForgottenRecord, RequestEvents};

/// How many records are removed in a revision: the others that commit wait about as long as for a full group of commits.
const AT_ONCE: usize = 256;
/// After so many revisions it is noted how far the log was read, also if there was nothing to remove.
const READ_AT_MOST: Revision = 10_000;

/// Requests that are to be forgotten.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    /// Up to here they are forgotten already.
    after: Revision,
    /// Those up to here are among these.
    up_to: Revision,
    ids: Vec<Uuid>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.ids.len() >= AT_ONCE || self.up_to - self.after >= READ_AT_MOST
    }
}

impl Registry {
    /// Forgets the requests that were carried out so long ago. Stops when `tell`, which hears how many were, says false. With `dry_run` it
    /// only counts. Answers how many were forgotten.
    pub(crate) async fn forget_requests(
        &self,
        intent: &Intent,
        now: SystemTime,
        keep: Duration,
        dry_run: bool,
        tell: impl Fn(i64) -> bool,
    ) -> Result<i64, Error> {
        let mut forgotten = 0;
        let mut after = forgotten_up_to(&*self.store).await?;
        loop {
            let batch = self.old_requests(after, now, keep).await?;
            let (up_to, ids, more) = (batch.up_to, batch.ids.len(), batch.is_full());
            // To note how far it read would make a revision, which the next pass would have to note.
            if (ids == 0 && !more) || !tell(forgotten) {
                return Ok(forgotten);
            }
            if !dry_run && !self.commit(intent.clone(), Forget(batch)).await? {
                tracing::info!("another server forgets request ids");
                return Ok(forgotten);
            }
            forgotten += count(ids);
            if !more {
                return Ok(forgotten);
            }
            after = up_to;
        }
    }

    /// The next requests behind a revision that are old enough.
    async fn old_requests(&self, after: Revision, now: SystemTime, keep: Duration) -> Result<Batch, Error> {
        let mut batch = Batch { after, up_to: after, ids: Vec::new() };
        let mut read = after;
        loop {
            let entries = self.store.log(read, AT_ONCE).await?;
            if entries.is_empty() {
                return Ok(batch);
            }
            for entry in entries {
                read = entry.revision;
                let (carried_out, id) = asked(entry);
                match age(carried_out, now, keep) {
                    Age::Old => {
                        batch.up_to = read;
                        batch.ids.extend(id);
                    }
                    Age::Unknown => {}
                    Age::Young => return Ok(batch),
                }
                if batch.is_full() {
                    return Ok(batch);
                }
            }
        }
    }
}

/// When a revision was, if it can be read, and the request id that it was asked for under, if there was one.
fn asked(entry: LogEntry) -> (Option<SystemTime>, Option<Uuid>) {
    let events: RequestEvents = crate::store::decode(entry.events).unwrap_or_default();
    let Some(first) = events.events.into_iter().next() else { return (None, None) };
    (first.create_time.and_then(|time| SystemTime::try_from(time).ok()), Uuid::try_parse(&first.request_id).ok())
}

/// Requests up to this revision have no records any more.
pub(super) async fn forgotten_up_to<R: Read + ?Sized>(records: &R) -> Result<Revision, Error> {
    let record = records.get(kinds::FORGOTTEN, &[]).await?;
    let record = record.map(|record| decode::<ForgottenRecord>(&record)).transpose()?;
    Ok(record.unwrap_or_default().revision)
}

struct Forget(Batch);

#[async_trait]
impl Mutation for Forget {
    /// False if somebody else was faster.
    type Answer = bool;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let Batch { after, up_to, ids } = &self.0;
        if forgotten_up_to(&*tx.store).await? != *after {
            return Ok(());
        }
        for id in ids {
            let record = tx.store.get(kinds::REQUEST, id.as_bytes()).await?;
            // A later request under the same id is another one, and young.
            if record.is_some_and(|record| record.revision <= *up_to) {
                tx.store.remove(kinds::REQUEST, id.as_bytes()).await?;
            }
        }
        tx.put(kinds::FORGOTTEN, Vec::new(), &ForgottenRecord { revision: *up_to }, Vec::new()).await?;
        tx.record(pb::Event {
            resource_name: format!("revisions/{up_to}"),
            comment: comment(ids.len(), after + 1, *up_to),
            ..event(event_type::REQUEST_FORGOTTEN)
        });
        Ok(())
    }

    fn answer(committed: Committed) -> Result<bool, Error> {
        Ok(!committed.events.is_empty())
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let requests = self.0.ids.iter().map(|id| (kinds::REQUEST, id.into_bytes().to_vec()));
        requests.chain([(kinds::FORGOTTEN, Vec::new())]).collect()
    }
}

/// What was forgotten, for people.
fn comment(ids: usize, first: Revision, last: Revision) -> String {
    let ids = match ids {
        0 => "no request ids".to_owned(),
        1 => "1 request id".to_owned(),
        ids => format!("{ids} request ids"),
    };
    let revisions = if first == last { format!("revision {last}") } else { format!("revisions {first} to {last}") };
    format!("{ids} of {revisions}")
}
