//! The archive: the log in segments, and the bytes of artifacts, shipped to a folder or an object store as they are committed.
//!
//! | path | |
//! |---|---|
//! | `log/FIRST-LAST.segment` | a container (see [`super::container`]) with the revisions FIRST to LAST |
//! | `chunks/NAMESPACE/XX/DIGEST` | the chunk with this BLAKE3, which begins with XX, as the chunk store keeps it |
//!
//! Several servers of one registry may ship to one archive: their segments overlap, and are the same where they do.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::container::{ContainerError, Opener, Sealer};
use super::restore::RestoreError;
use crate::chunks::{self, ChunkError};
use crate::error::Error;
use crate::places::{Folder, PlaceError};
use crate::registry::Registry;
use crate::registry::contents::{Owned, chunks_written};
use crate::store::{Revision, StoreError};
use crate::stored::backup_frame::Frame;
use crate::stored::{BackupHeader, LogEntry, LogGroup};

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
    /// What is in the archive can't be read.
    #[error(transparent)]
    Read(#[from] RestoreError),
    /// It is the archive of another registry, or of another past of this one.
    #[error(
        "{0} is the archive of another registry, or of what this one was before it was restored: choose another place"
    )]
    Other(String),
    /// The registry can't be read.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> Self {
        Self::Registry(error.into())
    }
}

/// Some revisions in an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    pub(crate) after: Revision,
    pub(crate) last: Revision,
}

impl Segment {
    fn file(&self) -> String {
        format!("{:020}-{:020}.segment", self.after + 1, self.last)
    }

    fn parse(file: &str) -> Option<Self> {
        let (first, last) = file.strip_suffix(".segment")?.split_once('-')?;
        Some(Self { after: first.parse::<Revision>().ok()?.checked_sub(1)?, last: last.parse().ok()? })
    }
}

/// An archive, to be read.
pub(crate) struct Archived {
    folder: Folder,
}

impl Archived {
    pub(crate) fn new(folder: Folder) -> Self {
        Self { folder }
    }

    pub(crate) fn name(&self) -> String {
        self.folder.name.clone()
    }

    /// What there is of the log, in order.
    pub(crate) async fn segments(&self) -> Result<Vec<Segment>, PlaceError> {
        let listed = self.folder.objects().list(Some(&self.folder.path(["log"])));
        let files: Vec<_> = listed.try_collect().await.map_err(|error| self.folder.failed(error))?;
        let mut segments: Vec<_> = files.iter().filter_map(|meta| Segment::parse(meta.location.filename()?)).collect();
        segments.sort_unstable();
        Ok(segments)
    }

    /// The revisions of a segment.
    pub(crate) async fn read(&self, segment: &Segment) -> Result<Vec<LogEntry>, RestoreError> {
        let file = segment.file();
        let path = self.folder.path(["log", &file]);
        let got = async { self.folder.objects().get(&path).await?.bytes().await };
        let bytes = got.await.map_err(|error| self.folder.failed(error))?;
        let failed = |source| RestoreError::Container { place: format!("{}/log/{file}", self.folder.name), source };
        let (mut frames, _) = Opener::begin(bytes.as_ref()).await.map_err(failed)?;
        let mut entries = Vec::new();
        loop {
            match frames.next().await.map_err(failed)? {
                Frame::Log(group) => entries.extend(group.entries),
                Frame::End(_) => break,
                _ => return Err(failed(ContainerError::Damaged("a frame that is not of the log".to_owned()))),
            }
        }
        if !entries.iter().map(|entry| entry.revision).eq(segment.after + 1..=segment.last) {
            return Err(failed(ContainerError::Damaged("it does not have the revisions of its name".to_owned())));
        }
        Ok(entries)
    }

    /// Reads a chunk, if it is there.
    pub(crate) async fn read_chunk(&self, owned: &Owned) -> Result<Option<Bytes>, PlaceError> {
        self.folder.get(&self.chunk_path(owned)).await
    }

    fn chunk_path(&self, (namespace, chunk): &Owned) -> Path {
        chunks::place(&self.folder, namespace, &chunk.blake3)
    }
}

/// Ships a registry's log to an archive.
pub(crate) struct Shipper {
    registry: Registry,
    archive: Archived,
    /// What is in the archive.
    shipped: Revision,
    /// Tells of it.
    tell: watch::Sender<Revision>,
}

impl Shipper {
    /// Finds out what an archive has already. A local folder is made if it is missing.
    pub(crate) async fn open(registry: Registry, place: &str) -> Result<Self, ArchiveError> {
        let archive = Archived::new(Folder::open(place).await?);
        let segments = archive.segments().await?;
        // The segment that reaches furthest need not be the last one.
        if let Some(newest) = segments.iter().max_by_key(|segment| segment.last) {
            let archived = archive.read(newest).await?;
            let ours = registry.store().changes(newest.last - 1, 1).await?;
            if archived.last() != ours.first() {
                return Err(ArchiveError::Other(archive.name()));
            }
        }
        // If segments were lost, what they had is shipped again: the log still has it.
        let go_on =
            |shipped, segment: &Segment| if segment.after <= shipped { segment.last.max(shipped) } else { shipped };
        let shipped = segments.iter().fold(0, go_on);
        Ok(Self { registry, archive, shipped, tell: watch::Sender::new(shipped) })
    }

    /// The newest revision that is in the archive.
    pub(crate) fn archived(&self) -> watch::Receiver<Revision> {
        self.tell.subscribe()
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
                    tracing::info!(revision = self.shipped, "the archive is up to date again");
                    failing_since = None;
                }
                (Err(error), since) => {
                    let since = since.unwrap_or_else(Instant::now);
                    failing_since = Some(since);
                    let seconds = since.elapsed().as_secs();
                    tracing::error!(%error, revision = self.shipped, seconds, "the archive can't be written");
                }
            }
        }
    }

    /// Ships everything that is committed by now and not yet there.
    async fn ship(&mut self) -> Result<(), ArchiveError> {
        let newest = self.registry.store().newest().await?;
        while self.shipped < newest {
            let entries = self.registry.store().changes(self.shipped, SEGMENT).await?;
            let Some(last) = entries.last().map(|entry| entry.revision) else { return Ok(()) };
            // The bytes first: what the log speaks of is there.
            let mut chunks = BTreeSet::new();
            for entry in &entries {
                chunks.extend(chunks_written(entry)?);
            }
            for owned in &chunks {
                self.ship_chunk(owned).await?;
            }
            let segment = Segment { after: self.shipped, last };
            let (mut sealer, mut bytes) = {
                let (sealer, begin) = Sealer::begin(BackupHeader { after: self.shipped });
                (sealer, BytesMut::from(begin))
            };
            bytes.extend_from_slice(&sealer.seal(Frame::Log(LogGroup { entries })));
            bytes.extend_from_slice(&sealer.end(last));
            let path = self.archive.folder.path(["log", &segment.file()]);
            self.archive.folder.put(&path, PutPayload::from(Bytes::from(bytes))).await?;
            self.shipped = last;
            self.tell.send_replace(last);
        }
        Ok(())
    }

    async fn ship_chunk(&self, owned: &Owned) -> Result<(), ArchiveError> {
        let path = self.archive.chunk_path(owned);
        if self.archive.folder.has(&path).await? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_found_by_their_names_in_order() {
        let segment = Segment { after: 9, last: 12 };
        assert_eq!(segment.file(), "00000000000000000010-00000000000000000012.segment");
        assert_eq!(Segment::parse(&segment.file()), Some(segment));
        for other in ["", "10-12", "0-12.segment", "a-b.segment", "12.segment", "10-12.segment.tmp"] {
            assert_eq!(Segment::parse(other), None, "{other}");
        }
    }
}
