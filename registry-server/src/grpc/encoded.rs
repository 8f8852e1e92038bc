//! `GetVersion` without decoding: the store keeps a version as it goes over the wire, so its bytes are answered as they are.
//!
//! It is the call that scoring services make; decoding and encoding again cost a quarter of its throughput.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes};
use futures::future::BoxFuture;
use http::Request;
use registry_proto::v1 as pb;
use registry_proto::v1::version_service_server::{SERVICE_NAME, VersionServiceServer};
use tonic::body::Body;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstDecoder;
use tower::Service;

use super::Services;
use super::request::name;
use crate::registry::Registry;
use crate::rules::names::VersionName;

const GET_VERSION: &str = "/modelregistry.v1.VersionService/GetVersion";

/// The service of versions, with `GetVersion` answered from the store's bytes.
#[derive(Clone)]
pub(super) struct Versions {
    pub(super) registry: Registry,
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
        if request.uri().path() != GET_VERSION {
            return self.others.call(request);
        }
        let (registry, max_message) = (self.registry.clone(), self.max_message);
        Box::pin(async move {
            let mut grpc = Grpc::new(EncodedVersion).max_decoding_message_size(max_message);
            Ok(grpc.unary(Get(registry), request).await)
        })
    }
}

struct Get(Registry);

impl UnaryService<pb::GetVersionRequest> for Get {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<pb::GetVersionRequest>) -> Self::Future {
        let registry = self.0.clone();
        Box::pin(async move {
            let version = name("name", VersionName::parse(&request.get_ref().name))?;
            Ok(Response::new(registry.version_record(&version).await?.payload))
        })
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
