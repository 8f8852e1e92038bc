//! Shipping a registry's log to an archive as it is committed.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::PutPayload;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::archive::{self, Archived, Segment};
use super::container::Sealer;
use super::restore::RestoreError;
use crate::chunks::ChunkError;
use crate::error::Error;
use crate::owners::{Former, Owner, OwnerError, Purpose};
use crate::places::{Folder, PlaceError};
use crate::registry::Registry;
use crate::registry::chain::Position;
use crate::registry::contents::{Owned, chunks_written};
use crate::store::{Revision, Store, StoreError};
use crate::stored::backup_frame::Frame;
use crate::stored::{BackupHeader, LogGroup};

/// How many revisions a segment has at most.
const SEGMENT: usize = 4096;
/// No archive is written to more often than this.
const SHORTEST: Duration = Duration::from_millis(1);

/// Why an archive can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The place can't be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The place is not this registry's.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// What is in the archive can't be read.
    #[error(transparent)]
    Read(#[from] RestoreError),
    /// It is the archive of another past of this registry.
    #[error(
        "{place} has a revision {revision} that this registry does not have like that: its database has fallen back, or was recovered \
         to an earlier time. Nothing is shipped on to it: choose another --archive, or run `registry-server claim`, which ships what \
         there is now to a new timeline"
    )]
    OtherPast {
        /// Which archive.
        place: String,
        /// What it has.
        revision: Revision,
    },
    /// It does not have everything that the log has no more.
    #[error(
        "{place} has nothing behind revision {after}, and the log begins at revision {oldest}: nothing is shipped to it before it has \
         again what was there"
    )]
    Gap {
        /// Which archive.
        place: String,
        /// What it has without a gap.
        after: Revision,
        /// What the log has.
        oldest: Revision,
    },
    /// The registry can't be read.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> Self {
        Self::Registry(error.into())
    }
}

impl ArchiveError {
    /// Whether what is in the archive is not what this registry has.
    fn is_of_another(&self) -> bool {
        let place_fails = matches!(self, Self::Owner(OwnerError::Place(_) | OwnerError::Store(_)));
        matches!(self, Self::OtherPast { .. } | Self::Owner(_)) && !place_fails
    }
}

/// Ships a registry's log to an archive.
pub(crate) struct Shipper {
    registry: Registry,
    archive: Archived,
    owner: Owner,
    /// The log that it goes on with; nil before there is one.
    timeline: Uuid,
    /// What is in the archive.
    shipped: Position,
    /// Tells of it; 0 if the archive is not this registry's any more.
    tell: watch::Sender<Revision>,
}

impl Shipper {
    /// Finds out what an archive has already, which has to be this registry's, or nobody's and empty. A local folder is made if it is
    /// missing. If it is of another past of this registry, nothing is shipped.
    pub(crate) async fn open(registry: Registry, place: &str) -> Result<Self, ArchiveError> {
        let mut shipper = Self::of(registry, place).await?;
        let timeline = shipper.owner.enter(shipper.store()).await?;
        match shipper.take_up(timeline).await {
            // A standby that took over may lack the newest revisions. Then it serves, and ships nothing: every attempt says so.
            Err(error @ (ArchiveError::OtherPast { .. } | ArchiveError::Gap { .. })) => {
                tracing::error!(%error, "the archive can't be written")
            }
            taken => taken?,
        }
        Ok(shipper)
    }

    async fn of(registry: Registry, place: &str) -> Result<Self, ArchiveError> {
        let folder = Folder::open(place).await?;
        let owner = owner_of(folder.clone(), &**registry.store()).await?;
        let (archive, shipped) = (Archived::new(folder), Position::start());
        Ok(Self { registry, archive, owner, timeline: Uuid::nil(), shipped, tell: watch::Sender::new(0) })
    }

    /// Prepares to claim an archive: goes on with its timeline if it is this registry's and in order, and otherwise makes sure that it
    /// can be taken. Nothing is changed that is another registry's.
    pub(crate) async fn to_claim(registry: Registry, place: &str) -> Result<Self, ArchiveError> {
        if let Ok(shipper) = Self::open(registry.clone(), place).await
            && shipper.is_in_order().await
        {
            return Ok(shipper);
        }
        let shipper = Self::of(registry, place).await?;
        shipper.owner.check_may_remove().await?;
        Ok(shipper)
    }

    /// Makes an archive this registry's from now on: ships the whole log to a new timeline, and then says that it is the one. Answers
    /// whose it was, or `None` if it is this registry's and in order already.
    pub(crate) async fn claim(mut self) -> Result<Option<Former>, ArchiveError> {
        if !self.timeline.is_nil() {
            return Ok(self.owner.tidy(self.timeline).await?);
        }
        self.timeline = Uuid::new_v4();
        let newest = self.store().newest().await?;
        while self.shipped.revision < newest {
            if !self.ship_segment(true).await? {
                break;
            }
        }
        let former = self.owner.take(self.timeline, self.store()).await?;
        Ok(Some(former))
    }

    async fn is_in_order(&self) -> bool {
        let checked = self.owner.check(self.store()).await;
        checked.is_ok_and(|timeline| timeline == self.timeline)
    }

    /// The newest revision that is in the archive.
    pub(crate) fn archived(&self) -> watch::Receiver<Revision> {
        self.tell.subscribe()
    }

    /// Goes on with what a timeline has.
    async fn take_up(&mut self, timeline: Uuid) -> Result<(), ArchiveError> {
        let segments = self.archive.segments(timeline).await?;
        // The segment that reaches furthest need not be the last one.
        if let Some(newest) = segments.iter().max_by_key(|segment| segment.last) {
            let archived = self.archive.read(timeline, newest).await?;
            let ours = self.store().changes(newest.last - 1, 1).await.map_err(|error| self.gap(newest.last, error))?;
            if archived.last() != ours.first() {
                return Err(self.other_past(newest.last));
            }
        }
        // If segments were lost, what they had is shipped again: the log still has it.
        let shipped = archive::without_gap(&segments);
        let position = Position::of(self.store(), shipped).await.map_err(|error| self.gap(shipped, error))?;
        self.shipped = position.ok_or_else(|| self.other_past(shipped))?;
        self.timeline = timeline;
        self.tell.send_replace(shipped);
        Ok(())
    }

    fn store(&self) -> &dyn Store {
        &**self.registry.store()
    }

    /// What is shipped next is perhaps not in the log any more.
    fn gap(&self, after: Revision, error: StoreError) -> ArchiveError {
        match error {
            StoreError::Compacted { oldest } => ArchiveError::Gap { place: self.archive.name(), after, oldest },
            error => error.into(),
        }
    }

    fn other_past(&self, revision: Revision) -> ArchiveError {
        ArchiveError::OtherPast { place: self.archive.name(), revision }
    }

    /// Ships what is new, again and again, until the server has ended; then once more.
    pub(crate) async fn run(mut self, every: Duration, mut ending: watch::Receiver<bool>) {
        // An interval of nothing panics.
        let mut ticks = tokio::time::interval(every.max(SHORTEST));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        let mut failing_since = None;
        while !stopping {
            tokio::select! {
                _ = ticks.tick() => {}
                // An error means that the server is gone.
                _ = ending.wait_for(|ending| *ending) => stopping = true,
            }
            match (self.ship().await, failing_since) {
                (Ok(()), None) => {}
                (Ok(()), Some(_)) => {
                    tracing::info!(revision = self.shipped.revision, "the archive is up to date again");
                    failing_since = None;
                }
                (Err(error), since) => {
                    if error.is_of_another() {
                        // A collection must not take it for one that has what is removed.
                        self.tell.send_replace(0);
                    }
                    let since = since.unwrap_or_else(Instant::now);
                    failing_since = Some(since);
                    let seconds = since.elapsed().as_secs();
                    let revision = self.shipped.revision;
                    tracing::error!(%error, revision, seconds, "the archive can't be written");
                }
            }
        }
    }

    /// Ships everything that is committed by now and not yet there.
    async fn ship(&mut self) -> Result<(), ArchiveError> {
        let newest = self.store().newest().await?;
        let mut in_order = match self.shipped.is_past_of(self.store()).await {
            // Another server has shipped more, and then dropped it.
            Err(StoreError::Compacted { .. }) => {
                self.take_up(self.timeline).await?;
                false
            }
            in_order => in_order?,
        };
        while !in_order || self.shipped.revision < newest {
            // It notes what this registry has. Whoever has another past sees that, or is seen: one of both goes no further.
            let timeline = self.owner.check(self.store()).await?;
            if timeline != self.timeline {
                self.take_up(timeline).await?;
            }
            in_order = true;
            if !self.ship_segment(false).await? {
                break;
            }
        }
        self.tell.send_replace(self.shipped.revision);
        Ok(())
    }

    /// Ships the next revisions, perhaps with chunks that are there already. False if there are none.
    async fn ship_segment(&mut self, anew: bool) -> Result<bool, ArchiveError> {
        let after = self.shipped.revision;
        let entries = self.store().changes(after, SEGMENT).await.map_err(|error| self.gap(after, error))?;
        // Asked behind the read: a database that has fallen back has not come forth again.
        if !self.shipped.is_past_of(self.store()).await? {
            return Err(self.other_past(self.shipped.revision));
        }
        if entries.is_empty() {
            return Ok(false);
        }
        let last = self.shipped.behind(&entries);
        // The bytes first: what the log speaks of is there.
        let mut chunks = BTreeSet::new();
        for entry in &entries {
            chunks.extend(chunks_written(entry)?);
        }
        for owned in &chunks {
            self.ship_chunk(owned, anew).await?;
        }
        let segment = Segment::new(self.shipped.revision, &last);
        let Position { revision: after, hash: after_hash } = self.shipped.clone();
        let timeline = Bytes::copy_from_slice(self.timeline.as_bytes());
        let (mut sealer, begin) = Sealer::begin(BackupHeader { after, after_hash, timeline });
        let mut bytes = BytesMut::from(begin);
        bytes.extend_from_slice(&sealer.seal(Frame::Log(LogGroup { entries })));
        bytes.extend_from_slice(&sealer.end(last.revision));
        let path = self.archive.segment_path(self.timeline, &segment);
        self.archive.folder.put(&path, PutPayload::from(Bytes::from(bytes))).await?;
        self.tell.send_replace(last.revision);
        self.shipped = last;
        Ok(true)
    }

    async fn ship_chunk(&self, owned: &Owned, anew: bool) -> Result<(), ArchiveError> {
        let path = self.archive.chunk_path(owned);
        // Another registry's may be encrypted with another key.
        let anew = anew && self.registry.chunks().encrypts();
        if !anew && self.archive.folder.has(&path).await? {
            return Ok(());
        }
        match self.registry.chunks().sealed(&owned.0, &owned.1).await {
            Ok(sealed) => Ok(self.archive.folder.put(&path, sealed.into()).await?),
            Err(ChunkError::Failed(error)) => Err(error.into()),
            // The log goes on without it; a restore says which artifacts lack it.
            Err(error) => {
                tracing::warn!(%error, "a chunk can't be archived");
                Ok(())
            }
        }
    }
}

/// The owner of an archive.
pub(crate) async fn owner_of(folder: Folder, store: &dyn Store) -> Result<Owner, StoreError> {
    Ok(Owner::new(folder, Purpose::Archive, store.identity().await?, false))
}

#[cfg(test)]
mod tests;
