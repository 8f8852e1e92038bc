//! The keys of webhooks.

use std::time::SystemTime;

use registry_proto::v1 as pb;

use super::WebhookRow;
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::secrets::Kept;
use crate::registry::transaction::Records as _;
use crate::rules::names::{Name, WEBHOOKS};
use crate::store::StoreError;
use crate::stored::WebhookKey;
use crate::webhooks::signatures::{Kind, SigningKey};

impl Registry {
    /// The public key, if there is one, and the key as it is kept, unless nothing is signed: the one that was given or a new one.
    pub(super) async fn new_key(
        &self,
        name: &Name,
        signs: Option<Kind>,
        given: Option<SigningKey>,
    ) -> Result<(String, Option<WebhookKey>), Error> {
        let Some(signs) = signs else { return Ok((String::new(), None)) };
        let key = match given {
            Some(given) => given,
            None => SigningKey::random(signs).map_err(Error::internal)?,
        };
        let public = key.public_key().map_err(Error::internal)?.unwrap_or_default();
        let Kept { bytes, sealed } = self.seal(key.bytes(), &about(name)).await?;
        Ok((public, Some(WebhookKey { key: bytes, sealed, ..WebhookKey::default() })))
    }

    async fn opened(&self, name: &Name, signs: Kind, kept: &WebhookKey) -> Result<SigningKey, Error> {
        let kept = Kept { bytes: kept.key.clone(), sealed: kept.sealed };
        let bytes = self.unseal(&kept, &about(name)).await?;
        let damaged = || StoreError::Damaged(format!("the secret of {name} can't be decrypted"));
        Ok(SigningKey::read(signs, bytes.ok_or_else(damaged)?.to_vec()))
    }

    /// What a webhook's messages are signed with: the newest key first.
    pub(crate) async fn signing_keys(&self, row: &WebhookRow, now: SystemTime) -> Result<Vec<SigningKey>, Error> {
        let name = Name::canonical(&WEBHOOKS, &row.webhook.name);
        let until = row.kept.old_key_until.and_then(|until| SystemTime::try_from(until).ok());
        let old = row.kept.old_key.as_ref().filter(|_| until.is_some_and(|until| now < until));
        let mut keys = Vec::new();
        let Some(signs) = row.signs() else { return Ok(keys) };
        for kept in row.kept.key.iter().chain(old) {
            keys.push(self.opened(&name, signs, kept).await?);
        }
        Ok(keys)
    }

    /// A webhook with its secret, if it was the change that led to this state of it that made the secret.
    pub(super) async fn with_secret(&self, made: pb::Webhook) -> Result<pb::Webhook, Error> {
        if made.revision == 0 {
            // Only checked.
            return Ok(made);
        }
        let name = Name::canonical(&WEBHOOKS, &made.name);
        // It may have been deleted since.
        let row: WebhookRow = match self.store.resource(&name).await {
            Err(Error::NotFound { .. }) => return Ok(made),
            row => row?,
        };
        let key = row.kept.key.iter().find(|key| key.set_by.cast_signed() == made.revision);
        let key = key.filter(|_| row.webhook.uid == made.uid).zip(row.signs());
        let Some((key, signs)) = key else { return Ok(made) };
        let secret = self.opened(&name, signs, key).await?.secret().unwrap_or_default();
        Ok(pb::Webhook { secret, ..made })
    }
}

/// What an encrypted key is about.
fn about(name: &Name) -> Vec<u8> {
    [b"webhook key ".as_slice(), name.as_str().as_bytes()].concat()
}
