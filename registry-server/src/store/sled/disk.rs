//! What lies on the disk: opening it, writing the log and syncing it, applying the log to the state, recovery.

use std::cmp::Ordering;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::stored;
use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::mark::{Mark, Noted};
use super::physical::{Overrides, PART_BYTES, View};
use super::staged::Staged;
use crate::room;
use crate::store::{Layout, LogEntry, Revision, SCAN_BYTES, StoreError, logged};

/// How everything lies in the store. It is the only schema that this program can read; the one before was never released.
const SCHEMA: u32 = 4;
const SCHEMA_KEY: &[u8] = b"schema";
const IDENTITY_KEY: &[u8] = b"identity";
/// There as long as the store is in the middle of a restore.
const RESTORING_KEY: &[u8] = b"restoring";
/// In the state: the newest revision that was applied to it. Not a prefix of any other key.
const APPLIED_KEY: &[u8] = b"A";
/// What a group begins with in the log: a format, then how many parts it has, and the BLAKE3 of what follows. So what was not
/// written whole can be told.
const GROUP_FORMAT: u8 = 1;
const GROUP_HEADER: usize = 1 + 4 + 32;
/// sled puts a node of more than a quarter of this into a file that it never syncs; see [`super`].
pub(super) const SEGMENT_BYTES: usize = 4 * 1024 * 1024;

/// An open sled database.
#[derive(Debug)]
pub(super) struct Disk {
    db: sled::Db,
    log: sled::Tree,
    state: sled::Tree,
    /// The file that sled writes, opened once more for `fdatasync`.
    file: File,
    mark: Mark,
    folder: PathBuf,
    layout: &'static Layout,
}

pub(super) fn store_error(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => io_error(&error),
        sled::Error::Corruption { .. } => StoreError::Damaged(error.to_string()),
        error => StoreError::Unavailable(error.to_string()),
    }
}

pub(super) fn io_error(error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

pub(super) fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

/// Reads a big-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Disk {
    pub(super) fn open(folder: &Path, cache_bytes: u64, layout: &'static Layout) -> Result<Self, StoreError> {
        let db = sled::Config::new()
            .path(folder)
            .cache_capacity(cache_bytes)
            .segment_size(SEGMENT_BYTES)
            // The lane syncs what has to be synced.
            .flush_every_ms(None)
            .open()
            .map_err(store_error)?;
        match db.get(SCHEMA_KEY).map_err(store_error)?.map(|schema| number(&schema)) {
            Some(found) => {
                let found = u32::try_from(found).unwrap_or(u32::MAX);
                match found.cmp(&SCHEMA) {
                    Ordering::Less => return Err(StoreError::TooOld { found, known: SCHEMA }),
                    Ordering::Equal => {}
                    Ordering::Greater => return Err(StoreError::TooNew { found, known: SCHEMA }),
                }
            }
            None => {
                db.insert(SCHEMA_KEY, &SCHEMA.to_be_bytes()).map_err(store_error)?;
            }
        }
        if !db.contains_key(IDENTITY_KEY).map_err(store_error)? {
            db.insert(IDENTITY_KEY, Uuid::new_v4().as_bytes()).map_err(store_error)?;
        }
        let disk = Self {
            log: db.open_tree("log").map_err(store_error)?,
            state: db.open_tree("state").map_err(store_error)?,
            file: File::open(folder.join("db")).map_err(|error| io_error(&error))?,
            mark: Mark::open(folder).map_err(|error| io_error(&error))?,
            folder: folder.to_owned(),
            layout,
            db,
        };
        disk.sync()?;
        // The files are there for good only once their folder is synced.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(&error))?;
        Ok(disk)
    }

    pub(super) fn layout(&self) -> &'static Layout {
        self.layout
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn state(&self) -> &sled::Tree {
        &self.state
    }

    pub(super) fn identity(&self) -> Result<Uuid, StoreError> {
        let identity = self.db.get(IDENTITY_KEY).map_err(store_error)?;
        identity.and_then(|bytes| Uuid::from_slice(&bytes).ok()).ok_or_else(|| damaged("it has no identity"))
    }

    /// Whether the store is not in the middle of a restore.
    pub(super) fn whole(&self) -> Result<bool, StoreError> {
        Ok(!self.db.contains_key(RESTORING_KEY).map_err(store_error)?)
    }

    /// Notes, durably, whether the store is whole.
    pub(super) fn set_whole(&self, whole: bool) -> Result<(), StoreError> {
        if self.whole()? == whole {
            return Ok(());
        }
        self.check_room()?;
        let noted = if whole { self.db.remove(RESTORING_KEY) } else { self.db.insert(RESTORING_KEY, &[]) };
        noted.map_err(store_error)?;
        self.sync()
    }

    /// Fails if there is no room for a commit.
    pub(super) fn check_room(&self) -> Result<(), StoreError> {
        room::check(&self.folder, room::FOR_LOG).map_err(|error| io_error(&error))
    }

    /// Makes everything that was written so far durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(store_error)?;
        self.file.sync_data().map_err(|error| io_error(&error))
    }

    /// Notes, beside the store, what it holds durably.
    pub(super) fn note(&self, noted: Noted) -> Result<(), StoreError> {
        self.mark.note(noted).map_err(|error| io_error(&error))
    }

    /// Fails if the store, which ends at a revision, lacks what was acknowledged.
    pub(super) fn check_noted(&self, newest: Revision) -> Result<(), StoreError> {
        let Some(noted) = self.mark.read().map_err(|error| io_error(&error))? else { return Ok(()) };
        let there = self.read_log(noted.revision.saturating_sub(1), 1)?;
        if there.first().is_some_and(|there| Noted::of(there.revision, &there.events) == noted) {
            return Ok(());
        }
        Err(StoreError::Lost { newest, noted: noted.revision, file: self.mark.path().to_owned() })
    }

    /// Adds a group to the log. It is cut into parts, each under the group's first revision and its own number.
    pub(super) fn append(&self, group: &stored::LogGroup) -> Result<(), StoreError> {
        let Some(first) = group.entries.first() else { return Ok(()) };
        let bytes = with_header(&group.encode_to_vec());
        let mut batch = sled::Batch::default();
        for (part, bytes) in (0u32..).zip(bytes.chunks(PART_BYTES)) {
            batch.insert([first.revision.to_be_bytes().as_slice(), &part.to_be_bytes()].concat(), bytes);
        }
        self.log.apply_batch(batch).map_err(store_error)
    }

    /// Changes the state to that of the revision `last`.
    pub(super) fn apply(&self, overrides: &Overrides, last: Revision) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in overrides {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_ref()),
                None => batch.remove(key.as_slice()),
            }
        }
        batch.insert(APPLIED_KEY, &last.to_be_bytes());
        self.state.apply_batch(batch).map_err(store_error)
    }

    /// Removes the last group if only some of its parts were written, as a process leaves it that ends amid them. It was not synced, so
    /// nobody was told of it.
    fn drop_incomplete(&self, applied: Revision) -> Result<(), StoreError> {
        let Some((last, _)) = self.log.last().map_err(store_error)? else { return Ok(()) };
        let first = &last[..8];
        let parts: Vec<_> = self.log.scan_prefix(first).collect::<Result<_, _>>().map_err(store_error)?;
        let begins = parts.first().filter(|(key, _)| key[8..] == [0; 4]);
        // What is there in another way is damage, and found when it is read.
        let expected = begins.map(|(_, part)| part.get(1..5).filter(|_| part[0] == GROUP_FORMAT).map_or(0, number));
        if expected.is_some_and(|expected| expected <= parts.len() as u64) {
            return Ok(());
        }
        let revision = number(first);
        let noted = self.mark.read().map_err(|error| io_error(&error))?.map_or(0, |noted| noted.revision);
        if revision <= applied.max(noted) {
            return Err(damaged(format!("revision {revision} has lost a part of what was logged")));
        }
        tracing::warn!(revision, "the last commits were not written whole, and are dropped: nobody was told of them");
        let mut batch = sled::Batch::default();
        parts.iter().for_each(|(key, _)| batch.remove(key));
        self.log.apply_batch(batch).map_err(store_error)?;
        self.sync()
    }

    /// Applies what the log has and the state lacks. Answers the newest revision.
    pub(super) fn recover(&self) -> Result<Revision, StoreError> {
        const GROUPS_AT_ONCE: usize = 16;
        let applied = self.state.get(APPLIED_KEY).map_err(store_error)?;
        let mut revision = applied.map_or(0, |applied| number(&applied));
        self.drop_incomplete(revision)?;
        loop {
            let mut entries = Vec::new();
            for group in self.groups(revision).take(GROUPS_AT_ONCE) {
                entries.extend(group?.entries.into_iter().filter(|entry| entry.revision > revision));
            }
            let Some(last) = entries.last().map(|entry| entry.revision) else { return Ok(revision) };
            logged::check_follows(revision, &entries)?;
            let mut overrides = Overrides::new();
            for entry in &entries {
                self.replay(entry, &mut overrides)?;
            }
            revision = last;
            tracing::info!(revision, "applied the log to the state");
            self.apply(&overrides, last)?;
        }
    }

    /// Stages the writes of a log entry again.
    fn replay(&self, entry: &stored::LogEntry, overrides: &mut Overrides) -> Result<(), StoreError> {
        Staged::new(self.layout, View::of(&self.state), overrides, entry.revision).replay(entry)
    }

    /// Entries behind a revision, without their writes; see [`Disk::read_changes`].
    pub(super) fn read_log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        let entries = self.read_entries(after, limit, |entry| entry.events.len())?;
        Ok(entries.into_iter().map(|entry| LogEntry { revision: entry.revision, events: entry.events }).collect())
    }

    /// Up to `limit` entries behind a revision, and none behind the one that brings them to [`SCAN_BYTES`].
    pub(super) fn read_changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError> {
        self.read_entries(after, limit, logged::size_of)
    }

    fn read_entries(
        &self,
        after: Revision,
        limit: usize,
        size_of: impl Fn(&stored::LogEntry) -> usize,
    ) -> Result<Vec<stored::LogEntry>, StoreError> {
        let mut entries = Vec::with_capacity(limit.min(64));
        let mut bytes = 0;
        if limit == 0 {
            return Ok(entries);
        }
        for group in self.groups(after) {
            for entry in group?.entries.into_iter().filter(|entry| entry.revision > after) {
                bytes += size_of(&entry);
                entries.push(entry);
                if entries.len() == limit || bytes >= SCAN_BYTES {
                    return Ok(entries);
                }
            }
        }
        Ok(entries)
    }

    /// The groups that have revisions behind `after`, oldest first; the first one may begin before.
    fn groups(&self, after: Revision) -> impl Iterator<Item = Result<stored::LogGroup, StoreError>> {
        let wanted = after.saturating_add(1);
        let before = self.log.range(..=[wanted.to_be_bytes().as_slice(), &[u8::MAX; 4]].concat()).next_back();
        let start = match &before {
            Some(Ok((key, _))) => number(&key[..8]),
            // An error comes again, and to the caller, as the range is read.
            Some(Err(_)) => 0,
            None => wanted,
        };
        let mut parts = self.log.range(start.to_be_bytes()..).peekable();
        std::iter::from_fn(move || {
            let (key, first) = match parts.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(store_error(error))),
            };
            let mut bytes = first.to_vec();
            while let Some(Ok((_, part))) =
                parts.next_if(|part| matches!(part, Ok((other, _)) if other[..8] == key[..8]))
            {
                bytes.extend_from_slice(&part);
            }
            Some(without_header(bytes).and_then(|bytes| stored::LogGroup::decode(bytes).map_err(damaged)))
        })
    }
}

/// A group as it is cut into parts.
fn with_header(group: &[u8]) -> Vec<u8> {
    let parts = (GROUP_HEADER + group.len()).div_ceil(PART_BYTES);
    // A group that does not fit 4 billion parts of 32 KiB can't be in memory.
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    let digest = blake3::hash(group);
    [&[GROUP_FORMAT], parts.to_be_bytes().as_slice(), digest.as_bytes(), group].concat()
}

/// The group in its parts.
fn without_header(parts: Vec<u8>) -> Result<Bytes, StoreError> {
    let mut header = Bytes::from(parts);
    if header.len() < GROUP_HEADER || header[0] != GROUP_FORMAT {
        return Err(damaged("a group of the log has no beginning"));
    }
    let group = header.split_off(GROUP_HEADER);
    if blake3::hash(&group).as_bytes() != &header[5..] {
        return Err(damaged("a group of the log is not what was written"));
    }
    Ok(group)
}
