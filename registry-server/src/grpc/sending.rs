//! `DownloadArtifact` without encoding: bytes go out as they were read. tonic would copy them into its messages.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, Stream, TryStreamExt as _};
use http::Request;
use registry_common::frames::before_field;
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use tonic::Status;
use tonic::body::Body;

use super::Services;
use super::beside::{self, Direct};
use super::call::until;
use crate::rules::names::ARTIFACTS;

/// The most bytes of a message: a receiver keeps all of a message in memory before it sees any of it.
const MESSAGE: usize = 256 * 1024;
/// The number of `DownloadArtifactResponse.data`.
const DATA: u32 = 1;

/// `DownloadArtifact`, answered with the bytes that the store hands out.
#[derive(Clone)]
pub(super) struct DownloadArtifact {
    pub(super) services: Services,
    pub(super) max_message: usize,
}

impl Direct for DownloadArtifact {
    const PATH: &'static str = pb::DownloadArtifactRequest::PATH;

    fn answer(self, request: Request<Body>) -> BoxFuture<'static, http::Response<Body>> {
        Box::pin(beside::stream(self.max_message, request, move |request| {
            let services = self.services.clone();
            async move { services.downloaded(request).await }
        }))
    }
}

impl Services {
    /// The bytes of an artifact, in the frames of their messages.
    pub(super) async fn downloaded(
        &self,
        request: tonic::Request<pb::DownloadArtifactRequest>,
    ) -> Result<impl Stream<Item = Result<Bytes, Status>> + Send + 'static + use<>, Status> {
        let pieces = self.stream(
            request,
            |request, found| {
                let artifact = found.name("name", &ARTIFACTS, &request.name);
                let mut number = |field: &str, value: i64| {
                    u64::try_from(value).map_err(|_| found.invalid(field, "must not be negative")).unwrap_or_default()
                };
                let (offset, length) = (number("offset", request.offset), number("length", request.length));
                Some((artifact?, offset, length))
            },
            |services, _, (artifact, offset, length)| async move {
                let pieces = services.registry.read_artifact(&artifact, offset, length).await?;
                let cut = |mut piece: Bytes| {
                    let next = move || (!piece.is_empty()).then(|| piece.split_to(MESSAGE.min(piece.len())));
                    stream::iter(std::iter::from_fn(next).map(Ok))
                };
                // Whether it may go on is asked before each message.
                Ok(until(services.stopping.ending.clone(), pieces.map_ok(cut).try_flatten()))
            },
        );
        let framed = |data: Bytes| stream::iter([before_field(DATA, data.len()), data].map(Ok));
        Ok(pieces.await?.into_inner().map_ok(framed).try_flatten())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_stands_before_bytes_makes_a_message_of_them() {
        for length in [1, 127, 128, MESSAGE] {
            let data = Bytes::from(vec![7; length]);
            let message = pb::DownloadArtifactResponse { data: data.clone() }.encode_to_vec();
            let mut frame = vec![0];
            frame.put_u32(u32::try_from(message.len()).unwrap());
            frame.extend(message);
            assert!([before_field(DATA, length), data].concat() == frame, "{length}");
        }
    }
}
