//! Durable subscriptions: their records. How one is consumed is in [`consume`](crate::consume).

use crate::call::setters;
use crate::models::mask;
use crate::names::complete;
use crate::{Call, RegistryClient, pb};

/// Durable subscriptions: the registry remembers how far a consumer of its events is. [`consume`](Self::consume) is how one gets them.
impl RegistryClient {
    /// Makes a subscription by its id, such as `scorer`: to everything that happens from now on, unless it is narrowed.
    ///
    /// [`is_already_exists`](crate::Error::is_already_exists) if the id is taken.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// client.create_subscription("scorer").parent("models/fraud").types(["version.stage_transitioned"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_subscription(&self, id: impl Into<String>) -> Call<pb::CreateSubscriptionRequest> {
        self.call(pb::CreateSubscriptionRequest { subscription_id: id.into(), ..Default::default() })
    }

    /// One subscription, and how far its consumer is: `scorer` or `subscriptions/scorer`.
    pub fn get_subscription(&self, name: impl Into<String>) -> Call<pb::GetSubscriptionRequest> {
        self.call(pb::GetSubscriptionRequest { name: named(name) })
    }

    /// All subscriptions, by name.
    pub fn list_subscriptions(&self) -> Call<pb::ListSubscriptionsRequest> {
        self.call(pb::ListSubscriptionsRequest::default())
    }

    /// Changes a subscription: those of its changeable fields that are not empty, or those that [`fields`](Call::fields) names.
    pub fn update_subscription(&self, mut subscription: pb::Subscription) -> Call<pb::UpdateSubscriptionRequest> {
        subscription.name = named(subscription.name);
        self.call(pb::UpdateSubscriptionRequest { subscription: Some(subscription), ..Default::default() })
    }

    /// Removes a subscription for good.
    pub fn delete_subscription(&self, name: impl Into<String>) -> Call<pb::DeleteSubscriptionRequest> {
        self.call(pb::DeleteSubscriptionRequest { name: named(name), ..Default::default() })
    }

    /// Goes back, to have events delivered again, or ahead, to leave some out: to now, unless [`after`](Call::after) says where.
    pub fn move_subscription(&self, name: impl Into<String>) -> Call<pb::MoveSubscriptionRequest> {
        self.call(pb::MoveSubscriptionRequest { name: named(name), ..Default::default() })
    }
}

setters!(CreateSubscriptionRequest {
    /// Only what happens to this resource and all below it: a namespace, a model, or a version by its number.
    parent(name: impl Into<String>) |r| r.subscription.get_or_insert_default().parent = complete(name);
    /// Only events of these types: `version.created`, or `version.*` for all of a kind.
    types(types: impl IntoIterator<Item = impl Into<String>>) |r| {
        r.subscription.get_or_insert_default().types = types.into_iter().map(Into::into).collect();
    };
    /// Only events that meet this condition, in CEL: `event.after.version.stage == "PRODUCTION"`.
    filter(filter: impl Into<String>) |r| r.subscription.get_or_insert_default().filter = filter.into();
    /// What it is for, for people.
    description(text: impl Into<String>) |r| r.subscription.get_or_insert_default().description = text.into();
    /// How long a consumer has the lease without a word from it: what its crash costs until another one takes over. From 1 second to 1
    /// hour; 30 seconds unless set.
    lease(duration: std::time::Duration) |r| {
        r.subscription.get_or_insert_default().lease_duration = duration.try_into().ok();
    };
    /// Begin behind this revision; 0 is the whole log.
    after(revision: i64) |r| r.after_revision = Some(revision);
});

setters!(UpdateSubscriptionRequest {
    /// Which fields to take, also if they are empty: `types`, `filter`, ...; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
});

setters!(DeleteSubscriptionRequest {
    /// Only if this is still the subscription's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(MoveSubscriptionRequest {
    /// Deliver what comes behind this revision; 0 is the whole log.
    after(revision: i64) |r| r.after_revision = Some(revision);
    /// Why; for the audit trail.
    comment(text: impl Into<String>) |r| r.comment = text.into();
});

/// The whole name of a subscription that may be short.
pub(crate) fn named(name: impl Into<String>) -> String {
    let name = name.into();
    if name.is_empty() || name.contains('/') { name } else { format!("subscriptions/{name}") }
}
