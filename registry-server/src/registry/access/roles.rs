//! Roles: those that are built in beside those that are kept.

use async_trait::async_trait;
use prost::Message as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::Alter;
use crate::error::Error;
use crate::registry::lists::{Listed, Page};
use crate::registry::resource::Resource;
use crate::registry::standard::{Remove, Update};
use crate::registry::transaction::{Tx, decode};
use crate::registry::{Committed, Mutation, Registry};
use crate::rules::access::{BUILT_IN, BuiltIn, built_in};
use crate::rules::names::{Name, ROLES};
use crate::store::{Kind, SCAN_BYTES};

/// A role that is built in, as callers see it.
pub(super) fn message(role: &BuiltIn) -> pb::Role {
    pb::Role {
        name: role.name.to_owned(),
        title: role.title.to_owned(),
        permissions: role.allows.iter().map(|allowed| (*allowed).to_owned()).collect(),
        built_in: true,
        ..Default::default()
    }
}

/// Fails if there is no role with this name.
pub(super) async fn must_exist(tx: &Tx<'_>, role: &str) -> Result<(), Error> {
    match built_in(role) {
        Some(_) => Ok(()),
        None => tx.any::<pb::Role>(&Name::canonical(&ROLES, role)).await.map(drop),
    }
}

impl Registry {
    /// One role.
    pub(crate) async fn role(&self, name: &Name) -> Result<pb::Role, Error> {
        match built_in(name.as_str()) {
            Some(role) => Ok(message(role)),
            None => self.get::<pb::Role>(name).await,
        }
    }

    /// A page of the roles, those that are built in among them.
    pub(crate) async fn list_roles(&self, page: &Page) -> Result<Listed<pb::Role>, Error> {
        let mut listed = self.page::<pb::Role, _>(pb::Role::LISTED, Vec::new(), page, |record| decode(&record)).await?;
        let key = |role: &pb::Role| Name::canonical(&ROLES, &role.name).key();
        let is_before = |a: &[u8], b: &[u8]| if page.reverse { a > b } else { a < b };
        // Where the page of those that are kept ends, if there are more.
        let end = listed.items.last().map(key).filter(|_| listed.next.is_some());
        let computed = BUILT_IN.iter().map(message).filter(|role| {
            let key = key(role);
            page.after.as_ref().is_none_or(|after| is_before(after, &key))
                && end.as_ref().is_none_or(|end| is_before(&key, end))
        });
        listed.items.extend(computed);
        listed.items.sort_by_key(key);
        if page.reverse {
            listed.items.reverse();
        }
        let mut bytes = 0;
        let fits = listed.items.iter().take(page.size).take_while(|role| {
            bytes += role.encoded_len();
            bytes <= SCAN_BYTES
        });
        let fits = fits.count().max(1);
        if listed.items.len() > fits || listed.next.is_some() {
            listed.items.truncate(fits);
            listed.next = listed.items.last().map(key);
        }
        Ok(listed)
    }
}

/// A change of a role, which must not be one that is built in.
pub(crate) struct OfRole<M> {
    name: Name,
    change: M,
}

impl OfRole<Remove<pb::Role>> {
    /// The removal of a role.
    pub(crate) fn remove(name: Name, etag: String) -> Self {
        Self { change: Remove::new(name.clone(), etag), name }
    }
}

impl OfRole<Alter<pb::Role>> {
    /// New values for some fields of a role.
    pub(crate) fn update(change: Update<pb::Role>) -> Self {
        Self { name: change.name().clone(), change: Alter(change) }
    }
}

#[async_trait]
impl<M: Mutation> Mutation for OfRole<M> {
    type Answer = M::Answer;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        match built_in(self.name.as_str()) {
            Some(role) => Err(Error::precondition(ErrorReason::ResourceProtected, role.name, "is built in")),
            None => self.change.apply(tx).await,
        }
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        M::answer(committed)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        self.change.reads()
    }
}
