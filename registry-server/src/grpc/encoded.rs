//! `GetVersion` without decoding: the store keeps a version as it goes over the wire, so its bytes are answered as they are.
//!
//! It is the call that scoring services make; decoding and encoding again cost a quarter of its throughput.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes};
use futures::future::BoxFuture;
use http::Request;
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use registry_proto::v1::version_service_server::{SERVICE_NAME, VersionServiceServer};
use tonic::body::Body;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::server::{NamedService, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstDecoder;
use tower::Service;

use super::call::Reply;
use super::{Services, taking};
use crate::rules::names::VERSIONS;
use crate::store::Record;

/// The service of versions, with `GetVersion` answered from the store's bytes.
#[derive(Clone)]
pub(super) struct Versions {
    pub(super) services: Services,
    pub(super) max_message: usize,
    pub(super) others: VersionServiceServer<Services>,
}

impl NamedService for Versions {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Versions {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != pb::GetVersionRequest::PATH {
            return self.others.call(request);
        }
        let (services, max_message) = (self.services.clone(), self.max_message);
        Box::pin(async move {
            let mut grpc = taking(EncodedVersion, max_message);
            Ok(grpc.unary(Get(services), request).await)
        })
    }
}

struct Get(Services);

impl UnaryService<pb::GetVersionRequest> for Get {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<pb::GetVersionRequest>) -> Self::Future {
        let services = self.0.clone();
        Box::pin(async move { Ok(services.version_record(request).await?.map(|record| record.payload)) })
    }
}

impl Services {
    /// The record of a version, which holds a `Version` as it goes over the wire.
    pub(super) async fn version_record(&self, request: tonic::Request<pb::GetVersionRequest>) -> Reply<Record> {
        self.read(
            request,
            |request, found| found.name("name", &VERSIONS, &request.name),
            |registry, name| async move { registry.version_record(&name).await },
        )
        .await
    }
}

/// Decodes requests; answers are encoded already.
struct EncodedVersion;

impl Codec for EncodedVersion {
    type Encode = Bytes;
    type Decode = pb::GetVersionRequest;
    type Encoder = AsItIs;
    type Decoder = ProstDecoder<pb::GetVersionRequest>;

    fn encoder(&mut self) -> AsItIs {
        AsItIs
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

struct AsItIs;

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(bytes.len());
        out.put(bytes);
        Ok(())
    }
}
