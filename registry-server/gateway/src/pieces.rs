//! Answers that wait for whoever reads them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use registry_proto::v1::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use crate::body::{Body, full};
use crate::refusal::Refusal;

/// How much of an answer is handed to the connection at once. It keeps what it has until its reader takes it.
pub const PIECE: usize = 32 * 1024;
/// What all answers of JSON that are longer than that may take together, in KiB.
const ROOM_KIB: usize = 64 << 10;

/// An answer that is handed over in pieces, and what it holds as long as some of it is left. hyper does not ask for the next piece while
/// its reader takes nothing, and never if that goes on: so a task gives up the rest when its time is over.
pub struct Pieces<H> {
    rest: Arc<Mutex<Option<(Bytes, H)>>>,
    _end: AbortOnDropHandle<()>,
}

impl<H: Send + 'static> Pieces<H> {
    /// Hands over these bytes until then.
    pub fn new(answer: Bytes, held: H, until: Instant) -> Self {
        let rest = Arc::new(Mutex::new(Some((answer, held))));
        let given_up = Arc::clone(&rest);
        let end = tokio::spawn(async move {
            sleep_until(until).await;
            drop(lock(&given_up).take());
        });
        Self { rest, _end: AbortOnDropHandle::new(end) }
    }

    /// A copy of the next piece: the connection would keep all of the answer for a part of it.
    ///
    /// # Errors
    /// If the time is over.
    #[expect(clippy::should_implement_trait, reason = "it ends with an error once, and is no iterator")]
    pub fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let mut rest = lock(&self.rest);
        let Some((bytes, _)) = &mut *rest else {
            return Err(Status::deadline_exceeded("nobody took the answer in time"));
        };
        let piece = bytes.split_to(bytes.len().min(PIECE));
        Ok((!piece.is_empty()).then(|| Bytes::copy_from_slice(&piece)))
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        lock(&self.rest).as_ref().map_or(0, |(bytes, _)| bytes.len())
    }
}

/// Nothing panics while it holds this lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory for answers that are not read yet.
#[derive(Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }

    /// Waits for room for what becomes of a message of so many bytes, if it is long.
    pub(crate) async fn for_answer(&self, bytes: usize, patience: Duration) -> Result<Reserved, Refusal> {
        if bytes <= PIECE {
            return Ok(Reserved(None));
        }
        // In JSON it is longer, by this much if it is not made of control characters.
        let kib = u32::try_from((3 * bytes).div_ceil(1024).min(ROOM_KIB)).unwrap_or(u32::MAX);
        let room = timeout(patience, Arc::clone(&self.0).acquire_many_owned(kib)).await.map_err(|_| {
            let full = "too many answers wait for their readers";
            Refusal::of(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, ErrorReason::Overloaded, full)
        })?;
        // It is never closed.
        Ok(Reserved(Some(room.map_err(|_| Refusal::internal("there is no room"))?)))
    }
}

/// Room for an answer.
pub(crate) struct Reserved(Option<OwnedSemaphorePermit>);

impl Reserved {
    /// A body of these bytes. The reader of a long one has this long to take it.
    pub(crate) fn body(self, text: Vec<u8>, patience: Duration) -> Body {
        if text.len() <= PIECE {
            return full(text);
        }
        let room = self.0.map(|mut room| room.split(text.len().div_ceil(1024).min(room.num_permits())));
        Body::new(Waiting(Pieces::new(text.into(), room.flatten(), Instant::now() + patience)))
    }
}

struct Waiting(Pieces<Option<OwnedSemaphorePermit>>);

impl HttpBody for Waiting {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.next().map(|piece| piece.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.0.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.left() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_gives_its_room_back() {
        let room = Room::new();
        let patience = Duration::from_secs(30);
        let text = vec![b'x'; 100 * PIECE];
        let all = ROOM_KIB << 10;
        let reserved = room.for_answer(all, patience).await.expect("there is room");
        let mut slow = reserved.body(vec![b'x'; all], patience);
        assert_eq!(slow.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE);
        // The next one waits, until the time of the first is over.
        let began = Instant::now();
        let next = room.for_answer(text.len(), 2 * patience).await.expect("the first was given up");
        assert_eq!(began.elapsed(), patience);
        assert!(slow.frame().await.unwrap().is_err());
        let next = next.body(text.clone(), patience);
        assert_eq!(next.size_hint().exact(), Some(text.len() as u64));
        assert_eq!(next.collect().await.expect("all of it").to_bytes(), text);
        // What is short needs none.
        let _all = room.for_answer(all, 2 * patience).await.expect("all was given back");
        room.for_answer(PIECE, patience).await.expect("it needs none");
    }
}
