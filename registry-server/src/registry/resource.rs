//! What the registry keeps of a resource, and what its kind says of it, so that reading and changing resources is written once.

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use registry_proto::resource::{Meta, Resource as _};
use registry_proto::v1::ErrorReason;

use super::kinds::slot;
use super::transaction::{Tx, decode};
use crate::error::{Error, Violations};
use crate::rules::names::{Collection, Name};
use crate::store::{Index, Kind, KindLayout, Place, Record, Slot, Source};

/// A kind of resource: what is in its records, one for each.
#[async_trait]
pub(crate) trait Resource:
    Row<Message: registry_proto::resource::Resource + Send + Sync> + Clone + Send + Sync + 'static
{
    /// What the store knows of its records.
    const LAYOUT: KindLayout;
    /// Of its records.
    const KIND: Kind = Self::LAYOUT.kind;
    /// Where its names are.
    const OF: &'static Collection;
    /// Those that are not deleted, by name.
    const LISTED: Source;

    /// Where indexes list it.
    fn places(&self, name: &Name) -> Vec<Place>;

    /// Checks what callers write, field by field and as a whole.
    fn check(message: &Self::Message, found: &mut Violations);

    /// If it was purged, what that means, as the end of a sentence that begins with its name.
    fn purged(&self) -> Option<&'static str> {
        None
    }

    /// What every resource has.
    fn meta(&self) -> Meta<'_> {
        self.message().meta()
    }

    /// What another one begins with that is given the name of this one, if it has no need of it any more.
    fn heir(&self) -> Option<Self> {
        None
    }

    /// Checks of one that is created or changed what only the registry can tell, and completes what callers may write shorter.
    async fn admit(&mut self, _tx: &Tx<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// What finding it by a name reads, as far as the name tells.
    fn reads(name: &Name) -> Vec<(Kind, Vec<u8>)> {
        vec![(Self::KIND, name.key())]
    }

    /// Fails if something that it lies in is deleted.
    async fn live_above(_tx: &Tx<'_>, _name: &Name) -> Result<(), Error> {
        Ok(())
    }
}

/// What is in a record: most often the resource itself.
pub(crate) trait Row: Sized {
    /// The resource as callers see it.
    type Message;

    fn decode(record: &Record) -> Result<Self, Error>;
    /// The resource as it is encoded in its record.
    fn encoded(record: &Record) -> &[u8];
    fn encode(&self) -> Bytes;
    fn message(&self) -> &Self::Message;
    fn message_mut(&mut self) -> &mut Self::Message;
    fn into_message(self) -> Self::Message;
}

impl<M: Message + Default> Row for M {
    type Message = Self;

    fn decode(record: &Record) -> Result<Self, Error> {
        decode(record)
    }

    fn encoded(record: &Record) -> &[u8] {
        &record.payload
    }

    fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    fn message(&self) -> &Self {
        self
    }

    fn message_mut(&mut self) -> &mut Self {
        self
    }

    fn into_message(self) -> Self {
        self
    }
}

/// A kind that callers create, update, delete and undelete as the AIPs have it; here are its own rules.
#[async_trait]
pub(crate) trait Standard: Resource + Default {
    /// Those that are not deleted, by name.
    const LIVE: Index = Index { kind: Self::KIND, slot: LIVE.number };
    /// Those that are not deleted, by age.
    const LIVE_BY_AGE: Index = Index { kind: Self::KIND, slot: LIVE_BY_AGE.number };
    /// All, by age.
    const BY_AGE: Index = Index { kind: Self::KIND, slot: BY_AGE.number };

    /// Fails if it must not be deleted.
    async fn may_delete(&self, _tx: &Tx<'_>, _force: bool) -> Result<(), Error> {
        Ok(())
    }

    /// Gives up what a deleted one must not hold, in the revision of its deletion and before its event.
    async fn let_go(self, _tx: &mut Tx<'_>) -> Result<Self, Error> {
        Ok(self)
    }
}

// The slots of all standard kinds.
pub(super) const LIVE: Slot = slot(1, "not deleted, by name");
pub(super) const LIVE_BY_AGE: Slot = slot(2, "not deleted, by age");
pub(super) const BY_AGE: Slot = slot(3, "all, by age");

/// The places of a resource of a standard kind in them.
pub(super) fn standard_places(name: &Name, meta: Meta<'_>) -> Vec<Place> {
    let age = age_key(name, meta.create_time);
    let mut places = vec![Place { slot: BY_AGE.number, value: age.clone() }];
    if meta.delete_time.is_none() {
        places.push(Place { slot: LIVE_BY_AGE.number, value: age });
        // The key that follows the place sorts by name.
        places.push(Place { slot: LIVE.number, value: Vec::new() });
    }
    places
}

/// The error of a resource that is not there.
pub(crate) fn missing<R: Resource>(name: &Name) -> Error {
    Error::NotFound { of: R::Message::TYPE, name: name.to_string(), at: None }
}

/// The error of a name that this has.
pub(crate) fn exists<R: Resource>(name: impl Into<String>, there: &R) -> Error {
    let deleted = there.meta().delete_time.is_some();
    Error::AlreadyExists { of: R::Message::TYPE, name: name.into(), deleted }
}

/// Fails if the resource was purged.
pub(crate) fn must_not_be_purged<R: Resource>(row: &R) -> Result<(), Error> {
    match row.purged() {
        None => Ok(()),
        Some(detail) => Err(Error::precondition(ErrorReason::ResourcePurged, row.meta().name, detail)),
    }
}

/// Fails if the resource is deleted.
pub(crate) fn must_live<R: Resource>(row: &R) -> Result<(), Error> {
    must_not_be_purged(row)?;
    let meta = row.meta();
    match meta.delete_time {
        None => Ok(()),
        Some(_) => Err(Error::precondition(ErrorReason::ResourceDeleted, meta.name, "is deleted")),
    }
}

/// Fails if the resource is not deleted.
pub(crate) fn must_be_deleted<R: Resource>(row: &R) -> Result<(), Error> {
    let meta = row.meta();
    match meta.delete_time {
        Some(_) => Ok(()),
        None => Err(Error::precondition(ErrorReason::ResourceNotDeleted, meta.name, "is not deleted")),
    }
}

/// Fails unless the etag is empty or the current one.
pub(crate) fn check_etag<R: Resource>(row: &R, given: &str) -> Result<(), Error> {
    let Meta { name, etag, .. } = row.meta();
    if given.is_empty() || given == etag {
        return Ok(());
    }
    Err(Error::EtagMismatch { name: name.to_owned(), current: etag.to_owned() })
}

/// The key of something below a name.
pub(super) fn below(name: &Name, rest: &[u8]) -> Vec<u8> {
    let mut key = name.prefix();
    key.extend_from_slice(rest);
    key
}

/// The place of a resource in the order in which those beside it were created.
pub(super) fn age_key(name: &Name, created: Option<&Timestamp>) -> Vec<u8> {
    let created = created.map(time_key).unwrap_or_default();
    match name.of().parent {
        Some(_) => below(&name.parent(), &created),
        None => created,
    }
}

/// The place of a moment among all moments.
pub(super) fn time_key(time: &Timestamp) -> Vec<u8> {
    // With the sign turned over, what was before 1970 comes first.
    let seconds = time.seconds.cast_unsigned() ^ (1 << 63);
    [seconds.to_be_bytes().as_slice(), &time.nanos.to_be_bytes()].concat()
}
