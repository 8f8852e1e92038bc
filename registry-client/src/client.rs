//! The client, and the one path of all its calls.

use std::sync::Arc;
use std::time::Duration;

use registry_common::trace_context::TraceContext;
use registry_proto::rpc::{Request, Unary};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tracing::{Instrument, debug_span};

use crate::call::{Call, identify};
use crate::pool::{Pool, Route};
use crate::resilience::{State, TRACEPARENT};
use crate::transport::{self, Transport};
use crate::{Error, RetryPolicy};

/// How long a server may take to answer, unless the program says otherwise.
const ANSWER: Duration = Duration::from_secs(30);
/// As good as for ever.
pub(crate) const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A client of one registry. Cheap to clone; the clones share their connections.
///
/// Connections that break are made again by themselves. A registry may have [several servers](crate#several-servers). What is
/// not as it comes is set on a [`Builder`](crate::Builder).
#[derive(Clone, Debug)]
pub struct RegistryClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    /// Of every request.
    pub(crate) headers: MetadataMap,
    /// What the program wants a unary call to take at most.
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: RetryPolicy,
    /// Whether calls have traces.
    pub(crate) traces: bool,
}

impl RegistryClient {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Any unary RPC with its request message as the contract has it. Short names are not completed in it.
    ///
    /// The other methods return the same [`Call`], with the request filled in.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use registry_client::pb::GetModelRequest;
    ///
    /// let model = client.call(GetModelRequest { name: "models/fraud".into(), ..Default::default() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<R: Unary>(&self, request: R) -> Call<R> {
        Call::new(self, request)
    }

    /// The one path of all unary calls: request id, deadline, servers, retries.
    pub(crate) async fn unary<R: Unary>(&self, mut request: R) -> Result<R::Response, Error> {
        identify(&mut request);
        // Unless it is set, it leaves room for both: the registry's absence, and its answer.
        let whole = self.shared.timeout.unwrap_or(ANSWER.saturating_add(self.retry().patience));
        let deadline = later(Instant::now(), whole);
        // All attempts of a call are in one trace.
        let trace = self.shared.traces.then(|| TraceContext::random().to_string().parse().ok()).flatten();
        let attempt = |transport| {
            let mut request = self.request(request.clone());
            if let Some(trace) = &trace {
                request.metadata_mut().insert(TRACEPARENT, AsciiMetadataValue::clone(trace));
            }
            let end = later(Instant::now(), self.answer_time()).min(deadline);
            // The server gives up when nobody waits any more.
            request.set_timeout(end.saturating_duration_since(Instant::now()));
            async move {
                let answer = timeout_at(end, transport::unary(transport, request)).await;
                Ok(answer.map_err(|_| Error::DeadlineExceeded)??.into_inner())
            }
        };
        let call = self.retry().run(self.route(), R::METHOD, Some(deadline), attempt);
        call.instrument(debug_span!("registry", rpc = R::METHOD)).await
    }

    /// Opens the stream that a request is answered with. Its beginning may take as long as a unary call, all of it longer.
    pub(crate) async fn receive<R: Request>(
        &self,
        transport: Transport,
        request: R,
    ) -> Result<tonic::Streaming<R::Response>, Error> {
        let answer = timeout(self.answer_time(), transport::receive(transport, self.request(request))).await;
        Ok(answer.map_err(|_| Error::DeadlineExceeded)??.into_inner())
    }

    /// The same client, which asks every server once, and waits no longer than this for an answer.
    pub(crate) fn impatient(&self, timeout: Duration) -> Self {
        let Shared { pool, headers, retry, traces, .. } = &*self.shared;
        let retry = RetryPolicy { patience: Duration::ZERO, ..retry.clone() };
        let (pool, timeout, traces) = (Arc::clone(pool), Some(timeout), *traces);
        Self::new(Shared { pool, headers: headers.clone(), timeout, retry, traces })
    }

    /// A message with the headers that every request has.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().clone_from(&self.shared.headers);
        request
    }

    /// How long a server may take to begin its answer.
    fn answer_time(&self) -> Duration {
        self.shared.timeout.unwrap_or(ANSWER)
    }

    pub(crate) fn route(&self) -> Route {
        Route::new(&self.shared.pool)
    }

    /// Where its servers are, as the program said.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &str> {
        self.shared.pool.names()
    }

    /// How they stand, in the same order.
    pub(crate) fn server_states(&self) -> Vec<State> {
        self.shared.pool.states()
    }

    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.shared.retry
    }
}

/// The time after so much more of it.
pub(crate) fn later(start: Instant, duration: Duration) -> Instant {
    start + duration.min(YEARS)
}
