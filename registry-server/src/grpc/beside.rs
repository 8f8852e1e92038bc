//! A service of which one method is answered without the generated code, since what it answers is encoded already.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::empty;
use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding};
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Response, Status, Streaming};
use tonic_prost::{ProstCodec, ProstDecoder};
use tower::{Service, service_fn};

use super::call::Reply;

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

/// Answers a request with a stream whose messages are framed already: how its bytes are cut is all the same.
pub(super) async fn stream<Q, S, F>(
    max_message: usize,
    request: Request<Body>,
    begin: impl Fn(tonic::Request<Q>) -> F,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    S: Stream<Item = Result<Bytes, Status>> + Send + 'static,
    F: Future<Output = Result<S, Status>>,
{
    let begun = Mutex::new(None);
    let mut grpc = taking(ProstCodec::<(), Q>::default(), max_message);
    let nothing = service_fn(|request| {
        let beginning = begin(request);
        async {
            *begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(beginning.await?);
            Ok(Response::new(empty::<Result<(), Status>>()))
        }
    });
    let answer = grpc.server_streaming(nothing, request).await;
    match begun.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(frames) => answer.map(|_| Body::new(Framed::new(frames))),
        None => answer,
    }
}

/// The messages of such a stream: the generated service wants the method, although it is answered before it comes there.
pub(super) fn messages<M: Message + Default + 'static>(
    frames: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
) -> Reply<Streaming<M>> {
    let (decoder, framed) = (ProstDecoder::default(), Framed::new(frames));
    Ok(Response::new(Streaming::new_response(decoder, framed, StatusCode::OK, None, None)))
}

/// The body of an answer whose messages are framed already. It ends with a status.
struct Framed<S> {
    /// Until it ended.
    frames: Option<Pin<Box<S>>>,
}

impl<S> Framed<S> {
    fn new(frames: S) -> Self {
        Self { frames: Some(Box::pin(frames)) }
    }
}

impl<S: Stream<Item = Result<Bytes, Status>>> http_body::Body for Framed<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
        let end = match ready!(frames.as_mut().poll_next(context)) {
            Some(Ok(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Err(status)) => status,
            None => Status::new(Code::Ok, ""),
        };
        self.frames = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(end.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}
