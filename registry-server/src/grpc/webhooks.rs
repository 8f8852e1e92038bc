//! `WebhookService`.

use registry_proto::v1 as pb;
use registry_proto::v1::webhook_service_server::WebhookService;
use tonic::Request;

use super::Services;
use super::admitting::needs_events;
use super::call::{List, Reply, actor};
use crate::error::Violations;
use crate::registry::standard::{Remove, Update};
use crate::registry::webhooks::{CreateWebhook, ReplayWebhook, RotateWebhook, UpdateWebhook, WebhookRow};
use crate::rules::names::{Name, WEBHOOKS, check_id};

#[tonic::async_trait]
impl WebhookService for Services {
    async fn create_webhook(&self, request: Request<pb::CreateWebhookRequest>) -> Reply<pb::Webhook> {
        self.act_needing(
            request,
            |request| needs_events(request, request.webhook.as_ref().map(|of| of.parent.as_str())),
            |request, found| {
                let id = &request.webhook_id;
                let name = found.parsed("webhook_id", check_id(id)).map(|()| Name::top(&WEBHOOKS, id));
                self.check_url(request.webhook.as_ref(), found);
                CreateWebhook::new(name, request.webhook, found)
            },
            |registry, intent, create| async move { registry.create_webhook(intent, create).await },
        )
        .await
    }

    async fn get_webhook(&self, request: Request<pb::GetWebhookRequest>) -> Reply<pb::Webhook> {
        self.read(
            request,
            |request, found| found.name("name", &WEBHOOKS, &request.name),
            |registry, name| async move { registry.webhook(&name, &self.webhooks).await },
        )
        .await
    }

    async fn list_webhooks(&self, request: Request<pb::ListWebhooksRequest>) -> Reply<pb::ListWebhooksResponse> {
        self.list(
            request,
            List::by(&["name"]),
            |_, _| Some(()),
            |registry, (), page| async move { registry.list_webhooks(&page, &self.webhooks).await },
        )
        .await
    }

    async fn update_webhook(&self, request: Request<pb::UpdateWebhookRequest>) -> Reply<pb::Webhook> {
        self.act_needing(
            request,
            |request| needs_events(request, request.webhook.as_ref().map(|of| of.parent.as_str())),
            |request, found| {
                self.check_url(request.webhook.as_ref(), found);
                Update::<WebhookRow>::new(request.webhook, request.update_mask.as_ref(), found).map(UpdateWebhook)
            },
            |registry, intent, update| async move { registry.commit(intent, update).await },
        )
        .await
    }

    async fn delete_webhook(&self, request: Request<pb::DeleteWebhookRequest>) -> Reply<pb::Webhook> {
        self.change(request, |request, found| {
            let name = found.name("name", &WEBHOOKS, &request.name)?;
            Some(Remove::<WebhookRow>::new(name, request.etag))
        })
        .await
    }

    async fn test_webhook(&self, request: Request<pb::TestWebhookRequest>) -> Reply<pb::TestWebhookResponse> {
        // Whoever calls wrongly hears of it below.
        let actor = actor(request.metadata(), &mut Violations::default());
        self.read(
            request,
            |request, found| found.name("name", &WEBHOOKS, &request.name).map(|name| (name, request.r#type)),
            |registry, (name, r#type)| async move {
                let row = registry.webhook_row(&name).await?;
                let test = row.test(&r#type, actor)?;
                let delivery = self.webhooks.test(&registry, &row, test).await?;
                Ok(pb::TestWebhookResponse { delivery: Some(delivery) })
            },
        )
        .await
    }

    async fn replay_webhook(&self, request: Request<pb::ReplayWebhookRequest>) -> Reply<pb::Webhook> {
        self.act(
            request,
            |request, found| {
                if request.after_revision < 0 {
                    found.invalid("after_revision", "must not be negative");
                }
                let name = found.name("name", &WEBHOOKS, &request.name)?;
                Some(ReplayWebhook { name, etag: request.etag, after: request.after_revision.cast_unsigned() })
            },
            |registry, intent, replay| async move { registry.replay_webhook(intent, replay).await },
        )
        .await
    }

    async fn rotate_webhook_secret(&self, request: Request<pb::RotateWebhookSecretRequest>) -> Reply<pb::Webhook> {
        self.act(
            request,
            |request, found| {
                let name = found.name("name", &WEBHOOKS, &request.name)?;
                Some(RotateWebhook { name, etag: request.etag, secret: request.secret })
            },
            |registry, intent, rotate| async move { registry.rotate_webhook(intent, rotate).await },
        )
        .await
    }

    async fn list_webhook_deliveries(
        &self,
        request: Request<pb::ListWebhookDeliveriesRequest>,
    ) -> Reply<pb::ListWebhookDeliveriesResponse> {
        self.read(
            request,
            |request, found| found.name("parent", &WEBHOOKS, &request.parent),
            |registry, name| async move {
                Ok(pb::ListWebhookDeliveriesResponse { deliveries: registry.list_attempts(&name).await? })
            },
        )
        .await
    }
}

impl Services {
    /// Adds what is wrong with a URL on this server.
    fn check_url(&self, webhook: Option<&pb::Webhook>, found: &mut Violations) {
        if let Some(why) = webhook.and_then(|webhook| self.webhooks.refuse(&webhook.url)) {
            found.invalid("webhook.url", why);
        }
    }
}
