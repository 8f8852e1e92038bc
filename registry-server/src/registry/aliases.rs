//! Aliases: names of a user's own for versions of a model.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::models::ModelRow;
use super::resource::check_etag;
use super::transaction::{ALIAS, Tx, event};
use super::{Committed, Mutation};
use crate::error::Error;
use crate::rules::names::Name;

/// An alias to be pointed at a version; the alias itself was checked.
pub(crate) struct SetAlias {
    pub(crate) version: Name,
    pub(crate) alias: String,
    /// Of the model.
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for SetAlias {
    type Answer = pb::Model;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let row: ModelRow = tx.live(&self.version.parent()).await?;
        check_etag(&row, &self.etag)?;
        let version: pb::Version = tx.live(&self.version).await?;
        point(tx, row, &self.alias, Some(version.name)).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Model, Error> {
        committed.resource::<ModelRow>(event_type::ALIAS_SET)
    }
}

/// An alias to be removed.
pub(crate) struct DeleteAlias {
    pub(crate) model: Name,
    pub(crate) alias: String,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for DeleteAlias {
    type Answer = pb::Model;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let row: ModelRow = tx.live(&self.model).await?;
        check_etag(&row, &self.etag)?;
        if !row.model.aliases.contains_key(&self.alias) {
            let name = format!("{}/versions/@{}", self.model, self.alias);
            return Err(Error::NotFound { of: ALIAS, name });
        }
        point(tx, row, &self.alias, None).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Model, Error> {
        committed.resource::<ModelRow>(event_type::ALIAS_DELETED)
    }
}

/// Points an alias elsewhere, or nowhere.
pub(super) async fn point(
    tx: &mut Tx<'_>,
    before: ModelRow,
    alias: &str,
    to: Option<String>,
) -> Result<ModelRow, Error> {
    let mut row = before.clone();
    let r#type = if to.is_some() { event_type::ALIAS_SET } else { event_type::ALIAS_DELETED };
    let from = match &to {
        Some(to) => row.model.aliases.insert(alias.to_owned(), to.clone()),
        None => row.model.aliases.remove(alias),
    };
    let (from_version, to_version) = (from.unwrap_or_default(), to.unwrap_or_default());
    let alias_change = Some(pb::AliasChange { alias: alias.to_owned(), from_version, to_version });
    tx.write(pb::Event { alias_change, ..event(r#type) }, Some(before), row).await
}
