//! Durable subscriptions: their records, and the cursors of their consumers.

mod consumer;

use std::time::Duration;

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

pub(crate) use self::consumer::Consumer;
use super::cursors::CursorKey;
use super::events::Selection;
use super::kinds::kind;
use super::lists::{Listed, Page};
use super::resource::{Resource, exists};
use super::standard::{Remove, Update};
use super::transaction::{Records as _, Tx, decode, event, event_of};
use super::{Committed, Intent, Mutation, Registry, facts, validate};
use crate::error::{Error, Violations};
use crate::rules::leases::LONGEST;
use crate::rules::names::{Collection, Name, SUBSCRIPTIONS};
use crate::store::{FactView, Kind, KindLayout, Pages, Place, Revision, Source, StoreError};

/// How long a consumer has the lease, unless the subscription says so.
const LEASE: Duration = Duration::from_secs(30);
/// And how long it may say.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
/// What the keys of cursors on the slate begin with.
const CURSORS: &[u8] = b"c/";

#[async_trait]
impl Resource for pb::Subscription {
    const LAYOUT: KindLayout = KindLayout {
        view: Some(FactView {
            about: "The durable subscriptions",
            facts: facts::MADE,
            facts_of: facts::standard::<Self>,
        }),
        ..kind(Kind(5), "subscriptions")
    };
    const LISTED: Source = Source::Kind(Self::KIND);
    const OF: &'static Collection = &SUBSCRIPTIONS;

    fn places(&self, _: &Name) -> Vec<Place> {
        Vec::new()
    }

    fn check(message: &Self, found: &mut Violations) {
        validate::long(found, "description", &message.description, validate::TEXT_BYTES);
        Selection::new(&message.parent, &message.types, &message.filter, found);
        if let Some(duration) = &message.lease_duration
            && !(SHORTEST_LEASE..=LONGEST).contains(&validate::duration(found, "lease_duration", duration))
        {
            found.invalid("lease_duration", "must be 1 second to 1 hour");
        }
    }
}

/// The cursor of a subscription: another one whenever it was moved.
fn cursor_of(subscription: &pb::Subscription) -> CursorKey {
    let pb::Subscription { uid, moved_revision, start_revision, .. } = subscription;
    let key = [CURSORS, uid.as_bytes(), &moved_revision.to_be_bytes()].concat();
    CursorKey { key, start: start_revision.cast_unsigned() }
}

/// How long a consumer of it has the lease.
fn lease_of(subscription: &pb::Subscription) -> Duration {
    let asked = subscription.lease_duration.and_then(|duration| Duration::try_from(duration).ok());
    asked.unwrap_or(LEASE)
}

impl Registry {
    /// A subscription, and how far it is.
    pub(crate) async fn subscription(&self, name: &Name) -> Result<pb::Subscription, Error> {
        let subscription: pb::Subscription = self.store.resource(name).await?;
        self.with_consumption(subscription).await
    }

    async fn with_consumption(&self, subscription: pb::Subscription) -> Result<pb::Subscription, Error> {
        let consumption = Some(self.consumption(&cursor_of(&subscription)).await?);
        Ok(pb::Subscription { consumption, ..subscription })
    }

    /// How far each subscription is.
    pub(crate) async fn consumptions(&self) -> Result<Vec<pb::Consumption>, Error> {
        let (bounds, cursors) = (self.bounds().await?, self.cursors(CURSORS).await?);
        let (mut all, mut records) = (Vec::new(), Pages::of(pb::Subscription::LISTED));
        while let Some(hit) = records.next(&*self.store).await? {
            let subscription: pb::Subscription = decode(&hit.record)?;
            all.push(bounds.consumption_of(&cursor_of(&subscription), &cursors)?);
        }
        Ok(all)
    }

    /// A page of the subscriptions, and how far each is.
    pub(crate) async fn list_subscriptions(&self, page: &Page) -> Result<Listed<pb::Subscription>, Error> {
        let (bounds, cursors) = (self.bounds().await?, self.cursors(CURSORS).await?);
        let read = |record| {
            let subscription: pb::Subscription = decode(&record)?;
            let consumption = Some(bounds.consumption_of(&cursor_of(&subscription), &cursors)?);
            Ok(pb::Subscription { consumption, ..subscription })
        };
        self.page::<pb::Subscription, _>(pb::Subscription::LISTED, Vec::new(), page, read).await
    }

    /// Makes or moves a subscription, or changes it, and answers how far it is then.
    pub(crate) async fn change_subscription<M>(&self, intent: Intent, change: M) -> Result<pb::Subscription, Error>
    where
        M: Mutation<Answer = pb::Subscription>,
    {
        let validate_only = intent.validate_only;
        let subscription = self.commit(intent, change).await?;
        if validate_only { Ok(subscription) } else { self.with_consumption(subscription).await }
    }

    /// Moves a subscription, and forgets where its cursor was.
    pub(crate) async fn move_subscription(
        &self,
        intent: Intent,
        change: MoveSubscription,
    ) -> Result<pb::Subscription, Error> {
        let before: pb::Subscription = self.store.resource(&change.name).await?;
        let validate_only = intent.validate_only;
        let moved = self.change_subscription(intent, change).await?;
        // A repeated request returns what it made at first, which may have been moved since.
        if !validate_only && moved.moved_revision > before.moved_revision {
            self.forget_cursor(&cursor_of(&before)).await?;
        }
        Ok(moved)
    }

    /// Fails if the log does not have what comes after a revision any more.
    pub(crate) async fn check_start(&self, start: Start) -> Result<(), Error> {
        let oldest = self.store.oldest().await?;
        match start.0 {
            Some(after) if after + 1 < oldest => Err(StoreError::Compacted { oldest }.into()),
            _ => Ok(()),
        }
    }

    /// Removes a subscription and its cursor.
    pub(crate) async fn delete_subscription(
        &self,
        intent: Intent,
        remove: Remove<pb::Subscription>,
    ) -> Result<pb::Subscription, Error> {
        let validate_only = intent.validate_only;
        let removed = self.commit(intent, remove).await?;
        if !validate_only {
            self.forget_cursor(&cursor_of(&removed)).await?;
        }
        Ok(removed)
    }

    /// Moves the cursor of a subscription up to a revision, and keeps the lease or gives it back.
    pub(crate) async fn acknowledge_subscription(
        &self,
        name: &Name,
        epoch: u64,
        revision: Revision,
        release: bool,
    ) -> Result<pb::AcknowledgeResponse, Error> {
        let subscription: pb::Subscription = self.store.resource(name).await?;
        let length = (!release).then(|| lease_of(&subscription));
        let key = cursor_of(&subscription);
        let cursor = self.acknowledge(&key, name.as_str(), epoch, revision, length).await?;
        Ok(pb::AcknowledgeResponse {
            revision: cursor.revision.cast_signed(),
            lag: self.store.newest().await?.saturating_sub(cursor.revision).cast_signed(),
            expire_time: cursor.lease.map(|lease| lease.until.into()),
        })
    }
}

/// Where a subscription is to begin: behind a revision, or now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start(Option<Revision>);

impl Start {
    /// What a caller gave.
    pub(crate) fn new(after_revision: Option<i64>, found: &mut Violations) -> Self {
        if after_revision.is_some_and(i64::is_negative) {
            found.invalid("after_revision", "must not be negative");
        }
        Self(after_revision.map(i64::cast_unsigned))
    }

    /// Sets it in the revision that begins or moves a subscription.
    fn set(self, tx: &Tx<'_>, subscription: &mut pb::Subscription) -> Result<(), Error> {
        let this = tx.revision();
        if let Some(after) = self.0.filter(|after| *after >= this) {
            let detail = format!("revision {after} is not in the log, which ends at {}", this - 1);
            return Err(Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail });
        }
        subscription.start_revision = self.0.unwrap_or(this).cast_signed();
        subscription.moved_revision = this.cast_signed();
        Ok(())
    }
}

/// A subscription to be made.
pub(crate) struct CreateSubscription {
    name: Name,
    message: pb::Subscription,
    start: Start,
}

impl CreateSubscription {
    /// Checks what a caller gave.
    pub(crate) fn new(
        name: Option<Name>,
        message: Option<pb::Subscription>,
        start: Start,
        found: &mut Violations,
    ) -> Option<Self> {
        let message = message.unwrap_or_default();
        found.within("subscription", |found| pb::Subscription::check(&message, found));
        Some(Self { name: name?, message, start })
    }
}

#[async_trait]
impl Mutation for CreateSubscription {
    type Answer = pb::Subscription;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        if let Some(record) = tx.store.get(pb::Subscription::KIND, &self.name.key()).await? {
            return Err(exists(self.name.as_str(), &decode::<pb::Subscription>(&record)?));
        }
        parent_must_exist(tx, &self.message).await?;
        let mut made = pb::Subscription { name: self.name.to_string(), ..self.message.given() };
        self.start.set(tx, &mut made)?;
        tx.write(event_of::<pb::Subscription>("created"), None, made).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<pb::Subscription>("created")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Subscription::reads(&self.name)
    }
}

/// Fails if there never was what it is of: a typo must not look like silence.
async fn parent_must_exist(tx: &Tx<'_>, subscription: &pb::Subscription) -> Result<(), Error> {
    match Name::parse_scope(&subscription.parent) {
        Ok(Some(parent)) => tx.store.parent_must_exist(&parent).await,
        _ => Ok(()),
    }
}

/// New values for some fields of a subscription.
pub(crate) struct UpdateSubscription(pub(crate) Update<pb::Subscription>);

#[async_trait]
impl Mutation for UpdateSubscription {
    type Answer = pb::Subscription;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let (before, after) = self.0.changed(tx).await?;
        if before.parent != after.parent {
            parent_must_exist(tx, &after).await?;
        }
        tx.write(event_of::<pb::Subscription>("updated"), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        Update::<pb::Subscription>::answer(committed)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        self.0.reads()
    }
}

/// A subscription to go on elsewhere in the log.
pub(crate) struct MoveSubscription {
    pub(crate) name: Name,
    pub(crate) start: Start,
}

#[async_trait]
impl Mutation for MoveSubscription {
    type Answer = pb::Subscription;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: pb::Subscription = tx.any(&self.name).await?;
        let mut after = before.clone();
        self.start.set(tx, &mut after)?;
        tx.write(event(event_type::SUBSCRIPTION_MOVED), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.resource::<pb::Subscription>(event_type::SUBSCRIPTION_MOVED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Subscription::reads(&self.name)
    }
}
