//! The whole log, leaf by leaf, for whoever wants to verify it elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::export_log_response::Response;
use tokio::sync::mpsc;

use super::signed;
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::tail::{READ, Tail};
use crate::registry::told::Told;
use crate::store::{Revision, StoreError};

/// How many bytes of events are in a piece, unless one alone has more.
const PIECE_BYTES: usize = 1 << 20;
/// And how many leaves.
const PIECE_LEAVES: usize = 1024;

/// Who receives the pieces.
type Out = mpsc::Sender<Result<Response, Error>>;

impl Registry {
    /// The log as it is now: a checkpoint of it, then all of its leaves in order. Ends early if nobody receives them any more.
    pub(crate) fn export_log(&self) -> mpsc::Receiver<Result<Response, Error>> {
        let (out, pieces) = mpsc::channel(2);
        let registry = self.clone();
        tokio::spawn(async move {
            if let Err(error) = registry.send_log(&out).await {
                // The caller may have gone just now.
                let _ = out.send(Err(error)).await;
            }
        });
        pieces
    }

    async fn send_log(&self, out: &Out) -> Result<(), Error> {
        let signer = self.signer().await?;
        let log = self.transparency_log().await?;
        if out.send(Ok(Response::Checkpoint(signed(&signer, &log).await?))).await.is_err() {
            return Ok(());
        }
        let mut events = Events::of(&self.tail);
        let (mut piece, mut bytes) = (Vec::new(), 0);
        // The event that comes next: of which revision it is, and which of that.
        let mut at = (0, 0);
        for tile in 0.. {
            let leaves = log.leaves(tile).await?;
            let is_last = leaves.is_empty();
            for (leaf, (hash, revision)) in (tile * 256..).zip(leaves) {
                at = if at.0 == revision { (revision, at.1 + 1) } else { (revision, 0) };
                let event = events.event(revision, at.1).await?;
                if !piece.is_empty() && bytes + event.len() > PIECE_BYTES {
                    bytes = 0;
                    if !send(out, &mut piece).await {
                        return Ok(());
                    }
                }
                bytes += event.len();
                let leaf_hash = Bytes::copy_from_slice(&hash.0);
                let (leaf, revision) = (leaf.cast_signed(), revision.cast_signed());
                piece.push(pb::AuditLeaf { leaf, revision, leaf_hash, event });
            }
            if (is_last || piece.len() >= PIECE_LEAVES) && !piece.is_empty() {
                bytes = 0;
                if !send(out, &mut piece).await {
                    return Ok(());
                }
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }
}

/// Sends a piece; false if nobody receives it.
async fn send(out: &Out, piece: &mut Vec<pb::AuditLeaf>) -> bool {
    let leaves = std::mem::take(piece);
    out.send(Ok(Response::Leaves(pb::AuditLeaves { leaves }))).await.is_ok()
}

/// The events of the log as it keeps them, read in the order of revisions.
pub(super) struct Events<'a> {
    tail: &'a Tail,
    read: VecDeque<Arc<Told>>,
    /// The first revision that the log still has, as far as that was noticed.
    oldest: Revision,
}

impl<'a> Events<'a> {
    pub(super) fn of(tail: &'a Tail) -> Self {
        Self { tail, read: VecDeque::new(), oldest: 0 }
    }

    /// The bytes of an event, which is not of a revision before those that were asked for; empty if the log does not have them.
    pub(super) async fn event(&mut self, revision: Revision, index: usize) -> Result<Bytes, Error> {
        let told = self.revision(revision).await?;
        let event = told.as_ref().and_then(|told| told.events.get(index));
        let event = event.filter(|event| event.outside.r#type != event_type::REVISION_UNREADABLE);
        Ok(event.map(|event| event.encoded.clone()).unwrap_or_default())
    }

    async fn revision(&mut self, revision: Revision) -> Result<Option<&Arc<Told>>, Error> {
        while self.read.front().is_some_and(|first| first.revision < revision) {
            self.read.pop_front();
        }
        if self.read.is_empty() && revision >= self.oldest {
            match self.tail.read(revision.saturating_sub(1), READ).await {
                Ok(entries) => self.read = entries.into(),
                Err(Error::Store(StoreError::Compacted { oldest })) => self.oldest = oldest,
                Err(error) => return Err(error),
            }
        }
        Ok(self.read.front().filter(|first| first.revision == revision))
    }
}
