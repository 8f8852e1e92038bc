//! Watching the log: a cursor for each watcher, which reads on from where it is whenever the head has moved.
//!
//! The log is the truth, the head's signal only a hint, so that a slow watcher costs nothing: it holds a number and a few
//! messages, blocks nobody, and finds everything still there.

use std::time::Duration;

use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::watch_events_response::Response;
use tokio::sync::{mpsc, watch};

use super::artifacts::resource as artifact_resource;
use super::events::Selection;
use super::kinds;
use super::records::{ModelRow, decode};
use super::{Registry, keys};
use crate::error::Error;
use crate::rules::names::{ModelName, Parent};
use crate::store::{Range, Revision, Snapshot, Source};

/// How many messages wait for a watcher's connection.
const WAITING: usize = 16;
/// How many resources a message of a snapshot has.
const PAGE: usize = 100;
/// How often an idle watcher hears that it has missed nothing.
const BOOKMARK_EVERY: Duration = Duration::from_secs(5);

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Now,
    After(Revision),
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
            Start::Now | Start::After(_) => None,
        };
        // Asked of the store: the caller may know of a commit by another server that this one has not heard of yet.
        let newest = self.store.newest().await?;
        let cursor = match (start, &snapshot) {
            (_, Some(snapshot)) => snapshot.revision(),
            (Start::After(revision), _) if revision > newest => {
                let detail = format!("revision {revision} is not in the log, which ends at {newest}");
                return Err(Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail });
            }
            (Start::After(revision), _) => revision,
            _ => newest,
        };
        let (out, receiver) = mpsc::channel(WAITING);
        let watcher = Watcher { registry: self.clone(), selection, out, cursor };
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
        self.send(Response::Created(pb::WatchCreated { revision: self.cursor })).await?;
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
            let revision = entry.revision;
            let events: Vec<_> = entry.events.iter().filter(|event| self.selection.takes(event)).cloned().collect();
            if !events.is_empty() {
                self.send(Response::Events(pb::WatchedEvents { revision, events })).await?;
            }
            self.cursor = revision;
        }
        Ok(!entries.is_empty())
    }

    async fn bookmark(&self) -> Result<(), Gone> {
        self.send(Response::Bookmark(pb::Bookmark { revision: self.cursor })).await
    }

    async fn send(&self, response: Response) -> Result<(), Gone> {
        self.out.send(Ok(pb::WatchEventsResponse { response: Some(response) })).await.map_err(|_| Gone)
    }

    /// Sends what there is below the parent: each model before its versions, each version before its artifacts.
    async fn send_snapshot(&self, snapshot: &dyn Snapshot) -> Result<(), End> {
        let mut page = SnapshotPage { watcher: self, revision: snapshot.revision(), events: Vec::new() };
        match &self.selection.parent {
            Parent::All => page.models(snapshot, Vec::new()).await?,
            Parent::Namespace(namespace) => page.models(snapshot, keys::namespace_prefix(namespace)).await?,
            Parent::Model(model) => {
                if let Some(record) = snapshot.get(kinds::MODEL, &keys::model(model)).await? {
                    page.model(snapshot, ModelRow::decode(&record)?).await?;
                }
            }
            Parent::Version { model, number } => {
                if let Some(record) = snapshot.get(kinds::VERSION, &keys::version(model, *number)).await? {
                    page.version(snapshot, model, decode(&record)?).await?;
                }
            }
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
    revision: Revision,
    events: Vec<pb::Event>,
}

impl SnapshotPage<'_> {
    async fn models(&mut self, snapshot: &dyn Snapshot, prefix: Vec<u8>) -> Result<(), End> {
        let mut range = Range::first(prefix, PAGE);
        loop {
            let hits = snapshot.scan(Source::Index(kinds::LIVE_MODELS), &range).await?;
            let Some(last) = hits.last() else { return Ok(()) };
            range.after = Some(last.position.clone());
            for hit in &hits {
                self.model(snapshot, ModelRow::decode(&hit.record)?).await?;
            }
        }
    }

    async fn model(&mut self, snapshot: &dyn Snapshot, row: ModelRow) -> Result<(), End> {
        let model = row.model;
        if model.delete_time.is_some() {
            return Ok(());
        }
        let name = ModelName::parse(&model.name).map_err(Error::internal)?;
        let resource = pb::Resource { resource: Some(pb::resource::Resource::Model(model.clone())) };
        self.add(model.name, resource).await?;
        let mut range = Range::first(keys::model_prefix(&name), PAGE);
        loop {
            let hits = snapshot.scan(Source::Index(kinds::LIVE_VERSIONS), &range).await?;
            let Some(last) = hits.last() else { return Ok(()) };
            range.after = Some(last.position.clone());
            for hit in &hits {
                self.version(snapshot, &name, decode(&hit.record)?).await?;
            }
        }
    }

    async fn version(&mut self, snapshot: &dyn Snapshot, model: &ModelName, version: pb::Version) -> Result<(), End> {
        if version.delete_time.is_some() {
            return Ok(());
        }
        let number = version.number;
        let resource = pb::Resource { resource: Some(pb::resource::Resource::Version(version.clone())) };
        self.add(version.name, resource).await?;
        let mut range = Range::first(keys::artifact(model, number, ""), PAGE);
        loop {
            let hits = snapshot.scan(Source::Kind(kinds::ARTIFACT), &range).await?;
            let Some(last) = hits.last() else { return Ok(()) };
            range.after = Some(last.position.clone());
            for hit in &hits {
                let artifact: pb::Artifact = decode(&hit.record)?;
                self.add(artifact.name.clone(), artifact_resource(&artifact)).await?;
            }
        }
    }

    async fn add(&mut self, resource_name: String, after: pb::Resource) -> Result<(), End> {
        self.events.push(pb::Event {
            revision: self.revision,
            r#type: pb::EventType::Snapshot.into(),
            resource_name,
            after: Some(after),
            ..Default::default()
        });
        if self.events.len() >= PAGE { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), End> {
        let events = std::mem::take(&mut self.events);
        if events.is_empty() {
            return Ok(());
        }
        Ok(self.watcher.send(Response::Events(pb::WatchedEvents { revision: self.revision, events })).await?)
    }
}
