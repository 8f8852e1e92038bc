//! How a client is made: its servers, and everything that does not have to be as it comes.

mod resilience;
#[cfg_attr(not(feature = "tls"), path = "builder/without_tls.rs")]
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::client::legacy::connect::HttpConnector;
use registry_common::shown;
use registry_proto::{ACTOR_BIN_HEADER, ACTOR_HEADER};
use tonic::body::Body;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::InvalidUri;
use tonic::codegen::{Body as HttpBody, Service, StdError, http};
use tonic::metadata::{Ascii, AsciiMetadataKey, MetadataMap, MetadataValue};
use tonic::service::{Interceptor, InterceptorLayer};
use tonic::transport::Endpoint;
use tower::Layer;

use self::tls::Means;
use crate::client::Shared;
use crate::endpoint::{is_https, problem_of, url};
use crate::line::Plain;
use crate::pool::Pool;
use crate::resilience::{Budget, HedgeLayer, TokenLayer};
use crate::transport::{Address, Layers, Origin, Transport};
use crate::work::Callback;
use crate::{Error, Outage, RegistryClient, RetryPolicy};

/// Frames of this size instead of the usual 16 KiB save a third of the work of a large transfer.
const FRAME_BYTES: u32 = 256 << 10;
/// What may be under way to one reader: enough to fill 1 Gbit/s at 30 ms, little enough for many slow readers.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A server that is gone without a word is noticed after these two, by a watch as well, and before a call's time for an answer is over:
/// it can still go to another server.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Options of a [`RegistryClient`]; see [`RegistryClient::builder`].
#[must_use = "nothing happens before connect() or connect_lazy()"]
#[derive(Clone)]
pub struct Builder {
    endpoints: Vec<String>,
    services: Vec<Transport>,
    layers: Layers,
    headers: Vec<(String, String)>,
    actor: Option<String>,
    #[cfg(feature = "tls")]
    tls: tls::Options,
    connections: usize,
    connect_timeout: Duration,
    timeout: Option<Duration>,
    retry: RetryPolicy,
    budget: Budget,
    hedge: Option<HedgeLayer>,
    token_file: Option<PathBuf>,
    traces: bool,
    on_outage: Callback<Outage>,
}

impl RegistryClient {
    /// Connects to the registry at an endpoint such as `http://127.0.0.1:50051` or `127.0.0.1:50051`, which is the same, or at several
    /// that are separated by commas, with the default options.
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody answers at any of them, [`Error::InvalidOption`] if one is no URL, has more than a host and a
    /// port, or begins with `https://` and the crate's feature `tls` is off.
    pub async fn connect(endpoints: impl Into<String>) -> Result<Self, Error> {
        Self::builder(endpoints).connect().await
    }

    /// Starts with the default options, to change some of them. The endpoints are as for [`connect`](Self::connect).
    ///
    /// ```no_run
    /// # use registry_client::RegistryClient;
    /// # async fn example(token: String) -> Result<(), registry_client::Error> {
    /// let client = RegistryClient::builder("http://127.0.0.1:50051")
    ///     .actor("trainer")
    ///     .token(token)
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(endpoints: impl Into<String>) -> Builder {
        Builder::new(vec![endpoints.into()])
    }

    /// Starts with a tower service of the program's own in place of a connection: one to a server in the same process, for
    /// example, or over a socket that tonic does not know. It is taken to be there, and cloned for each call.
    pub fn with_service<S, B>(service: S) -> Builder
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<StdError>,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        Builder::new(Vec::new()).service(service)
    }
}

impl Builder {
    fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            services: Vec::new(),
            layers: Layers::default(),
            headers: Vec::new(),
            actor: None,
            #[cfg(feature = "tls")]
            tls: tls::Options::default(),
            connections: 2,
            connect_timeout: Duration::from_secs(5),
            timeout: None,
            retry: RetryPolicy::default(),
            budget: Budget::default(),
            hedge: None,
            token_file: None,
            traces: false,
            on_outage: None,
        }
    }

    /// Another server of the same registry, or several that are separated by commas.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Another server of the same registry, as a tower service of the program's own: see [`RegistryClient::with_service`].
    pub fn service<S, B>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<StdError>,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        self.services.push(Transport::of(service));
        self
    }

    /// Who calls: the name that the audit trail will show, in any script. Without it, that is `anonymous`.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// The secret of a token, `mr_...`, which says who calls where the registry asks for that: the header `authorization`. One that is in
    /// a file, and may change, is for [`token_file`](Self::token_file).
    pub fn token(self, secret: impl AsRef<str>) -> Self {
        self.header("authorization", format!("Bearer {}", secret.as_ref().trim()))
    }

    /// A header of every request, for example `authorization`. For one that changes, see [`interceptor`](Self::interceptor).
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sees every request before it is sent, each attempt anew, and may add headers or refuse it:
    ///
    /// ```no_run
    /// # use registry_client::{RegistryClient, tonic};
    /// # fn token() -> tonic::metadata::AsciiMetadataValue { unimplemented!() }
    /// # async fn example() -> Result<(), registry_client::Error> {
    /// let client = RegistryClient::builder("http://127.0.0.1:50051")
    ///     .interceptor(|mut request: tonic::Request<()>| {
    ///         request.metadata_mut().insert("authorization", token());
    ///         Ok(request)
    ///     })
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn interceptor(self, interceptor: impl Interceptor + Clone + Send + Sync + 'static) -> Self {
        self.layer(InterceptorLayer::new(interceptor))
    }

    /// Puts a tower layer around every connection: it sees each attempt as an HTTP request and the server's response. Of several
    /// layers, the one that was added first sees a request first. Each costs a box for a call; tower's `ServiceBuilder` makes one
    /// of many.
    ///
    /// ```no_run
    /// # use registry_client::RegistryClient;
    /// use tower::util::MapRequestLayer;
    ///
    /// # async fn example() -> Result<(), registry_client::Error> {
    /// let client = RegistryClient::builder("http://127.0.0.1:50051")
    ///     .layer(MapRequestLayer::new(|request: http::Request<_>| {
    ///         println!("calling {}", request.uri().path());
    ///         request
    ///     }))
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<L, S, B>(mut self, layer: L) -> Self
    where
        L: Layer<Transport, Service = S> + Send + Sync + 'static,
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<StdError>,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        self.layers.add(move |transport| Transport::of(layer.layer(transport)));
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

    /// How long a unary call may take in all, also while the registry is unavailable. The server hears of it.
    ///
    /// Unless set, a server has 30 seconds to answer, and a call ends 30 seconds after the [patience](Self::retry_for) with the registry
    /// at the latest. Transfers and watches may take as long as they need; a dead connection is noticed after a quarter of a minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long to wait for a registry that is unavailable, for example because it is restarted: in calls, in transfers since their last
    /// progress, and in [`connect`](Self::connect). 30 seconds unless set; zero asks every server once. Watches wait without end.
    pub fn retry_for(mut self, patience: Duration) -> Self {
        self.retry.patience = patience;
        self
    }

    /// The same with the pauses between the attempts.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Calls back when something has waited about two seconds for a registry that is unavailable, and goes on waiting: once until it
    /// answers again. An [`Outage`] is printed as a line for people. Watches tell of it
    /// [by themselves](crate::WatchItem::Disconnected).
    pub fn on_outage(mut self, callback: impl Fn(Outage) + Send + Sync + 'static) -> Self {
        self.on_outage = Some(Arc::new(callback));
        self
    }

    /// Makes the first connection, to the server that is the first to answer, and the others when they are needed. It waits for a
    /// registry that is not there as long as a call does: see [`retry_for`](Self::retry_for).
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody answers, [`Error::InvalidOption`].
    pub async fn connect(self) -> Result<RegistryClient, Error> {
        let addresses = self.addresses()?;
        let mut pool = self.pool(addresses.clone());
        pool.connect(&addresses, &self.retry).await?;
        self.build(pool)
    }

    /// Makes connections when they are needed: for a program that may start long before the registry does. Has to be called
    /// inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn connect_lazy(self) -> Result<RegistryClient, Error> {
        let pool = self.pool(self.addresses()?);
        self.build(pool)
    }

    fn pool(&self, addresses: Vec<Address>) -> Pool {
        let (connections, patience, budget) = (self.connections, self.connect_timeout, self.budget.clone());
        Pool::lazy(addresses, connections, patience, &self.retry, budget, self.hedge.clone(), self.on_outage.clone())
    }

    fn addresses(&self) -> Result<Vec<Address>, Error> {
        let mut layers = self.layers.clone();
        if let Some(path) = &self.token_file {
            let token = TokenLayer::open(path)?;
            layers.add(move |transport| Transport::of(token.layer(transport)));
        }
        let address = |name: &str, origin| Address { name: name.to_owned(), origin, layers: layers.clone() };
        let name = |place: usize| match self.services.len() {
            1 => "the service".to_owned(),
            _ => format!("service {}", place + 1),
        };
        let mut means = None;
        let services = self.services.iter().enumerate();
        let mut addresses: Vec<_> =
            services.map(|(place, service)| address(&name(place), Origin::Service(service.clone()))).collect();
        for list in &self.endpoints {
            for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let url = url(name);
                // A server that is named twice gets no double share.
                if !addresses.iter().any(|known| known.name == url) {
                    if is_https(&url) && means.is_none() {
                        means = Some(Means::of(self)?);
                    }
                    let origin = self.origin_at(&url, means.as_ref()).map_err(|problem| {
                        // A password may have a comma, so that only a part of it is in the name.
                        let value = shown::url(if list.contains('@') { list } else { name });
                        Error::InvalidOption { option: "endpoint", value, problem }
                    })?;
                    addresses.push(address(&url, origin));
                }
            }
        }
        if addresses.is_empty() {
            let problem = "names no server".to_owned();
            return Err(Error::InvalidOption { option: "endpoint", value: self.endpoints.join(","), problem });
        }
        Ok(addresses)
    }

    /// The way to the server of that name, or what is wrong with it.
    fn origin_at(&self, name: &str, means: Option<&Means>) -> Result<Origin, String> {
        // A socket of this machine, which is not in the language of URLs.
        if name.starts_with("unix:") {
            let endpoint = Endpoint::from_shared(name.to_owned()).map_err(|error| error.to_string())?;
            return Ok(Origin::Endpoint(Box::new(self.set(endpoint))));
        }
        let uri: Uri = name.parse().map_err(|error: InvalidUri| error.to_string())?;
        if let Some(problem) = problem_of(name, &uri) {
            return Err(problem);
        }
        match means {
            Some(means) if is_https(name) => means.origin(uri, self),
            _ if Means::are_set(self) => Err("TLS is configured, and needs https".to_owned()),
            _ => Ok(Origin::Plain(Box::new(self.set(Endpoint::from(uri))), Box::new(Plain::new(self.tcp())))),
        }
    }

    /// What connects to a server.
    fn tcp(&self) -> HttpConnector {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE_INTERVAL));
        // Of which each of a host's addresses gets a part.
        tcp.set_connect_timeout(Some(self.connect_timeout));
        tcp
    }

    fn set(&self, endpoint: Endpoint) -> Endpoint {
        endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEP_ALIVE_INTERVAL))
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
    }

    fn build(self, pool: Pool) -> Result<RegistryClient, Error> {
        let mut headers = MetadataMap::new();
        for (name, value) in &self.headers {
            let invalid = |problem: &str| Error::InvalidOption {
                option: "header",
                value: name.clone(),
                problem: problem.to_owned(),
            };
            let key = name.parse::<AsciiMetadataKey>().map_err(|_| invalid("is not the name of a header with text"))?;
            // What may be a secret is not shown.
            let mut value = ascii(value).ok_or_else(|| invalid("its value has more than visible ASCII characters"))?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        if let Some(actor) = self.actor {
            if actor.contains(char::is_control) {
                let problem = "has control characters".to_owned();
                return Err(Error::InvalidOption { option: "actor", value: actor, problem });
            }
            // Spaces at its ends may get lost in a header of text.
            match ascii(&actor).filter(|_| actor.trim() == actor) {
                Some(text) => drop(headers.insert(ACTOR_HEADER, text)),
                None => drop(headers.insert_bin(ACTOR_BIN_HEADER, MetadataValue::from_bytes(actor.as_bytes()))),
            }
        }
        let shared =
            Shared { pool: Arc::new(pool), headers, timeout: self.timeout, retry: self.retry, traces: self.traces };
        Ok(RegistryClient::new(shared))
    }
}

/// What fits into a header as text.
fn ascii(text: &str) -> Option<MetadataValue<Ascii>> {
    text.parse().ok().filter(|value: &MetadataValue<Ascii>| value.to_str().is_ok())
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the headers, which may be secrets, and what may be one in an endpoint.
        let mut debug = f.debug_struct("Builder");
        let endpoints: Vec<_> = self.endpoints.iter().map(|list| shown::url(list)).collect();
        debug.field("endpoints", &endpoints).field("services", &self.services).field("layers", &self.layers);
        debug.field("actor", &self.actor).field("connections", &self.connections);
        debug.field("connect_timeout", &self.connect_timeout).field("timeout", &self.timeout);
        debug.field("retry", &self.retry).finish_non_exhaustive()
    }
}
