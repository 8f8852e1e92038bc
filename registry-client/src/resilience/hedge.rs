//! Reads that are asked a second time when the answer is late.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_proto::rpc;
use tokio::time::{Instant, sleep};

use super::Budget;
use super::carry::{Answer, Carry, Request, layer, send};
use super::held::{HELD_BYTES, Held};
use super::latencies::Latencies;
use super::outcome::unavailable;
use crate::Transport;

/// Asks a second time when an answer is late, and takes the first one that comes: one slow server, or one lost packet, no longer makes a
/// call slow. Only for calls that read: those that the registry's contract has as [reads](registry_proto::rpc::is_read).
///
/// Late is what takes longer than nineteen of twenty of the last 128 calls took, as soon as twenty are known, or a
/// [fixed time](Self::after). At most one call in twenty is asked twice, over ten seconds. If one of the two finds nobody to answer, the
/// other's answer counts.
///
/// tower's own `hedge` was no fit: it takes an error for an answer, does not know a gRPC status, and has no budget.
///
/// A [`RegistryClient`](crate::RegistryClient) asks another server, if one is in use: see [`Builder::hedge`](crate::Builder::hedge). Around
/// a channel the second call takes the same one.
#[derive(Debug, Clone)]
pub struct HedgeLayer {
    after: Option<Duration>,
    budget: Budget,
    latencies: Arc<Mutex<Latencies>>,
}

impl Default for HedgeLayer {
    fn default() -> Self {
        Self { after: None, budget: Budget::new(0.05, 0), latencies: Arc::default() }
    }
}

impl HedgeLayer {
    /// Asks a second time after this, in place of what the last calls took.
    pub fn after(mut self, time: Duration) -> Self {
        self.after = Some(time);
        self
    }

    /// What second calls take from; one call in twenty unless set.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Makes a call by `first`, and by `second` if that is late. Returns the answer, and whether it is the second one's.
    pub(crate) async fn race(
        self,
        first: Transport,
        second: impl FnOnce() -> Transport,
        request: Request,
    ) -> (Answer, bool) {
        if !rpc::is_read(request.uri().path()) {
            return (send(first, request).await, false);
        }
        let held = match Held::hold(request, HELD_BYTES).await {
            Ok(Ok(held)) => held,
            Ok(Err(large)) => return (send(first, large).await, false),
            Err(status) => return (Err(status.into()), false),
        };
        self.budget.deposit();
        let (start, late) = (Instant::now(), self.after.or_else(|| self.latencies().p95()));
        let ask = async |transport: Transport| unavailable(send(transport, held.request()).await).await;
        let mut one = pin!(ask(first));
        let in_time = match late {
            None => Some(one.as_mut().await),
            Some(late) => tokio::select! {
                biased;
                ended = one.as_mut() => Some(ended),
                () = sleep(late) => None,
            },
        };
        let (failure, answer, is_second) = match in_time {
            Some((failure, answer)) => (failure, answer, false),
            None if !self.budget.withdraw() => {
                let (failure, answer) = one.await;
                (failure, answer, false)
            }
            None => {
                let mut two = pin!(ask(second()));
                let ((failure, answer), is_second) = tokio::select! {
                    biased;
                    ended = one.as_mut() => (ended, false),
                    ended = two.as_mut() => (ended, true),
                };
                match (failure, is_second) {
                    (None, _) => (None, answer, is_second),
                    (Some(_), false) => {
                        let (failure, answer) = two.await;
                        (failure, answer, true)
                    }
                    (Some(_), true) => {
                        let (failure, answer) = one.await;
                        (failure, answer, false)
                    }
                }
            }
        };
        if failure.is_none() {
            self.latencies().record(start.elapsed());
        }
        (answer, is_second)
    }

    fn latencies(&self) -> MutexGuard<'_, Latencies> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

layer!(HedgeLayer);

impl Carry for HedgeLayer {
    async fn carry(self, inner: Transport, request: Request) -> Answer {
        let second = inner.clone();
        self.race(inner, || second, request).await.0
    }
}

/// The same with a way of its own for the second call.
#[derive(Debug, Clone)]
pub(crate) struct Hedged {
    pub(crate) hedge: HedgeLayer,
    pub(crate) second: Transport,
    /// Whether the answer is the second one's.
    pub(crate) by_second: Arc<AtomicBool>,
}

impl Carry for Hedged {
    async fn carry(self, inner: Transport, request: Request) -> Answer {
        let Self { hedge, second, by_second } = self;
        let (answer, is_second) = hedge.race(inner, || second, request).await;
        by_second.store(is_second, Ordering::Relaxed);
        answer
    }
}
