//! What all kinds of resources have in common, so that reading and changing them is written once.

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::resource::Resource as Any;

use super::records;
use super::transaction::Tx;
use super::updates::Masked;
use crate::error::{Error, Violations};
use crate::rules::names::{Collection, Name};
use crate::store::{Attribute, Index, Kind, Record};

/// What the registry keeps of a kind of resource, one record each.
#[async_trait]
pub(crate) trait Resource: Row + Clone + Send + Sync + 'static {
    /// As callers see it.
    type Message: Masked + Clone + Send + Sync;

    /// Of its records.
    const KIND: Kind;
    /// Where its names are.
    const OF: &'static Collection;
    /// When it is created, updated, deleted and undeleted.
    const EVENTS: [pb::EventType; 4];

    fn message(&self) -> &Self::Message;
    fn message_mut(&mut self) -> &mut Self::Message;
    fn into_message(self) -> Self::Message;

    /// What every resource has.
    fn meta_of(message: &Self::Message) -> Meta<'_>;
    fn meta_mut(&mut self) -> MetaMut<'_>;

    fn meta(&self) -> Meta<'_> {
        Self::meta_of(self.message())
    }

    /// Where indexes list it.
    fn places(&self, name: &Name) -> Vec<Attribute>;

    /// The message of an event.
    fn wrap(message: Self::Message) -> Any;
    /// And back.
    fn unwrap(any: Any) -> Option<Self::Message>;

    /// Checks what callers write, field by field and as a whole.
    fn check(message: &Self::Message, found: &mut Violations);

    /// The error of one that is not there.
    fn missing(name: &Name) -> Error;

    /// What finding it by a name reads, as far as the name tells.
    fn reads(name: &Name) -> Vec<(Kind, Vec<u8>)> {
        vec![(Self::KIND, name.key())]
    }

    /// Fails if something that it lies in is deleted.
    async fn live_above(_tx: &Tx<'_>, _name: &Name) -> Result<(), Error> {
        Ok(())
    }
}

/// What is in a record.
pub(crate) trait Row: Sized {
    fn decode(record: &Record) -> Result<Self, Error>;
    fn encode(&self) -> Bytes;
}

impl<M: Message + Default> Row for M {
    fn decode(record: &Record) -> Result<Self, Error> {
        records::decode(record)
    }

    fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }
}

/// What every resource has. What its kind does not have is empty.
pub(crate) struct Meta<'a> {
    pub(crate) name: &'a str,
    pub(crate) etag: &'a str,
    pub(crate) delete_time: Option<&'a Timestamp>,
}

/// The same, to be set.
pub(crate) struct MetaMut<'a> {
    pub(crate) name: &'a mut String,
    pub(crate) uid: &'a mut String,
    pub(crate) etag: &'a mut String,
    pub(crate) create_time: &'a mut Option<Timestamp>,
    pub(crate) update_time: &'a mut Option<Timestamp>,
    pub(crate) delete_time: &'a mut Option<Timestamp>,
}

/// A kind that callers create, update, delete and undelete as the AIPs have it; here are its own rules.
#[async_trait]
pub(crate) trait Standard: Resource {
    /// Those that are not deleted, by name.
    const LIVE: Index;
    /// Those that are not deleted, by age.
    const LIVE_BY_AGE: Index;
    /// All, by age.
    const BY_AGE: Index;

    /// One of which a caller gave these fields.
    fn draft(tx: &Tx<'_>, given: Self::Message) -> Self;

    /// Fails if it must not be deleted.
    async fn may_delete(&self, _tx: &Tx<'_>, _force: bool) -> Result<(), Error> {
        Ok(())
    }

    /// The error of a name that is taken.
    fn exists(name: &Name) -> Error;
}

/// Fails if the resource is deleted.
pub(crate) fn must_live<R: Resource>(row: &R) -> Result<(), Error> {
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
