//! Requests on their way in: where they end, and when they begin to count.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use registry_proto::v1::ErrorReason;
use tokio_util::sync::PollSemaphore;
use tonic::body::Body;
use tonic::{Code, Status};

use super::kinds::Kind;
use super::places::{ANSWER_KIB, Places, Shared, lock};
use crate::status::plain;

/// The body of a request.
///
/// A stream that breaks off ends with an error. hyper takes `RST_STREAM` with `NO_ERROR` for the end of a body, and tonic one with
/// `CANCEL`, so that half a file would pass for a whole one.
///
/// A call takes its place when its request is there, an upload with its first bytes: who opens calls and says nothing keeps out
/// nobody.
pub(super) struct Arriving {
    body: Body,
    kind: Kind,
    places: Arc<Places>,
    held: Shared,
    is_there: bool,
    is_counted: bool,
    /// Waits for memory for the answer.
    room: PollSemaphore,
}

impl Arriving {
    pub(super) fn new(body: Body, kind: Kind, places: Arc<Places>, held: Shared) -> Self {
        let room = PollSemaphore::new(Arc::clone(places.answers()));
        Self { body, kind, places, held, is_there: false, is_counted: false, room }
    }

    fn count(&mut self) -> Result<(), Status> {
        if !self.is_counted {
            self.is_counted = true;
            if let Some(places) = self.places.of(self.kind) {
                let full = |_| {
                    let full = "the server works on as many calls as it may";
                    plain(Code::ResourceExhausted, ErrorReason::Overloaded, full)
                };
                let place = Arc::clone(places).try_acquire_owned().map_err(full)?;
                lock(&self.held).place = Some(place);
            }
        }
        Ok(())
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.kind == Kind::Read && lock(&self.held).room.is_none() {
            // There is one unless the semaphore is closed, which it never is.
            let room = ready!(self.room.poll_acquire_many(context, ANSWER_KIB));
            lock(&self.held).room = room;
        }
        Poll::Ready(())
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if !this.is_there {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) if frame.is_data() => {
                    if this.kind == Kind::Upload {
                        this.count()?;
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                // Trailers, which no request of ours has.
                Some(Ok(_)) => {}
                // It says itself what is wrong with it.
                Some(Err(error)) if !error.details().is_empty() => return Poll::Ready(Some(Err(error))),
                Some(Err(error)) => return Poll::Ready(Some(Err(Status::aborted(error.to_string())))),
                None if this.body.is_end_stream() => {}
                None => return Poll::Ready(Some(Err(Status::aborted("the request broke off")))),
            }
            this.is_there = true;
        }
        this.count()?;
        ready!(this.poll_room(context));
        Poll::Ready(None)
    }
}
