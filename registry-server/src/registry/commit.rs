//! From a mutation to one revision with its events: the same path for every change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use registry_common::tlog;
use registry_common::trace_context::TraceContext;
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use sha2::{Digest as _, Sha256};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::access::guard::Guard;
use super::access::tagged;
use super::access::wishes::Wish;
use super::measured::Waiting;
use super::models::ModelRow;
use super::resource::Resource;
use super::stages::automatic;
use super::transaction::{Tx, decode, resource_of};
use super::tree::Tree;
use super::{Registry, kinds, locks};
use crate::SPANS;
use crate::error::Error;
use crate::rules::names::{MODELS, Name};
use crate::store::{Decision, Kind, Put, Read, Revision, StoreError, Transaction};
use crate::stored::{ChainHeadRecord, EventReferenceRecord, RequestRecord};

/// Who wants a change, why, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Intent {
    /// The method that was called; empty if the server does it by itself.
    pub(crate) rpc: &'static str,
    /// Who.
    pub(crate) actor: String,
    /// How the call came; `None` if nobody called.
    pub(crate) caller: Option<pb::Caller>,
    /// The caller's name for the request: under it, it happens once.
    pub(crate) request_id: Option<Uuid>,
    /// Tells this request from any other one under the same id.
    pub(crate) fingerprint: Bytes,
    /// The trace that the call belongs to.
    pub(crate) trace: Option<TraceContext>,
    /// Why.
    pub(crate) comment: String,
    /// Return what would come out, and change nothing.
    pub(crate) validate_only: bool,
    /// What the caller has to be allowed; `None` where everybody may do everything, or the server does it by itself.
    pub(crate) wish: Option<Arc<Wish>>,
}

impl Intent {
    /// Of what the server does by itself.
    pub(crate) fn own() -> Self {
        Self { actor: "registry-server".to_owned(), ..Self::default() }
    }

    /// The line in the log for a change: it tells of what was changed first, other than a namespace that came to be with it.
    fn log_change(&self, revision: Revision, events: &[pb::Event], began: Instant) {
        let is_main = |event: &&pb::Event| event.r#type != event_type::NAMESPACE_CREATED;
        let Some(event) = events.iter().find(is_main).or(events.first()) else { return };
        tracing::info!(
            target: "registry_server::changes",
            rpc = Some(self.rpc).filter(|rpc| !rpc.is_empty()),
            r#type = event.r#type,
            resource = event.resource_name,
            actor = self.actor,
            revision,
            events = Some(events.len()).filter(|count| *count > 1),
            request_id = self.request_id.map(tracing::field::display),
            ms = millis(began),
            trace_id = self.trace.map(TraceContext::trace_id),
            "changed"
        );
    }

    /// The revision in which a request was carried out, if it was.
    async fn revision_of<R: Read + ?Sized>(&self, id: Uuid, records: &R) -> Result<Option<Revision>, Error> {
        let Some(record) = records.get(kinds::REQUEST, id.as_bytes()).await? else { return Ok(None) };
        let RequestRecord { fingerprint } = decode(&record)?;
        if fingerprint != self.fingerprint {
            let used = format!("{id} was used for another request");
            return Err(Error::field("request_id", ErrorReason::RequestIdReused, used));
        }
        Ok(Some(record.revision))
    }
}

/// A change, to be decided in the store's lane.
#[async_trait]
pub(crate) trait Mutation: Send + Sync + 'static {
    /// What its caller gets.
    type Answer;

    /// Whether it may change who may do what.
    const CHANGES_ACCESS: bool = false;

    /// Checks, writes, and records events; without events nothing is kept. May be run again from the start.
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error>;

    /// The answer, made of the events alone: a repeated request gets the same one.
    fn answer(committed: Committed) -> Result<Self::Answer, Error>;

    /// What it will probably read, as [`Decision::reads`] has it.
    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        Vec::new()
    }
}

/// What a mutation led to.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    /// The revision; 0 if nothing was changed.
    pub(crate) revision: Revision,
    /// The events of the revision.
    pub(crate) events: Vec<pb::Event>,
}

impl Committed {
    /// The first event of a type.
    pub(crate) fn into_event(self, r#type: &str) -> Result<pb::Event, Error> {
        let event = self.events.into_iter().find(|event| event.r#type == r#type);
        event.ok_or_else(|| Error::internal(format!("revision {} has no {type}", self.revision)))
    }

    /// The resource of the first event of a type; if it has entered a stage by itself behind that, as it is then.
    pub(crate) fn resource<R: Resource>(self, r#type: &str) -> Result<R::Message, Error> {
        let entered = self.events.iter().rfind(|event| automatic::is_entry(event)).cloned();
        let event = self.into_event(r#type)?;
        resource_of::<R>(entered.filter(|entered| entered.resource_name == event.resource_name).unwrap_or(event))
    }

    /// The resource that was created, updated, ...
    pub(crate) fn changed<R: Resource>(self, what: &str) -> Result<R::Message, Error> {
        self.resource::<R>(&format!("{}.{what}", R::Message::SINGULAR))
    }
}

impl Registry {
    /// Carries a mutation out, or finds that it was carried out already.
    pub(crate) async fn commit<M: Mutation>(&self, intent: Intent, mutation: M) -> Result<M::Answer, Error> {
        let (guard, purge_after) = (self.guard.clone(), self.purge_after);
        let span = tracing::debug_span!(target: SPANS, "commit", revision = Empty);
        let measured = Waiting::begin(&self.measures);
        let pending = Arc::new(Pending {
            intent,
            guard,
            purge_after,
            mutation,
            span: span.clone(),
            measured,
            outcome: Mutex::new(None),
        });
        let _turn = match &self.guard {
            Some(guard) if M::CHANGES_ACCESS => Some(guard.turn().await),
            _ => None,
        };
        let (outcome, revision) = loop {
            let decision: Arc<dyn Decision> = Arc::clone(&pending) as _;
            let revision = self.store.commit(decision).instrument(span.clone()).await?;
            let outcome = pending.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
            let outcome = outcome.ok_or_else(|| Error::internal("a commit was not decided"))?;
            let outcome = outcome.inspect_err(|error| {
                self.measures.refused(error);
                if let (Some(guard), Some(wish)) = (&self.guard, &pending.intent.wish) {
                    guard.note_denied(&wish.caller, error);
                }
            });
            match (outcome?, &self.guard) {
                (Outcome::Behind(revision), Some(guard)) => guard.reach(revision).await?,
                (outcome, guard) => {
                    // What the caller does next on this server is decided by it.
                    if let (Outcome::Events { changes_access: true, .. }, Some(guard)) = (&outcome, guard) {
                        guard.refresh().await?;
                    }
                    break (outcome, revision);
                }
            }
        };
        M::answer(match outcome {
            Outcome::Behind(_) => return Err(Error::internal("nobody knows who may do what")),
            Outcome::Events { events, .. } => Committed { revision: revision.unwrap_or(0), events },
            Outcome::Repeated(revision) => {
                tracing::debug!(rpc = pending.intent.rpc, actor = pending.intent.actor, revision, "repeated");
                let events = self.tail.events_of(revision).await?;
                Committed { revision, events }
            }
        })
    }
}

/// How long ago something was, for the log: milliseconds with their thousandths.
pub(crate) fn millis(began: Instant) -> f64 {
    began.elapsed().as_micros() as f64 / 1000.0
}

impl Registry {
    /// What a request led to, if it was carried out already: for those who read before they commit, since what they read then may
    /// be gone.
    pub(crate) async fn repeated<M: Mutation>(&self, intent: &Intent) -> Result<Option<M::Answer>, Error> {
        let Some(id) = intent.request_id.filter(|_| !intent.validate_only) else { return Ok(None) };
        let Some(revision) = intent.revision_of(id, &*self.store).await? else { return Ok(None) };
        let events = self.tail.events_of(revision).await?;
        M::answer(Committed { revision, events }).map(Some)
    }
}

impl Registry {
    /// When the newest event was; `None` if there is none.
    pub(crate) async fn newest_time(&self) -> Result<Option<SystemTime>, Error> {
        let head = self.store.get(kinds::CHAIN_HEAD, &[]).await?;
        let head = head.map(|record| decode::<ChainHeadRecord>(&record)).transpose()?;
        Ok(head.and_then(|head| SystemTime::try_from(head.create_time?).ok()))
    }
}

/// How many bytes the events of a revision have at most: with what a watch puts around them, they fit the 4 MiB that clients take.
const REVISION_BYTES: usize = 4 * 1024 * 1024 - 1024;

/// The number of `WatchedEvents.events`.
const EVENTS_FIELD: u32 = 2;

enum Outcome {
    Events {
        events: Vec<pb::Event>,
        /// Whether they change who may do what.
        changes_access: bool,
    },
    /// The request was carried out in this revision.
    Repeated(Revision),
    /// This revision has changed who may do what, and is not known here yet.
    Behind(Revision),
}

/// A mutation on its way through the lane.
struct Pending<M> {
    intent: Intent,
    guard: Option<Guard>,
    purge_after: Duration,
    mutation: M,
    /// From when it is to be committed until it is.
    span: Span,
    measured: Waiting,
    outcome: Mutex<Option<Result<Outcome, Error>>>,
}

#[async_trait]
impl<M: Mutation> Decision for Pending<M> {
    async fn decide(&self, transaction: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        // In the lane, which knows nothing of whom it works for.
        let deciding = tracing::debug_span!(target: SPANS, parent: &self.span, "decide");
        let decided = self.run(transaction).instrument(deciding).await;
        let (outcome, log) = match decided {
            Ok((outcome, log)) => (Ok(outcome), log),
            // So that the store may try again.
            Err(Error::Store(error)) => return Err(error),
            Err(error) => (Err(error), None),
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        Ok(log)
    }

    fn committed(&self, revision: Revision) {
        self.span.record("revision", revision);
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(Outcome::Events { events, .. })) = &*outcome {
            self.measured.committed(events);
            self.intent.log_change(revision, events, self.measured.began);
        }
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads = self.mutation.reads();
        reads.push((kinds::CHAIN_HEAD, Vec::new()));
        reads.extend(self.guard.as_ref().map(|_| (kinds::ACCESS, Vec::new())));
        reads.extend(self.intent.request_id.map(|id| (kinds::REQUEST, id.into_bytes().to_vec())));
        reads
    }
}

impl<M: Mutation> Pending<M> {
    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(Outcome, Option<Bytes>), Error> {
        // Before all else: also what was done already is for those alone who may do it.
        let current = self.guard.as_ref().map(Guard::current);
        let by = current.as_deref().zip(self.intent.wish.as_deref());
        if let Some((current, wish)) = by {
            let changed = transaction.get(kinds::ACCESS, &[]).await?.map_or(0, |record| record.revision);
            if current.revision() < changed {
                return Ok((Outcome::Behind(changed), None));
            }
            wish.check(current)?;
        }
        let request_id = self.intent.request_id.filter(|_| !self.intent.validate_only);
        if let Some(id) = request_id
            && let Some(revision) = self.intent.revision_of(id, &*transaction).await?
        {
            return Ok((Outcome::Repeated(revision), None));
        }
        let head = match transaction.get(kinds::CHAIN_HEAD, &[]).await? {
            Some(record) => decode(&record)?,
            None => ChainHeadRecord { hash: Bytes::from_static(&CHAIN_START), ..Default::default() },
        };
        // Times never decrease along the log, even if the clock is set back.
        let now = later(transaction.time().into(), head.create_time);
        let mut tx = Tx::new(transaction, &self.intent, now, self.purge_after);
        self.mutation.apply(&mut tx).await?;
        automatic::enter(&mut tx).await?;
        locks::check(&tx).await?;
        tagged::check(&mut tx, by).await?;
        // Without a request id nobody looks for what changed nothing.
        let changes = |event: &pb::Event| event.r#type != event_type::REQUEST_UNCHANGED;
        let is_kept = request_id.is_some() || tx.events.iter().any(changes);
        if tx.events.is_empty() || self.intent.validate_only || !is_kept {
            return Ok((Outcome::Events { events: tx.events, changes_access: false }, None));
        }
        if let Some(id) = request_id {
            let record = RequestRecord { fingerprint: self.intent.fingerprint.clone() };
            tx.put(kinds::REQUEST, id.into_bytes().to_vec(), &record, Vec::new()).await?;
        }
        let changes_access = tx.changes_access;
        let (events, log) = self.seal(tx, head).await?;
        Ok((Outcome::Events { events, changes_access }, Some(log)))
    }

    /// Completes the events and links them to the chain. Answers them also as the log keeps them: a `WatchedEvents`.
    async fn seal(&self, mut tx: Tx<'_>, mut head: ChainHeadRecord) -> Result<(Vec<pb::Event>, Bytes), Error> {
        let revision = tx.revision();
        for model in tx.models_touched() {
            let name = Name::canonical(&MODELS, &model);
            // A model's record changes with every version: who looks for what it was must not have to go through all of them.
            let record = tx.store.get(ModelRow::KIND, &name.key()).await?;
            let reference = EventReferenceRecord { model_revision: record.map_or(0, |record| record.revision) };
            let (key, payload) = (event_reference(&name.prefix(), revision), Bytes::from(reference.encode_to_vec()));
            tx.store.create(Put { kind: kinds::EVENT_REFERENCE, key, payload, places: Vec::new() }).await?;
        }
        let request_id = self.intent.request_id.map(|id| id.to_string()).unwrap_or_default();
        let mut tree = Tree::of(&head)?;
        let number = revision.cast_signed();
        let mut log = pb::WatchedEvents { revision: number, ..Default::default() }.encode_to_vec();
        for (index, event) in (0..).zip(&mut tx.events) {
            event.name = format!("events/{revision}-{index}");
            event.revision = number;
            event.index = index;
            event.uid = Uuid::now_v7().to_string();
            event.create_time = Some(tx.now);
            // What was refused is told of by the server, of those who tried.
            if event.actor.is_empty() {
                event.actor.clone_from(&self.intent.actor);
                event.caller.clone_from(&self.intent.caller);
            }
            event.request_id.clone_from(&request_id);
            // A batch has a comment for each transition.
            if event.comment.is_empty() {
                event.comment.clone_from(&self.intent.comment);
            }
            let bytes = link(&head.hash, event);
            tree.push(&bytes, revision);
            prost::encoding::bytes::encode(EVENTS_FIELD, &bytes, &mut log);
            head.hash.clone_from(&event.hash);
        }
        if log.len() > REVISION_BYTES {
            let size = format!("its events have {} bytes; a revision has at most {REVISION_BYTES}", log.len());
            return Err(Error::TooLarge(size));
        }
        head.create_time = Some(tx.now);
        for (key, row) in tree.grown(&mut head) {
            let payload = Bytes::from(row.encode_to_vec());
            tx.store.create(Put { kind: kinds::TREE_ROW, key, payload, places: Vec::new() }).await?;
        }
        tx.put(kinds::CHAIN_HEAD, Vec::new(), &head, Vec::new()).await?;
        Ok((tx.events, Bytes::from(log)))
    }
}

/// Says that a revision has events of a model, by what the keys of all below that begin with.
pub(super) fn event_reference(model: &[u8], revision: Revision) -> Vec<u8> {
    [model, &revision.to_be_bytes()].concat()
}

/// What comes before the first event.
pub(crate) const CHAIN_START: [u8; 32] = tlog::chain::CHAIN_START.0;

/// Links an event to the one before: sets its hash to `SHA-256(previous hash || event without its hash)`, and answers the event's
/// bytes with it. The encoding is deterministic: prost writes fields by number and leaves defaults out, and maps are sorted. The
/// hash is the last field, so that what was hashed need not be encoded again.
pub(crate) fn link(previous: &[u8], event: &mut pb::Event) -> Vec<u8> {
    event.hash = Bytes::new();
    let mut bytes = event.encode_to_vec();
    event.hash = Bytes::copy_from_slice(&Sha256::new().chain_update(previous).chain_update(&bytes).finalize());
    prost::encoding::bytes::encode(HASH_FIELD, &event.hash, &mut bytes);
    bytes
}

/// The number of `Event.hash`.
const HASH_FIELD: u32 = 16;

/// The later of a time and perhaps another one.
fn later(time: Timestamp, other: Option<Timestamp>) -> Timestamp {
    match other {
        Some(other) if (other.seconds, other.nanos) > (time.seconds, time.nanos) => other,
        _ => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_event_and_cover_what_came_before() {
        let mut event = pb::Event { name: "events/1-0".to_owned(), comment: "why".to_owned(), ..Default::default() };
        let bytes = link(&CHAIN_START, &mut event);
        assert_eq!(bytes, event.encode_to_vec());
        let unhashed = pb::Event { hash: Bytes::new(), ..event.clone() };
        let expected = Sha256::new().chain_update(CHAIN_START).chain_update(unhashed.encode_to_vec()).finalize();
        assert_eq!(event.hash, expected.as_slice());

        let first = event.hash.clone();
        link(&first, &mut event);
        assert_ne!(event.hash, first, "the same event behind another one has another hash");
    }
}
