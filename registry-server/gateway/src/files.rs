//! The bytes of artifacts, as HTTP has files: `/v1/namespaces/*/models/*/versions/*/files/model.onnx`.
//!
//! Ranges, conditions and digests are those of RFC 9110 and RFC 9530.

mod parts;
mod sent;
mod wanted;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode, request};
use http_body::{Body as HttpBody, Frame};
use http_body_util::StreamBody;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message as _;
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tower::Service;
use url::form_urlencoded;

pub(crate) use self::parts::Part;
pub(crate) use self::sent::EMPTY;
use self::sent::{Announced, send};
use self::wanted::{Wanted, wanted};
use crate::body::{Body, json};
use crate::call::{self, Frames, call};
use crate::refusal::Refusal;
use crate::routes::captured;
use crate::schema::{Malformed, Schema};
use crate::template::Template;

/// Where the files of a version are.
static FILES: LazyLock<Template> = LazyLock::new(|| {
    Template::parse("/v1/{parent=namespaces/*/models/*/versions/*}/files/{path=**}").expect("it is a template")
});

/// The methods that a file has.
const ALLOWED: &str = "GET, HEAD, PUT";
/// The digest of a whole file, whatever part of it is sent.
const REPR_DIGEST: &str = "repr-digest";
/// What may stand in the name of a file as it is (RFC 8187).
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// A file of a version.
pub(crate) struct File {
    pub(crate) parent: String,
    pub(crate) path: String,
    /// Its type, if a request does not say one.
    pub(crate) of: Option<&'static str>,
}

impl File {
    /// The file at a path, if it is one of a file.
    pub(crate) fn at(path: &str) -> Option<Result<Self, Refusal>> {
        let segments: Vec<_> = path.split('/').skip(1).collect();
        FILES.fits(&segments).then(|| {
            let mut texts = captured(&FILES, path)?.into_iter().map(|captured| captured.text);
            Ok(Self { parent: texts.next().unwrap_or_default(), path: texts.next().unwrap_or_default(), of: None })
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
        S: Service<http::Request<Body>, Response = Response<B>> + Clone,
        B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        match parts.method {
            Method::GET | Method::HEAD => self.download(inner, parts).await,
            Method::PUT => self.upload(schema, inner, parts, body).await,
            _ => Err(Refusal::no_method(&parts.method, parts.uri.path(), ALLOWED)),
        }
    }

    async fn download<S, B>(&self, inner: S, parts: &request::Parts) -> Result<Response<Body>, Refusal>
    where
        S: Service<http::Request<Body>, Response = Response<B>> + Clone,
        B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        let name = format!("{}/artifacts/{}", self.parent, self.path);
        let get = pb::GetArtifactRequest { name, ..Default::default() };
        let artifact = call::unary(inner.clone(), parts, &get).await?;
        let etag = format!("\"{}\"", artifact.sha256);
        let size = u64::try_from(artifact.size_bytes).unwrap_or_default();
        let (status, from, length) = match wanted(&parts.headers, parts.method == Method::GET, &etag, size) {
            Wanted::All => (StatusCode::OK, 0, size),
            Wanted::Part(from, length) => (StatusCode::PARTIAL_CONTENT, from, length),
            Wanted::Nothing => (StatusCode::NOT_MODIFIED, 0, 0),
            Wanted::Other => {
                let message = format!("the file is {etag}, and not what If-Match has");
                let (http, code) = (StatusCode::PRECONDITION_FAILED, Code::Aborted);
                return Err(Refusal::of(http, code, ErrorReason::EtagMismatch, message));
            }
            Wanted::Beyond => {
                let message = format!("the file has {size} bytes");
                let (http, code) = (StatusCode::RANGE_NOT_SATISFIABLE, Code::OutOfRange);
                let refusal = Refusal::of(http, code, ErrorReason::RangeInvalid, message);
                return Err(refusal.with(CONTENT_RANGE, &format!("bytes */{size}")));
            }
        };
        let body = match parts.method {
            _ if length == 0 => Body::empty(),
            Method::HEAD => Body::empty(),
            _ => {
                let download = pb::DownloadArtifactRequest {
                    name: artifact.name.clone(),
                    offset: i64::try_from(from).unwrap_or(i64::MAX),
                    length: i64::try_from(length).unwrap_or(i64::MAX),
                };
                let message = call::one(&download.encode_to_vec());
                let request = call::request(parts, pb::DownloadArtifactRequest::PATH, message)?;
                bytes_of(call(inner, request).await?, length)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        describe(response.headers_mut(), &artifact, &etag, &self.path);
        let headers = response.headers_mut();
        if status != StatusCode::NOT_MODIFIED {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {from}-{}/{size}", from + length - 1);
            headers.insert(CONTENT_RANGE, HeaderValue::try_from(range).map_err(|_| Status::internal("a range"))?);
        }
        Ok(response)
    }

    async fn upload<S, B>(
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
        let mut metadata = self.metadata(parts)?;
        let (announced, body) = Announced::with(parts, body).await?;
        if let Some(artifact) = &mut metadata.artifact {
            (artifact.size_bytes, artifact.sha256) = (announced.size_bytes, announced.sha256);
        }
        let first =
            pb::UploadArtifactRequest { request: Some(pb::upload_artifact_request::Request::Metadata(metadata)) };
        let artifact = send(inner, parts, &first, body).await?;
        answer(schema, "modelregistry.v1.Artifact", &artifact)
    }

    /// What an upload says of its file, beside its bytes: in a header, and in its query.
    fn metadata(self, parts: &request::Parts) -> Result<pb::UploadMetadata, Refusal> {
        let mut artifact = pb::Artifact { path: self.path, ..Default::default() };
        let given = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // Tools send this one with whatever they send.
        let typed = given.filter(|given| *given != "application/x-www-form-urlencoded");
        artifact.media_type = typed.unwrap_or_default().to_owned();
        let mut request_id = String::new();
        let mut given = Vec::new();
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "type" => artifact.r#type = value.into_owned(),
                "executable" => {
                    let executable = value.parse();
                    artifact.executable =
                        executable.map_err(|_| Refusal::invalid("executable", "must be true or false"))?;
                }
                "request_id" | "requestId" => request_id = value.into_owned(),
                name => return Err(Refusal::invalid(name, "is none of type, executable and requestId")),
            }
            let name = name.replace("request_id", "requestId");
            if given.contains(&name) {
                return Err(Refusal::invalid(&name, "is given twice"));
            }
            given.push(name);
        }
        if artifact.r#type.is_empty() {
            artifact.r#type = self.of.unwrap_or_default().to_owned();
        }
        if artifact.r#type.is_empty() {
            return Err(Refusal::required("type", "is required: ?type=model, or what else the file is"));
        }
        Ok(pb::UploadMetadata { parent: self.parent, artifact: Some(artifact), request_id })
    }
}

/// The bytes of a download. It ends as it should only when all of them were there. The end of the call is waited for before the last bytes
/// go out: behind these nobody asks for more over HTTP/1.1, and the call would be broken off.
fn bytes_of<B>(frames: Frames<B>, length: u64) -> Body
where
    B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
{
    let another = || Status::aborted("the file is another one by now");
    let pieces = stream::try_unfold((frames, length), move |(mut frames, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let message = frames.next_of_two().await?.ok_or_else(another)?;
        let piece = pb::DownloadArtifactResponse::decode(message).map_err(|_| Status::internal("no bytes"))?.data;
        let left = left.checked_sub(piece.len() as u64).ok_or_else(another)?;
        if left == 0 && frames.next().await?.is_some() {
            return Err(another());
        }
        Ok(Some((Frame::data(piece), (frames, left))))
    });
    Body::new(StreamBody::new(pieces))
}

/// A message as JSON.
fn answer(schema: &Schema, of: &str, message: &[u8]) -> Result<Response<Body>, Refusal> {
    let mut text = Vec::new();
    let of = schema.message(of).ok_or_else(|| Status::internal("no such message"))?;
    let written = schema.write(&mut text, of, message);
    written.map_err(|Malformed| Status::internal("the answer has no form in JSON"))?;
    Ok(json(StatusCode::OK, text))
}

fn describe(headers: &mut HeaderMap, artifact: &pb::Artifact, etag: &str, path: &str) {
    let file = path.rsplit('/').next().unwrap_or(path);
    let disposition = format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(file, &PLAIN));
    let digest = hex::decode(&artifact.sha256).map(|bytes| format!("sha-256=:{}:", BASE64_STANDARD.encode(bytes)));
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(CONTENT_TYPE, &artifact.media_type);
    set(ETAG, etag);
    set(ACCEPT_RANGES, "bytes");
    set(CONTENT_DISPOSITION, &disposition);
    // It may be replaced, or its name lead to another version; but it need not be sent again as long as it is the same.
    set(CACHE_CONTROL, "private, no-cache");
    // Whatever is in it is no page of this server's.
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    if let Ok(digest) = digest {
        set(http::HeaderName::from_static(REPR_DIGEST), &digest);
    }
}
