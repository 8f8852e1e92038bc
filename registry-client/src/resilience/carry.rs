//! What the layers have in common: a service around a [`Transport`], and what a layer does with a call.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, StdError};
use tower::util::ServiceExt;

use crate::Transport;

/// A gRPC call, as HTTP.
pub(super) type Request = http::Request<Body>;
/// What becomes of it.
pub(super) type Answer = Result<http::Response<Body>, StdError>;

/// A service that carries gRPC calls, such as [`tonic::transport::Channel`]: every tower service of that kind is one.
pub trait Carrier {
    /// The same, as a [`Transport`].
    fn into_transport(self) -> Transport;
}

impl<S, B> Carrier for S
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<StdError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    fn into_transport(self) -> Transport {
        Transport::of(self)
    }
}

/// What a layer does with a call.
pub trait Carry: Clone + Send + Sync + 'static {
    /// Makes the call, by what the layer is around.
    fn carry(self, inner: Transport, request: Request) -> impl Future<Output = Answer> + Send;
}

/// A service with one of the layers around it.
#[derive(Debug, Clone)]
pub struct Layered<L> {
    layer: L,
    inner: Transport,
}

impl<L> Layered<L> {
    pub(crate) fn new(layer: L, inner: impl Carrier) -> Self {
        Self::around(layer, inner.into_transport())
    }

    pub(crate) fn around(layer: L, inner: Transport) -> Self {
        Self { layer, inner }
    }
}

impl<L: Carry> Service<Request> for Layered<L> {
    type Response = http::Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        // Each attempt waits for that by itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.layer.clone().carry(self.inner.clone(), request))
    }
}

/// Makes a call as soon as it is taken.
pub(super) async fn send(inner: Transport, request: Request) -> Answer {
    inner.oneshot(request).await
}

/// Makes a type that says what to do with a call a tower layer.
macro_rules! layer {
    ($layer:ty) => {
        impl<S: $crate::resilience::Carrier> tower::Layer<S> for $layer {
            type Service = $crate::resilience::Layered<Self>;

            fn layer(&self, inner: S) -> Self::Service {
                $crate::resilience::Layered::new(self.clone(), inner)
            }
        }
    };
}

pub(super) use layer;
