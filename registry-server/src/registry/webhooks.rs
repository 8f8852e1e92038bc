//! Webhooks: what is kept of one, its own rules, and its changes. [`crate::webhooks`] sends.

mod formats;
mod keys;
mod progress;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use self::formats::{check_signing, given_secret, hmac, selection, signing};
pub(crate) use self::progress::{Chosen, KeptState, Seen};
use super::events::Selection;
use super::kinds::kind;
use super::resource::{Resource, Row, check_etag, exists};
use super::standard::Update;
use super::transaction::{Records as _, Tx, decode, event, event_of};
use super::{Committed, Intent, Mutation, Registry, facts, validate};
use crate::error::{Error, Violations};
use crate::rules::expression::embedded;
use crate::rules::names::{Collection, Name, WEBHOOKS};
use crate::store::{FactView, Kind, KindLayout, Place, Record, Revision, Source, StoreError};
use crate::stored::{WebhookKey, WebhookRecord};
use crate::webhooks::signatures;
use crate::webhooks::targets::Target;

/// The number of `WebhookRecord.webhook`.
const RECORD_WEBHOOK: u32 = 1;
/// For how long the old secret signs as well.
const OLD_KEY: Duration = Duration::from_secs(24 * 60 * 60);

/// A webhook, and what nobody is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebhookRow {
    pub(crate) webhook: pb::Webhook,
    /// Without the webhook.
    pub(crate) kept: WebhookRecord,
}

impl Row for WebhookRow {
    type Message = pb::Webhook;

    fn decode(record: &Record) -> Result<Self, Error> {
        let mut kept: WebhookRecord = decode(record)?;
        Ok(Self { webhook: kept.webhook.take().unwrap_or_default(), kept })
    }

    fn encoded(record: &Record) -> &[u8] {
        embedded(&record.payload, RECORD_WEBHOOK)
    }

    fn encode(&self) -> Bytes {
        let record = WebhookRecord { webhook: Some(self.webhook.clone()), ..self.kept.clone() };
        Bytes::from(record.encode_to_vec())
    }

    fn message(&self) -> &pb::Webhook {
        &self.webhook
    }

    fn message_mut(&mut self) -> &mut pb::Webhook {
        &mut self.webhook
    }

    fn into_message(self) -> pb::Webhook {
        self.webhook
    }
}

#[async_trait]
impl Resource for WebhookRow {
    const LAYOUT: KindLayout = KindLayout {
        view: Some(FactView { about: "The webhooks", facts: facts::MADE, facts_of: facts::of_webhook }),
        ..kind(Kind(6), "webhooks")
    };
    const LISTED: Source = Source::Kind(Self::KIND);
    const OF: &'static Collection = &WEBHOOKS;

    fn places(&self, _: &Name) -> Vec<Place> {
        Vec::new()
    }

    fn check(message: &pb::Webhook, found: &mut Violations) {
        validate::long(found, "description", &message.description, validate::TEXT_BYTES);
        // An update may leave it out.
        if !message.url.is_empty()
            && let Err(why) = Target::parse(&message.url)
        {
            found.invalid("url", why);
        }
        validate::short(found, "display_name", &message.display_name);
        // Which types there are depends on the format, which an update does not give.
        Selection::new(&message.parent, &[], &message.filter, found);
        if pb::WebhookSigning::try_from(message.signing).is_err() {
            found.invalid("signing", format!("has no value {}", message.signing));
        }
        if pb::WebhookFormat::try_from(message.format).is_err() {
            found.invalid("format", format!("has no value {}", message.format));
        }
    }
}

impl Registry {
    /// Makes a webhook, and shows its secret once.
    pub(crate) async fn create_webhook(&self, intent: Intent, create: CreateWebhook) -> Result<pb::Webhook, Error> {
        if let Some(made) = self.repeated::<MakeWebhook>(&intent).await? {
            return self.with_secret(made).await;
        }
        let CreateWebhook { name, message, given } = create;
        let (public_key, key) = self.new_key(&name, signing(&message), given).await?;
        let webhook = pb::Webhook { public_key, ..message };
        let home = self.identity().await?;
        let made = self.commit(intent, MakeWebhook { name, webhook, key, home }).await?;
        self.with_secret(made).await
    }

    /// Gives a webhook a new secret, and shows it once.
    pub(crate) async fn rotate_webhook(&self, intent: Intent, rotate: RotateWebhook) -> Result<pb::Webhook, Error> {
        if let Some(rotated) = self.repeated::<ReplaceKey>(&intent).await? {
            return self.with_secret(rotated).await;
        }
        let RotateWebhook { name, etag, secret } = rotate;
        let row = self.store.resource::<WebhookRow>(&name).await?;
        let signs = Some(row.signs().unwrap_or_else(|| hmac(&row.webhook)));
        let given = given_secret(&secret, signs);
        let given = given.map_err(|why| Error::field("secret", ErrorReason::FieldInvalid, why))?;
        let (public_key, key) = self.new_key(&name, signs, given).await?;
        let rotated = self.commit(intent, ReplaceKey { name, etag, public_key, key }).await?;
        self.with_secret(rotated).await
    }

    /// Lets a webhook go on after a revision.
    pub(crate) async fn replay_webhook(&self, intent: Intent, replay: ReplayWebhook) -> Result<pb::Webhook, Error> {
        let oldest = self.store.oldest().await?;
        if replay.after + 1 < oldest {
            return Err(StoreError::Compacted { oldest }.into());
        }
        let home = self.identity().await?;
        self.commit(intent, MoveWebhook { replay, home }).await
    }

    /// Disables a webhook for good reason, unless it has changed since.
    pub(crate) async fn disable_webhook(
        &self,
        row: &WebhookRow,
        reason: pb::WebhookDisabledReason,
    ) -> Result<(), Error> {
        let comment = match reason {
            pb::WebhookDisabledReason::Unspecified => "",
            pb::WebhookDisabledReason::Failing => "no delivery succeeded for five days",
            pb::WebhookDisabledReason::Gone => "the receiver answered 410",
            pb::WebhookDisabledReason::Lapsed => "what it had to send next was dropped from the log",
        };
        let intent = Intent { comment: comment.to_owned(), ..Intent::own() };
        self.commit(intent, DisableWebhook { was: row.webhook.clone(), reason }).await
    }

    /// A webhook as it is kept.
    pub(crate) async fn webhook_row(&self, name: &Name) -> Result<WebhookRow, Error> {
        self.store.resource(name).await
    }

    /// Which store this is.
    pub(crate) async fn identity(&self) -> Result<Bytes, Error> {
        Ok(Bytes::copy_from_slice(self.store.identity().await?.as_bytes()))
    }
}

/// A webhook to be made, as its caller has it.
pub(crate) struct CreateWebhook {
    name: Name,
    message: pb::Webhook,
    given: Option<signatures::SigningKey>,
}

impl CreateWebhook {
    /// Checks what a caller gave.
    pub(crate) fn new(name: Option<Name>, message: Option<pb::Webhook>, found: &mut Violations) -> Option<Self> {
        let Some(mut message) = message else {
            found.required("webhook");
            return None;
        };
        let given = found.within("webhook", |found| {
            WebhookRow::check(&message, found);
            if message.url.is_empty() {
                found.required("url");
            }
            check_signing(&message, found);
            selection(&message, found);
            let secret = std::mem::take(&mut message.secret);
            given_secret(&secret, signing(&message)).unwrap_or_else(|why| {
                found.invalid("secret", why);
                None
            })
        });
        Some(Self { name: name?, message, given })
    }
}

/// A webhook to be made, with its key.
struct MakeWebhook {
    name: Name,
    webhook: pb::Webhook,
    key: Option<WebhookKey>,
    home: Bytes,
}

#[async_trait]
impl Mutation for MakeWebhook {
    type Answer = pb::Webhook;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        if let Some(record) = tx.store.get(WebhookRow::KIND, &self.name.key()).await? {
            return Err(exists(self.name.as_str(), &WebhookRow::decode(&record)?));
        }
        parent_must_exist(tx, &self.webhook).await?;
        let pb::Webhook { public_key, .. } = &self.webhook;
        let (name, public_key) = (self.name.to_string(), public_key.clone());
        let webhook = pb::Webhook { name, public_key, ..self.webhook.given() };
        let this = tx.revision();
        let kept = WebhookRecord {
            key: self.key.clone().map(|key| WebhookKey { set_by: this, ..key }),
            ..start(this, this, self.home.clone())
        };
        tx.write(event_of::<WebhookRow>("created"), None, WebhookRow { webhook, kept }).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<WebhookRow>("created")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        WebhookRow::reads(&self.name)
    }
}

/// What a record says of a start.
fn start(after: Revision, set_by: Revision, home: Bytes) -> WebhookRecord {
    WebhookRecord { start: after, start_set_by: set_by, start_set_in: home, ..WebhookRecord::default() }
}

/// Fails if there never was what it is of: a typo must not look like silence.
async fn parent_must_exist(tx: &Tx<'_>, webhook: &pb::Webhook) -> Result<(), Error> {
    match Name::parse_scope(&webhook.parent) {
        Ok(Some(parent)) => tx.store.parent_must_exist(&parent).await,
        _ => Ok(()),
    }
}

/// A webhook to be changed.
pub(crate) struct UpdateWebhook(pub(crate) Update<WebhookRow>);

#[async_trait]
impl Mutation for UpdateWebhook {
    type Answer = pb::Webhook;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let (before, mut after) = self.0.changed(tx).await?;
        if after.webhook.url.is_empty() {
            return Err(Error::field("webhook.url", ErrorReason::FieldInvalid, "must not be empty"));
        }
        if before.webhook.types != after.webhook.types {
            let mut found = Violations::default();
            found.within("webhook", |found| selection(&after.webhook, found));
            found.check()?;
        }
        if before.webhook.parent != after.webhook.parent {
            parent_must_exist(tx, &after.webhook).await?;
        }
        if !after.webhook.disabled {
            after.webhook.disabled_reason = 0;
        }
        tx.write(event_of::<WebhookRow>("updated"), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<WebhookRow>("updated")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        self.0.reads()
    }
}

/// A webhook that is to get a new secret.
pub(crate) struct RotateWebhook {
    pub(crate) name: Name,
    pub(crate) etag: String,
    /// Empty to have one made.
    pub(crate) secret: String,
}

/// The same, with its key.
struct ReplaceKey {
    name: Name,
    etag: String,
    public_key: String,
    key: Option<WebhookKey>,
}

#[async_trait]
impl Mutation for ReplaceKey {
    type Answer = pb::Webhook;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: WebhookRow = tx.any(&self.name).await?;
        check_etag(&before, &self.etag)?;
        let mut after = before.clone();
        after.webhook.public_key.clone_from(&self.public_key);
        let until = SystemTime::try_from(tx.now).ok().and_then(|now| now.checked_add(OLD_KEY)).map(Timestamp::from);
        if after.webhook.signing() == pb::WebhookSigning::None {
            after.webhook.set_signing(pb::WebhookSigning::HmacSha256);
        }
        let key = self.key.clone().map(|key| WebhookKey { set_by: tx.revision(), ..key });
        (after.kept.old_key, after.kept.old_key_until) = (std::mem::replace(&mut after.kept.key, key), until);
        tx.write(event(event_type::WEBHOOK_SECRET_ROTATED), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.resource::<WebhookRow>(event_type::WEBHOOK_SECRET_ROTATED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        WebhookRow::reads(&self.name)
    }
}

/// A webhook that is to go on after a revision.
pub(crate) struct ReplayWebhook {
    pub(crate) name: Name,
    pub(crate) etag: String,
    pub(crate) after: Revision,
}

struct MoveWebhook {
    replay: ReplayWebhook,
    home: Bytes,
}

#[async_trait]
impl Mutation for MoveWebhook {
    type Answer = pb::Webhook;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let ReplayWebhook { name, etag, after: revision } = &self.replay;
        let before: WebhookRow = tx.any(name).await?;
        check_etag(&before, etag)?;
        let this = tx.revision();
        if *revision >= this {
            let detail = format!("revision {revision} is not in the log, which ends at {}", this - 1);
            return Err(Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail });
        }
        let mut after = before.clone();
        let WebhookRecord { key, old_key, old_key_until, .. } = after.kept;
        after.kept = WebhookRecord { key, old_key, old_key_until, ..start(*revision, this, self.home.clone()) };
        let comment = format!("after revision {revision}");
        tx.write(pb::Event { comment, ..event(event_type::WEBHOOK_REPLAYED) }, Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.resource::<WebhookRow>(event_type::WEBHOOK_REPLAYED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        WebhookRow::reads(&self.replay.name)
    }
}

/// A webhook that nothing more is to be sent to.
struct DisableWebhook {
    was: pb::Webhook,
    reason: pb::WebhookDisabledReason,
}

#[async_trait]
impl Mutation for DisableWebhook {
    type Answer = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let name = Name::canonical(&WEBHOOKS, &self.was.name);
        let Some(record) = tx.store.get(WebhookRow::KIND, &name.key()).await? else { return Ok(()) };
        let before = WebhookRow::decode(&record)?;
        // Whoever changed it since wants it to be tried.
        if (&before.webhook.uid, before.webhook.revision) != (&self.was.uid, self.was.revision) {
            return Ok(());
        }
        let mut after = before.clone();
        after.webhook.disabled = true;
        after.webhook.set_disabled_reason(self.reason);
        tx.write(event(event_type::WEBHOOK_DISABLED), Some(before), after).await.map(drop)
    }

    fn answer(_: Committed) -> Result<(), Error> {
        Ok(())
    }
}
