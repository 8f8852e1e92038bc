//! Answers on their way out: what a call holds goes back when its answer has gone.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;

use super::kinds::Kind;
use super::logged::Logged;
use super::places::{Held, lock};
use crate::connections::Open;

/// How much of an answer is handed to the connection at once. It keeps what it has until the caller takes it.
const PIECE: usize = 32 * 1024;

/// The body of an answer.
pub(crate) struct Answering {
    body: Body,
    logged: Logged,
    held: Held,
    large: Option<Large>,
    /// When an answer that nobody takes is given up.
    until: Instant,
    _open: Option<Open>,
}

impl Answering {
    pub(super) fn new(body: Body, logged: Logged, held: Held, until: Instant, open: Option<Open>) -> Self {
        Self { body, logged, held, large: None, until, _open: open }
    }
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some(large) = &mut this.large {
            match large.next() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) => this.large = None,
                Err(late) => return Poll::Ready(Some(Err(late))),
            }
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)?) else { return Poll::Ready(None) };
        let data = match frame.into_data() {
            Ok(data) if this.logged.kind() != Kind::Stream => data,
            Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Err(frame) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.logged.ended_with(trailers);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
        };
        if data.len() <= PIECE {
            this.held.room = None;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let mut large = Large::new(data, std::mem::take(&mut this.held), this.until);
        let first = large.next().transpose();
        this.large = Some(large);
        Poll::Ready(first.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.large.is_none() && self.body.is_end_stream()
    }
}

/// An answer that is handed over in pieces. hyper does not ask for the next one while its caller takes nothing, and never if that
/// goes on: so a task gives up the rest when the call's time is over.
struct Large {
    rest: Arc<Mutex<Option<(Bytes, Held)>>>,
    _end: AbortOnDropHandle<()>,
}

impl Large {
    fn new(answer: Bytes, mut held: Held, until: Instant) -> Self {
        held.shrink_to(answer.len());
        let rest = Arc::new(Mutex::new(Some((answer, held))));
        let given_up = Arc::clone(&rest);
        let end = tokio::spawn(async move {
            sleep_until(until).await;
            drop(lock(&given_up).take());
        });
        Self { rest, _end: AbortOnDropHandle::new(end) }
    }

    /// A copy of the next piece: the connection would keep all of the answer for a part of it.
    fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let mut rest = lock(&self.rest);
        let Some((bytes, _)) = &mut *rest else {
            return Err(Status::deadline_exceeded("nobody took the answer in time"));
        };
        let piece = bytes.split_to(bytes.len().min(PIECE));
        Ok((!piece.is_empty()).then(|| Bytes::copy_from_slice(&piece)))
    }
}
