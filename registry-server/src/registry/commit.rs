//! From a mutation to one revision with its events: the same path for every change.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use registry_proto::store::RequestRecord;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use uuid::Uuid;

use super::kinds;
use super::transaction::Tx;
use super::{Registry, chain, keys, records};
use crate::error::Error;
use crate::store::{Decision, Kind, Put, Revision, StoreError, Transaction};

/// Who wants a change, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    /// Who.
    pub(crate) actor: String,
    /// The caller's name for the request: under it, it happens once.
    pub(crate) request_id: Option<Uuid>,
    /// Tells this request from any other one under the same id.
    pub(crate) fingerprint: Bytes,
    /// Why.
    pub(crate) comment: String,
    /// Answer what would come out, and change nothing.
    pub(crate) validate_only: bool,
}

impl Order {
    /// What the server does by itself.
    pub(crate) fn own() -> Self {
        Self { actor: "registry-server".to_owned(), ..Self::default() }
    }
}

/// A change, to be decided in the store's lane.
#[async_trait]
pub(crate) trait Mutation: Send + Sync + 'static {
    /// Checks, writes, and logs events; without events nothing is kept. May be run again from the start.
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error>;

    /// What it will probably read, as [`Decision::reads`] has it.
    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        Vec::new()
    }
}

/// What a mutation led to. The answer to the caller is made from this alone, so that a repeated request is answered alike.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    /// The revision; 0 if nothing was changed.
    pub(crate) revision: Revision,
    /// The events of the revision.
    pub(crate) events: Vec<pb::Event>,
}

impl Committed {
    /// The first event of a type.
    pub(crate) fn into_event(self, r#type: pb::EventType) -> Result<pb::Event, Error> {
        self.events
            .into_iter()
            .find(|event| event.r#type() == r#type)
            .ok_or_else(|| Error::internal(format!("revision {} has no {}", self.revision, r#type.as_str_name())))
    }
}

impl Registry {
    /// Carries a mutation out, or finds that it was carried out already.
    pub(crate) async fn commit(&self, order: Order, mutation: impl Mutation) -> Result<Committed, Error> {
        let pending = Arc::new(Pending { order, mutation, outcome: Mutex::new(None) });
        let decision: Arc<dyn Decision> = Arc::clone(&pending) as _;
        let revision = self.store.commit(decision).await?;
        let outcome = pending.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        match outcome.ok_or_else(|| Error::internal("a commit was not decided"))?? {
            Outcome::Events(events) => Ok(Committed { revision: revision.unwrap_or(0), events }),
            Outcome::Repeated(revision) => {
                let events = self.tail.events_of(revision).await?;
                Ok(Committed { revision, events })
            }
        }
    }
}

/// The number of `WatchedEvents.events`.
const EVENTS_FIELD: u32 = 2;

enum Outcome {
    Events(Vec<pb::Event>),
    /// The request was carried out in this revision.
    Repeated(Revision),
}

/// A mutation on its way through the lane.
struct Pending<M> {
    order: Order,
    mutation: M,
    outcome: Mutex<Option<Result<Outcome, Error>>>,
}

#[async_trait]
impl<M: Mutation> Decision for Pending<M> {
    async fn decide(&self, transaction: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        let decided = self.run(transaction).await;
        let (outcome, log) = match decided {
            Ok((outcome, log)) => (Ok(outcome), log),
            // So that the store may try again.
            Err(Error::Store(error)) => return Err(error),
            Err(error) => (Err(error), None),
        };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        Ok(log)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads = self.mutation.reads();
        reads.push((kinds::CHAIN_HEAD, Vec::new()));
        reads.extend(self.order.request_id.map(|id| (kinds::REQUEST, id.into_bytes().to_vec())));
        reads
    }
}

impl<M: Mutation> Pending<M> {
    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(Outcome, Option<Bytes>), Error> {
        let request_id = self.order.request_id.filter(|_| !self.order.validate_only);
        if let Some(id) = request_id
            && let Some(revision) = self.revision_of(id, transaction).await?
        {
            return Ok((Outcome::Repeated(revision), None));
        }
        let mut tx = Tx::new(transaction, &self.order.actor);
        self.mutation.apply(&mut tx).await?;
        if tx.events.is_empty() || self.order.validate_only {
            return Ok((Outcome::Events(tx.events), None));
        }
        if let Some(id) = request_id {
            let record = RequestRecord { fingerprint: self.order.fingerprint.clone(), revision: tx.revision() };
            tx.put(kinds::REQUEST, id.into_bytes().to_vec(), &record, Vec::new()).await?;
        }
        let (events, log) = self.seal(tx).await?;
        Ok((Outcome::Events(events), Some(log)))
    }

    /// The revision in which a request was carried out, if it was.
    async fn revision_of(&self, id: Uuid, transaction: &dyn Transaction) -> Result<Option<Revision>, Error> {
        let Some(record) = transaction.get(kinds::REQUEST, id.as_bytes()).await? else { return Ok(None) };
        let record: RequestRecord = records::decode(&record)?;
        if record.fingerprint != self.order.fingerprint {
            let used = format!("{id} was used for another request");
            return Err(Error::field("request_id", ErrorReason::RequestIdReused, used));
        }
        Ok(Some(record.revision))
    }

    /// Completes the events and links them to the chain. Answers them also as the log keeps them: a `WatchedEvents`.
    async fn seal(&self, mut tx: Tx<'_>) -> Result<(Vec<pb::Event>, Bytes), Error> {
        let revision = tx.revision();
        for model in tx.models_touched() {
            let key = keys::event_reference(&model, revision);
            let put = Put { kind: kinds::EVENT_REFERENCE, key, payload: Bytes::new(), places: Vec::new() };
            tx.store.put(put).await?;
        }
        let head = tx.store.get(kinds::CHAIN_HEAD, &[]).await?;
        let mut hash = head.map_or_else(|| Bytes::from_static(&chain::START), |head| head.payload);
        let request_id = self.order.request_id.map(|id| id.to_string()).unwrap_or_default();
        let mut log = pb::WatchedEvents { revision, events: Vec::new() }.encode_to_vec();
        for (index, event) in (0u32..).zip(&mut tx.events) {
            event.name = format!("events/{revision}-{index}");
            event.revision = revision;
            event.index = index;
            event.event_id = Uuid::now_v7().to_string();
            event.time = Some(tx.now);
            event.actor.clone_from(&self.order.actor);
            event.request_id.clone_from(&request_id);
            // A batch has a comment for each transition.
            if event.comment.is_empty() {
                event.comment.clone_from(&self.order.comment);
            }
            let bytes = chain::link(&hash, event);
            prost::encoding::bytes::encode(EVENTS_FIELD, &bytes, &mut log);
            hash.clone_from(&event.hash);
        }
        tx.store.put(Put { kind: kinds::CHAIN_HEAD, key: Vec::new(), payload: hash, places: Vec::new() }).await?;
        Ok((tx.events, Bytes::from(log)))
    }
}
