//! Parts of files that are being uploaded: `/v1/namespaces/*/models/*/versions/*/uploads/UUID/parts/3`.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::ETAG;
use http::{HeaderValue, Method, Response, request};
use http_body::Body as HttpBody;
use prost::Message as _;
use registry_proto::v1 as pb;
use tonic::Status;
use tower::Service;

use super::answer;
use super::sent::{Announced, send};
use crate::body::Body;
use crate::refusal::Refusal;
use crate::routes::captured;
use crate::schema::Schema;
use crate::template::Template;

/// Where the parts of an upload are.
static PARTS: LazyLock<Template> = LazyLock::new(|| {
    let parts = "/v1/{parent=namespaces/*/models/*/versions/*}/uploads/{upload_id}/parts/{number}";
    Template::parse(parts).expect("it is a template")
});

/// A part of a file.
pub(crate) struct Part(pb::PartMetadata);

impl Part {
    /// The part at a path, if it is one of a part.
    pub(crate) fn at(path: &str) -> Option<Result<Self, Refusal>> {
        let segments: Vec<_> = path.split('/').skip(1).collect();
        PARTS.fits(&segments).then(|| {
            let mut texts = captured(&PARTS, path)?.into_iter().map(|captured| captured.text);
            let mut next = || texts.next().unwrap_or_default();
            let (parent, upload_id, number) = (next(), next(), next());
            // As it is written here, and in no other way.
            let parsed = number.parse().ok().filter(|parsed: &i32| parsed.to_string() == number);
            let number =
                parsed.ok_or_else(|| Refusal::invalid("number", "must be 1 to 10000, without zeros before it"))?;
            Ok(Self(pb::PartMetadata { parent, upload_id, number, ..Default::default() }))
        })
    }

    /// Answers a request for it.
    pub(crate) async fn answer<S, B>(
        self,
        schema: &Schema,
        inner: S,
        parts: &request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Refusal>
    where
        S: Service<http::Request<Body>, Response = Response<B>>,
        B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        if parts.method != Method::PUT {
            return Err(Refusal::no_method(&parts.method, parts.uri.path(), "PUT"));
        }
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(Refusal::invalid("query", "must be empty: a part has no parameters"));
        }
        let (Announced { size_bytes, sha256 }, body) = Announced::with(parts, body).await?;
        let metadata = pb::PartMetadata { size_bytes, sha256, ..self.0 };
        let first = pb::UploadPartRequest { request: Some(pb::upload_part_request::Request::Metadata(metadata)) };
        let part = send(inner, parts, &first, body).await?;
        let mut response = answer(schema, "modelregistry.v1.Part", &part)?;
        // What other clients of uploads in parts note of each.
        let sha256 = pb::Part::decode(part).map_err(|_| Status::internal("no part"))?.sha256;
        let etag = HeaderValue::try_from(format!("\"{sha256}\"")).map_err(|_| Status::internal("no digest"))?;
        response.headers_mut().insert(ETAG, etag);
        Ok(response)
    }
}
