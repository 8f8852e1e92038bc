//! Answers on their way out: what a call holds goes back when its answer has gone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use registry_gateway::{PIECE, Pieces};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::kinds::Kind;
use super::logged::Logged;
use super::places::Held;
use crate::connections::Open;

/// The body of an answer.
pub(crate) struct Answering {
    body: Body,
    logged: Logged,
    held: Held,
    large: Option<Pieces<Held>>,
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
        let mut held = std::mem::take(&mut this.held);
        held.shrink_to(data.len());
        let mut large = Pieces::new(data, held, this.until);
        let first = large.next().transpose();
        this.large = Some(large);
        Poll::Ready(first.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.large.is_none() && self.body.is_end_stream()
    }
}
