//! The way from a watcher to its reader.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::frames::Frame;
use super::{End, Gone};
use crate::error::Error;

/// How many pieces of messages wait for a reader's connection.
const WAITING: usize = 4;

/// Pieces of framed messages on their way to a reader, and at last perhaps an error.
pub(crate) type Pieces = mpsc::Receiver<Result<Bytes, Error>>;

/// The watcher's end.
pub(super) struct Out {
    pieces: mpsc::Sender<Result<Bytes, Error>>,
    /// When the last message had been sent.
    pub(super) sent: Instant,
    /// How much of the message that is being sent has gone.
    offset: usize,
}

impl Out {
    pub(super) fn new() -> (Self, Pieces) {
        let (pieces, receiver) = mpsc::channel(WAITING);
        (Self { pieces, sent: Instant::now(), offset: 0 }, receiver)
    }

    /// To tell the reader of an error, or that it is gone.
    pub(super) fn sender(&self) -> mpsc::Sender<Result<Bytes, Error>> {
        self.pieces.clone()
    }

    /// Sends a message, or goes on with it. False if the reader took nothing for so long: then the same message has to be given again,
    /// which need not be kept meanwhile.
    pub(super) async fn send(&mut self, frame: &Frame, patience: Duration) -> Result<bool, Gone> {
        while let Some(piece) = frame.piece(self.offset) {
            let length = piece.len();
            match timeout(patience, self.pieces.reserve()).await {
                Ok(Ok(place)) => place.send(Ok(piece)),
                Ok(Err(_)) => return Err(Gone),
                Err(_) => return Ok(false),
            }
            self.offset += length;
        }
        self.offset = 0;
        self.sent = Instant::now();
        Ok(true)
    }

    /// Whether a part of a message has gone.
    pub(super) fn is_amid(&self) -> bool {
        self.offset > 0
    }

    /// Waits until the reader takes something.
    pub(super) async fn room(&self) -> Result<(), Gone> {
        self.pieces.reserve().await.map(drop).map_err(|_| Gone)
    }

    /// Sends a message that costs nothing to keep.
    pub(super) async fn send_small(&mut self, frame: &Frame) -> Result<(), Gone> {
        self.send(frame, Duration::MAX).await.map(drop)
    }

    /// Sends a message, or ends the watch.
    pub(super) async fn send_in_time(&mut self, frame: &Frame, patience: Duration) -> Result<(), End> {
        if self.send(frame, patience).await? {
            return Ok(());
        }
        let idle = format!("nobody took any of the snapshot for {patience:?}: begin again");
        Err(Error::Overloaded(idle).into())
    }
}
