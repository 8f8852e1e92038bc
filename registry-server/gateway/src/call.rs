//! Calls of the service, without a connection: requests and answers as gRPC frames them.

use bytes::buf::Chain;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, request};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use prost::Message as _;
use registry_common::frames::{HEAD_BYTES, framed};
use registry_proto::rpc;
use tonic::{Code, Status};
use tower::{Service, ServiceExt as _};

use crate::body::{Body, full};
use crate::refusal::Refusal;

/// The most bytes that come before the only field of a message: its head, and the key and the length of the field.
const BEGIN_BYTES: usize = HEAD_BYTES + 1 + 5;
/// How long a caller gives a call, in seconds, as other HTTP interfaces of this kind have it.
const TIMEOUT: &str = "x-server-timeout";
/// What of a request's headers belongs to the call.
const PASSED_ON: [&str; 7] = [
    "authorization",
    "user-agent",
    registry_proto::ACTOR_HEADER,
    registry_proto::ACTOR_BIN_HEADER,
    registry_proto::REQUEST_ID_HEADER,
    "traceparent",
    "tracestate",
];

/// The request of a call, by whoever sent one over HTTP.
pub(crate) fn request(of: &request::Parts, path: &str, body: Body) -> Result<Request<Body>, Refusal> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::try_from(path).map_err(|_| Refusal::internal("the path of the call is no path"))?;
    *request.extensions_mut() = of.extensions.clone();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    for name in PASSED_ON {
        for value in of.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    if let Some(timeout) = of.headers.get(TIMEOUT) {
        let millis =
            millis(timeout).ok_or_else(|| Refusal::invalid(TIMEOUT, "must be a number of seconds, more than 0"))?;
        headers.insert("grpc-timeout", HeaderValue::from_maybe_shared(format!("{millis}m")).expect("digits"));
    }
    Ok(request)
}

/// A number of seconds, as far as gRPC can say it.
fn millis(value: &HeaderValue) -> Option<u32> {
    let seconds: f64 = value.to_str().ok()?.parse().ok()?;
    (seconds.is_finite() && seconds > 0.0).then(|| (seconds * 1000.0).ceil().min(99_999_999.0) as u32)
}

/// Calls, and is answered with the frames of the answer, unless it failed at once.
pub(crate) async fn call<S, B>(service: S, request: Request<Body>) -> Result<Frames<B>, Status>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    let response = service.oneshot(request).await.map_err(|_| Status::internal("the call was not taken"))?;
    let (parts, body) = response.into_parts();
    let is_told = failed(&parts.headers)?;
    Ok(Frames { body, whole: Bytes::new(), partial: BytesMut::new(), is_told, is_over: false })
}

/// Whether headers tell how a call ended, and an error if it failed.
fn failed(headers: &HeaderMap) -> Result<bool, Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        status => Ok(status.is_some()),
    }
}

/// The messages of an answer.
pub(crate) struct Frames<B> {
    body: B,
    /// What came last. Messages are taken from it without a copy.
    whole: Bytes,
    /// The begin of a message, when its end has not come.
    partial: BytesMut,
    /// Whether it was said how the call ended.
    is_told: bool,
    is_over: bool,
}

impl<B: HttpBody<Data = Bytes, Error = Status> + Unpin> Frames<B> {
    /// The next message; `None` at the end, if all went well.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        Ok(self.next_of_two().await?.map(|mut message| message.copy_to_bytes(message.remaining())))
    }

    /// The same, without a copy where the first few bytes came by themselves: then these are one piece, and the others another.
    pub(crate) async fn next_of_two(&mut self) -> Result<Option<Chain<Bytes, Bytes>>, Status> {
        loop {
            if let Some(length) = length_of(&self.whole) {
                self.whole.advance(HEAD_BYTES);
                return Ok(Some(self.whole.split_to(length).chain(Bytes::new())));
            }
            self.partial.put(std::mem::take(&mut self.whole));
            if self.is_over {
                return Ok(None);
            }
            match self.body.frame().await {
                Some(frame) => match frame?.into_data() {
                    Ok(data) if self.partial.is_empty() => self.whole = data,
                    Ok(mut data) => {
                        if let Some(rest) = self.rest().filter(|rest| *rest <= data.len()) {
                            let rest = data.split_to(rest);
                            self.whole = data;
                            self.partial.advance(HEAD_BYTES);
                            return Ok(Some(self.partial.split().freeze().chain(rest)));
                        }
                        self.partial.put(data);
                        if length_of(&self.partial).is_some() {
                            self.whole = self.partial.split().freeze();
                        }
                    }
                    Err(trailers) => self.is_told = failed(&trailers.into_trailers().unwrap_or_default())?,
                },
                None if self.is_told && self.partial.is_empty() => self.is_over = true,
                None => return Err(Status::internal("the answer was cut off")),
            }
        }
    }

    /// How many bytes a message still lacks, if no more than its first few have come.
    fn rest(&self) -> Option<usize> {
        let length = said_length(&self.partial).filter(|_| self.partial.len() <= BEGIN_BYTES)?;
        (HEAD_BYTES + length).checked_sub(self.partial.len())
    }

    /// The only message of an answer that has one.
    pub(crate) async fn only(mut self) -> Result<Bytes, Status> {
        let message = self.next().await?.unwrap_or_default();
        while self.next().await?.is_some() {}
        Ok(message)
    }
}

/// The length in a message's head, if all of the head has come.
fn said_length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(bytes.get(1..HEAD_BYTES)?.get_u32()).ok()
}

/// The length of the message that the bytes begin with, if all of it has come.
fn length_of(bytes: &[u8]) -> Option<usize> {
    said_length(bytes).filter(|length| bytes.len() - HEAD_BYTES >= *length)
}

/// The body of a call with one message.
pub(crate) fn one(message: &[u8]) -> Body {
    full(framed(message, 0))
}

/// A call of the service's own, by whoever sent a request over HTTP.
pub(crate) async fn unary<Q, S, B>(service: S, of: &request::Parts, message: &Q) -> Result<Q::Response, Refusal>
where
    Q: rpc::Unary,
    S: Service<Request<Body>, Response = Response<B>>,
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    let request = request(of, Q::PATH, one(&message.encode_to_vec()))?;
    let answer = call(service, request).await?.only().await?;
    Q::Response::decode(answer).map_err(|_| Refusal::internal("the answer is no such message"))
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_the_same_however_their_bytes_are_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
            cuts in proptest::collection::vec(0_usize..50, 0..20),
        ) {
            let sent: Vec<Bytes> = messages.into_iter().map(Bytes::from).collect();
            let mut bytes = Bytes::from(sent.iter().flat_map(|message| framed(message, 0)).collect::<Vec<_>>());
            let mut pieces: Vec<_> = cuts.into_iter().map(|cut| bytes.split_to(cut.min(bytes.len()))).collect();
            pieces.push(bytes);
            let ended = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
            let frames = pieces.into_iter().map(Frame::data).chain([Frame::trailers(ended)]).map(Ok);
            let body = StreamBody::new(stream::iter(frames));
            let mut frames = Frames { body, whole: Bytes::new(), partial: BytesMut::new(), is_told: false, is_over: false };
            let mut came = Vec::new();
            while let Some(message) = block_on(frames.next()).unwrap() {
                came.push(message);
            }
            prop_assert_eq!(came, sent);
        }
    }
}
