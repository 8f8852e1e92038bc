//! Secrets that the registry keeps of its own: encrypted in the store where the server has a master key, with a data key that is wrapped
//! like those of namespaces.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::Registry;
use crate::encryption::Key;
use crate::error::Error;
use crate::store::StoreError;

/// What the data key is recorded under: no namespace can have this id.
const REGISTRY: &str = "-";

/// A secret as it is kept.
pub(super) struct Kept {
    pub(super) bytes: Bytes,
    /// Whether it is encrypted.
    pub(super) sealed: bool,
}

impl Registry {
    /// A secret as it is to be kept; `about` says whose it is, and is asked for again.
    pub(super) async fn seal(&self, secret: &[u8], about: &[u8]) -> Result<Kept, Error> {
        let Some(data) = self.data_key().await? else {
            return Ok(Kept { bytes: Bytes::copy_from_slice(secret), sealed: false });
        };
        let mut sealed = Vec::new();
        data.encrypt(secret, about, &mut sealed).map_err(Error::internal)?;
        Ok(Kept { bytes: sealed.into(), sealed: true })
    }

    /// A secret that was kept; `None` if it can't be decrypted.
    pub(super) async fn unseal(&self, kept: &Kept, about: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        if !kept.sealed {
            return Ok(Some(Zeroizing::new(kept.bytes.to_vec())));
        }
        let data = self.chunks.keys().of(REGISTRY).await.map_err(StoreError::from)?;
        Ok(data.and_then(|data| data.decrypt(&kept.bytes, about)).map(Zeroizing::new))
    }

    /// What secrets are to be encrypted with; `None` without a master key.
    async fn data_key(&self) -> Result<Option<Key>, Error> {
        self.prepare_key(REGISTRY).await?;
        if self.chunks.keys().masters().current().is_none() {
            return Ok(None);
        }
        Ok(self.chunks.keys().of(REGISTRY).await.map_err(StoreError::from)?)
    }
}
