//! What carries requests to a server: tonic's channel, or a service of the program's own, and the layers around it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, Either, MapErr, TryFutureExt};
use registry_proto::rpc;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Body as HttpBody, Service, StdError, http};
use tonic::transport::channel::ResponseFuture;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::util::{BoxCloneSyncService, ServiceExt};

use crate::Error;
use crate::line::{Plain, Trouble};
use crate::resilience::{Carry, Layered};
#[cfg(feature = "tls")]
use crate::tls::Secured;

/// The largest message that is taken: a page of a thousand versions with all that is known of them fits.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The way to one server, as a tower service. [Layers](crate::Builder::layer) stand around it.
#[derive(Debug, Clone)]
pub struct Transport {
    way: Way,
    /// The server's name, for people.
    endpoint: Arc<str>,
    trouble: Trouble,
}

#[derive(Debug, Clone)]
enum Way {
    /// The usual one, which needs no box.
    Channel(Channel),
    Service(BoxCloneSyncService<http::Request<Body>, http::Response<Body>, StdError>),
}

impl Transport {
    pub(crate) fn of<S, B>(service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<StdError>,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let service = service.map_response(|response: http::Response<B>| response.map(Body::new));
        Way::Service(BoxCloneSyncService::new(service.map_err(Into::into))).into()
    }

    /// The same way with a layer around it.
    pub(crate) fn with(self, layer: impl Carry) -> Self {
        let (endpoint, trouble) = (Arc::clone(&self.endpoint), self.trouble.clone());
        Self { endpoint, trouble, ..Self::of(Layered::around(layer, self)) }
    }

    fn named(self, endpoint: &str, trouble: Trouble) -> Self {
        Self { endpoint: endpoint.into(), trouble, ..self }
    }
}

impl From<Way> for Transport {
    fn from(way: Way) -> Self {
        Self { way, endpoint: Arc::default(), trouble: Trouble::default() }
    }
}

impl From<Channel> for Transport {
    fn from(channel: Channel) -> Self {
        Way::Channel(channel).into()
    }
}

impl Service<http::Request<Body>> for Transport {
    type Response = http::Response<Body>;
    type Error = StdError;
    type Future = Either<
        MapErr<ResponseFuture, fn(tonic::transport::Error) -> StdError>,
        BoxFuture<'static, Result<Self::Response, StdError>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        match &mut self.way {
            Way::Channel(channel) => channel.poll_ready(context).map_err(Into::into),
            Way::Service(service) => service.poll_ready(context),
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match &mut self.way {
            Way::Channel(channel) => Either::Left(channel.call(request).map_err(Into::into)),
            Way::Service(service) => Either::Right(service.call(request)),
        }
    }
}

/// What a program puts around every transport.
#[derive(Clone, Default)]
pub(crate) struct Layers(Vec<Arc<dyn Fn(Transport) -> Transport + Send + Sync>>);

impl Layers {
    pub(crate) fn add(&mut self, layer: impl Fn(Transport) -> Transport + Send + Sync + 'static) {
        self.0.push(Arc::new(layer));
    }

    /// The first one that was added becomes the outermost.
    fn around(&self, transport: Transport) -> Transport {
        self.0.iter().rev().fold(transport, |transport, layer| layer(transport))
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} layers", self.0.len())
    }
}

/// Where a server is.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Endpoint(Box<Endpoint>),
    /// One whose connections are not made by tonic.
    Plain(Box<Endpoint>, Box<Plain>),
    #[cfg(feature = "tls")]
    Secured(Box<Endpoint>, Box<Secured>),
    Service(Transport),
}

impl Origin {
    fn trouble(&self) -> Trouble {
        match self {
            Self::Endpoint(_) | Self::Service(_) => Trouble::default(),
            Self::Plain(_, dial) => dial.trouble.clone(),
            #[cfg(feature = "tls")]
            Self::Secured(_, dial) => dial.trouble.clone(),
        }
    }
}

/// A server, and the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// For people.
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) layers: Layers,
}

impl Address {
    /// A way that is made when it is needed.
    pub(crate) fn connect_lazy(&self) -> Transport {
        let transport = self.layers.around(match &self.origin {
            Origin::Endpoint(endpoint) => endpoint.connect_lazy().into(),
            Origin::Plain(endpoint, dial) => endpoint.connect_with_connector_lazy((**dial).clone()).into(),
            #[cfg(feature = "tls")]
            Origin::Secured(endpoint, dial) => endpoint.connect_with_connector_lazy((**dial).clone()).into(),
            Origin::Service(service) => service.clone(),
        });
        transport.named(&self.name, self.origin.trouble())
    }

    /// A way that is there. A service is taken to be.
    pub(crate) async fn connect(&self) -> Result<Transport, tonic::transport::Error> {
        let transport = self.layers.around(match &self.origin {
            Origin::Endpoint(endpoint) => endpoint.connect().await?.into(),
            Origin::Plain(endpoint, dial) => endpoint.connect_with_connector((**dial).clone()).await?.into(),
            #[cfg(feature = "tls")]
            Origin::Secured(endpoint, dial) => endpoint.connect_with_connector((**dial).clone()).await?.into(),
            Origin::Service(service) => service.clone(),
        });
        Ok(transport.named(&self.name, self.origin.trouble()))
    }
}

/// Calls a method that takes one message and returns one.
pub(crate) async fn unary<Q: rpc::Unary>(
    transport: Transport,
    request: tonic::Request<Q>,
) -> Result<tonic::Response<Q::Response>, Error> {
    let call = async |mut grpc: Grpc<Transport>| grpc.unary(request, path::<Q>(), ProstCodec::default()).await;
    calling(transport, call).await
}

/// Calls a method that returns a stream.
pub(crate) async fn receive<Q: rpc::Request>(
    transport: Transport,
    request: tonic::Request<Q>,
) -> Result<tonic::Response<Streaming<Q::Response>>, Error> {
    let call =
        async |mut grpc: Grpc<Transport>| grpc.server_streaming(request, path::<Q>(), ProstCodec::default()).await;
    calling(transport, call).await
}

/// Calls a method that takes a stream.
pub(crate) async fn send<Q: rpc::Request>(
    transport: Transport,
    messages: tonic::Request<impl futures::Stream<Item = Q> + Send + 'static>,
) -> Result<tonic::Response<Q::Response>, Error> {
    let call =
        async |mut grpc: Grpc<Transport>| grpc.client_streaming(messages, path::<Q>(), ProstCodec::default()).await;
    calling(transport, call).await
}

/// Makes a call once the way to the server takes one. What goes wrong tells which server that was.
async fn calling<T>(
    transport: Transport,
    call: impl AsyncFnOnce(Grpc<Transport>) -> Result<T, Status>,
) -> Result<T, Error> {
    let (endpoint, trouble) = (Arc::clone(&transport.endpoint), transport.trouble.clone());
    let mut grpc = Grpc::new(transport).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer = match grpc.ready().await {
        Ok(()) => call(grpc).await,
        Err(error) => Err(Status::from_error(error)),
    };
    answer.map_err(|status| match (Error::at(&endpoint, status), trouble.problem()) {
        (Error::Transport(mut broken), Some(problem)) => {
            broken.problem = problem;
            Error::Transport(broken)
        }
        (error, _) => error,
    })
}

fn path<Q: rpc::Request>() -> PathAndQuery {
    PathAndQuery::from_static(Q::PATH)
}
