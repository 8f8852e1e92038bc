//! Watching the log: a cursor for each watcher, which reads on from where it is whenever the head has moved.
//!
//! The log is the truth, the head's signal only a hint, so that a slow watcher costs nothing: it holds a number and a few
//! messages, blocks nobody, and finds everything still there.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::watch_events_response::Response;
use tokio::sync::{mpsc, watch};

use super::Registry;
use super::events::{Selection, last_hash, number};
use super::kinds::{RESOURCES, Spec};
use super::transaction::event;
use crate::error::Error;
use crate::rules::names::Collection;
use crate::store::{Pages, Record, Revision, Snapshot};

/// How many messages wait for a watcher's connection.
const WAITING: usize = 16;
/// How many resources a message of a snapshot has.
const PAGE: usize = 100;
/// And after how many bytes it is sent: one more resource fits the 4 MiB that clients take.
const PAGE_BYTES: usize = 1024 * 1024;
/// How often an idle watcher hears that it has missed nothing.
const BOOKMARK_EVERY: Duration = Duration::from_secs(5);

/// Where a watch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Now,
    /// After a revision, which has this hash unless that is empty.
    After(Revision, Bytes),
    Snapshot,
}

type Message = Result<pb::WatchEventsResponse, Error>;

/// The watcher has gone.
struct Gone;

impl Registry {
    /// Begins a watch. It ends when the receiver is dropped, or with an error when `draining` turns true.
    pub(crate) async fn watch(
        &self,
        selection: Selection,
        start: Start,
        draining: watch::Receiver<bool>,
    ) -> Result<mpsc::Receiver<Message>, Error> {
        // Taken first: it wakes for whatever comes behind what is read now.
        let mut head = self.store.head();
        head.borrow_and_update();
        let snapshot = match start {
            Start::Snapshot => Some(self.store.snapshot().await?),
            Start::Now | Start::After(..) => None,
        };
        // Asked of the store: the caller may know of a commit by another server that this one has not heard of yet.
        let newest = self.store.newest().await?;
        let cursor = match (&start, &snapshot) {
            (_, Some(snapshot)) => snapshot.revision(),
            (Start::After(revision, _), _) if *revision > newest => {
                let detail = format!("revision {revision} is not in the log, which ends at {newest}");
                return Err(Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail });
            }
            (Start::After(revision, hash), _) => {
                self.tail.check_position(*revision, hash).await?;
                *revision
            }
            _ => newest,
        };
        let (out, receiver) = mpsc::channel(WAITING);
        let hash = self.tail.hash_at(cursor).await?;
        let watcher = Watcher { registry: self.clone(), selection, out, cursor, hash };
        tokio::spawn(watcher.run(snapshot, head, draining));
        Ok(receiver)
    }
}

struct Watcher {
    registry: Registry,
    selection: Selection,
    out: mpsc::Sender<Message>,
    /// Everything up to here was sent, or not asked for.
    cursor: Revision,
    /// The hash of the last event of that revision.
    hash: Bytes,
}

impl Watcher {
    async fn run(
        mut self,
        snapshot: Option<Box<dyn Snapshot>>,
        head: watch::Receiver<Revision>,
        mut draining: watch::Receiver<bool>,
    ) {
        let out = self.out.clone();
        let end = tokio::select! {
            end = self.send_all(snapshot, head) => end,
            _ = draining.wait_for(|draining| *draining) => Err(End::Failed(Error::Draining)),
            () = out.closed() => return,
        };
        if let Err(End::Failed(error)) = end {
            // The connection may be gone as well; then nobody is left to be told.
            let _ = out.send(Err(error)).await;
        }
    }

    async fn send_all(
        &mut self,
        snapshot: Option<Box<dyn Snapshot>>,
        mut head: watch::Receiver<Revision>,
    ) -> Result<(), End> {
        let created = pb::WatchCreated { revision: self.cursor.cast_signed(), hash: self.hash.clone() };
        self.send(Response::Created(created)).await?;
        if let Some(snapshot) = snapshot {
            self.send_snapshot(&*snapshot).await?;
            self.bookmark().await?;
        }
        let mut bookmarked = false;
        loop {
            head.borrow_and_update();
            while self.send_some().await? {}
            if !bookmarked {
                self.bookmark().await?;
                bookmarked = true;
            }
            match tokio::time::timeout(BOOKMARK_EVERY, head.changed()).await {
                Ok(Ok(())) => {}
                // The store is closed: so is the server.
                Ok(Err(_)) => return Err(Error::Draining.into()),
                Err(_) => self.bookmark().await?,
            }
        }
    }

    /// Sends some of what is behind the cursor; false if there is nothing.
    async fn send_some(&mut self) -> Result<bool, End> {
        let entries = self.registry.tail.read(self.cursor).await?;
        for entry in &entries {
            let events: Vec<_> = entry.events.iter().filter(|event| self.selection.takes(event)).cloned().collect();
            self.hash = last_hash(&entry.events);
            if !events.is_empty() {
                let events = pb::WatchedEvents { revision: entry.revision, events, hash: self.hash.clone() };
                self.send(Response::Events(events)).await?;
            }
            self.cursor = number(entry);
        }
        Ok(!entries.is_empty())
    }

    async fn bookmark(&self) -> Result<(), Gone> {
        let bookmark = pb::Bookmark { revision: self.cursor.cast_signed(), hash: self.hash.clone() };
        self.send(Response::Bookmark(bookmark)).await
    }

    async fn send(&self, response: Response) -> Result<(), Gone> {
        self.out.send(Ok(pb::WatchEventsResponse { response: Some(response) })).await.map_err(|_| Gone)
    }

    /// Sends what there is below the parent, each resource before those that lie in it.
    async fn send_snapshot(&self, snapshot: &dyn Snapshot) -> Result<(), End> {
        let mut page = SnapshotPage { watcher: self, snapshot, events: Vec::new(), bytes: 0 };
        match &self.selection.parent {
            None => {
                for kind in RESOURCES.iter().filter(|kind| kind.of.parent.and_then(Spec::of_collection).is_none()) {
                    page.all(kind, Vec::new()).await?;
                }
            }
            Some(name) => match Spec::of_collection(name.of()) {
                Some(kind) => {
                    if let Some(record) = snapshot.get(kind.kind, &name.key()).await? {
                        page.with_all_below(kind, &record).await?;
                    }
                }
                None => page.below(name.of(), name.prefix()).await?,
            },
        }
        page.flush().await
    }
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

/// Resources of a snapshot on their way into messages.
struct SnapshotPage<'a> {
    watcher: &'a Watcher,
    snapshot: &'a dyn Snapshot,
    events: Vec<pb::Event>,
    /// Of their records.
    bytes: usize,
}

impl SnapshotPage<'_> {
    /// Sends the resources of all kinds that lie in something, whose keys begin with this.
    fn below<'a>(&'a mut self, parent: &'static Collection, prefix: Vec<u8>) -> BoxFuture<'a, Result<(), End>> {
        Box::pin(async move {
            for kind in RESOURCES.iter().filter(|kind| kind.of.parent.is_some_and(|of| std::ptr::eq(of, parent))) {
                self.all(kind, prefix.clone()).await?;
            }
            Ok(())
        })
    }

    /// Sends the resources of a kind whose keys begin with this, each with what lies in it.
    async fn all(&mut self, kind: &Spec, prefix: Vec<u8>) -> Result<(), End> {
        let mut listed = Pages::under(kind.listed, prefix);
        while let Some(hit) = listed.next(self.snapshot).await? {
            self.with_all_below(kind, &hit.record).await?;
        }
        Ok(())
    }

    /// Sends a resource, unless it is deleted, and what lies in it.
    async fn with_all_below(&mut self, kind: &Spec, record: &Record) -> Result<(), End> {
        let Some((name, resource)) = (kind.shown)(record)? else { return Ok(()) };
        let below = name.prefix();
        self.bytes += record.payload.len();
        self.events.push(pb::Event {
            revision: self.snapshot.revision().cast_signed(),
            resource_name: name.to_string(),
            after: Some(resource),
            ..event(event_type::RESOURCE_SNAPSHOT)
        });
        if self.events.len() >= PAGE || self.bytes >= PAGE_BYTES {
            self.flush().await?;
        }
        self.below(kind.of, below).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        let events = std::mem::take(&mut self.events);
        self.bytes = 0;
        if events.is_empty() {
            return Ok(());
        }
        let revision = self.snapshot.revision().cast_signed();
        Ok(self.watcher.send(Response::Events(pb::WatchedEvents { revision, events, ..Default::default() })).await?)
    }
}
