//! Versions answered without decoding: the store keeps a version as it goes over the wire, so its bytes are answered as they are.
//!
//! `GetVersion` is the call that scoring services make; decoding and encoding again cost a quarter of its throughput, and half of that of
//! a page.

use bytes::{BufMut as _, Bytes};
use futures::future::BoxFuture;
use http::Request;
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use tonic::body::Body;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::server::UnaryService;
use tonic::{Response, Status};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::Services;
use super::beside::{Direct, taking};
use super::call::{List, Reply};
use super::moments::moment;
use crate::registry::lists::Findings;
use crate::rules::expression::VERSION;
use crate::rules::names::{MODELS, Name, VERSIONS};

/// `GetVersion`, answered from the store's bytes.
#[derive(Clone)]
pub(super) struct GetVersion {
    pub(super) services: Services,
    pub(super) max_message: usize,
}

impl Direct for GetVersion {
    const PATH: &'static str = pb::GetVersionRequest::PATH;

    fn answer(self, request: Request<Body>) -> BoxFuture<'static, http::Response<Body>> {
        Box::pin(async move { taking(EncodedVersion, self.max_message).unary(Get(self.services), request).await })
    }
}

struct Get(Services);

impl UnaryService<pb::GetVersionRequest> for Get {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<pb::GetVersionRequest>) -> Self::Future {
        let services = self.0.clone();
        Box::pin(async move { services.encoded_version(request).await })
    }
}

/// `ListVersions`, answered from the store's bytes.
#[derive(Clone)]
pub(super) struct ListVersions {
    pub(super) services: Services,
    pub(super) max_message: usize,
}

impl Direct for ListVersions {
    const PATH: &'static str = pb::ListVersionsRequest::PATH;

    fn answer(self, request: Request<Body>) -> BoxFuture<'static, http::Response<Body>> {
        let codec = ProstCodec::<EncodedPage, pb::ListVersionsRequest>::default();
        Box::pin(async move { taking(codec, self.max_message).unary(Page(self.services), request).await })
    }
}

struct Page(Services);

impl UnaryService<pb::ListVersionsRequest> for Page {
    type Response = EncodedPage;
    type Future = BoxFuture<'static, Result<Response<EncodedPage>, Status>>;

    fn call(&mut self, request: tonic::Request<pb::ListVersionsRequest>) -> Self::Future {
        let services = self.0.clone();
        Box::pin(async move { services.version_page(request).await })
    }
}

/// A `ListVersionsResponse`: to the wire a message is its bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EncodedPage {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) versions: Vec<Bytes>,
    #[prost(string, tag = "2")]
    pub(super) next_page_token: String,
    #[prost(int64, optional, tag = "3")]
    pub(super) total_size: Option<i64>,
    #[prost(message, optional, tag = "4")]
    pub(super) explanation: Option<pb::ListExplanation>,
}

impl Services {
    /// A `Version` as it goes over the wire.
    pub(super) async fn encoded_version(&self, request: tonic::Request<pb::GetVersionRequest>) -> Reply<Bytes> {
        self.get(
            request,
            |request, found| {
                let moment = moment(request.revision, request.read_time.as_ref(), found);
                Some((found.name("name", &VERSIONS, &request.name)?, moment))
            },
            |registry, (name, moment)| async move { Ok(registry.version_record_at(&name, moment).await?.payload) },
        )
        .await
    }

    /// The versions of a page, each a `Version` as it goes over the wire.
    pub(super) async fn version_page(&self, request: tonic::Request<pb::ListVersionsRequest>) -> Reply<EncodedPage> {
        self.list_parts(
            request,
            List::by(&["number"]).of(&VERSION).sorted().narrowed(),
            |request, found| {
                let moment = moment(request.revision, request.read_time.as_ref(), found);
                Some((found.parsed("parent", Name::parse_parent(&MODELS, &request.parent))?, moment))
            },
            |registry, (parent, moment), page| async move {
                let listed = match moment {
                    None => registry.list_versions(&parent, &page).await?,
                    Some(moment) => registry.list_versions_at(moment, &parent, &page).await?,
                };
                Ok(listed.with_findings())
            },
            |Findings { total_size, explanation, .. }, versions, next_page_token| EncodedPage {
                versions,
                next_page_token,
                total_size,
                explanation,
            },
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
