//! `WatchEvents` without encoding: the log keeps events as they go over the wire, and what waits for readers is shared.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt as _};
use http::Request;
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use tonic::Status;
use tonic::body::Body;

use super::Services;
use super::beside::{self, Direct};
use crate::error::Error;
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
        Box::pin(beside::stream(self.max_message, request, move |request| {
            let services = self.services.clone();
            async move { services.watched(request).await }
        }))
    }
}

impl Services {
    /// What a watch sees, in the frames of its messages.
    pub(super) async fn watched(
        &self,
        request: tonic::Request<pb::WatchEventsRequest>,
    ) -> Result<impl Stream<Item = Result<Bytes, Status>> + Send + 'static + use<>, Status> {
        let mut pieces = self.begin_watch(request).await?;
        let pieces = stream::poll_fn(move |context| pieces.poll_recv(context));
        // After the last one the watcher is gone: the server stops.
        let ended = stream::once(async { Err(Error::Draining) });
        Ok(pieces.chain(ended).map(|piece| piece.map_err(|error| status(&error))))
    }
}
