//! Namespaces: their own rules, and how one comes about by being used.

use async_trait::async_trait;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::facts::{self, CREATED, DELETED, NAME};
use super::kinds::kind;
use super::models::ModelRow;
use super::resource::{BY_AGE, LIVE, LIVE_BY_AGE, Resource, Standard, must_live, standard_places};
use super::transaction::{Tx, decode, event_of};
use super::validate;
use crate::error::{Error, Violations};
use crate::rules::names::{Collection, NAMESPACES, Name};
use crate::store::{FactView, Kind, KindLayout, Place, Range, Source};

#[async_trait]
impl Resource for pb::Namespace {
    const LAYOUT: KindLayout = KindLayout {
        slots: &[LIVE, LIVE_BY_AGE, BY_AGE],
        view: Some(FactView {
            about: "The namespaces, deleted ones too",
            facts: &[NAME, CREATED, DELETED],
            facts_of: facts::standard::<Self>,
        }),
        ..kind(Kind(4), "namespaces")
    };
    const LISTED: Source = Source::Index(Self::LIVE);
    const OF: &'static Collection = &NAMESPACES;

    fn places(&self, name: &Name) -> Vec<Place> {
        standard_places(name, self.meta())
    }

    fn check(message: &Self, found: &mut Violations) {
        validate::short(found, "display_name", &message.display_name);
        validate::long(found, "description", &message.description, validate::TEXT_BYTES);
        validate::pairs(found, "tags", &message.tags);
        if message.quota_bytes.is_some_and(i64::is_negative) {
            found.invalid("quota_bytes", "must not be negative");
        }
    }
}

#[async_trait]
impl Standard for pb::Namespace {
    /// Not while it has models that are not deleted.
    async fn may_delete(&self, tx: &Tx<'_>, _: bool) -> Result<(), Error> {
        let models = Range::first(Name::canonical(&NAMESPACES, &self.name).prefix(), 1);
        match tx.store.scan(ModelRow::LISTED, &models).await?.is_empty() {
            true => Ok(()),
            false => Err(Error::precondition(ErrorReason::ResourceProtected, &self.name, "has models")),
        }
    }
}

/// Makes sure that a resource has its namespace: the first one in it makes it.
///
/// # Errors
/// If the namespace is deleted.
pub(super) async fn ensure(tx: &mut Tx<'_>, name: &Name) -> Result<(), Error> {
    let namespace = name.within(&NAMESPACES);
    if namespace == *name {
        return Ok(());
    }
    if let Some(record) = tx.store.get(pb::Namespace::KIND, &namespace.key()).await? {
        return must_live(&decode::<pb::Namespace>(&record)?);
    }
    let made = pb::Namespace { name: namespace.to_string(), ..Default::default() };
    tx.write(event_of::<pb::Namespace>("created"), None, made).await.map(drop)
}
