//! The whole log of a registry, from revision 1 on: what its store has dropped is read from its archive.

use uuid::Uuid;

use super::archive::{self, Archived, Segment};
use super::restore::RestoreError;
use super::shipper::owner_of;
use crate::error::Error;
use crate::places::Folder;
use crate::registry::chain::Position;
use crate::store::{Revision, Store, StoreError};
use crate::stored::LogEntry;

/// Reads a log on.
pub(super) struct History<'a> {
    store: &'a dyn Store,
    /// Where the archive is, if there is one.
    place: Option<&'a str>,
    archive: Option<Beginning>,
    /// How far it was read.
    position: Position,
    /// How many revisions came from the archive.
    pub(super) archived: Revision,
}

/// The log in an archive, while it is read.
struct Beginning {
    archive: Archived,
    timeline: Uuid,
    segments: Vec<Segment>,
    /// The entries of the segment that was read last which were not handed out yet.
    read: std::vec::IntoIter<LogEntry>,
}

impl<'a> History<'a> {
    /// The log of a store with an archive, in the folder or object store that is named, if it has one.
    pub(super) fn of(store: &'a dyn Store, archive: Option<&'a str>) -> Self {
        Self { store, place: archive, archive: None, position: Position::start(), archived: 0 }
    }

    /// The next entries, up to so many; none at the end.
    ///
    /// # Errors
    /// `Compacted` if they are not in the store any more and there is no archive; `Damaged` if the archive lacks them, or has others.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Vec<LogEntry>, Error> {
        let after = self.position.revision;
        let entries = match (self.store.changes(after, limit).await, self.place) {
            (Err(StoreError::Compacted { .. }), Some(place)) => {
                let entries = self.archived(place, limit).await.map_err(readable)?;
                self.archived += entries.len() as Revision;
                entries
            }
            (read, _) => read?,
        };
        // The store may have been opened on another past since the archive was written.
        if self.archived > 0
            && after == self.archived
            && let Some(first) = entries.first()
            && !self.position.clone().follow(first)
        {
            let place = self.place.unwrap_or_default();
            let problem = format!("revision {after} of {place} is not the one before revision {} here", first.revision);
            return Err(StoreError::Damaged(problem).into());
        }
        self.position = self.position.behind(&entries);
        Ok(entries)
    }

    async fn archived(&mut self, place: &str, limit: usize) -> Result<Vec<LogEntry>, RestoreError> {
        let beginning = match &mut self.archive {
            Some(beginning) => beginning,
            none => none.insert(Beginning::of(place, self.store).await?),
        };
        beginning.next(self.position.revision, limit).await
    }
}

impl Beginning {
    async fn of(place: &str, store: &dyn Store) -> Result<Self, RestoreError> {
        let folder = Folder::open(place).await?;
        owner_of(folder.clone(), store)
            .await?
            .look(store)
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let archive = Archived::new(folder);
        let timeline = archive.timeline().await?;
        let segments = archive.segments(timeline).await?;
        Ok(Self { archive, timeline, segments, read: Vec::new().into_iter() })
    }

    /// The entries behind a revision.
    async fn next(&mut self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, RestoreError> {
        if self.read.as_slice().first().is_none_or(|entry| entry.revision != after + 1) {
            let has_next = |segment: &&Segment| segment.after <= after && after < segment.last;
            let Some(segment) = self.segments.iter().filter(has_next).max_by_key(|segment| segment.last) else {
                let next = self.segments.iter().map(|segment| segment.after + 1).find(|first| *first > after);
                let (place, last) = (self.archive.name(), after);
                return Err(match next {
                    Some(next) => RestoreError::Gap { place, after, next },
                    None => RestoreError::TooShort { place, last, wanted: after + 1 },
                });
            };
            let mut entries = self.archive.read(self.timeline, segment).await?;
            entries.retain(|entry| entry.revision > after);
            self.read = entries.into_iter();
        }
        Ok(self.read.by_ref().take(limit).collect())
    }
}

/// Up to where the archive of a store has everything from revision 1 on.
pub(crate) async fn archived_without_gap(store: &dyn Store, place: &str) -> Result<Revision, Error> {
    let beginning = Beginning::of(place, store).await.map_err(readable)?;
    Ok(archive::without_gap(&beginning.segments))
}

/// What an archive could not be read for, to whoever needs what is in it.
fn readable(error: RestoreError) -> Error {
    let detail = error.to_string();
    Error::Store(match error {
        RestoreError::Place(_) | RestoreError::Store(StoreError::Unavailable(_)) => StoreError::Unavailable(detail),
        _ => StoreError::Damaged(detail),
    })
}
