//! Bytes that come as the body of a request: a whole file, or a whole part of one. What its headers say of them is checked by the service.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderValue, Response, StatusCode, request};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use registry_common::frames::{before_field, framed};
use registry_proto::rpc;
use registry_proto::v1::ErrorReason;
use tokio::time::timeout;
use tonic::{Code, Status};
use tower::Service;

use super::REPR_DIGEST;
use crate::body::Body;
use crate::call::{self, call};
use crate::incoming::Whole;
use crate::refusal::Refusal;

const CONTENT_DIGEST: &str = "content-digest";
/// The SHA-256 of no bytes: what an empty file is announced by.
pub(crate) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// How long the begin of a body may take that says nothing of its length.
const BEGIN: Duration = Duration::from_secs(10);
/// The number of the field that has the bytes, in the messages of an upload and of a part of one.
const DATA: u32 = 2;

/// What a request says of the bytes it comes with.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// 0 if that is not said.
    pub(super) size_bytes: i64,
    /// Lower-case hex; empty if it is not said.
    pub(super) sha256: String,
}

impl Announced {
    /// What a request says of its body, and the body.
    pub(super) async fn with(parts: &request::Parts, body: Body) -> Result<(Self, Whole), Refusal> {
        let mut announced = Self::of(&parts.headers)?;
        let mut body = Whole::new(body, parts.version);
        announced.complete(&mut body).await?;
        Ok((announced, body))
    }

    /// What the headers say.
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        for (name, why) in [
            (CONTENT_RANGE, "can't be used: a body is a whole file, or a whole part of one"),
            (IF_MATCH, "can't be used: a file is never replaced, and a part always"),
            (IF_NONE_MATCH, "can't be used: a file is never replaced, and a part always"),
        ] {
            if headers.contains_key(&name) {
                return Err(Refusal::invalid(name.as_str(), why));
            }
        }
        if header(CONTENT_ENCODING.as_str()).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(unsupported("a file is kept as it is sent, so it must have no content encoding"));
        }
        if header(CONTENT_TYPE.as_str())
            .is_some_and(|given| given.trim_start().to_ascii_lowercase().starts_with("multipart/"))
        {
            return Err(unsupported("a file is the body itself, and no part of a form: with curl, -T FILE"));
        }
        let mut announced = Self::default();
        match header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()) {
            Some(0) => announced.sha256 = EMPTY.to_owned(),
            Some(length) => announced.size_bytes = length,
            None => {}
        }
        // Without an encoding and ranges they are the same.
        for (name, digest) in [REPR_DIGEST, CONTENT_DIGEST].into_iter().filter_map(|name| Some((name, header(name)?))) {
            let sha256 = sha256(digest).ok_or_else(|| Refusal::invalid(name, "must be sha-256=:BASE64:"))?;
            if ![EMPTY, "", &sha256].contains(&&*announced.sha256) {
                return Err(Refusal::invalid(name, "is another one than that of repr-digest"));
            }
            announced.sha256 = sha256;
        }
        Ok(announced)
    }

    /// What has no bytes need not say how many that are.
    async fn complete(&mut self, body: &mut Whole) -> Result<(), Refusal> {
        if self.size_bytes != 0 || !self.sha256.is_empty() {
            return Ok(());
        }
        let has_bytes = timeout(BEGIN, has_bytes(body)).await;
        if has_bytes.map_err(|_| Status::deadline_exceeded("the body has not begun"))?? {
            return Err(Refusal::required(
                "content-length",
                "is required, or repr-digest: what is sent has to be all of the file, or of the part",
            ));
        }
        self.sha256 = EMPTY.to_owned();
        Ok(())
    }
}

/// Sends bytes behind the first message of a call, and is answered with its only one.
pub(super) async fn send<Q, S, B>(inner: S, parts: &request::Parts, first: &Q, body: Whole) -> Result<Bytes, Refusal>
where
    Q: rpc::Request,
    S: Service<http::Request<Body>, Response = Response<B>>,
    B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
{
    let upload = Upload { first: Some(framed(&first.encode_to_vec(), 0)), next: VecDeque::new(), body };
    let request = call::request(parts, Q::PATH, Body::new(upload))?;
    Ok(call(inner, request).await?.only().await?)
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
                        this.next.extend([before_field(DATA, data.len()), data]);
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

/// Whether a body has any bytes. They are taken from it.
async fn has_bytes(body: &mut Whole) -> Result<bool, Status> {
    while let Some(frame) = body.frame().await {
        if frame?.data_ref().is_some_and(|data| !data.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unsupported(message: &str) -> Refusal {
    let (http, reason) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorReason::MediaTypeUnsupported);
    Refusal::of(http, Code::InvalidArgument, reason, message)
}

/// The SHA-256 among the digests of a header, in hex.
fn sha256(digests: &str) -> Option<String> {
    let mut values = digests.split(',').filter_map(|one| one.trim().strip_prefix("sha-256="));
    let value = values.next_back()?.split(';').next()?.trim().strip_prefix(':')?.strip_suffix(':')?;
    let bytes = BASE64_STANDARD.decode(value).ok().filter(|bytes| bytes.len() == 32)?;
    Some(registry_common::hex(&bytes))
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
