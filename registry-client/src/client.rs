use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use registry_proto::ACTOR_HEADER;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tracing::{Instrument, debug_span};

use crate::call::{Call, Rpc};
use crate::{Error, RetryPolicy};

/// The largest message that is taken: a page of a thousand versions with all that is known of them fits.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Frames of this size instead of the usual 16 KiB save a third of the work of a large transfer.
const FRAME_BYTES: u32 = 256 << 10;
/// What may be under way to one reader: enough to fill 1 Gbit/s at 30 ms, little enough for many slow readers.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A server that is gone without a word is noticed after these two, by a watch as well.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one registry. Cheap to clone; the clones share their connections.
///
/// Connections that break are made again by themselves.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    channels: Vec<Channel>,
    next: AtomicUsize,
    actor: Option<MetadataValue<Ascii>>,
    timeout: Duration,
    retry: RetryPolicy,
}

/// Options of a [`RegistryClient`]; see [`RegistryClient::builder`].
#[must_use = "nothing happens before connect() or connect_lazy()"]
#[derive(Debug, Clone)]
pub struct Builder {
    endpoint: String,
    actor: Option<String>,
    connections: usize,
    connect_timeout: Duration,
    timeout: Duration,
    retry: RetryPolicy,
}

impl RegistryClient {
    /// Connects to the registry at an endpoint such as `http://127.0.0.1:50051`, with the default options.
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody answers there, [`Error::InvalidOption`] if the endpoint is no URL.
    pub async fn connect(endpoint: impl Into<String>) -> Result<Self, Error> {
        Self::builder(endpoint).connect().await
    }

    /// Starts with the default options, to change some of them.
    pub fn builder(endpoint: impl Into<String>) -> Builder {
        Builder {
            endpoint: endpoint.into(),
            actor: None,
            connections: 2,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
        }
    }

    /// Any unary RPC with its request message as the contract has it.
    ///
    /// The other methods return the same [`Call`], with the request filled in.
    pub fn call<R: Rpc>(&self, request: R) -> Call<R> {
        Call::new(self, request)
    }

    /// The one path of all unary calls: request id, deadline, retries.
    pub(crate) async fn unary<R: Rpc>(&self, mut request: R) -> Result<R::Answer, Error> {
        request.identify();
        let deadline = Instant::now() + self.shared.timeout;
        let attempt = || async {
            let mut request = self.request(request.clone());
            // The server gives up when nobody waits any more.
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            let answer = timeout_at(deadline, R::send(self.channel(), request)).await;
            Ok(answer.map_err(|_| Error::DeadlineExceeded)??.into_inner())
        };
        self.retry().run(R::NAME, Some(deadline), attempt).instrument(debug_span!("registry", rpc = R::NAME)).await
    }

    /// Waits for the answer's beginning, for as long as a unary call may take. A stream itself may take longer.
    pub(crate) async fn open<T>(
        &self,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        let answer = timeout(self.shared.timeout, answer).await;
        Ok(answer.map_err(|_| Error::DeadlineExceeded)??.into_inner())
    }

    /// A message with the headers that every request has.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(actor) = &self.shared.actor {
            request.metadata_mut().insert(ACTOR_HEADER, actor.clone());
        }
        request
    }

    /// The connections in turn: one alone is a bottleneck at some 25,000 calls a second.
    pub(crate) fn channel(&self) -> Channel {
        let turn = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.channels[turn % self.shared.channels.len()].clone()
    }

    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.shared.retry
    }
}

impl Builder {
    /// Who calls: the name that the audit trail will show. Without it, that is `anonymous`.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// How many connections the calls are spread over; 2 unless set. More help from some 25,000 calls a second on, and with
    /// several large transfers at a time.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long to wait for a connection; 5 seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a unary call may take, retries included; 30 seconds unless set. The server hears of it.
    ///
    /// Transfers and watches may take as long as they need; a dead connection ends them after half a minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What to do when the registry is unavailable.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Makes the first connection, and the others when they are needed.
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody answers, [`Error::InvalidOption`].
    pub async fn connect(self) -> Result<RegistryClient, Error> {
        let endpoint = self.endpoint()?;
        let first = endpoint.connect().await;
        let first = first.map_err(|source| Error::Connect { endpoint: self.endpoint.clone(), source })?;
        let others = (1..self.connections).map(|_| endpoint.connect_lazy());
        let channels = std::iter::once(first).chain(others).collect();
        self.build(channels)
    }

    /// Makes connections when they are needed: for a program that may start before the registry does. Has to be called
    /// inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn connect_lazy(self) -> Result<RegistryClient, Error> {
        let endpoint = self.endpoint()?;
        let channels = (0..self.connections).map(|_| endpoint.connect_lazy()).collect();
        self.build(channels)
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let invalid =
            |problem: String| Error::InvalidOption { option: "endpoint", value: self.endpoint.clone(), problem };
        let endpoint = Endpoint::from_shared(self.endpoint.clone()).map_err(|error| invalid(error.to_string()))?;
        if endpoint.uri().scheme().is_none() {
            return Err(invalid("not a URL such as http://127.0.0.1:50051".to_owned()));
        }
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEP_ALIVE_INTERVAL))
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
    }

    fn build(self, channels: Vec<Channel>) -> Result<RegistryClient, Error> {
        let header = |actor: String| {
            let value = actor.parse().ok().filter(|value: &MetadataValue<Ascii>| value.to_str().is_ok());
            value.ok_or_else(|| Error::InvalidOption {
                option: "actor",
                value: actor,
                problem: "only visible ASCII characters fit into a header".to_owned(),
            })
        };
        let actor = self.actor.map(header).transpose()?;
        let shared = Shared { channels, next: AtomicUsize::new(0), actor, timeout: self.timeout, retry: self.retry };
        Ok(RegistryClient { shared: Arc::new(shared) })
    }
}
