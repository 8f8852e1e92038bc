//! What a consumer has done, and keeping its lease.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::debug;

use crate::{Error, RegistryClient, pb};

/// How long what was acknowledged waits for more.
const GATHER: Duration = Duration::from_secs(1);

/// The lease of a consumer, and what it has acknowledged.
#[derive(Debug)]
pub(super) struct Kept {
    client: RegistryClient,
    subscription: String,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    /// 0: there is no lease.
    epoch: i64,
    length: Duration,
    /// By this process's clock: the registry may give it to others then.
    until: Option<Instant>,
    delivered: i64,
    acknowledged: i64,
    /// Nothing is to be delivered up to here behind what was.
    marked: i64,
    /// What the registry knows.
    known: i64,
}

impl State {
    /// Up to where everything is done.
    fn done(&self) -> i64 {
        if self.acknowledged >= self.delivered { self.acknowledged.max(self.marked) } else { self.acknowledged }
    }
}

impl Kept {
    pub(super) fn new(client: RegistryClient, subscription: String) -> Self {
        Self { client, subscription, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease was granted just now. False if it is the one that there was.
    pub(super) fn begin(&self, epoch: i64, revision: i64, length: Duration) -> bool {
        let until = Some(Instant::now() + length);
        let mut state = self.state();
        if state.epoch == epoch {
            (state.until, state.length) = (until, length);
            return false;
        }
        *state = State {
            epoch,
            length,
            until,
            delivered: revision,
            acknowledged: revision,
            known: revision,
            marked: revision,
        };
        true
    }

    pub(super) fn epoch(&self) -> i64 {
        self.state().epoch
    }

    pub(super) fn done(&self) -> i64 {
        self.state().done()
    }

    /// Whether the lease may be another's by now.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.state().until.is_some_and(|until| until <= now)
    }

    pub(super) fn lose(&self) {
        *self.state() = State::default();
    }

    /// The lease is over for sure; which one it was is still known.
    fn end(&self) {
        self.state().until = Some(Instant::now());
    }

    pub(super) fn delivered(&self, revision: i64) {
        self.state().delivered = revision;
    }

    pub(super) fn acknowledge(&self, revision: i64) {
        let mut state = self.state();
        // What was not delivered can't be done: a revision of an earlier lease, perhaps.
        state.acknowledged = state.acknowledged.max(revision.min(state.delivered));
    }

    pub(super) fn mark(&self, revision: i64) {
        self.state().marked = revision;
    }

    /// Tells the registry what is done, and keeps the lease or gives it back. Answers what the registry knows then.
    pub(super) async fn send(&self, release: bool) -> Result<i64, Error> {
        let State { epoch, length, known, .. } = self.state().clone();
        if epoch == 0 {
            return Ok(known);
        }
        let revision = self.state().done();
        let began = Instant::now();
        let request = pb::AcknowledgeRequest { name: self.subscription.clone(), epoch, revision, release };
        let answer = self.client.call(request).await?;
        let mut state = self.state();
        if state.epoch == epoch {
            state.known = answer.revision;
            state.until = Some(began + length);
            if release {
                *state = State { known: answer.revision, ..State::default() };
            }
        }
        Ok(answer.revision)
    }

    /// Whether the registry has to hear something: what is done, or that the consumer lives.
    fn is_due(&self, now: Instant) -> bool {
        let state = self.state();
        let kept_for = state.until.map_or(Duration::MAX, |until| until.saturating_duration_since(now));
        // Behind its end it is asked for over the stream.
        let over = kept_for.is_zero();
        state.epoch > 0 && !over && (state.done() > state.known || kept_for < state.length * 2 / 3)
    }
}

/// Keeps the lease, until it is aborted.
pub(super) async fn keep(kept: std::sync::Arc<Kept>) {
    loop {
        let length = kept.state().length;
        tokio::time::sleep(GATHER.min(length / 6).max(Duration::from_millis(50))).await;
        if !kept.is_due(Instant::now()) {
            continue;
        }
        // A lease may not wait as long as a call does.
        match timeout(length.max(GATHER), kept.send(false)).await {
            // The stream ends with it as well, which tells the program.
            Ok(Err(error)) if error.reason() == Some(pb::ErrorReason::LeaseLost) => kept.end(),
            Ok(Err(error)) => debug!(%error, "the lease could not be kept"),
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}
