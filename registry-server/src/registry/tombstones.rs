//! Tombstones: what an administrator lays on revisions whose events can't be read, so that they trouble nobody any longer.
//!
//! The log is not rewritten: archives, backups and other servers have the same bytes. A tombstone is a record, made by an event of its
//! own. It names the bytes that it stands for by their digest.

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use sha2::{Digest as _, Sha256};

use super::commit::Intent;
use super::events::EVENT;
use super::transaction::{Tx, decode, event};
use super::{Committed, Mutation, Registry, kinds};
use crate::error::Error;
use crate::store::{Read, Revision, StoreError, read_write};
use crate::stored::TombstoneRecord;

/// The revision that laid a tombstone on these bytes, which are the events of a revision, if one did.
pub(crate) async fn tombstone_of<R: Read + ?Sized>(
    records: &R,
    revision: Revision,
    events: &[u8],
) -> Result<Option<Revision>, Error> {
    let Some(record) = records.get(kinds::TOMBSTONE, &key(revision)).await? else { return Ok(None) };
    let TombstoneRecord { sha256 } = decode(&record)?;
    Ok((sha256 == Sha256::digest(events).as_slice()).then_some(record.revision))
}

impl Registry {
    /// Lays a tombstone on a revision. The log never changes, so it is read before.
    pub(crate) async fn tombstone_revision(&self, intent: Intent, revision: i64) -> Result<pb::Event, Error> {
        if let Some(event) = self.repeated::<LayTombstone>(&intent).await? {
            return Ok(event);
        }
        let before = revision.cast_unsigned().saturating_sub(1);
        let entry = self.store.changes(before, 1).await?.into_iter().next();
        let Some(entry) = entry.filter(|entry| entry.revision.cast_signed() == revision) else {
            return Err(Error::NotFound { of: EVENT, name: format!("events/{revision}-0"), at: None });
        };
        if pb::WatchedEvents::decode(entry.events.clone()).is_ok() {
            return Err(readable(entry.revision, "its events can be read"));
        }
        // Writes refer to the events: without them the log can't be carried out, and no word of anybody helps.
        for write in &entry.writes {
            read_write(write, &entry.events).map_err(|error| {
                let lost = format!("{error}; what it wrote is lost, too: restore a backup or the archive");
                StoreError::Damaged(lost)
            })?;
        }
        let sha256 = Bytes::copy_from_slice(&Sha256::digest(&entry.events));
        let lay = LayTombstone { revision: entry.revision, record: TombstoneRecord { sha256 } };
        self.commit(intent, lay).await
    }
}

struct LayTombstone {
    revision: Revision,
    record: TombstoneRecord,
}

#[async_trait]
impl Mutation for LayTombstone {
    type Answer = pb::Event;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let there = tx.store.get(kinds::TOMBSTONE, &key(self.revision)).await?;
        let there = there.map(|record| decode::<TombstoneRecord>(&record)).transpose()?;
        if there.is_some_and(|there| there == self.record) {
            return Err(readable(self.revision, "it has a tombstone already"));
        }
        tx.put(kinds::TOMBSTONE, key(self.revision), &self.record, Vec::new()).await?;
        tx.record(pb::Event { resource_name: name(self.revision), ..event(event_type::REVISION_TOMBSTONED) });
        Ok(())
    }

    fn answer(committed: Committed) -> Result<pb::Event, Error> {
        committed.into_event(event_type::REVISION_TOMBSTONED)
    }
}

fn key(revision: Revision) -> Vec<u8> {
    revision.to_be_bytes().to_vec()
}

fn name(revision: Revision) -> String {
    format!("revisions/{revision}")
}

fn readable(revision: Revision, why: &str) -> Error {
    Error::precondition(ErrorReason::RevisionReadable, name(revision), why)
}
