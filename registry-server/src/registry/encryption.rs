//! The data keys of namespaces: making them, and changing what they are wrapped with.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::transaction::{Tx, decode, event};
use super::{Committed, Intent, Mutation, Registry, kinds};
use crate::encryption::Key;
use crate::encryption::master::MasterKey;
use crate::error::Error;
use crate::rules::names::Name;
use crate::store::StoreError;
use crate::stored::DataKeyRecord;

impl Registry {
    /// Makes a key for a namespace that has none, if what is stored is to be encrypted.
    pub(super) async fn prepare_key(&self, namespace: &str) -> Result<(), Error> {
        let keys = self.chunks.keys();
        let Some(master) = keys.masters().current() else { return Ok(()) };
        if keys.of(namespace).await.map_err(StoreError::from)?.is_some() {
            return Ok(());
        }
        let key = Key::random().map_err(Error::internal)?;
        let after = master.wrap(namespace, &key, 1).map_err(Error::internal)?;
        self.write_key(master, namespace, None, after).await
    }

    /// Wraps the data keys that are wrapped with an older master key with the current one. Answers how many there were.
    pub(crate) async fn rewrap_keys(&self) -> Result<usize, Error> {
        let keys = self.chunks.keys();
        let Some(master) = keys.masters().current() else { return Ok(0) };
        let mut rewrapped = 0;
        for (namespace, before) in keys.recorded().await? {
            if master.has_wrapped(&before) {
                continue;
            }
            let key = keys.masters().unwrap(&namespace, &before).map_err(Error::internal)?;
            let after = master.wrap(&namespace, &key, before.version + 1).map_err(Error::internal)?;
            self.write_key(master, &namespace, Some(before), after).await?;
            rewrapped += 1;
        }
        Ok(rewrapped)
    }

    async fn write_key(
        &self,
        master: &MasterKey,
        namespace: &str,
        before: Option<DataKeyRecord>,
        after: DataKeyRecord,
    ) -> Result<(), Error> {
        let intent = Intent { comment: format!("under master key {}", master.id()), ..Intent::own() };
        self.commit(intent, WriteDataKey { namespace: namespace.to_owned(), before, after }).await
    }
}

/// A wrapped data key to be recorded, unless another server was faster.
struct WriteDataKey {
    namespace: String,
    before: Option<DataKeyRecord>,
    after: DataKeyRecord,
}

#[async_trait]
impl Mutation for WriteDataKey {
    type Answer = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let key = self.namespace.as_bytes();
        let there = tx.store.get(kinds::DATA_KEY, key).await?.map(|record| decode(&record)).transpose()?;
        if there != self.before {
            return Ok(());
        }
        let r#type = match self.before {
            None => event_type::ENCRYPTION_KEY_CREATED,
            Some(_) => event_type::ENCRYPTION_KEY_ROTATED,
        };
        let resource_name = Name::namespace_with(&self.namespace).to_string();
        tx.record(pb::Event { resource_name, ..event(r#type) });
        tx.put(kinds::DATA_KEY, key.to_vec(), &self.after, Vec::new()).await
    }

    fn answer(_: Committed) -> Result<(), Error> {
        Ok(())
    }
}
