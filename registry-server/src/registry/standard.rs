//! The standard methods of the AIPs, once for all kinds: create, update, delete, undelete, and lists.

use std::marker::PhantomData;

use async_trait::async_trait;
use prost_types::FieldMask;
use uuid::Uuid;

use super::lists::{Listed, Page};
use super::records::Records as _;
use super::resource::{Resource, Standard, check_etag, must_be_deleted};
use super::transaction::{Tx, event, resource_of};
use super::updates::{Mask, Masked as _};
use super::{Committed, Mutation, Registry};
use crate::error::{Error, Violations};
use crate::rules::names::Name;
use crate::store::{Kind, Source};

impl Registry {
    /// A resource, deleted or not.
    pub(crate) async fn get<R: Resource>(&self, name: &Name) -> Result<R::Message, Error> {
        Ok(self.store.resource::<R>(name).await?.into_message())
    }

    /// A page of the resources of a kind that lie in something.
    pub(crate) async fn list<R: Standard>(&self, parent: &Name, page: &Page) -> Result<Listed<R::Message>, Error> {
        let source = match (page.order, page.show_deleted) {
            ("create_time", false) => Source::Index(R::LIVE_BY_AGE),
            ("create_time", true) => Source::Index(R::BY_AGE),
            (_, false) => Source::Index(R::LIVE),
            (_, true) => Source::Kind(R::KIND),
        };
        self.page(source, parent.prefix(), page, |hit| Ok(R::decode(&hit)?.into_message())).await
    }
}

/// A resource to be made; what its caller gave was checked.
pub(crate) struct Create<R: Resource> {
    name: Name,
    message: R::Message,
}

impl<R: Resource> Create<R> {
    /// Checks what a caller gave.
    pub(crate) fn new(name: Name, message: Option<R::Message>, found: &mut Violations) -> Option<Self> {
        let message = message.unwrap_or_default();
        found.within(R::OF.singular, |found| R::check(&message, found));
        Some(Self { name, message })
    }
}

#[async_trait]
impl<R: Standard> Mutation for Create<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        R::live_above(tx, &self.name).await?;
        if tx.store.get(R::KIND, &self.name.key()).await?.is_some() {
            return Err(R::exists(&self.name));
        }
        let mut row = R::draft(tx, self.message.given());
        let meta = row.meta_mut();
        *meta.name = self.name.to_string();
        *meta.uid = Uuid::new_v4().to_string();
        *meta.create_time = Some(tx.now);
        tx.write(event(R::EVENTS[0]), None, row).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        resource_of::<R>(committed.into_event(R::EVENTS[0])?)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        vec![(R::KIND, self.name.key())]
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
            found.name("name", R::OF, R::meta_of(&message).name)
        });
        let mask = Mask::new(mask, &message, found);
        Some(Self { name: name?, message, mask })
    }
}

#[async_trait]
impl<R: Resource> Mutation for Update<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: R = tx.live(&self.name).await?;
        check_etag(&before, R::meta_of(&self.message).etag)?;
        let mut after = before.clone();
        self.mask.apply(&self.message, after.message_mut());
        // Fields that are fine one by one may not fit together, or be too much in all.
        let mut found = Violations::default();
        found.within(R::OF.singular, |found| R::check(after.message(), found));
        found.check()?;
        tx.write(event(R::EVENTS[1]), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        resource_of::<R>(committed.into_event(R::EVENTS[1])?)
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
        let mut after = before.clone();
        *after.meta_mut().delete_time = Some(tx.now);
        tx.write(event(R::EVENTS[2]), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        resource_of::<R>(committed.into_event(R::EVENTS[2])?)
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
        R::live_above(tx, &self.name).await?;
        let before: R = tx.any(&self.name).await?;
        check_etag(&before, &self.etag)?;
        must_be_deleted(&before)?;
        let mut after = before.clone();
        *after.meta_mut().delete_time = None;
        tx.write(event(R::EVENTS[3]), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        resource_of::<R>(committed.into_event(R::EVENTS[3])?)
    }
}
