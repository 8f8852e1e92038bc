//! Webhooks.

use crate::call::setters;
use crate::models::mask;
use crate::names::complete;
use crate::{Call, RegistryClient, pb};

/// Webhooks: the registry sends events to a URL, each until it is answered with success, signed as Standard Webhooks has it.
impl RegistryClient {
    /// Makes a webhook by its id, such as `chat`, that sends events to a URL: everything that happens from now on, unless it is narrowed.
    /// The answer has its secret, by which the receiver knows the registry: nothing shows it again.
    ///
    /// [`is_already_exists`](crate::Error::is_already_exists) if the id is taken;
    /// [`is_invalid_argument`](crate::Error::is_invalid_argument) if the server does not send to such a URL.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let webhook = client
    ///     .create_webhook("chat", "https://chat.example.com/hooks/models")
    ///     .parent("models/fraud")
    ///     .types(["version.stage_transitioned"])
    ///     .await?;
    /// println!("give the receiver this secret: {}", webhook.secret);
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_webhook(&self, id: impl Into<String>, url: impl Into<String>) -> Call<pb::CreateWebhookRequest> {
        let webhook = pb::Webhook { url: url.into(), ..Default::default() };
        self.call(pb::CreateWebhookRequest { webhook_id: id.into(), webhook: Some(webhook), ..Default::default() })
    }

    /// One webhook, and how far it is: `chat` or `webhooks/chat`.
    pub fn get_webhook(&self, name: impl Into<String>) -> Call<pb::GetWebhookRequest> {
        self.call(pb::GetWebhookRequest { name: named(name) })
    }

    /// All webhooks, by name.
    pub fn list_webhooks(&self) -> Call<pb::ListWebhooksRequest> {
        self.call(pb::ListWebhooksRequest::default())
    }

    /// Changes a webhook: those of its changeable fields that are not empty, or those that [`fields`](Call::fields) names. To enable it
    /// again, name the field `disabled`. An event that waits for its next attempt is tried at once.
    pub fn update_webhook(&self, mut webhook: pb::Webhook) -> Call<pb::UpdateWebhookRequest> {
        webhook.name = named(webhook.name);
        self.call(pb::UpdateWebhookRequest { webhook: Some(webhook), ..Default::default() })
    }

    /// Removes a webhook for good.
    pub fn delete_webhook(&self, name: impl Into<String>) -> Call<pb::DeleteWebhookRequest> {
        self.call(pb::DeleteWebhookRequest { name: named(name), ..Default::default() })
    }

    /// Sends a webhook an event of the type `webhook.test` now, or an example if it is [`mlflow`](Call::mlflow), and answers what came of it,
    /// within 10 seconds.
    pub fn test_webhook(&self, name: impl Into<String>) -> Call<pb::TestWebhookRequest> {
        self.call(pb::TestWebhookRequest { name: named(name), ..Default::default() })
    }

    /// Lets a webhook go on after a revision, back or forth; 0 is the whole log.
    ///
    /// [`is_out_of_range`](crate::Error::is_out_of_range) if the log does not have what comes after it.
    pub fn replay_webhook(&self, name: impl Into<String>, after_revision: i64) -> Call<pb::ReplayWebhookRequest> {
        self.call(pb::ReplayWebhookRequest { name: named(name), after_revision, ..Default::default() })
    }

    /// Gives a webhook a new secret, which the answer has. For 24 hours the old one signs as well.
    pub fn rotate_webhook_secret(&self, name: impl Into<String>) -> Call<pb::RotateWebhookSecretRequest> {
        self.call(pb::RotateWebhookSecretRequest { name: named(name), ..Default::default() })
    }

    /// The last 50 attempts of a webhook, newest first.
    pub fn list_webhook_deliveries(&self, name: impl Into<String>) -> Call<pb::ListWebhookDeliveriesRequest> {
        self.call(pb::ListWebhookDeliveriesRequest { parent: named(name) })
    }
}

setters!(CreateWebhookRequest {
    /// Only what happens to this resource and all below it: a namespace, a model, or a version by its number.
    parent(name: impl Into<String>) |r| r.webhook.get_or_insert_default().parent = complete(name);
    /// Only events of these types: `version.created`, or `version.*` for all of a kind.
    types(types: impl IntoIterator<Item = impl Into<String>>) |r| {
        r.webhook.get_or_insert_default().types = types.into_iter().map(Into::into).collect();
    };
    /// Only events that meet this condition, in CEL: `event.after.version.stage == "PRODUCTION"`.
    filter(filter: impl Into<String>) |r| r.webhook.get_or_insert_default().filter = filter.into();
    /// What it is for, for people.
    description(text: impl Into<String>) |r| r.webhook.get_or_insert_default().description = text.into();
    /// Signs with a key pair, of which the receiver needs the public key only: the `public_key` of the answer.
    ed25519() |r| r.webhook.get_or_insert_default().set_signing(pb::WebhookSigning::Ed25519);
    /// What people call it.
    display_name(text: impl Into<String>) |r| r.webhook.get_or_insert_default().display_name = text.into();
    /// Sends what MLflow's own webhooks send, so that their receivers go on. [`types`](Call::types) are those of MLflow:
    /// `model_version_alias.created`.
    mlflow() |r| r.webhook.get_or_insert_default().set_format(pb::WebhookFormat::Mlflow);
    /// Signs nothing: only for receivers of MLflow's, which may know no secret.
    unsigned() |r| r.webhook.get_or_insert_default().set_signing(pb::WebhookSigning::None);
    /// Signs with this secret in place of one that the registry makes: `whsec_...`, or, for MLflow's receivers, any text.
    secret(secret: impl Into<String>) |r| r.webhook.get_or_insert_default().secret = secret.into();
});

setters!(UpdateWebhookRequest {
    /// Which fields to take, also if they are empty: `url`, `types`, `disabled`, ...; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
});

setters!(TestWebhookRequest {
    /// Of what type the example is: only of one that is [`mlflow`](Call::mlflow).
    event_type(r#type: impl Into<String>) |r| r.r#type = r#type.into();
});

setters!(DeleteWebhookRequest {
    /// Only if this is still the webhook's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(RotateWebhookSecretRequest {
    /// This secret in place of one that the registry makes: `whsec_...`, or, for MLflow's receivers, any text.
    secret(secret: impl Into<String>) |r| r.secret = secret.into();
});

/// The whole name of a webhook that may be short.
fn named(name: impl Into<String>) -> String {
    let name = name.into();
    if name.is_empty() || name.contains('/') { name } else { format!("webhooks/{name}") }
}
