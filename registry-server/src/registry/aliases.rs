//! Aliases: names of a user's own for versions of a model.

use async_trait::async_trait;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::models::touch;
use super::records::{ModelRow, Records as _, must_live};
use super::transaction::{Tx, check_etag, model_after, model_event};
use super::{Mutation, Order, Registry};
use crate::error::Error;
use crate::rules::names::{ModelName, VersionName, VersionRef};

impl Registry {
    pub(crate) async fn set_alias(&self, order: Order, set: SetAlias) -> Result<pb::Model, Error> {
        model_after(self.commit(order, set).await?.into_event(pb::EventType::AliasSet)?)
    }

    pub(crate) async fn delete_alias(&self, order: Order, delete: DeleteAlias) -> Result<pb::Model, Error> {
        model_after(self.commit(order, delete).await?.into_event(pb::EventType::AliasDeleted)?)
    }
}

/// An alias to be pointed at a version; the alias itself was checked.
pub(crate) struct SetAlias {
    pub(crate) model: ModelName,
    pub(crate) alias: String,
    pub(crate) version: VersionRef,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for SetAlias {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row = tx.live_model(&self.model).await?;
        check_etag(&row.model.name, &row.model.etag, &self.etag)?;
        let name = VersionName { model: self.model.clone(), version: self.version.clone() };
        let number = tx.store.resolve(&name).await?;
        let version = tx.version(&self.model, number).await?;
        must_live(&version.name, version.delete_time.as_ref())?;
        change(tx, &mut row, &self.alias, Some(version.name));
        tx.put_model(&self.model, &row).await
    }
}

/// An alias to be removed.
pub(crate) struct DeleteAlias {
    pub(crate) model: ModelName,
    pub(crate) alias: String,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for DeleteAlias {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row = tx.live_model(&self.model).await?;
        check_etag(&row.model.name, &row.model.etag, &self.etag)?;
        if !row.model.aliases.contains_key(&self.alias) {
            let name = format!("{}@{}", self.model, self.alias);
            return Err(Error::NotFound { reason: ErrorReason::AliasNotFound, name });
        }
        change(tx, &mut row, &self.alias, None);
        tx.put_model(&self.model, &row).await
    }
}

/// Points an alias elsewhere, or nowhere, and logs it.
pub(super) fn change(tx: &mut Tx<'_>, row: &mut ModelRow, alias: &str, to: Option<String>) {
    let before = row.model.clone();
    let from = match &to {
        Some(to) => row.model.aliases.insert(alias.to_owned(), to.clone()),
        None => row.model.aliases.remove(alias),
    };
    touch(tx, &mut row.model);
    let r#type = if to.is_some() { pb::EventType::AliasSet } else { pb::EventType::AliasDeleted };
    let mut event = model_event(r#type, Some(&before), &row.model);
    event.alias_change =
        Some(pb::AliasChange { alias: alias.to_owned(), from: from.unwrap_or_default(), to: to.unwrap_or_default() });
    tx.log(event);
}
