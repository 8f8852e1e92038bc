//! A service of which one method is answered without the generated code, since what it answers is encoded already.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Request;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding};
use tonic::server::{Grpc, NamedService};
use tower::Service;

/// What answers that one method.
pub(super) trait Direct: Clone + Send + Sync + 'static {
    /// The path of the method.
    const PATH: &'static str;

    /// Answers a request.
    fn answer(self, request: Request<Body>) -> BoxFuture<'static, http::Response<Body>>;
}

/// The generated service, but for the one method.
#[derive(Clone)]
pub(super) struct Beside<S, D> {
    pub(super) others: S,
    pub(super) direct: D,
}

impl<S: NamedService, D> NamedService for Beside<S, D> {
    const NAME: &'static str = S::NAME;
}

impl<S, D: Direct> Service<Request<Body>> for Beside<S, D>
where
    S: Service<Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != D::PATH {
            return Box::pin(self.others.call(request));
        }
        let answer = self.direct.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// Such a method takes the same requests as the others.
pub(super) fn taking<C: Codec>(codec: C, max_message: usize) -> Grpc<C> {
    Grpc::new(codec)
        .max_decoding_message_size(max_message)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
}
