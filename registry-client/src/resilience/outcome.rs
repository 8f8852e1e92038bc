//! How a call ended, as seen from outside: its gRPC code is in the head of the response, in its trailers, or there is none because the
//! connection broke.

use std::error::Error as StdErrorTrait;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use tonic::body::Body;
use tonic::codegen::Body as HttpBody;
use tonic::{Code, Status, TimeoutExpired};

use super::carry::Answer;
use crate::StatusError;

const GRPC_STATUS: &str = "grpc-status";

/// The code of an answer that has no body, or is none of gRPC's.
pub(super) fn code_in_head<B>(response: &http::Response<B>) -> Option<Code> {
    code_in(response.headers()).or(match response.status() {
        StatusCode::OK => None,
        // As gRPC prescribes for what a proxy answers in place of a server.
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Some(Code::Unavailable),
        StatusCode::BAD_REQUEST => Some(Code::Internal),
        StatusCode::UNAUTHORIZED => Some(Code::Unauthenticated),
        StatusCode::FORBIDDEN => Some(Code::PermissionDenied),
        StatusCode::NOT_FOUND => Some(Code::Unimplemented),
        _ => Some(Code::Unknown),
    })
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// The code of a call without an answer: `UNAVAILABLE` unless something on the way decided otherwise.
pub(super) fn code_of(error: &(dyn StdErrorTrait + 'static)) -> Code {
    for cause in std::iter::successors(Some(error), |&cause| cause.source()) {
        if cause.is::<TimeoutExpired>() {
            return Code::DeadlineExceeded;
        }
        // tonic makes a status of a broken connection, too, whose code says nothing.
        if let Some(status) = cause.downcast_ref::<Status>().filter(|status| status.source().is_none()) {
            return status.code();
        }
    }
    Code::Unavailable
}

/// A call that found nobody able to answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable {
    pub(super) retry_after: Option<Duration>,
}

/// Whether an answer to a unary call is that nobody can answer it, and the answer again. If the head does not tell, that waits for the
/// message or the trailers.
pub(super) async fn unavailable(answer: Answer) -> (Option<Unavailable>, Answer) {
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            let unavailable = code_of(&*error) == Code::Unavailable;
            return (unavailable.then_some(Unavailable { retry_after: None }), Err(error));
        }
    };
    if let Some(code) = code_in_head(&response) {
        let found = (code == Code::Unavailable).then(|| in_headers(response.headers()));
        return (found, Ok(response));
    }
    let (parts, mut body) = response.into_parts();
    let first = body.frame().await;
    let found = match &first {
        Some(Ok(frame)) => {
            let unavailable = |trailers: &&HeaderMap| code_in(trailers) == Some(Code::Unavailable);
            frame.trailers_ref().filter(unavailable).map(in_headers)
        }
        Some(Err(status)) => (code_of(status) == Code::Unavailable).then_some(Unavailable { retry_after: None }),
        None => None,
    };
    let body = StreamBody::new(stream::iter(first).chain(BodyStream::new(body)));
    (found, Ok(http::Response::from_parts(parts, Body::new(body))))
}

fn in_headers(headers: &HeaderMap) -> Unavailable {
    let status = Status::from_header_map(headers);
    Unavailable { retry_after: status.and_then(|status| StatusError::decode(&status).retry_after) }
}

/// Hears once how a call ended: `CANCELLED` if nobody waited for that.
pub(super) struct Ear<F: FnOnce(Code)>(Option<F>);

impl<F: FnOnce(Code)> Ear<F> {
    pub(super) fn new(hear: F) -> Self {
        Self(Some(hear))
    }

    fn tell(&mut self, code: Code) {
        if let Some(hear) = self.0.take() {
            hear(code);
        }
    }
}

impl<F: FnOnce(Code)> Drop for Ear<F> {
    fn drop(&mut self) {
        self.tell(Code::Cancelled);
    }
}

/// Tells when the call has ended with this answer, which may be behind a long stream.
pub(super) fn observed(answer: Answer, mut ear: Ear<impl FnOnce(Code) + Send + Unpin + 'static>) -> Answer {
    match answer {
        Err(error) => {
            ear.tell(code_of(&*error));
            Err(error)
        }
        Ok(response) => match code_in_head(&response) {
            Some(code) => {
                ear.tell(code);
                Ok(response)
            }
            None => Ok(response.map(|inner| Body::new(Observed { inner, ear }))),
        },
    }
}

struct Observed<F: FnOnce(Code)> {
    inner: Body,
    ear: Ear<F>,
}

impl<F: FnOnce(Code) + Unpin> HttpBody for Observed<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.ear.tell(code_in(trailers).unwrap_or(Code::Unknown));
                }
            }
            Some(Err(status)) => this.ear.tell(code_of(status)),
            // Without trailers.
            None => this.ear.tell(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer that a layer gives by itself.
pub(super) fn refusal(status: Status) -> Answer {
    let response: http::Response<Body> = status.into_http();
    Ok(response)
}

/// The error of an answer, for tests and for people.
#[cfg(test)]
pub(super) async fn code(answer: Answer) -> Code {
    let (sender, receiver) = std::sync::mpsc::channel();
    let ear = Ear::new(move |code| sender.send(code).unwrap());
    if let Ok(response) = observed(answer, ear) {
        let _ = response.into_body().collect().await;
    }
    receiver.recv().unwrap_or(Code::Unknown)
}
