//! Pages of lists. Each costs what it answers.

use registry_proto::v1 as pb;

use super::kinds;
use super::records::{ModelRow, Records as _, decode};
use super::{Registry, keys};
use crate::error::Error;
use crate::rules::names::{ModelName, ModelOrNamespace, VersionName};
use crate::store::{Range, SCAN_BYTES, Source};

/// Which part of a list to answer.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// How many at most.
    pub(crate) size: usize,
    /// Behind this position.
    pub(crate) after: Option<Vec<u8>>,
    /// From the last to the first.
    pub(crate) reverse: bool,
    /// What is deleted as well.
    pub(crate) show_deleted: bool,
}

/// A page, and the position to go on behind, if there is more.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<Vec<u8>>,
}

/// What models are ordered by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ModelOrder {
    Name,
    CreateTime,
}

impl Registry {
    pub(crate) async fn list_models(
        &self,
        namespace: &str,
        order: ModelOrder,
        page: &Page,
    ) -> Result<Listed<pb::Model>, Error> {
        let source = match (order, page.show_deleted) {
            (ModelOrder::Name, false) => Source::Index(kinds::LIVE_MODELS),
            (ModelOrder::Name, true) => Source::Kind(kinds::MODEL),
            (ModelOrder::CreateTime, false) => Source::Index(kinds::LIVE_MODELS_BY_AGE),
            (ModelOrder::CreateTime, true) => Source::Index(kinds::MODELS_BY_AGE),
        };
        let listed = self.page(source, keys::namespace_prefix(namespace), page, |hit| ModelRow::decode(&hit)).await?;
        Ok(Listed { items: listed.items.into_iter().map(|row| row.model).collect(), next: listed.next })
    }

    pub(crate) async fn list_versions(
        &self,
        parent: &ModelOrNamespace,
        page: &Page,
    ) -> Result<Listed<pb::Version>, Error> {
        let source = if page.show_deleted { Source::Kind(kinds::VERSION) } else { Source::Index(kinds::LIVE_VERSIONS) };
        match parent {
            ModelOrNamespace::Model(model) => {
                self.store.model(model).await?;
                self.page(source, keys::model_prefix(model), page, |hit| decode(&hit)).await
            }
            ModelOrNamespace::Namespace(namespace) if page.show_deleted => {
                self.page(source, keys::namespace_prefix(namespace), page, |hit| decode(&hit)).await
            }
            ModelOrNamespace::Namespace(namespace) => self.versions_of_live_models(namespace, page).await,
        }
    }

    /// The versions of a namespace, without those of deleted models, which are not deleted themselves.
    async fn versions_of_live_models(&self, namespace: &str, page: &Page) -> Result<Listed<pb::Version>, Error> {
        let mut listed = Listed { items: Vec::new(), next: None };
        let mut rest = page.clone();
        // The model that the page begins in, then one after the other.
        let mut model = match &page.after {
            Some(after) => {
                // A token is checked, but not sealed: a forged position may be anything.
                let below = after.get(keys::namespace_prefix(namespace).len()..).unwrap_or_default();
                let model = below.split(|byte| *byte == 0).next().unwrap_or_default();
                let model = String::from_utf8_lossy(model).into_owned();
                Some(ModelName { namespace: namespace.to_owned(), model })
            }
            None => self.next_live_model(namespace, None, page.reverse).await?,
        };
        while let Some(name) = model {
            rest.size = page.size - listed.items.len();
            let prefix = keys::model_prefix(&name);
            let found = self.page(Source::Index(kinds::LIVE_VERSIONS), prefix, &rest, |hit| decode(&hit)).await?;
            listed.items.extend(found.items);
            if found.next.is_some() {
                listed.next = found.next;
                break;
            }
            model = self.next_live_model(namespace, Some(&name), page.reverse).await?;
            if listed.items.len() == page.size {
                // Whether there is more, the next page will tell.
                listed.next = match (&model, listed.items.last()) {
                    (Some(_), Some(last)) => Some(keys::version(&name_of(last)?, last.number)),
                    _ => None,
                };
                break;
            }
            rest.after = None;
        }
        Ok(listed)
    }

    async fn next_live_model(
        &self,
        namespace: &str,
        after: Option<&ModelName>,
        reverse: bool,
    ) -> Result<Option<ModelName>, Error> {
        let prefix = keys::namespace_prefix(namespace);
        let range = Range { prefix, after: after.map(keys::model), reverse, limit: 1 };
        let hits = self.store.scan(Source::Index(kinds::LIVE_MODELS), &range).await?;
        let row = hits.first().map(|hit| ModelRow::decode(&hit.record)).transpose()?;
        row.map(|row| ModelName::parse(&row.model.name).map_err(Error::internal)).transpose()
    }

    pub(crate) async fn list_artifacts(
        &self,
        version: &VersionName,
        page: &Page,
    ) -> Result<Listed<pb::Artifact>, Error> {
        let number = self.store.resolve(version).await?;
        self.store.version(&version.model, number).await?;
        let prefix = keys::artifact(&version.model, number, "");
        self.page(Source::Kind(kinds::ARTIFACT), prefix, page, |hit| decode(&hit)).await
    }

    pub(super) async fn page<T>(
        &self,
        source: Source,
        prefix: Vec<u8>,
        page: &Page,
        read: impl Fn(crate::store::Record) -> Result<T, Error>,
    ) -> Result<Listed<T>, Error> {
        // One more than asked for tells whether there is more.
        let range = Range { prefix, after: page.after.clone(), reverse: page.reverse, limit: page.size + 1 };
        let mut hits = self.store.scan(source, &range).await?;
        let bytes: usize = hits.iter().map(|hit| hit.record.payload.len()).sum();
        let more = hits.len() > page.size || bytes >= SCAN_BYTES;
        hits.truncate(page.size);
        let next = hits.last().filter(|_| more).map(|hit| hit.position.clone());
        let items = hits.into_iter().map(|hit| read(hit.record)).collect::<Result<_, _>>()?;
        Ok(Listed { items, next })
    }
}

fn name_of(version: &pb::Version) -> Result<ModelName, Error> {
    Ok(VersionName::parse(&version.name).map_err(Error::internal)?.model)
}
