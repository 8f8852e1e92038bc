//! How far webhooks are, what they did last, and what they have to send: on the slate, and in the log.

use std::cmp::{Ordering, Reverse};

use bytes::Bytes;
use futures::future::try_join_all;
use prost::Message as _;
use prost_types::Timestamp;
use registry_proto::v1 as pb;

use super::WebhookRow;
use super::formats::is_mlflows;
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::events::Selection;
use crate::registry::lists::{Listed, Page};
use crate::registry::resource::{Resource as _, Row as _};
use crate::registry::transaction::Records as _;
use crate::rules::names::Name;
use crate::store::{Pages, Revision, decode};
use crate::stored::{WebhookAttempt, WebhookState};
use crate::webhooks::state::{Position, Start};

/// How many attempts are kept of a webhook.
const ATTEMPTS: u64 = 50;
/// How many events are read ahead, at most, and of how many bytes.
const AHEAD: usize = 64;
const AHEAD_BYTES: usize = 64 * 1024;

/// What the keys of states, and of attempts, begin with on the slate.
const STATES: &[u8] = b"w/s/";
const TRIED: &[u8] = b"w/a/";

fn state_key(uid: &str) -> Vec<u8> {
    [STATES, uid.as_bytes()].concat()
}

/// What the keys of a webhook's attempts begin with.
fn attempts_prefix(uid: &str) -> Vec<u8> {
    [TRIED, uid.as_bytes(), b"/"].concat()
}

/// An event that a webhook has to send.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    /// Behind it.
    pub(crate) position: Position,
    /// A `modelregistry.v1.Event`.
    pub(crate) encoded: Bytes,
    /// Whether MLflow's receivers are told of a prompt.
    pub(crate) of_prompt: bool,
}

/// A state as it is on the slate, which whoever replaces it has to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptState {
    encoded: Option<Bytes>,
    record_revision: Revision,
}

impl KeptState {
    /// Whether it is of the webhook as that stood earlier, stands, or stands by now, which this server has not heard of.
    pub(crate) fn of(&self, row: &WebhookRow) -> Ordering {
        let revision = row.webhook.revision.cast_unsigned();
        if self.encoded.is_none() { Ordering::Less } else { self.record_revision.cmp(&revision) }
    }
}

impl Registry {
    /// A webhook, and how far it is.
    pub(crate) async fn webhook(&self, name: &Name, seen: &impl Seen) -> Result<pb::Webhook, Error> {
        let row: WebhookRow = self.store.resource(name).await?;
        self.with_status(row, seen).await
    }

    /// A page of the webhooks, and how far each is.
    pub(crate) async fn list_webhooks(&self, page: &Page, seen: &impl Seen) -> Result<Listed<pb::Webhook>, Error> {
        let listed = self.page::<WebhookRow, _>(WebhookRow::LISTED, Vec::new(), page, |hit| WebhookRow::decode(&hit));
        let Listed { items, next, findings } = listed.await?;
        let items = try_join_all(items.into_iter().map(|row| self.with_status(row, seen))).await?;
        Ok(Listed { items, next, findings })
    }

    /// All webhooks, and how far each is.
    pub(crate) async fn webhooks(&self, seen: &impl Seen) -> Result<Vec<pb::Webhook>, Error> {
        let (_, rows) = self.all_webhooks().await?;
        try_join_all(rows.into_iter().map(|row| self.with_status(row, seen))).await
    }

    async fn with_status(&self, row: WebhookRow, seen: &impl Seen) -> Result<pb::Webhook, Error> {
        let (_, state) = self.webhook_state(&row).await?;
        let newest = self.store.newest().await?;
        // What another server did is on the slate, and what nobody had to send is known to each.
        let looked_at = seen.seen(&row.webhook.uid, state.start_set_by).filter(|_| !row.webhook.disabled);
        let revision = state.position().max(looked_at.unwrap_or_default()).whole().min(newest);
        let failing = state.failures > 0;
        let status = pb::WebhookStatus {
            revision: revision.cast_signed(),
            lag: (newest - revision).cast_signed(),
            failures: state.failures.cast_signed(),
            failing_since: failing.then(|| time(state.failing_since)),
            next_attempt_time: (failing && !row.webhook.disabled).then(|| time(state.next_attempt)),
            last_code: state.last_code.cast_signed(),
            last_attempt_time: (state.last_attempt > 0).then(|| time(state.last_attempt)),
        };
        Ok(pb::Webhook { status: Some(status), ..row.webhook })
    }

    /// How far a webhook is, and what that is made of.
    pub(crate) async fn webhook_state(&self, row: &WebhookRow) -> Result<(KeptState, WebhookState), Error> {
        let kept = self.store.slate_get(&state_key(&row.webhook.uid)).await?;
        let start = Start {
            after: row.kept.start,
            set_by: row.kept.start_set_by,
            changed_by: row.webhook.revision.cast_unsigned(),
            here: row.kept.start_set_in == self.identity().await?,
        };
        let state: Option<WebhookState> = kept.clone().map(decode).transpose()?;
        let record_revision = state.as_ref().map_or(0, |state| state.record_revision);
        let state = WebhookState::of(state, start, self.store.newest().await?);
        Ok((KeptState { encoded: kept, record_revision }, state))
    }

    /// Replaces a state; `None` if somebody else has done so.
    pub(crate) async fn keep_webhook_state(
        &self,
        row: &WebhookRow,
        old: &KeptState,
        new: &WebhookState,
    ) -> Result<Option<KeptState>, Error> {
        let written = Bytes::from(new.encode_to_vec());
        let key = state_key(&row.webhook.uid);
        let swapped = self.store.slate_swap(&key, old.encoded.as_deref(), Some(&written)).await?;
        Ok(swapped.then_some(KeptState { encoded: Some(written), record_revision: new.record_revision }))
    }

    /// Keeps an attempt, in place of one that is too old.
    pub(crate) async fn keep_attempt(&self, row: &WebhookRow, attempt: &WebhookAttempt) -> Result<(), Error> {
        let slot = u8::try_from(attempt.number % ATTEMPTS).unwrap_or(0);
        let key = [attempts_prefix(&row.webhook.uid), vec![slot]].concat();
        let there = self.store.slate_get(&key).await?;
        // Who writes at the same time has lost its turn, or has it: one of both attempts is kept.
        self.store.slate_swap(&key, there.as_deref(), Some(&attempt.encode_to_vec())).await?;
        Ok(())
    }

    /// The last attempts of a webhook, newest first.
    pub(crate) async fn list_attempts(&self, name: &Name) -> Result<Vec<pb::WebhookDelivery>, Error> {
        let row: WebhookRow = self.store.resource(name).await?;
        let kept = self.store.slate_scan(&attempts_prefix(&row.webhook.uid)).await?;
        let kept: Result<Vec<WebhookAttempt>, _> = kept.into_iter().map(|(_, attempt)| decode(attempt)).collect();
        let mut kept = kept?;
        kept.sort_by_key(|attempt| Reverse(attempt.number));
        Ok(kept.into_iter().map(|attempt| attempt.delivery.unwrap_or_default()).collect())
    }

    /// Forgets how far a webhook was that is deleted, and its attempts.
    pub(crate) async fn forget_webhook(&self, uid: &str) -> Result<(), Error> {
        let state = state_key(uid);
        let kept = self.store.slate_get(&state).await?.map(|value| (Bytes::from(state), value));
        let attempts = self.store.slate_scan(&attempts_prefix(uid)).await?;
        for (key, value) in attempts.into_iter().chain(kept) {
            let _: bool = self.store.slate_swap(&key, Some(&value), None).await?;
        }
        Ok(())
    }

    /// The events that a webhook has to send next, as many as may be read ahead, and the position up to which there are no others. Nothing
    /// is read behind the first ones, nor behind the next change of the webhook, which may choose others from then on: the position stays
    /// where it is only there and at the end of the log.
    pub(crate) async fn chosen(
        &self,
        row: &WebhookRow,
        selection: &Selection,
        after: Position,
    ) -> Result<(Vec<Chosen>, Position), Error> {
        let known = row.webhook.revision.cast_unsigned();
        let behind = self.tail.follow(after.whole()).await?;
        let (mut chosen, mut bytes, mut seen) = (Vec::<Chosen>::new(), 0, after);
        for told in &behind.entries {
            if told.revision > known && told.events.iter().any(|event| event.outside.resource_name == row.webhook.name)
            {
                break;
            }
            for (index, event) in (0..).zip(&told.events) {
                let position = Position { revision: told.revision, index };
                if position <= after || !selection.takes(event) {
                    continue;
                }
                let is_mlflows = is_mlflows(&row.webhook);
                let of_prompt = is_mlflows && self.is_of_prompt(&event.outside.resource_name).await?;
                if is_mlflows && row.posts(&event.encoded, of_prompt).is_empty() {
                    continue;
                }
                if !chosen.is_empty() && (chosen.len() == AHEAD || bytes + event.encoded.len() > AHEAD_BYTES) {
                    return Ok((chosen, seen));
                }
                bytes += event.encoded.len();
                // A copy: the bytes are part of the whole revision's, and may be held for a while.
                chosen.push(Chosen { position, encoded: Bytes::copy_from_slice(&event.encoded), of_prompt });
                seen = position;
            }
            seen = Position::behind(told.revision);
        }
        Ok((chosen, seen))
    }

    /// All webhooks, and the revision that they are no older than.
    pub(crate) async fn all_webhooks(&self) -> Result<(Revision, Vec<WebhookRow>), Error> {
        let newest = self.store.newest().await?;
        let mut rows = Vec::new();
        let mut records = Pages::of(WebhookRow::LISTED);
        while let Some(hit) = records.next(&*self.store).await? {
            rows.push(WebhookRow::decode(&hit.record)?);
        }
        Ok((newest, rows))
    }

    /// The webhooks that have events in the log behind a revision, as far as it is read at once, and up to which revision.
    pub(crate) async fn webhooks_touched(&self, after: Revision) -> Result<(Vec<Name>, Revision), Error> {
        let behind = self.tail.follow(after).await?;
        let events = behind.entries.iter().flat_map(|told| &told.events);
        let mut names: Vec<_> = events
            .filter(|event| event.outside.resource_name.starts_with(WebhookRow::OF.segment))
            .filter_map(|event| Name::parse(WebhookRow::OF, &event.outside.resource_name).ok())
            .collect();
        names.dedup();
        Ok((names, behind.entries.last().map_or(after, |told| told.revision)))
    }
}

/// Knows up to where a server has looked at the log for a webhook, counted from a start.
pub(crate) trait Seen {
    fn seen(&self, uid: &str, start_set_by: Revision) -> Option<Position>;
}

fn time(millis: i64) -> Timestamp {
    Timestamp { seconds: millis.div_euclid(1000), nanos: (millis.rem_euclid(1000) * 1_000_000) as i32 }
}
