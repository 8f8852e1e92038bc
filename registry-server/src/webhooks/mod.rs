//! Webhooks: the events that they choose are sent to their receivers, in order, one at a time, until each is answered with success.
//!
//! The pure parts are [`signatures`], [`addresses`], [`targets`], [`schedule`], [`answers`] and [`state`]; [`send`] makes one attempt over the
//! connections of [`connect`]. [`delivery`] is a task for each enabled webhook, which holds no more than a few events; [`dispatch`] begins
//! and ends these tasks as webhooks come, change and go. How far a webhook is stands on the store's slate.

mod addresses;
mod answers;
pub(crate) mod body;
mod connect;
mod delivery;
mod dispatch;
mod measured;
mod schedule;
mod send;
pub(crate) mod signatures;
pub(crate) mod state;
pub(crate) mod targets;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ipnet::IpNet;
use prometheus_client::registry::Registry as Exposition;
use prost::Message as _;
use registry_common::mlflow::told::{Told, example};
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::WebhookFormat;
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::addresses::Guard;
use self::answers::Outcome;
use self::body::Post;
use self::measured::Measures;
use self::send::{Headers, Message, Sender};
use self::signatures::{KeyUnusable, SigningKey};
use self::state::Position;
use self::targets::Target;
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::webhooks::{Seen, WebhookRow};
use crate::store::Revision;

/// How many attempts are under way at once, each of which holds an event: of webhooks that are well, and of those whose last attempt
/// failed, so that receivers that hang keep nobody else waiting.
const ATTEMPTS: usize = 96;
const ATTEMPTS_AGAIN: usize = 32;
/// How long a receiver has to answer a test.
const TEST: Duration = Duration::from_secs(10);

/// What sends webhooks: one for the server.
#[derive(Clone)]
pub(crate) struct Webhooks {
    sender: Sender,
    guard: Guard,
    room: Arc<Semaphore>,
    room_again: Arc<Semaphore>,
    /// Tells this server from others on the same store.
    me: Bytes,
    seen: Arc<Mutex<HashMap<String, (Revision, Position)>>>,
    measures: Measures,
}

impl Webhooks {
    /// Webhooks may be sent to the public internet, and to these networks, by this server.
    pub(crate) fn new(allowed: &[IpNet], me: Uuid) -> Result<Self, rustls::Error> {
        let guard = Guard::new(allowed.to_vec());
        Ok(Self {
            sender: Sender::new(guard.clone())?,
            guard,
            room: Arc::new(Semaphore::new(ATTEMPTS)),
            room_again: Arc::new(Semaphore::new(ATTEMPTS_AGAIN)),
            me: Bytes::copy_from_slice(me.as_bytes()),
            seen: Arc::default(),
            measures: Measures::default(),
        })
    }

    /// Has what is known of attempts told of.
    pub(crate) fn expose(&self, to: &mut Exposition) {
        self.measures.expose(to);
    }

    /// What is wrong with a URL on this server, to stand behind "url"; a URL that is none is somebody else's to refuse.
    pub(crate) fn refuse(&self, url: &str) -> Option<String> {
        Target::parse(url).ok()?.check(&self.guard).err()
    }

    /// Sends a webhook an event that is not in the log, once.
    ///
    /// # Errors
    /// `Overloaded` if there is no room for another attempt.
    pub(crate) async fn test(
        &self,
        registry: &Registry,
        row: &WebhookRow,
        test: Test,
    ) -> Result<pb::WebhookDelivery, Error> {
        let Ok(_room) = self.room.try_acquire() else {
            return Err(Error::Overloaded("as many webhooks are being sent as may be at once".to_owned()));
        };
        let now = registry.store().time().await?;
        let uid = Uuid::now_v7().to_string();
        let post = match test {
            Test::Event { actor } => {
                let event = pb::Event {
                    r#type: event_type::WEBHOOK_TEST.to_owned(),
                    resource_name: row.webhook.name.clone(),
                    actor,
                    create_time: Some(now.into()),
                    after: Some(row.webhook.clone().into_resource()),
                    ..pb::Event::default()
                };
                let body = body::body(&event.encode_to_vec());
                Post { id: body::id("", &uid), r#type: event.r#type, body }
            }
            Test::Mlflow(r#type) => body::mlflow(&uid, &Told { r#type, data: example(r#type) }, now),
        };
        let keys = registry.signing_keys(row, now).await?;
        let attempt = Try { post, keys, event: String::new(), number: 1 };
        Ok(self.attempt(row, attempt, TEST).await.1)
    }

    /// Makes one attempt to send something.
    async fn attempt(
        &self,
        row: &WebhookRow,
        Try { post, keys, event, number }: Try,
        patience: Duration,
    ) -> (Outcome, pb::WebhookDelivery) {
        // The receiver's clock is compared with it.
        let (began, time) = (Instant::now(), SystemTime::now());
        let outcome = match (Target::parse(&row.webhook.url), message(row.webhook.format(), &post, &keys, time)) {
            (Ok(target), Some(message)) => self.sender.post(&target, message, patience).await,
            _ => Outcome::Failed("the event can't be written or signed: see the server's log"),
        };
        self.measures.attempted(&outcome, began);
        let delivery = pb::WebhookDelivery {
            attempt_time: Some(time.into()),
            webhook_id: post.id,
            event,
            r#type: post.r#type,
            attempt: number.cast_signed(),
            code: outcome.code().into(),
            error: outcome.problem().to_owned(),
            duration: prost_types::Duration::try_from(began.elapsed()).ok(),
        };
        (outcome, delivery)
    }

    /// Where attempts take place: those of a webhook whose last one failed, or others.
    fn room(&self, again: bool) -> &Arc<Semaphore> {
        if again { &self.room_again } else { &self.room }
    }

    fn note_seen(&self, uid: &str, start_set_by: Revision, position: Position) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(uid.to_owned(), (start_set_by, position));
    }

    fn forget_seen(&self, uid: &str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

impl Seen for Webhooks {
    fn seen(&self, uid: &str, start_set_by: Revision) -> Option<Position> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(uid).filter(|(start, _)| *start == start_set_by).map(|(_, position)| *position)
    }
}

/// What a test sends.
pub(crate) enum Test {
    /// An event of the type `webhook.test`, by whoever asks for it.
    Event { actor: String },
    /// MLflow's example of one of its types.
    Mlflow(&'static str),
}

/// What an attempt is for.
struct Try {
    post: Post,
    keys: Vec<SigningKey>,
    /// The event's name; empty of a test.
    event: String,
    /// Counted from 1.
    number: u32,
}

/// What an attempt tells of an event.
#[derive(Clone, PartialEq, prost::Message)]
struct Outside {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "8")]
    r#type: String,
}

/// The message that tells something now.
fn message(format: WebhookFormat, post: &Post, keys: &[SigningKey], now: SystemTime) -> Option<Message> {
    let Post { id, body, .. } = post;
    let timestamp = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let Some(body) = body.clone() else {
        tracing::error!(id, "an event can't be written as JSON");
        return None;
    };
    // MLflow's receivers look for one signature.
    let (headers, keys) = match format {
        WebhookFormat::Mlflow => (&Headers::MLFLOW, &keys[..keys.len().min(1)]),
        WebhookFormat::Unspecified | WebhookFormat::Event => (&Headers::STANDARD, keys),
    };
    match signatures::signatures(keys, id, timestamp, &body) {
        Ok(signatures) => Some(Message { headers, id: id.clone(), timestamp, signatures, body }),
        Err(error @ KeyUnusable) => {
            tracing::error!(id, %error, "a message can't be signed");
            None
        }
    }
}
