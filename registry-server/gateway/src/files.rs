//! The bytes of artifacts, as HTTP has files: `/v1/namespaces/*/models/*/versions/*/files/model.onnx`.
//!
//! Ranges, conditions and digests are those of RFC 9110 and RFC 9530.

mod wanted;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode, request};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tokio::time::timeout;
use tonic::{Code, Status};
use tower::Service;
use url::form_urlencoded;

use self::wanted::{Wanted, wanted};
use crate::body::{Body, json};
use crate::call::{self, Frames, call, framed};
use crate::incoming::Whole;
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
const CONTENT_DIGEST: &str = "content-digest";
/// The SHA-256 of no bytes: what an empty file is announced by.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// How long the begin of a body may take that says nothing of its length.
const BEGIN: Duration = Duration::from_secs(10);
/// The number of the field of `UploadArtifactRequest` that has the bytes.
const DATA: u32 = 2;
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
        let mut body = Whole::new(body, parts.version);
        if let Some(artifact) = metadata.artifact.as_mut().filter(|artifact| is_unannounced(artifact)) {
            // What has no bytes need not say how many that are.
            let has_bytes = timeout(BEGIN, has_bytes(&mut body)).await;
            if has_bytes.map_err(|_| Status::deadline_exceeded("the body has not begun"))?? {
                return Err(Refusal::required(
                    "content-length",
                    "is required, or repr-digest: what is sent has to be all of the file",
                ));
            }
            artifact.sha256 = EMPTY.to_owned();
        }
        let first =
            pb::UploadArtifactRequest { request: Some(pb::upload_artifact_request::Request::Metadata(metadata)) };
        let upload = Upload { first: Some(framed(&first.encode_to_vec(), 0)), next: VecDeque::new(), body };
        let request = call::request(parts, pb::UploadArtifactRequest::PATH, Body::new(upload))?;
        let artifact = call(inner, request).await?.only().await?;
        let mut text = Vec::new();
        let of = schema.message("modelregistry.v1.Artifact").ok_or_else(|| Status::internal("no artifact"))?;
        schema
            .write(&mut text, of, &artifact)
            .map_err(|Malformed| Status::internal("the artifact has no form in JSON"))?;
        Ok(json(StatusCode::OK, text))
    }

    /// What an upload says of its file: in its headers, and in its query.
    fn metadata(self, parts: &request::Parts) -> Result<pb::UploadMetadata, Refusal> {
        let header = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        for (name, why) in [
            (CONTENT_RANGE, "can't be used: a file is sent as a whole"),
            (IF_MATCH, "can't be used: a file is never replaced"),
            (IF_NONE_MATCH, "can't be used: a file is never replaced"),
        ] {
            if parts.headers.contains_key(&name) {
                return Err(Refusal::invalid(name.as_str(), why));
            }
        }
        if header(CONTENT_ENCODING.as_str()).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            let message = "a file is kept as it is sent, so it must have no content encoding";
            let (http, reason) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorReason::MediaTypeUnsupported);
            return Err(Refusal::of(http, Code::InvalidArgument, reason, message));
        }
        let mut artifact = pb::Artifact { path: self.path, ..Default::default() };
        match header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()) {
            Some(0) => artifact.sha256 = EMPTY.to_owned(),
            Some(length) => artifact.size_bytes = length,
            None => {}
        }
        // Without an encoding and ranges they are the same.
        for (name, digest) in [REPR_DIGEST, CONTENT_DIGEST].into_iter().filter_map(|name| Some((name, header(name)?))) {
            let sha256 = sha256(digest).ok_or_else(|| Refusal::invalid(name, "must be sha-256=:BASE64:"))?;
            if ![EMPTY, "", &sha256].contains(&&*artifact.sha256) {
                return Err(Refusal::invalid(name, "is another one than that of repr-digest"));
            }
            artifact.sha256 = sha256;
        }
        if header(CONTENT_TYPE.as_str())
            .is_some_and(|given| given.trim_start().to_ascii_lowercase().starts_with("multipart/"))
        {
            let message = "a file is the body itself, and no part of a form: with curl, -T FILE";
            let (http, reason) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorReason::MediaTypeUnsupported);
            return Err(Refusal::of(http, Code::InvalidArgument, reason, message));
        }
        // Tools send this one with whatever they send.
        let typed = header(CONTENT_TYPE.as_str()).filter(|given| *given != "application/x-www-form-urlencoded");
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

/// The messages of an upload. The first one waits for the first bytes: an upload takes its place among the others when they are there.
struct Upload {
    first: Option<Bytes>,
    /// What goes out before more of the file is taken.
    next: VecDeque<Bytes>,
    body: Whole,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let Some(next) = this.next.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(next))));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        this.next.extend(this.first.take());
                        this.next.extend([before(&data), data]);
                    }
                }
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                None => match this.first.take() {
                    Some(first) => this.next.push_back(first),
                    None => return Poll::Ready(None),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.next.is_empty() && self.body.is_end_stream()
    }
}

fn is_unannounced(artifact: &pb::Artifact) -> bool {
    artifact.sha256.is_empty() && artifact.size_bytes == 0
}

/// Whether a body has any bytes. They are taken from it.
async fn has_bytes(body: &mut Whole) -> Result<bool, Status> {
    while let Some(frame) = body.frame().await {
        if frame?.data_ref().is_some_and(|data| !data.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What stands before the bytes in the message that carries them.
fn before(data: &Bytes) -> Bytes {
    let mut begin = BytesMut::new();
    encode_key(DATA, WireType::LengthDelimited, &mut begin);
    encode_varint(data.len() as u64, &mut begin);
    framed(&begin, data.len())
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
        let message = frames.next().await?.ok_or_else(another)?;
        let piece = pb::DownloadArtifactResponse::decode(message).map_err(|_| Status::internal("no bytes"))?.data;
        let left = left.checked_sub(piece.len() as u64).ok_or_else(another)?;
        if left == 0 && frames.next().await?.is_some() {
            return Err(another());
        }
        Ok(Some((Frame::data(piece), (frames, left))))
    });
    Body::new(StreamBody::new(pieces))
}

fn describe(headers: &mut HeaderMap, artifact: &pb::Artifact, etag: &str, path: &str) {
    let file = path.rsplit('/').next().unwrap_or(path);
    let disposition = format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(file, &PLAIN));
    let digest = hex(&artifact.sha256).map(|bytes| format!("sha-256=:{}:", BASE64_STANDARD.encode(bytes)));
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
    if let Some(digest) = digest {
        set(http::HeaderName::from_static(REPR_DIGEST), &digest);
    }
}

/// The SHA-256 among the digests of a header, in hex.
fn sha256(digests: &str) -> Option<String> {
    let mut values = digests.split(',').filter_map(|one| one.trim().strip_prefix("sha-256="));
    let value = values.next_back()?.split(';').next()?.trim().strip_prefix(':')?.strip_suffix(':')?;
    let bytes = BASE64_STANDARD.decode(value).ok().filter(|bytes| bytes.len() == 32)?;
    Some(registry_common::hex(&bytes))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_last_sha_256_of_its_header() {
        let empty = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        assert_eq!(sha256(empty).as_deref(), Some(EMPTY));
        assert_eq!(sha256(&format!("sha-512=:AA==:, {empty};q=1")).as_deref(), Some(EMPTY));
        for other in ["", "sha-256=abc", "sha-256=:AA==:", "sha-512=:AA==:", "sha-256=:!:"] {
            assert_eq!(sha256(other), None, "{other}");
        }
    }
}
