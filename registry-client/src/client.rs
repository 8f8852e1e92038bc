use std::sync::Arc;
use std::time::Duration;

use registry_proto::ACTOR_HEADER;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::codegen::http::uri::Scheme;
use tonic::metadata::{Ascii, MetadataValue};
#[cfg(feature = "tls")]
use tonic::transport::ClientTlsConfig;
use tonic::transport::Endpoint;
use tracing::{Instrument, debug_span};

use crate::call::{Call, Rpc};
#[cfg(feature = "tls")]
use crate::error::causes;
use crate::pool::{Endpoints, Pool, Route};
use crate::{Error, RetryPolicy};

/// The largest message that is taken: a page of a thousand versions with all that is known of them fits.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Frames of this size instead of the usual 16 KiB save a third of the work of a large transfer.
const FRAME_BYTES: u32 = 256 << 10;
/// What may be under way to one reader: enough to fill 1 Gbit/s at 30 ms, little enough for many slow readers.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A server that is gone without a word is noticed after these two, by a watch as well. That leaves a call half of its usual time
/// for another server.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one registry. Cheap to clone; the clones share their connections.
///
/// Connections that break are made again by themselves. A registry may have [several servers](crate#several-servers).
#[derive(Clone, Debug)]
pub struct RegistryClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Arc<Pool>,
    actor: Option<MetadataValue<Ascii>>,
    timeout: Duration,
    retry: RetryPolicy,
}

/// Options of a [`RegistryClient`]; see [`RegistryClient::builder`].
#[must_use = "nothing happens before connect() or connect_lazy()"]
#[derive(Debug, Clone)]
pub struct Builder {
    endpoints: Vec<String>,
    actor: Option<String>,
    connections: usize,
    connect_timeout: Duration,
    timeout: Duration,
    retry: RetryPolicy,
}

impl RegistryClient {
    /// Connects to the registry at an endpoint such as `http://127.0.0.1:50051`, or at several that are separated by commas, with
    /// the default options.
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody answers at any of them, [`Error::InvalidOption`] if one is no URL.
    pub async fn connect(endpoints: impl Into<String>) -> Result<Self, Error> {
        Self::builder(endpoints).connect().await
    }

    /// Starts with the default options, to change some of them. The endpoints are as for [`connect`](Self::connect).
    pub fn builder(endpoints: impl Into<String>) -> Builder {
        Builder {
            endpoints: vec![endpoints.into()],
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

    /// The one path of all unary calls: request id, deadline, servers, retries.
    pub(crate) async fn unary<R: Rpc>(&self, mut request: R) -> Result<R::Answer, Error> {
        request.identify();
        let deadline = Instant::now() + self.shared.timeout;
        let attempt = |channel| {
            let mut request = self.request(request.clone());
            // The server gives up when nobody waits any more.
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            async move {
                let answer = timeout_at(deadline, R::send(channel, request)).await;
                Ok(answer.map_err(|_| Error::DeadlineExceeded)??.into_inner())
            }
        };
        let call = self.retry().run(self.route(), R::NAME, Some(deadline), attempt);
        call.instrument(debug_span!("registry", rpc = R::NAME)).await
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

    pub(crate) fn route(&self) -> Route {
        Route::new(&self.shared.pool)
    }

    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.shared.retry
    }
}

impl Builder {
    /// Another server of the same registry, or several that are separated by commas.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Who calls: the name that the audit trail will show. Without it, that is `anonymous`.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// How many connections to each server the calls are spread over; 2 unless set. More help from some 25,000 calls a second on, and with
    /// several large transfers at a time.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long to wait for a connection, or for a server to say that it is back; 5 seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a unary call may take, retries included; 30 seconds unless set. The server hears of it.
    ///
    /// Transfers and watches may take as long as they need; a dead connection is noticed after a quarter of a
    /// minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What to do when the registry is unavailable.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Makes the first connection, to the server that is the first to answer, and the others when they are needed.
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody answers, [`Error::InvalidOption`].
    pub async fn connect(self) -> Result<RegistryClient, Error> {
        let pool = Pool::connect(self.endpoints()?, self.connections, self.connect_timeout).await;
        let pool = pool.map_err(|endpoints| Error::Connect { endpoints })?;
        self.build(pool)
    }

    /// Makes connections when they are needed: for a program that may start before the registry does. Has to be called
    /// inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn connect_lazy(self) -> Result<RegistryClient, Error> {
        let pool = Pool::lazy(self.endpoints()?, self.connections, self.connect_timeout);
        self.build(pool)
    }

    fn endpoints(&self) -> Result<Endpoints, Error> {
        let mut endpoints = Endpoints::new();
        let named = self.endpoints.iter().flat_map(|list| list.split(',')).map(str::trim);
        for name in named.filter(|name| !name.is_empty()) {
            // A server that is named twice gets no double share.
            if !endpoints.iter().any(|(known, _)| known == name) {
                endpoints.push((name.to_owned(), self.endpoint_at(name)?));
            }
        }
        if endpoints.is_empty() {
            let problem = "names no server".to_owned();
            return Err(Error::InvalidOption { option: "endpoint", value: self.endpoints.join(","), problem });
        }
        Ok(endpoints)
    }

    fn endpoint_at(&self, name: &str) -> Result<Endpoint, Error> {
        let invalid = |problem: String| Error::InvalidOption { option: "endpoint", value: name.to_owned(), problem };
        let endpoint = Endpoint::from_shared(name.to_owned()).map_err(|error| invalid(error.to_string()))?;
        if endpoint.uri().scheme().is_none() {
            return Err(invalid("not a URL such as http://127.0.0.1:50051".to_owned()));
        }
        let endpoint = secured(endpoint).map_err(invalid)?;
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

    fn build(self, pool: Pool) -> Result<RegistryClient, Error> {
        let header = |actor: String| {
            let value = actor.parse().ok().filter(|value: &MetadataValue<Ascii>| value.to_str().is_ok());
            value.ok_or_else(|| Error::InvalidOption {
                option: "actor",
                value: actor,
                problem: "only visible ASCII characters fit into a header".to_owned(),
            })
        };
        let actor = self.actor.map(header).transpose()?;
        let shared = Shared { pool: Arc::new(pool), actor, timeout: self.timeout, retry: self.retry };
        Ok(RegistryClient { shared: Arc::new(shared) })
    }
}

/// The endpoint with TLS if its URL says so.
#[cfg(feature = "tls")]
fn secured(endpoint: Endpoint) -> Result<Endpoint, String> {
    if endpoint.uri().scheme() != Some(&Scheme::HTTPS) {
        return Ok(endpoint);
    }
    let tls = ClientTlsConfig::new().with_enabled_roots();
    endpoint.tls_config(tls).map_err(|error| causes(&error))
}

/// The endpoint, unless its URL asks for TLS.
#[cfg(not(feature = "tls"))]
fn secured(endpoint: Endpoint) -> Result<Endpoint, String> {
    match endpoint.uri().scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => {
            Err("https needs the feature `tls` of the crate registry-client".to_owned())
        }
        _ => Ok(endpoint),
    }
}
