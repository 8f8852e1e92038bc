//! The data keys of namespaces: making them, and changing what they are wrapped with.

use async_trait::async_trait;
use registry_proto::store::DataKeyRecord;
use registry_proto::v1 as pb;

use super::kinds;
use super::records::decode;
use super::transaction::Tx;
use super::{Mutation, Order, Registry};
use crate::encryption::Key;
use crate::encryption::master::MasterKey;
use crate::error::Error;
use crate::rules::names::NamespaceName;
use crate::store::StoreError;

impl Registry {
    /// Makes a key for a namespace that has none, if what is stored is to be encrypted. Asked before bytes are stored.
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
        let order = Order { comment: format!("under master key {}", master.id()), ..Order::own() };
        self.commit(order, WriteDataKey { namespace: namespace.to_owned(), before, after }).await.map(drop)
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
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let key = self.namespace.as_bytes();
        let there = tx.store.get(kinds::DATA_KEY, key).await?.map(|record| decode(&record)).transpose()?;
        if there != self.before {
            return Ok(());
        }
        let r#type = match self.before {
            None => pb::EventType::EncryptionKeyCreated,
            Some(_) => pb::EventType::EncryptionKeyRotated,
        };
        let resource_name = NamespaceName(self.namespace.clone()).to_string();
        tx.log(pb::Event { r#type: r#type.into(), resource_name, ..Default::default() });
        tx.put(kinds::DATA_KEY, key.to_vec(), &self.after, Vec::new()).await
    }
}
