//! Cursors of the log that are kept for their consumers, on the slate, with leases. What a lease is and who gets it, `rules::leases` says.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use registry_proto::v1 as pb;
use registry_proto::v1::{ConsumptionState, ErrorReason};

use super::Registry;
use crate::error::Error;
use crate::rules::leases::{Cursor, Lease, Wish};
use crate::store::{Revision, StoreError, decode};
use crate::stored::CursorRecord;

/// Where a cursor is, and where it begins: a new key is a new cursor, that nobody has a lease of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CursorKey {
    /// On the slate.
    pub(crate) key: Vec<u8>,
    /// Everything up to this revision counts as done.
    pub(crate) start: Revision,
}

impl Registry {
    /// A cursor as it stands.
    pub(crate) async fn cursor(&self, key: &CursorKey) -> Result<Cursor, Error> {
        Ok(read(key, self.store.slate_get(&key.key).await?)?)
    }

    /// Asks for the lease of a cursor, as [`Cursor::wish`] has it.
    pub(crate) async fn wish(
        &self,
        key: &CursorKey,
        holder: &str,
        epoch: Option<u64>,
        length: Duration,
    ) -> Result<Wish, Error> {
        let now = self.store.time().await?;
        let change = |cursor: &Cursor| match cursor.wish(holder, epoch, now, length) {
            Wish::Granted(cursor) => Ok(cursor),
            refused => Err(refused),
        };
        Ok(match self.change_cursor(key, change).await? {
            Ok(cursor) => Wish::Granted(cursor),
            Err(refused) => refused,
        })
    }

    /// Moves a cursor and keeps the lease or, without a length, gives it back, as [`Cursor::acknowledge`] has it. Answers the cursor.
    ///
    /// # Errors
    /// `LEASE_LOST`; `REVISION_UNKNOWN` if the revision was never written.
    pub(crate) async fn acknowledge(
        &self,
        key: &CursorKey,
        of: &str,
        epoch: u64,
        revision: Revision,
        length: Option<Duration>,
    ) -> Result<Cursor, Error> {
        if revision > *self.store.head().borrow() && revision > self.store.newest().await? {
            let detail = format!("revision {revision} is not in the log");
            return Err(Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail });
        }
        let now = self.store.time().await?;
        let changed = self.change_cursor(key, |cursor| cursor.acknowledge(epoch, revision, now, length)).await?;
        changed.map_err(|_| Error::LeaseLost(of.to_owned()))
    }

    /// Forgets a cursor.
    pub(crate) async fn forget_cursor(&self, key: &CursorKey) -> Result<(), Error> {
        loop {
            let there = self.store.slate_get(&key.key).await?;
            if there.is_none() || self.store.slate_swap(&key.key, there.as_deref(), None).await? {
                return Ok(());
            }
        }
    }

    /// Changes a cursor, which others may change at the same time.
    async fn change_cursor<E>(
        &self,
        key: &CursorKey,
        change: impl Fn(&Cursor) -> Result<Cursor, E>,
    ) -> Result<Result<Cursor, E>, Error> {
        loop {
            let there = self.store.slate_get(&key.key).await?;
            let changed = match change(&read(key, there.clone())?) {
                Ok(changed) => changed,
                Err(refused) => return Ok(Err(refused)),
            };
            if self.store.slate_swap(&key.key, there.as_deref(), Some(&written(&changed))).await? {
                return Ok(Ok(changed));
            }
        }
    }

    /// What cursors are measured by.
    pub(crate) async fn bounds(&self) -> Result<Bounds, Error> {
        let (now, newest, oldest) = (self.store.time().await?, self.store.newest().await?, self.store.oldest().await?);
        Ok(Bounds { now, newest, oldest })
    }

    /// A cursor as callers see it.
    pub(crate) async fn consumption(&self, key: &CursorKey) -> Result<pb::Consumption, Error> {
        Ok(self.bounds().await?.consumption(self.cursor(key).await?))
    }

    /// All cursors whose keys begin with this, by key.
    pub(crate) async fn cursors(&self, prefix: &[u8]) -> Result<BTreeMap<Bytes, Bytes>, Error> {
        Ok(self.store.slate_scan(prefix).await?.into_iter().collect())
    }
}

/// The ends of the log, and the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    now: SystemTime,
    newest: Revision,
    oldest: Revision,
}

impl Bounds {
    /// A cursor, as [`Registry::cursors`] has it, as callers see it.
    pub(crate) fn consumption_of(
        &self,
        key: &CursorKey,
        cursors: &BTreeMap<Bytes, Bytes>,
    ) -> Result<pb::Consumption, Error> {
        Ok(self.consumption(read(key, cursors.get(key.key.as_slice()).cloned())?))
    }

    fn consumption(&self, cursor: Cursor) -> pb::Consumption {
        let active = cursor.lease.as_ref().is_some_and(|lease| !lease.holder.is_empty() && lease.until > self.now);
        let state = match (cursor.revision + 1 < self.oldest, active) {
            (true, _) => ConsumptionState::Lapsed,
            (_, true) => ConsumptionState::Active,
            _ => ConsumptionState::Idle,
        };
        pb::Consumption {
            state: state.into(),
            revision: cursor.revision.cast_signed(),
            lag: self.newest.saturating_sub(cursor.revision).cast_signed(),
            acknowledge_time: cursor.done.map(Into::into),
            attempt: cursor.attempt.cast_signed(),
            expire_time: cursor.lease.as_ref().map(|lease| lease.until.into()),
            epoch: cursor.lease.as_ref().map_or(0, |lease| lease.epoch.cast_signed()),
            consumer: cursor.lease.map(|lease| lease.holder).unwrap_or_default(),
        }
    }
}

fn read(key: &CursorKey, there: Option<Bytes>) -> Result<Cursor, StoreError> {
    let Some(there) = there else { return Ok(Cursor::at(key.start)) };
    let CursorRecord { revision, holder, epoch, until, done_time, attempt } = decode(there)?;
    let time = |time: prost_types::Timestamp| SystemTime::try_from(time).ok();
    let until = until.and_then(time).unwrap_or(SystemTime::UNIX_EPOCH);
    let lease = (epoch > 0).then_some(Lease { holder, epoch, until });
    Ok(Cursor { revision, done: done_time.and_then(time), attempt, lease })
}

fn written(cursor: &Cursor) -> Vec<u8> {
    let Cursor { revision, done, attempt, lease } = cursor.clone();
    let mut record = CursorRecord { revision, done_time: done.map(Into::into), attempt, ..CursorRecord::default() };
    if let Some(Lease { holder, epoch, until }) = lease {
        (record.holder, record.epoch, record.until) = (holder, epoch, Some(until.into()));
    }
    record.encode_to_vec()
}
