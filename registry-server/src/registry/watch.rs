//! Watching the log: a cursor for each watcher, which reads on from where it is whenever the head has moved.
//!
//! The log is the truth, the head's signal only a hint, so that a slow watcher costs little: it holds a number and a few pieces of
//! messages, blocks nobody, and finds everything still there. Only a snapshot has to be kept for its reader, so it is not kept long.

pub(super) mod frames;
mod out;
mod snapshot;

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::watch_events_response::Response;
use tokio::sync::{Semaphore, watch};
use tokio::time::{timeout, timeout_at};

use self::frames::Frame;
use self::out::Out;
pub(crate) use self::out::Pieces;
use self::snapshot::SnapshotPage;
use super::Registry;
use super::events::Selection;
use super::measured::Watch;
use super::told::Told;
use crate::error::Error;
use crate::store::{Revision, StoreError};

/// How long a watcher keeps what it has read for a reader that takes nothing. Behind that it reads it again.
const HELD: Duration = Duration::from_millis(100);
/// How long a watch waits for its turn to send one.
const TURN: Duration = Duration::from_secs(30);

/// How watches are served.
#[derive(Debug, Clone)]
pub(crate) struct Watching {
    /// How long a watch says nothing before it tells how far it is.
    pub(crate) bookmark_every: Duration,
    /// How long a snapshot is kept for a reader that takes nothing.
    pub(crate) snapshot_patience: Duration,
    /// Turns to send a snapshot: each that is open costs every commit something, and in a database a connection.
    pub(crate) turns: Arc<Semaphore>,
}

/// Where a watch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Now,
    /// After a revision, which has this hash unless that is empty.
    After(Revision, Bytes),
    Snapshot,
}

/// The watcher has gone.
struct Gone;

impl Registry {
    /// Begins a watch. It ends when the receiver is dropped, with an error when `draining` turns true, or with the one of `revoked`.
    pub(crate) async fn watch(
        &self,
        selection: Selection,
        start: Start,
        watching: Watching,
        draining: watch::Receiver<bool>,
        revoked: BoxFuture<'static, Error>,
    ) -> Result<Pieces, Error> {
        // Taken first: it wakes for whatever comes behind what is read now.
        let mut head = self.store.head();
        head.borrow_and_update();
        let (cursor, hash) = match &start {
            // Known when the snapshot is taken.
            Start::Snapshot => (0, Bytes::new()),
            // Asked of the store: the caller may know of a commit by another server that this one has not heard of yet.
            Start::Now => {
                let newest = self.store.newest().await?;
                (newest, self.tail.hash_at(newest).await?)
            }
            Start::After(revision, hash) => {
                let newest = self.store.newest().await?;
                if *revision > newest {
                    let detail = format!("revision {revision} is not in the log, which ends at {newest}");
                    return Err(Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail });
                }
                let oldest = self.store.oldest().await?;
                if *revision < oldest && oldest > 1 {
                    return Err(StoreError::Compacted { oldest }.into());
                }
                (*revision, self.tail.check_position(*revision, hash, newest).await?)
            }
        };
        // Behind the position: a registry that was restored may lack the parent, and says that it was restored.
        self.parent_must_exist(&selection).await?;
        let (out, receiver) = Out::new();
        let measured = self.measures.watches.begin();
        if start != Start::Snapshot {
            measured.at(cursor);
        }
        let watcher = Watcher { registry: self.clone(), selection, watching, out, cursor, hash, measured };
        tokio::spawn(watcher.run(start == Start::Snapshot, head, draining, revoked));
        Ok(receiver)
    }
}

struct Watcher {
    registry: Registry,
    selection: Selection,
    watching: Watching,
    out: Out,
    /// Everything up to here was sent, or not asked for.
    cursor: Revision,
    /// The hash of the last event of that revision.
    hash: Bytes,
    measured: Watch,
}

impl Watcher {
    async fn run(
        mut self,
        snapshot: bool,
        head: watch::Receiver<Revision>,
        mut draining: watch::Receiver<bool>,
        revoked: BoxFuture<'static, Error>,
    ) {
        let reader = self.out.sender();
        let end = tokio::select! {
            end = self.send_all(snapshot, head) => end,
            _ = draining.wait_for(|draining| *draining) => Err(End::Failed(Error::Draining)),
            error = revoked => Err(End::Failed(error)),
            () = reader.closed() => return,
        };
        // What it holds need not wait for the reader as well.
        drop(self);
        if let Err(End::Failed(error)) = end {
            // The connection may be gone as well; then nobody is left to be told.
            let _ = reader.send(Err(error)).await;
        }
    }

    async fn send_all(&mut self, snapshot: bool, mut head: watch::Receiver<Revision>) -> Result<(), End> {
        if snapshot {
            self.send_snapshot().await?;
        } else {
            self.created().await?;
        }
        let mut bookmarked = false;
        loop {
            head.borrow_and_update();
            while self.send_some().await? {
                if !self.out.is_amid() && self.out.sent.elapsed() >= self.watching.bookmark_every {
                    self.bookmark().await?;
                }
            }
            if !bookmarked {
                self.bookmark().await?;
                bookmarked = true;
            }
            // Whatever others write meanwhile: the reader's cursor moves, and it hears that the watch is alive.
            match timeout_at(self.out.sent + self.watching.bookmark_every, head.changed()).await {
                Ok(Ok(())) => {}
                // The store is closed: so is the server.
                Ok(Err(_)) => return Err(Error::Draining.into()),
                Err(_) => self.bookmark().await?,
            }
        }
    }

    /// Sends some of what is behind the cursor; false if there is nothing.
    async fn send_some(&mut self) -> Result<bool, End> {
        let behind = self.registry.tail.follow(self.cursor).await?;
        let mut entries = behind.entries.iter().peekable();
        while let Some((frame, last)) = self.next_of(&mut entries)? {
            if let Some(frame) = frame
                && !self.out.send(&frame, HELD).await?
            {
                drop((frame, behind));
                self.out.room().await?;
                return Ok(true);
            }
            (self.cursor, self.hash) = (last.revision, last.hash());
            self.measured.at(self.cursor);
        }
        Ok(!behind.entries.is_empty())
    }

    /// What the reader gets of the next revisions, as many as fit into one piece, and the last of them.
    fn next_of<'a>(
        &self,
        entries: &mut Peekable<impl Iterator<Item = &'a Arc<Told>>>,
    ) -> Result<Option<(Option<Frame>, &'a Told)>, Error> {
        let Some(mut last) = entries.next() else { return Ok(None) };
        let mut frame = self.frame(last)?;
        while let Some(next) = entries.peek() {
            if let Some(more) = self.frame(next)? {
                match &mut frame {
                    None => frame = Some(more),
                    Some(frame) => {
                        if !frame.join(more) {
                            break;
                        }
                    }
                }
            }
            last = next;
            entries.next();
        }
        Ok(Some((frame, last)))
    }

    /// What the reader gets of a revision.
    fn frame(&self, told: &Told) -> Result<Option<Frame>, Error> {
        let chosen: Vec<_> = told.events.iter().map(|event| self.selection.takes(event)).collect();
        if chosen.iter().all(|chosen| *chosen) {
            return Ok(Some(Frame::whole(told.frame.clone())));
        }
        if !chosen.contains(&true) {
            return Ok(None);
        }
        Ok(Some(Frame::some(&told.frame, chosen)?))
    }

    async fn created(&mut self) -> Result<(), Gone> {
        let created = pb::WatchCreated { revision: self.cursor.cast_signed(), hash: self.hash.clone() };
        self.out.send_small(&Frame::of(&message(Response::Created(created)))).await
    }

    async fn bookmark(&mut self) -> Result<(), Gone> {
        let bookmark = pb::Bookmark { revision: self.cursor.cast_signed(), hash: self.hash.clone() };
        self.out.send_small(&Frame::of(&message(Response::Bookmark(bookmark)))).await
    }

    async fn send_snapshot(&mut self) -> Result<(), End> {
        let Ok(turn) = timeout(TURN, Arc::clone(&self.watching.turns).acquire_owned()).await else {
            return Err(Error::Overloaded("the server sends as many snapshots as it may".to_owned()).into());
        };
        let snapshot = self.registry.store.snapshot().await?;
        self.cursor = snapshot.revision();
        self.measured.at(self.cursor);
        self.hash = self.registry.tail.hash_at(self.cursor).await?;
        self.created().await?;
        SnapshotPage::new(&mut self.out, &*snapshot, self.watching.snapshot_patience).send(&self.selection).await?;
        drop((snapshot, turn));
        self.bookmark().await?;
        Ok(())
    }
}

fn message(response: Response) -> pb::WatchEventsResponse {
    pb::WatchEventsResponse { response: Some(response) }
}

/// Why a watch ended.
enum End {
    Gone,
    Failed(Error),
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl<E: Into<Error>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
