//! A circuit breaker around one endpoint.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tonic::{Code, Status};
use tower::Layer;

use super::carry::{Answer, Carrier, Carry, Layered, Request, send};
use super::circuit::{BreakerPolicy, Circuit, Permit};
use super::outcome::{Ear, code_in_head, observed, refusal};
use crate::Transport;

/// Stops calling an endpoint that fails: behind [so many failures](BreakerPolicy) in a row, calls end at once with `UNAVAILABLE`, until one
/// call is let through as a trial and is answered.
///
/// A failure is `UNAVAILABLE`, `DEADLINE_EXCEEDED` or a broken connection. Every other answer shows that the endpoint works, and that a
/// stream began does as well. Each service that the layer is put around has a circuit of its own: so put it around each endpoint, not around
/// what chooses among them.
///
/// A [`RegistryClient`](crate::RegistryClient) has a circuit for each server by itself.
#[derive(Debug, Clone, Default)]
pub struct BreakerLayer {
    policy: BreakerPolicy,
}

impl BreakerLayer {
    /// With other figures than usual.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy }
    }
}

impl<S: Carrier> Layer<S> for BreakerLayer {
    type Service = Layered<Breaker>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered::new(Breaker { policy: self.policy, circuit: Arc::default() }, inner)
    }
}

/// The circuit of one endpoint.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    circuit: Arc<Mutex<Circuit>>,
}

impl Breaker {
    fn with<T>(&self, tell: impl FnOnce(&mut Circuit) -> T) -> T {
        tell(&mut self.circuit.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ended(&self, permit: Permit, code: Code) {
        let now = Instant::now();
        self.with(|circuit| match code {
            Code::Unavailable | Code::DeadlineExceeded => {
                circuit.failed(permit, now, None, rand::random(), &self.policy);
            }
            // Nobody waited for the answer: another trial may be made.
            Code::Cancelled => drop(circuit.abandoned(permit, now)),
            _ => drop(circuit.answered(permit)),
        });
    }
}

impl Carry for Breaker {
    async fn carry(self, inner: Transport, request: Request) -> Answer {
        let now = Instant::now();
        let permit = match self.with(|circuit| circuit.admit(now, &self.policy)) {
            Ok(permit) => permit,
            Err(until) => {
                let ms = until.saturating_duration_since(now).as_millis();
                let message = format!("the endpoint has failed, and is left alone for another {ms} ms");
                return refusal(Status::unavailable(message));
            }
        };
        let breaker = self.clone();
        let ear = Ear::new(move |code| breaker.ended(permit, code));
        let answer = send(inner, request).await;
        if answer.as_ref().is_ok_and(|response| code_in_head(response).is_none()) {
            // What follows may be a stream without end.
            self.with(|circuit| circuit.answered(permit));
        }
        observed(answer, ear)
    }
}
