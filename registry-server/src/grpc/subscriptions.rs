//! `SubscriptionService`.

use futures::stream;
use registry_proto::v1 as pb;
use registry_proto::v1::subscription_service_server::SubscriptionService;
use tonic::Request;

use super::Services;
use super::admitting::{needs_events, while_admitted};
use super::call::{List, Messages, Reply, until};
use crate::error::Violations;
use crate::registry::standard::{Remove, Update};
use crate::registry::subscriptions::{Consumer, CreateSubscription, MoveSubscription, Start, UpdateSubscription};
use crate::registry::validate;
use crate::rules::names::{Name, SUBSCRIPTIONS, check_id};

#[tonic::async_trait]
impl SubscriptionService for Services {
    async fn create_subscription(&self, request: Request<pb::CreateSubscriptionRequest>) -> Reply<pb::Subscription> {
        self.act_needing(
            request,
            |request| needs_events(request, request.subscription.as_ref().map(|of| of.parent.as_str())),
            |request, found| {
                let id = &request.subscription_id;
                let name = found.parsed("subscription_id", check_id(id)).map(|()| Name::top(&SUBSCRIPTIONS, id));
                let start = Start::new(request.after_revision, found);
                Some((start, CreateSubscription::new(name, request.subscription, start, found)?))
            },
            |registry, intent, (start, create)| async move {
                registry.check_start(start).await?;
                registry.change_subscription(intent, create).await
            },
        )
        .await
    }

    async fn get_subscription(&self, request: Request<pb::GetSubscriptionRequest>) -> Reply<pb::Subscription> {
        self.read(
            request,
            |request, found| found.name("name", &SUBSCRIPTIONS, &request.name),
            |registry, name| async move { registry.subscription(&name).await },
        )
        .await
    }

    async fn list_subscriptions(
        &self,
        request: Request<pb::ListSubscriptionsRequest>,
    ) -> Reply<pb::ListSubscriptionsResponse> {
        self.list(
            request,
            List::by(&["name"]),
            |_, _| Some(()),
            |registry, (), page| async move { registry.list_subscriptions(&page).await },
        )
        .await
    }

    async fn update_subscription(&self, request: Request<pb::UpdateSubscriptionRequest>) -> Reply<pb::Subscription> {
        self.act_needing(
            request,
            |request| needs_events(request, request.subscription.as_ref().map(|of| of.parent.as_str())),
            |request, found| {
                Update::new(request.subscription, request.update_mask.as_ref(), found).map(UpdateSubscription)
            },
            |registry, intent, update| async move { registry.change_subscription(intent, update).await },
        )
        .await
    }

    async fn delete_subscription(&self, request: Request<pb::DeleteSubscriptionRequest>) -> Reply<pb::Subscription> {
        self.act(
            request,
            |request, found| Some(Remove::new(found.name("name", &SUBSCRIPTIONS, &request.name)?, request.etag)),
            |registry, intent, remove| async move { registry.delete_subscription(intent, remove).await },
        )
        .await
    }

    async fn move_subscription(&self, request: Request<pb::MoveSubscriptionRequest>) -> Reply<pb::Subscription> {
        self.act(
            request,
            |request, found| {
                let start = Start::new(request.after_revision, found);
                Some(MoveSubscription { name: found.name("name", &SUBSCRIPTIONS, &request.name)?, start })
            },
            |registry, intent, moved| async move {
                registry.check_start(moved.start).await?;
                registry.move_subscription(intent, moved).await
            },
        )
        .await
    }

    type SubscribeStream = Messages<pb::SubscribeResponse>;

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Reply<Self::SubscribeStream> {
        let draining = self.stopping.draining.clone();
        self.stream(
            request,
            |request, found| {
                if request.consumer.is_empty() {
                    found.required("consumer");
                }
                validate::short(found, "consumer", &request.consumer);
                let epoch = epoch(request.epoch, found);
                let subscription = found.name("name", &SUBSCRIPTIONS, &request.name)?;
                Some(Consumer { subscription, name: request.consumer, epoch: Some(epoch).filter(|epoch| *epoch > 0) })
            },
            |services, intent, consumer| async move {
                let of = services.registry.get::<pb::Subscription>(&consumer.subscription).await?.parent;
                let admitted = services.admit_to_events(&intent, &of)?;
                let receiver = services.registry.subscribe(consumer).await?;
                let messages = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
                Ok(while_admitted(&admitted, until(draining, messages)))
            },
        )
        .await
    }

    async fn acknowledge(&self, request: Request<pb::AcknowledgeRequest>) -> Reply<pb::AcknowledgeResponse> {
        self.read(
            request,
            |request, found| {
                let epoch = epoch(request.epoch, found);
                if epoch == 0 {
                    found.required("epoch");
                }
                if request.revision < 0 {
                    found.invalid("revision", "must not be negative");
                }
                let name = found.name("name", &SUBSCRIPTIONS, &request.name)?;
                Some((name, epoch, request.revision.cast_unsigned(), request.release))
            },
            |registry, (name, epoch, revision, release)| async move {
                registry.acknowledge_subscription(&name, epoch, revision, release).await
            },
        )
        .await
    }
}

fn epoch(epoch: i64, found: &mut Violations) -> u64 {
    if epoch < 0 {
        found.invalid("epoch", "must not be negative");
    }
    epoch.cast_unsigned()
}
