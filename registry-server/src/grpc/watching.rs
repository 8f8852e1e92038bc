//! `WatchEvents` without encoding: the log keeps events as they go over the wire, and what waits for readers is shared.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{Empty, empty};
use http::{HeaderMap, Request};
use http_body::Frame;
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use tonic::body::Body;
use tonic::server::ServerStreamingService;
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use super::Services;
use super::beside::{Direct, taking};
use crate::error::Error;
use crate::registry::watch::Pieces;
use crate::status::status;

/// `WatchEvents`, answered from the log's bytes.
#[derive(Clone)]
pub(super) struct WatchEvents {
    pub(super) services: Services,
    pub(super) max_message: usize,
}

impl Direct for WatchEvents {
    const PATH: &'static str = pb::WatchEventsRequest::PATH;

    fn answer(self, request: Request<Body>) -> BoxFuture<'static, http::Response<Body>> {
        Box::pin(async move {
            let codec = ProstCodec::<pb::WatchEventsResponse, _>::default();
            let mut grpc = taking(codec, self.max_message);
            let pieces = Arc::default();
            let watch = Watch { services: self.services, pieces: Arc::clone(&pieces) };
            let response = grpc.server_streaming(watch, request).await;
            let pieces = pieces.lock().unwrap_or_else(PoisonError::into_inner).take();
            match pieces {
                Some(pieces) => response.map(|_| Body::new(Messages::new(pieces))),
                None => response,
            }
        })
    }
}

/// Begins a watch, and leaves its messages where the service finds them.
struct Watch {
    services: Services,
    pieces: Arc<Mutex<Option<Pieces>>>,
}

impl ServerStreamingService<pb::WatchEventsRequest> for Watch {
    type Response = pb::WatchEventsResponse;
    type ResponseStream = Empty<Result<pb::WatchEventsResponse, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<pb::WatchEventsRequest>) -> Self::Future {
        let (services, left) = (self.services.clone(), Arc::clone(&self.pieces));
        Box::pin(async move {
            let pieces = services.begin_watch(request).await?;
            *left.lock().unwrap_or_else(PoisonError::into_inner) = Some(pieces);
            Ok(Response::new(empty()))
        })
    }
}

/// The body of an answer whose messages are in frames already. It ends with a status.
pub(super) struct Messages {
    pieces: Pieces,
    ended: bool,
}

impl Messages {
    pub(super) fn new(pieces: Pieces) -> Self {
        Self { pieces, ended: false }
    }
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let end = match ready!(this.pieces.poll_recv(context)) {
            Some(Ok(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(Err(error)) => status(&error),
            // The watcher is gone: the server stops.
            None => status(&Error::Draining),
        };
        this.ended = true;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(end.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}
