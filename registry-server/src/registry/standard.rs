//! The standard methods of the AIPs, once for all kinds: create, update, delete, undelete, and lists.

use std::marker::PhantomData;

use async_trait::async_trait;
use prost_types::FieldMask;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::lists::{Listed, Page};
use super::masks::Mask;
use super::resource::{Resource, Standard, check_etag, exists, must_be_deleted, must_not_be_purged};
use super::transaction::{Records as _, Tx, event_of};
use super::{Committed, Mutation, Registry, namespaces};
use crate::error::{Error, Violations};
use crate::rules::names::{NAMESPACES, Name};
use crate::store::{Kind, Source};

impl Registry {
    /// A resource, deleted or not.
    pub(crate) async fn get<R: Resource>(&self, name: &Name) -> Result<R::Message, Error> {
        Ok(self.store.resource::<R>(name).await?.into_message())
    }

    /// A page of the resources of a kind, by what the keys of those that lie in the same begin with.
    pub(crate) async fn list<R: Standard>(&self, prefix: Vec<u8>, page: &Page) -> Result<Listed<R::Message>, Error> {
        let source = match (page.order, page.show_deleted) {
            ("create_time", false) => Source::Index(R::LIVE_BY_AGE),
            ("create_time", true) => Source::Index(R::BY_AGE),
            (_, false) => Source::Index(R::LIVE),
            (_, true) => Source::Kind(R::KIND),
        };
        self.page::<R, _>(source, prefix, page, |hit| Ok(R::decode(&hit)?.into_message())).await
    }
}

/// Makes sure that a resource may come into being, or back, where it lies.
async fn enter<R: Resource>(tx: &mut Tx<'_>, name: &Name) -> Result<(), Error> {
    namespaces::ensure(tx, name).await?;
    R::live_above(tx, name).await
}

/// A resource to be made; what its caller gave was checked.
pub(crate) struct Create<R: Resource> {
    name: Name,
    message: R::Message,
}

impl<R: Resource> Create<R> {
    /// Checks what a caller gave.
    pub(crate) fn new(name: Option<Name>, message: Option<R::Message>, found: &mut Violations) -> Option<Self> {
        let message = message.unwrap_or_default();
        found.within(R::OF.singular, |found| R::check(&message, found));
        Some(Self { name: name?, message })
    }
}

#[async_trait]
impl<R: Resource + Default> Mutation for Create<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        enter::<R>(tx, &self.name).await?;
        let mut row = match tx.store.get(R::KIND, &self.name.key()).await? {
            None => R::default(),
            Some(record) => {
                let there = R::decode(&record)?;
                there.heir().ok_or_else(|| exists(self.name.as_str(), &there))?
            }
        };
        *row.message_mut() = self.message.given();
        *row.message_mut().meta_mut().name = self.name.to_string();
        row.admit(tx).await?;
        tx.write(event_of::<R>("created"), None, row).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<R>("created")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads = pb::Namespace::reads(&self.name.within(&NAMESPACES));
        reads.push((R::KIND, self.name.key()));
        reads
    }
}

/// New values for some fields of a resource; they were checked one by one.
pub(crate) struct Update<R: Resource> {
    name: Name,
    message: R::Message,
    mask: Mask<R::Message>,
}

impl<R: Resource> Update<R> {
    /// Checks what a caller gave: the name and the etag say what it is of.
    pub(crate) fn new(message: Option<R::Message>, mask: Option<&FieldMask>, found: &mut Violations) -> Option<Self> {
        let Some(message) = message else {
            found.required(R::OF.singular);
            return None;
        };
        let name = found.within(R::OF.singular, |found| {
            R::check(&message, found);
            found.name("name", R::OF, message.meta().name)
        });
        let mask = Mask::of_update(mask, &message, found);
        Some(Self { name: name?, message, mask })
    }

    /// What is to be changed.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// The resource as it is, and as it is to be.
    pub(super) async fn changed(&self, tx: &Tx<'_>) -> Result<(R, R), Error> {
        let before: R = tx.live(&self.name).await?;
        check_etag(&before, self.message.meta().etag)?;
        let mut after = before.clone();
        self.mask.apply(&self.message, after.message_mut());
        // Fields that are fine one by one may not fit together, or be too much in all.
        let mut found = Violations::default();
        found.within(R::OF.singular, |found| R::check(after.message(), found));
        found.check()?;
        after.admit(tx).await?;
        Ok((before, after))
    }
}

#[async_trait]
impl<R: Resource> Mutation for Update<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let (before, after) = self.changed(tx).await?;
        tx.write(event_of::<R>("updated"), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<R>("updated")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        R::reads(&self.name)
    }
}

/// A resource to be deleted, so that it can be undeleted.
pub(crate) struct Delete<R> {
    name: Name,
    etag: String,
    force: bool,
    of: PhantomData<fn() -> R>,
}

impl<R> Delete<R> {
    pub(crate) fn new(name: Name, etag: String, force: bool) -> Self {
        Self { name, etag, force, of: PhantomData }
    }
}

#[async_trait]
impl<R: Standard> Mutation for Delete<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: R = tx.live(&self.name).await?;
        check_etag(&before, &self.etag)?;
        before.may_delete(tx, self.force).await?;
        let before = before.let_go(tx).await?;
        let mut after = before.clone();
        let purge_time = tx.purge_time();
        let meta = after.message_mut().meta_mut();
        if let Some(time) = meta.delete_time {
            *time = Some(tx.now);
        }
        if let Some(planned) = meta.purge_time {
            *planned = purge_time;
        }
        tx.write(event_of::<R>("deleted"), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<R>("deleted")
    }
}

/// A resource to be removed for good: one that can't be undeleted.
pub(crate) struct Remove<R> {
    name: Name,
    etag: String,
    of: PhantomData<fn() -> R>,
}

impl<R> Remove<R> {
    pub(crate) fn new(name: Name, etag: String) -> Self {
        Self { name, etag, of: PhantomData }
    }
}

#[async_trait]
impl<R: Resource> Mutation for Remove<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let row: R = tx.any(&self.name).await?;
        check_etag(&row, &self.etag)?;
        tx.remove(event_of::<R>("deleted"), row).await
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<R>("deleted")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        R::reads(&self.name)
    }
}

/// A resource to be brought back.
pub(crate) struct Undelete<R> {
    name: Name,
    etag: String,
    of: PhantomData<fn() -> R>,
}

impl<R> Undelete<R> {
    pub(crate) fn new(name: Name, etag: String) -> Self {
        Self { name, etag, of: PhantomData }
    }
}

#[async_trait]
impl<R: Standard> Mutation for Undelete<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        enter::<R>(tx, &self.name).await?;
        let before: R = tx.any(&self.name).await?;
        check_etag(&before, &self.etag)?;
        must_not_be_purged(&before)?;
        must_be_deleted(&before)?;
        let mut after = before.clone();
        let meta = after.message_mut().meta_mut();
        for time in [meta.delete_time, meta.purge_time].into_iter().flatten() {
            *time = None;
        }
        tx.write(event_of::<R>("undeleted"), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<R>("undeleted")
    }
}
