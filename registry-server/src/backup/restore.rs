//! Filling an empty store from a backup or an archive, up to a revision or a moment.
//!
//! A store that is being filled says so until the last step, and no server serves it. A restore that broke off is taken up
//! where it was.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;
use registry_common::chunks::Chunk;
use registry_proto::v1 as pb;

use super::archive::{Archived, Segment};
use super::container::{ContainerError, Opener};
use super::named;
use crate::chunks::{ChunkError, ChunkStore};
use crate::encryption::data::DataKeyError;
use crate::encryption::master::KeyError;
use crate::places::{self, PlaceError, Source};
use crate::registry::chain::Position;
use crate::registry::contents::{Owned, chunks_written};
use crate::store::{Revision, Store, StoreError};
use crate::stored::backup_frame::Frame;
use crate::stored::{BackupHeader, LogEntry};

/// Up to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All there is.
    End,
    /// This revision.
    Revision(Revision),
    /// The last revision that was committed at this time or before.
    Time(Timestamp),
}

/// Why a restore fails.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The place can't be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// What is there can't be read.
    #[error("{place} {source}")]
    Container {
        /// What was read.
        place: String,
        /// What is wrong with it.
        source: ContainerError,
    },
    /// A restore begins with nothing.
    #[error("the store is not empty: it is at revision {0}; restore into an empty one")]
    NotEmpty(Revision),
    /// What is in the store is not the beginning of what is to be restored.
    #[error("the store holds the beginning of another restore, up to revision {0}: empty it first")]
    Other(Revision),
    /// What was asked for is not there.
    #[error("{place} ends at revision {last}, before revision {wanted}")]
    TooShort {
        /// What was read.
        place: String,
        /// Its newest revision.
        last: Revision,
        /// What was asked for.
        wanted: Revision,
    },
    /// The point that was asked for lies before the first revision.
    #[error("{0} has no revision that early: nothing would be restored")]
    TooEarly(String),
    /// There is nothing that could be restored.
    #[error("{0} has no backup and no archive")]
    Nothing(String),
    /// An earlier program wrote the archive, and this one can't read it.
    #[error("{0} is an archive of an earlier development version: restore it with that one")]
    Earlier(String),
    /// Revisions are missing.
    #[error("{place} has nothing between revision {after} and revision {next}")]
    Gap {
        /// What was read.
        place: String,
        /// The last revision before the gap.
        after: Revision,
        /// The first one behind it.
        next: Revision,
    },
    /// Nothing says which of several pasts is the one.
    #[error(
        "{place} has several timelines ({timelines}), and its claims don't say which of them is to be restored (they are: {claims}): leave \
         the folder of that one in its log/, and move the others' away"
    )]
    Timelines {
        /// What was read.
        place: String,
        /// Which claims it has.
        claims: String,
        /// Which timelines there are.
        timelines: String,
    },
    /// A revision is not the one that came behind the one before it.
    #[error(
        "{place} mixes two pasts, or was changed: revision {revision} does not follow from those before it, by the chain of hashes. \
         Nothing of it is served. Up to revision {sure} nothing contradicts: `--revision {sure}`, into an empty store, restores that"
    )]
    Mixed {
        /// What was read.
        place: String,
        /// The first revision that does not follow.
        revision: Revision,
        /// Up to here nothing contradicts.
        sure: Revision,
    },
    /// What is to be restored is encrypted, and can't be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store can't take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DataKeyError> for RestoreError {
    fn from(error: DataKeyError) -> Self {
        match error {
            DataKeyError::Key(error) => Self::Key(error),
            DataKeyError::Store(error) => Self::Store(error),
        }
    }
}

/// What was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// The newest revision.
    pub revision: Revision,
    /// How many chunks of artifacts came with it.
    pub chunks: u64,
    /// The names of artifacts whose bytes were not there, or were damaged.
    pub lost: Vec<String>,
}

/// Carries a restore out. `progress` hears of every step.
///
/// # Errors
/// If the place can't be read or the store can't be filled. Run again, it goes on where it was.
pub async fn restore(
    store: &dyn Store,
    chunks: &ChunkStore,
    from: &str,
    until: Until,
    progress: impl FnMut(&Restored) + Send,
) -> Result<Restored, RestoreError> {
    let there = store.newest().await?;
    if there > 0 && store.whole().await? {
        return Err(RestoreError::NotEmpty(there));
    }
    let (wanted, restored) = (BTreeSet::new(), Restored::default());
    let (reached, openable) = (false, false);
    let (position, ends) = (Position::start(), BTreeMap::new());
    let mut filling =
        Filling { store, chunks, until, reached, openable, there, position, ends, wanted, restored, progress };
    let last = match places::source(from).await? {
        Source::File(bytes) => filling.file(from, bytes).await?,
        Source::Archive(folder) => filling.archive(&Archived::new(folder)).await?,
    };
    if let Until::Revision(wanted) = until
        && filling.restored.revision < wanted
    {
        return Err(RestoreError::TooShort { place: from.to_owned(), last, wanted });
    }
    if until != Until::End && filling.restored.revision == 0 {
        return Err(RestoreError::TooEarly(from.to_owned()));
    }
    // What was deleted since need not be there.
    filling.restored.lost = named(store, &filling.wanted).await?;
    store.restore(Vec::new(), true).await?;
    Ok(filling.restored)
}

struct Filling<'a, P> {
    store: &'a dyn Store,
    chunks: &'a ChunkStore,
    until: Until,
    /// Nothing more is asked for.
    reached: bool,
    /// The keys are there for what is encrypted.
    openable: bool,
    /// What a restore that broke off has left.
    there: Revision,
    /// How far it is.
    position: Position,
    /// The segments that end at a revision: what is read of one has to agree with those that need not be read.
    ends: BTreeMap<Revision, Vec<Segment>>,
    /// What is still to come.
    wanted: BTreeSet<Owned>,
    restored: Restored,
    progress: P,
}

impl<P: FnMut(&Restored)> Filling<'_, P> {
    /// Takes everything from a backup file. Answers its newest revision.
    async fn file(&mut self, place: &str, bytes: impl tokio::io::AsyncRead + Unpin) -> Result<Revision, RestoreError> {
        let failed = |source| RestoreError::Container { place: place.to_owned(), source };
        let (mut frames, BackupHeader { after, .. }) = Opener::begin(bytes).await.map_err(failed)?;
        if after > 0 {
            return Err(RestoreError::Gap { place: place.to_owned(), after: 0, next: after + 1 });
        }
        loop {
            match frames.next().await.map_err(failed)? {
                Frame::Header(_) => return Err(failed(ContainerError::Damaged("it has two headers".to_owned()))),
                Frame::Log(group) => self.entries(place, None, group.entries).await?,
                Frame::Chunk(frame) => {
                    self.log_ended().await?;
                    let message = pb::Chunk { blake3: frame.blake3, size_bytes: i64::from(frame.size_bytes) };
                    let chunk = Chunk::from_message(&message)
                        .ok_or_else(|| failed(ContainerError::Damaged("a chunk that is none".to_owned())))?;
                    self.keep((frame.namespace, chunk), frame.sealed).await?;
                }
                Frame::End(end) => {
                    self.log_ended().await?;
                    return Ok(end.revision);
                }
            }
        }
    }

    /// Takes everything from an archive. Answers its newest revision.
    async fn archive(&mut self, archive: &Archived) -> Result<Revision, RestoreError> {
        let timeline = archive.timeline().await?;
        let segments = archive.segments(timeline).await?;
        for segment in &segments {
            self.ends.entry(segment.last).or_default().push(segment.clone());
        }
        let mut last = 0;
        for segment in segments {
            // What is behind a gap may not be asked for.
            if self.reached {
                break;
            }
            if segment.last <= last {
                continue;
            }
            if segment.after > last {
                return Err(RestoreError::Gap { place: archive.name(), after: last, next: segment.after + 1 });
            }
            let mut entries = archive.read(timeline, &segment).await?;
            entries.retain(|entry| entry.revision > last);
            self.entries(&archive.name(), Some(segment.after), entries).await?;
            last = segment.last;
        }
        self.log_ended().await?;
        for owned in self.wanted.clone() {
            if let Some(sealed) = archive.read_chunk(&owned).await? {
                self.keep(owned, sealed).await?;
            }
        }
        Ok(last)
    }

    /// Carries out those of the entries that are asked for and not yet there. If they don't follow, nothing behind the revision
    /// `sure` can be relied on.
    async fn entries(
        &mut self,
        place: &str,
        sure: Option<Revision>,
        mut entries: Vec<LogEntry>,
    ) -> Result<(), RestoreError> {
        let asked_for = entries.iter().take_while(|entry| !self.reached && takes(self.until, entry)).count();
        self.reached |= asked_for < entries.len();
        if let Until::Revision(wanted) = self.until {
            self.reached |= entries.last().is_some_and(|entry| entry.revision >= wanted);
        }
        entries.truncate(asked_for);
        let Some(last) = entries.last().map(|entry| entry.revision) else { return Ok(()) };
        for entry in &entries {
            let before = self.position.revision;
            let follows = self.position.follow(entry);
            let at_end = self.ends.get(&entry.revision).into_iter().flatten();
            let contradicting =
                at_end.filter(|segment| !segment.agrees(&self.position)).map(|segment| segment.after).min();
            if !follows || contradicting.is_some() {
                let (place, sure) = (place.to_owned(), contradicting.or(sure).unwrap_or(before));
                return Err(RestoreError::Mixed { place, revision: entry.revision, sure });
            }
            self.wanted.extend(chunks_written(entry)?);
        }
        if let Some(known) = entries.iter().find(|entry| entry.revision == self.there)
            && self.store.changes(self.there - 1, 1).await?.first() != Some(known)
        {
            return Err(RestoreError::Other(self.there));
        }
        entries.retain(|entry| entry.revision > self.there);
        if !entries.is_empty() {
            self.store.restore(entries, false).await?;
        }
        self.restored.revision = last;
        (self.progress)(&self.restored);
        Ok(())
    }

    /// Fails if a restore that broke off has left more than is asked for: it is of something else, or went further. Or if the log
    /// has keys that the given ones don't open.
    async fn log_ended(&mut self) -> Result<(), RestoreError> {
        if self.restored.revision < self.there {
            return Err(RestoreError::Other(self.there));
        }
        if !self.openable {
            self.chunks.keys().check().await?;
            self.openable = true;
        }
        Ok(())
    }

    /// Keeps a chunk, if it is wanted.
    async fn keep(&mut self, owned: Owned, sealed: Bytes) -> Result<(), RestoreError> {
        if !self.wanted.contains(&owned) {
            return Ok(());
        }
        match self.chunks.put_sealed(&owned.0, &owned.1, sealed).await {
            Ok(()) => {
                self.wanted.remove(&owned);
                self.restored.chunks += 1;
                (self.progress)(&self.restored);
                Ok(())
            }
            Err(ChunkError::Failed(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a chunk was not restored");
                Ok(())
            }
        }
    }
}

/// Whether a revision is one of those that were asked for.
fn takes(until: Until, entry: &LogEntry) -> bool {
    match until {
        Until::End => true,
        Until::Revision(last) => entry.revision <= last,
        Until::Time(last) => {
            let events = pb::WatchedEvents::decode(entry.events.clone()).unwrap_or_default().events;
            let time = events.first().and_then(|event| event.create_time).unwrap_or_default();
            (time.seconds, time.nanos) <= (last.seconds, last.nanos)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::container::Sealer;
    use super::*;
    use crate::encryption::data::DataKeys;
    use crate::encryption::master::MasterKeys;
    use crate::places::Folder;
    use crate::registry::chain::tests::history;
    use crate::registry::kinds::LAYOUT;
    use crate::store::sled::SledStore;
    use crate::stored::LogGroup;

    #[tokio::test]
    async fn a_backup_that_mixes_two_pasts_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let common = history(&[], "ana", 4);
        let ours = [common.clone(), history(&common, "ana", 2)].concat();
        let theirs = [common.clone(), history(&common, "bob", 2)].concat();
        let entries = [ours.clone(), history(&theirs, "bob", 2)].concat();
        let file = folder.path().join("backup");
        let (mut sealer, begin) = Sealer::begin(BackupHeader::default());
        let log = sealer.seal(Frame::Log(LogGroup { entries }));
        std::fs::write(&file, [begin, log, sealer.end(8)].concat()).unwrap();
        for until in [Until::End, Until::Revision(6)] {
            let folder = tempfile::tempdir_in(folder.path()).unwrap();
            let store: Arc<dyn Store> =
                Arc::new(SledStore::open(&folder.path().join("store"), 1 << 20, &LAYOUT).unwrap());
            let keys = DataKeys::new(Arc::clone(&store), MasterKeys::default());
            let chunks = ChunkStore::new(Folder::local(&folder.path().join("artifacts")).unwrap(), keys);
            match (until, restore(&*store, &chunks, file.to_str().unwrap(), until, |_| {}).await) {
                (Until::End, Err(RestoreError::Mixed { revision: 7, sure: 6, .. })) => {}
                (Until::Revision(6), Ok(_)) => assert_eq!(store.changes(0, 10).await.unwrap(), ours),
                (_, restored) => panic!("{restored:?}"),
            }
        }
    }
}
