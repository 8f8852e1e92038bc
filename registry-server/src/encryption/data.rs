//! Data keys, as this server knows them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Key;
use super::master::{KeyError, MasterKeys};
use crate::registry::kinds;
use crate::store::{Pages, Source, Store, StoreError, decode};
use crate::stored::DataKeyRecord;

/// The data keys of a registry.
#[derive(Clone)]
pub(crate) struct DataKeys {
    store: Arc<dyn Store>,
    masters: Arc<MasterKeys>,
    /// Those that were asked for. A namespace's key never changes, only what it is wrapped with.
    known: Arc<RwLock<HashMap<String, Key>>>,
}

/// Why a data key can't be had.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DataKeyError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Another server may be able to; this one was not told the keys that the others have.
impl From<DataKeyError> for StoreError {
    fn from(error: DataKeyError) -> Self {
        match error {
            DataKeyError::Key(error) => Self::Unavailable(error.to_string()),
            DataKeyError::Store(error) => error,
        }
    }
}

impl DataKeys {
    pub(crate) fn new(store: Arc<dyn Store>, masters: MasterKeys) -> Self {
        Self { store, masters: Arc::new(masters), known: Arc::default() }
    }

    /// Where they are recorded.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the keys are wrapped with.
    pub(crate) fn masters(&self) -> &MasterKeys {
        &self.masters
    }

    /// The key of a namespace; `None` if it has none.
    pub(crate) async fn of(&self, namespace: &str) -> Result<Option<Key>, DataKeyError> {
        if let Some(key) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(namespace) {
            return Ok(Some(key.clone()));
        }
        let Some(record) = self.store.get(kinds::DATA_KEY, namespace.as_bytes()).await? else { return Ok(None) };
        let key = self.masters.unwrap(namespace, &decode(record.payload)?)?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned(), key.clone());
        Ok(Some(key))
    }

    /// All that are recorded, by namespace.
    pub(crate) async fn recorded(&self) -> Result<Vec<(String, DataKeyRecord)>, StoreError> {
        let mut recorded = Vec::new();
        let mut records = Pages::of(Source::Kind(kinds::DATA_KEY));
        while let Some(hit) = records.next(&*self.store).await? {
            let namespace = String::from_utf8_lossy(&hit.record.key).into_owned();
            recorded.push((namespace, decode(hit.record.payload)?));
        }
        Ok(recorded)
    }

    /// Fails unless every key that is recorded can be unwrapped.
    pub(crate) async fn check(&self) -> Result<(), DataKeyError> {
        for (namespace, record) in self.recorded().await? {
            self.masters.unwrap(&namespace, &record)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKeys").field("masters", &self.masters).finish_non_exhaustive()
    }
}
