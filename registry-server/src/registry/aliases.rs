//! Aliases: names of a user's own for versions of a model.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::approvals::required;
use super::models::ModelRow;
use super::policies::in_force;
use super::resource::check_etag;
use super::transaction::{ALIAS, Tx, event};
use super::withdrawal::must_not_be_withdrawn;
use super::{Committed, Mutation};
use crate::error::Error;
use crate::rules::names::Name;

/// How many aliases a model has at most: all of them come with each change of one.
const ALIASES: usize = 100;

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
        must_not_be_withdrawn(&version)?;
        must_not_be_protected(tx, &row, &self.alias).await?;
        point(tx, row, &self.alias, version.name).await.map(drop)
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
            return Err(Error::NotFound { of: ALIAS, name, at: None });
        }
        must_not_be_protected(tx, &row, &self.alias).await?;
        remove(tx, row, std::slice::from_ref(&self.alias)).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Model, Error> {
        committed.resource::<ModelRow>(event_type::ALIAS_DELETED)
    }
}

/// Fails if an alias moves with approvals only.
async fn must_not_be_protected(tx: &Tx<'_>, row: &ModelRow, alias: &str) -> Result<(), Error> {
    match in_force(tx, &row.model).await?.protects(alias) {
        Some(rule) => Err(required(&row.model.name, &format!("@{alias}"), rule)),
        None => Ok(()),
    }
}

/// Points an alias at a version.
pub(super) async fn point(tx: &mut Tx<'_>, before: ModelRow, alias: &str, to: String) -> Result<ModelRow, Error> {
    let mut row = before.clone();
    let from = row.model.aliases.insert(alias.to_owned(), to.clone());
    if row.model.aliases.len() > ALIASES {
        return Err(Error::TooLarge(format!("{} has {ALIASES} aliases, and no model has more", row.model.name)));
    }
    let alias_changes = vec![change(alias, from, Some(to))];
    tx.write(pb::Event { alias_changes, ..event(event_type::ALIAS_SET) }, Some(before), row).await
}

/// Removes aliases of a model, in one event: the model comes whole with it.
pub(super) async fn remove(tx: &mut Tx<'_>, before: ModelRow, aliases: &[String]) -> Result<ModelRow, Error> {
    if aliases.is_empty() {
        return Ok(before);
    }
    let mut row = before.clone();
    let removed = aliases.iter().map(|alias| change(alias, row.model.aliases.remove(alias), None));
    let alias_changes = removed.collect();
    tx.write(pb::Event { alias_changes, ..event(event_type::ALIAS_DELETED) }, Some(before), row).await
}

fn change(alias: &str, from: Option<String>, to: Option<String>) -> pb::AliasChange {
    let (from_version, to_version) = (from.unwrap_or_default(), to.unwrap_or_default());
    pb::AliasChange { alias: alias.to_owned(), from_version, to_version }
}
