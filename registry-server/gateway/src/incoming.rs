//! Requests on their way in.
//!
//! The body of a request is read when the service asks for the message that it stands for: by then it is known who calls, and that they
//! may, and the call's time runs.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{StatusCode, Version};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use registry_common::shown::quoted;
use registry_proto::v1::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::body::{Body, JSON};
use crate::refusal::Refusal;

/// What all bodies of JSON that are being read may take together, in KiB.
const BODIES_KIB: usize = 128 << 10;

/// The body of a request, which ends as such only if all of it came. HTTP/2 also ends the body of a stream that was broken off with
/// `NO_ERROR`; it tells the two apart by whether the end was sent.
pub(crate) struct Whole {
    body: Body,
    is_http2: bool,
    is_over: bool,
}

impl Whole {
    pub(crate) fn new(body: Body, version: Version) -> Self {
        Self { body, is_http2: version == Version::HTTP_2, is_over: false }
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            Some(Ok(frame)) => Some(Ok(frame)),
            None if !this.is_http2 || this.body.is_end_stream() => {
                this.is_over = true;
                None
            }
            Some(Err(_)) | None => Some(Err(Status::cancelled("the body broke off"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }
}

/// How bodies of JSON are read.
#[derive(Debug)]
pub(crate) struct Reader {
    most: usize,
    patience: Duration,
    room: Arc<Semaphore>,
}

impl Reader {
    /// At most so many bytes of each, and within that time.
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        Self { most, patience, room: Arc::new(Semaphore::new(BODIES_KIB)) }
    }

    /// The body of a request, which is JSON or nothing, and the room that it takes.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Whole,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
        timeout(self.patience, self.read_whole(headers, body)).await.unwrap_or_else(|_| {
            let late = format!("the body was not there within {:?}", self.patience);
            let (http, code) = (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded);
            Err(Refusal::of(http, code, ErrorReason::DeadlineExceeded, late))
        })
    }

    async fn read_whole(
        &self,
        headers: &HeaderMap,
        mut body: Whole,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
        let mut read = BytesMut::new();
        let mut held: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            check_type(headers)?;
            if read.len() + data.len() > self.most {
                return Err(Refusal::too_large(&format!("the body has more than {} bytes", self.most)));
            }
            let kib = u32::try_from(data.len().div_ceil(1024)).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.room).acquire_many_owned(kib).await;
            // It is never closed.
            let room = room.map_err(|_| Refusal::internal("there is no room"))?;
            match &mut held {
                Some(held) => held.merge(room),
                None => held = Some(room),
            }
            read.extend_from_slice(&data);
        }
        Ok((read.freeze(), held))
    }
}

/// A body is JSON as it is. No page can send such a one to another site without asking first.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let only = |name: HeaderName| {
        let mut given = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
        given.next().filter(|_| given.next().is_none())
    };
    let given = only(CONTENT_TYPE).unwrap_or_default();
    let (of, parameters) = given.split_once(';').unwrap_or((given, ""));
    let is_text = match parameters.trim().to_ascii_lowercase().strip_prefix("charset=") {
        Some(charset) => charset.trim_matches('"') == "utf-8",
        None => parameters.trim().is_empty(),
    };
    let is_plain = !headers.contains_key(CONTENT_ENCODING)
        || only(CONTENT_ENCODING).is_some_and(|encoding| encoding.eq_ignore_ascii_case("identity"));
    if of.trim().eq_ignore_ascii_case(JSON) && is_text && is_plain {
        return Ok(());
    }
    let message = format!(
        "a body must have the content type {JSON} once, in UTF-8, and no encoding: this one has {}",
        quoted(given)
    );
    let (http, reason) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorReason::MediaTypeUnsupported);
    Err(Refusal::of(http, Code::InvalidArgument, reason, message))
}

/// Why a message was not made, for who waits for the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unmade(Arc<Mutex<Option<Refusal>>>);

impl Unmade {
    /// The reason in place of what the service made of it, if there is one.
    pub(crate) fn or(&self, status: Status) -> Refusal {
        let unmade = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        unmade.unwrap_or_else(|| status.into())
    }
}

/// The body of a call with one message, which is made when it is asked for.
pub(crate) struct Made {
    message: Option<BoxFuture<'static, Result<Bytes, Refusal>>>,
    unmade: Unmade,
}

impl Made {
    pub(crate) fn new(message: BoxFuture<'static, Result<Bytes, Refusal>>, unmade: Unmade) -> Self {
        Self { message: Some(message), unmade }
    }
}

impl HttpBody for Made {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(message) = &mut this.message else { return Poll::Ready(None) };
        let made = ready!(message.as_mut().poll(context));
        this.message = None;
        Poll::Ready(Some(made.map(Frame::data).map_err(|refusal| {
            let status = refusal.status().clone();
            *this.unmade.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
            status
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none()
    }
}
