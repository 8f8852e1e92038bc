//! The task of one webhook: reads on from where the webhook is, and sends.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use registry_proto::v1 as pb;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::body::Post;
use super::state::{Attempt, Position, Then, Turn};
use super::{Outside, Try, Webhooks};
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::webhooks::{Chosen, KeptState, Seen as _, WebhookRow};
use crate::store::StoreError;
use crate::stored::{WebhookAttempt, WebhookState};

/// How long a receiver has to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an attempt that is under way may go on when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long to leave a store alone that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// How long to leave a turn alone that is another server's: that one may stop, and give it back.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is kept how far the log was looked at, if there was nothing to send.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// What a webhook waits for.
enum Wait {
    /// Nothing: there is more to do.
    No,
    /// The log's next revision.
    Head,
    /// Its own change.
    Change,
    /// Room for another attempt.
    Room(Arc<Semaphore>),
    /// A time.
    For(Duration),
}

/// Sends what one webhook chooses.
pub(super) struct Delivery {
    pub(super) registry: Registry,
    pub(super) webhooks: Webhooks,
    /// The webhook as it is now.
    pub(super) row: watch::Receiver<WebhookRow>,
    pub(super) draining: watch::Receiver<bool>,
    /// Of the next attempt, if there was none at once.
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// When it was last kept how far the log was looked at.
    pub(super) kept: Instant,
}

impl Delivery {
    /// Goes on until the server stops.
    pub(super) async fn run(mut self) {
        let mut head = self.registry.store().head();
        let mut draining = self.draining.clone();
        while !*draining.borrow() {
            head.borrow_and_update();
            let row = self.row.borrow_and_update().clone();
            let wait = match self.send_some(&row).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(webhook = row.webhook.name, %error, "a webhook can't go on now");
                    Wait::For(AGAIN)
                }
            };
            let over = async {
                match wait {
                    Wait::No => None,
                    Wait::Head => {
                        // An error means that the store is gone, and so is the server.
                        let _ = timeout(KEEP_EVERY, head.changed()).await;
                        None
                    }
                    Wait::Change => std::future::pending().await,
                    // It is kept while the events are read again, which are not held meanwhile: who waits in this line is served in turn.
                    Wait::Room(room) => room.acquire_owned().await.ok(),
                    Wait::For(time) => {
                        sleep(time).await;
                        None
                    }
                }
            };
            tokio::select! {
                room = over => self.room = room,
                changed = self.row.changed() => if changed.is_err() { return },
                _ = draining.wait_for(|draining| *draining) => {}
            }
        }
        if let Err(error) = self.release().await {
            tracing::debug!(%error, "a webhook is another server's in a while");
        }
    }

    /// Keeps how far the log was looked at, and gives the turn back, so that another server need not wait until it is over.
    async fn release(&self) -> Result<(), Error> {
        let row = self.row.borrow().clone();
        let (kept, state) = self.registry.webhook_state(&row).await?;
        if !matches!(state.turn(&self.webhooks.me, self.now().await?), Turn::Others(_)) {
            let seen = self.webhooks.seen(&row.webhook.uid, state.start_set_by).unwrap_or_default();
            let to = state.position().max(seen);
            self.registry.keep_webhook_state(&row, &kept, &state.seen(to).released()).await?;
        }
        Ok(())
    }

    /// Sends the next events, as many as are read at once.
    async fn send_some(&mut self, row: &WebhookRow) -> Result<Wait, Error> {
        let room = self.room.take();
        let Some(selection) = row.selection() else {
            tracing::error!(
                webhook = row.webhook.name,
                "a webhook can't be understood: it was made by another program"
            );
            return Ok(Wait::Change);
        };
        let (kept, state) = self.registry.webhook_state(row).await?;
        let seen = self.webhooks.seen(&row.webhook.uid, state.start_set_by);
        let from = state.position().max(seen.unwrap_or_default());
        match kept.of(row) {
            // What was looked at for the webhook as it was is not looked at again for what it is now.
            Ordering::Less => return self.keep_seen(row, kept, state, from).await,
            Ordering::Equal => {}
            Ordering::Greater => return Ok(Wait::For(LOOK_AGAIN)),
        }
        let (chosen, to) = match self.registry.chosen(row, &selection, from).await {
            Err(Error::Store(StoreError::Compacted { .. })) => {
                return self.disable(row, pb::WebhookDisabledReason::Lapsed).await;
            }
            chosen => chosen?,
        };
        if !chosen.is_empty() {
            self.webhooks.note_seen(&row.webhook.uid, state.start_set_by, from);
            return Sending { delivery: self, row, kept, state, room }.send(chosen).await;
        }
        self.webhooks.note_seen(&row.webhook.uid, state.start_set_by, to);
        if to > state.position() && self.kept.elapsed() >= KEEP_EVERY {
            return self.keep_seen(row, kept, state, to).await;
        }
        Ok(if to == from { Wait::Head } else { Wait::No })
    }

    /// Keeps how far the log was looked at, for a server that starts, and for the day on which what was looked at is dropped.
    async fn keep_seen(
        &mut self,
        row: &WebhookRow,
        kept: KeptState,
        state: WebhookState,
        to: Position,
    ) -> Result<Wait, Error> {
        let now = self.now().await?;
        if let Turn::Others(until) = state.turn(&self.webhooks.me, now) {
            return Ok(Wait::For(left(until, now).min(LOOK_AGAIN)));
        }
        self.kept = Instant::now();
        // If somebody else was faster, that is looked at next.
        self.registry.keep_webhook_state(row, &kept, &state.seen(to)).await?;
        Ok(Wait::No)
    }

    async fn disable(&self, row: &WebhookRow, reason: pb::WebhookDisabledReason) -> Result<Wait, Error> {
        tracing::warn!(webhook = row.webhook.name, reason = reason.as_str_name(), "a webhook is disabled");
        self.registry.disable_webhook(row, reason).await?;
        Ok(Wait::Change)
    }

    /// What time it is for all servers, in milliseconds since 1970.
    async fn now(&self) -> Result<i64, Error> {
        let now = self.registry.store().time().await?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Whether the webhook was changed, or nobody wants it sent any more.
    fn is_over(&self) -> bool {
        *self.draining.borrow() || self.row.has_changed().unwrap_or(true)
    }
}

/// Something that is to be sent of an event.
struct Part {
    /// Behind the event.
    position: Position,
    /// The event's name.
    event: String,
    post: Post,
    /// Whether the event has more.
    more: bool,
}

/// A delivery that has something to send.
struct Sending<'a> {
    delivery: &'a Delivery,
    row: &'a WebhookRow,
    kept: KeptState,
    state: WebhookState,
    room: Option<OwnedSemaphorePermit>,
}

impl Sending<'_> {
    async fn send(mut self, chosen: Vec<Chosen>) -> Result<Wait, Error> {
        for Chosen { position, encoded, of_prompt } in chosen {
            let event = Outside::decode(&*encoded).unwrap_or_default().name;
            let posts = self.row.posts(&encoded, of_prompt);
            let last = posts.len().saturating_sub(1);
            let done = last.min(self.state.messages as usize);
            for (at, post) in posts.into_iter().enumerate().skip(done) {
                let part = Part { position, event: event.clone(), post, more: at < last };
                if let Some(wait) = self.send_part(part).await? {
                    return Ok(wait);
                }
            }
        }
        Ok(Wait::No)
    }

    /// Makes an attempt if it is this server's turn; `None` if it was delivered.
    async fn send_part(&mut self, part: Part) -> Result<Option<Wait>, Error> {
        let Delivery { webhooks, .. } = self.delivery;
        if self.delivery.is_over() {
            return Ok(Some(Wait::No));
        }
        let now = self.delivery.now().await?;
        match self.state.turn(&webhooks.me, now) {
            Turn::Mine => {}
            // Nothing of what was read is held meanwhile.
            Turn::Others(until) => return Ok(Some(Wait::For(left(until, now).min(LOOK_AGAIN)))),
            Turn::Later(until) => return Ok(Some(Wait::For(left(until, now)))),
        }
        let room = webhooks.room(self.state.failures > 0);
        let Some(_room) = self.room.take().or_else(|| Arc::clone(room).try_acquire_owned().ok()) else {
            return Ok(Some(Wait::Room(Arc::clone(room))));
        };
        if !self.state.is_held(&webhooks.me, now) && !self.keep(self.state.clone().held(&webhooks.me, now)).await? {
            return Ok(Some(Wait::No));
        }
        self.attempt(part).await
    }

    /// Makes an attempt; `None` if it was delivered.
    async fn attempt(&mut self, Part { position, event, post, more }: Part) -> Result<Option<Wait>, Error> {
        let Delivery { registry, webhooks, .. } = self.delivery;
        let keys = registry.signing_keys(self.row, registry.store().time().await?).await?;
        let attempt = Try { post, keys, event: event.clone(), number: self.state.failures + 1 };
        let mut draining = self.delivery.draining.clone();
        let stopped = async {
            let _ = draining.wait_for(|draining| *draining).await;
            sleep(LAST_WORDS).await;
        };
        let (outcome, delivery) = tokio::select! {
            made = webhooks.attempt(self.row, attempt, PATIENCE) => made,
            () = stopped => {
                // Another server, or this one when it is back, makes the attempt anew.
                self.keep(self.state.clone().released()).await?;
                return Ok(Some(Wait::Change));
            }
        };
        let attempt = Attempt { event: position, more, now: self.delivery.now().await?, random: rand::random() };
        let (state, then) = self.state.clone().after(&outcome, attempt);
        let number = state.attempts;
        let kept = self.keep(state).await?;
        registry.keep_attempt(self.row, &WebhookAttempt { number, delivery: Some(delivery) }).await?;
        if !kept {
            return Ok(Some(Wait::No));
        }
        let webhook = &self.row.webhook.name;
        if then == Then::GoOn {
            tracing::debug!(webhook, event, "delivered");
            return Ok(None);
        }
        let (code, problem, failures) = (outcome.code(), outcome.problem(), self.state.failures);
        tracing::info!(webhook, event, code, problem, failures, "an event could not be delivered");
        Ok(Some(match then {
            Then::GoOn | Then::Wait => Wait::No,
            Then::Failing => self.delivery.disable(self.row, pb::WebhookDisabledReason::Failing).await?,
            Then::Gone => self.delivery.disable(self.row, pb::WebhookDisabledReason::Gone).await?,
        }))
    }

    /// Keeps a state; false if another server has kept one.
    async fn keep(&mut self, state: WebhookState) -> Result<bool, Error> {
        let kept = self.delivery.registry.keep_webhook_state(self.row, &self.kept, &state).await?;
        let Some(kept) = kept else { return Ok(false) };
        (self.kept, self.state) = (kept, state);
        Ok(true)
    }
}

/// From one time to another, both in milliseconds.
fn left(until: i64, now: i64) -> Duration {
    Duration::from_millis(until.saturating_sub(now).max(0).unsigned_abs())
}
