//! Calls that are made again, within a budget.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::request::Parts;
use registry_proto::{REQUEST_ID_HEADER, rpc};
use tokio::time::sleep;
use tonic::body::Body;
use uuid::Uuid;

use super::Budget;
use super::carry::{Answer, Carry, Request, layer, send};
use super::held::{HELD_BYTES, Held};
use super::outcome::unavailable;
use crate::{RetryPolicy, Transport};

/// Makes calls again that nobody could answer: with `UNAVAILABLE`, or because the connection broke. Only calls that are safe to repeat: reads
/// of the registry, and calls with a request id in the header `x-registry-request-id`; see [`when`](Self::when).
///
/// A call is made at most three times in all, with growing, random pauses, and only while there is [budget](Budget) for that. The request is
/// held until the answer is there; a stream of requests, or one that is too large, is passed on and not repeated.
///
/// A [`RegistryClient`](crate::RegistryClient) does all this by itself, and better: it waits for a server to be back. This is for other
/// clients of a registry.
#[derive(Clone)]
pub struct RetryLayer {
    budget: Budget,
    attempts: u32,
    pauses: RetryPolicy,
    limit: usize,
    gives_ids: bool,
    is_safe: Arc<dyn Fn(&Parts) -> bool + Send + Sync>,
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self {
            budget: Budget::default(),
            attempts: 3,
            pauses: RetryPolicy::default(),
            limit: HELD_BYTES,
            gives_ids: false,
            is_safe: Arc::new(|parts| rpc::is_read(parts.uri.path()) || parts.headers.contains_key(REQUEST_ID_HEADER)),
        }
    }
}

impl RetryLayer {
    /// How often a call is made at most, with the first attempt; 3 unless set.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// What further attempts take from; one call in ten unless set. Layers that are given clones of one budget share it.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// The longest wait before the first further attempt and of all; 100 milliseconds and 1 second unless set.
    pub fn pauses(mut self, initial: Duration, longest: Duration) -> Self {
        (self.pauses.initial_backoff, self.pauses.max_backoff) = (initial, longest);
        self
    }

    /// The largest request that is held, in bytes; 1 MiB unless set.
    pub fn hold(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Gives each call that is no read a request id in the header, unless it has one: so mutations are repeated as well, and happen once.
    /// For clients that leave the field `request_id` of their messages empty: the registry refuses a call with two different ids.
    pub fn give_request_ids(mut self) -> Self {
        self.gives_ids = true;
        self
    }

    /// Which calls are safe to repeat, by their path and their headers, in place of what is said above.
    pub fn when(mut self, is_safe: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.is_safe = Arc::new(is_safe);
        self
    }

    /// A further attempt behind this one, if there may be one.
    fn pays_for_another(&self, attempt: u32) -> bool {
        attempt < self.attempts && self.budget.withdraw()
    }
}

layer!(RetryLayer);

impl Carry for RetryLayer {
    async fn carry(self, inner: Transport, request: Request) -> Answer {
        let (mut parts, body): (Parts, Body) = request.into_parts();
        if self.gives_ids && !rpc::is_read(parts.uri.path()) && !parts.headers.contains_key(REQUEST_ID_HEADER) {
            let id = HeaderValue::try_from(Uuid::now_v7().to_string())?;
            parts.headers.insert(REQUEST_ID_HEADER, id);
        }
        let is_safe = (self.is_safe)(&parts);
        let request = Request::from_parts(parts, body);
        if !is_safe {
            return send(inner, request).await;
        }
        let held = match Held::hold(request, self.limit).await? {
            Ok(held) => held,
            Err(large) => return send(inner, large).await,
        };
        self.budget.deposit();
        let mut attempt = 1;
        loop {
            let (failure, answer) = unavailable(send(inner.clone(), held.request()).await).await;
            let Some(failure) = failure else {
                if attempt > 1 {
                    self.budget.repay();
                }
                return answer;
            };
            if !self.pays_for_another(attempt) {
                return answer;
            }
            sleep(self.pauses.delay(attempt, failure.retry_after)).await;
            attempt += 1;
        }
    }
}

impl fmt::Debug for RetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("budget", &self.budget)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
