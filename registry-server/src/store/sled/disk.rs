//! What lies on the disk: opening it, adding to the log, applying the log to the state, recovery.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::stored;
use uuid::Uuid;

use super::about::{About, FILE, boot};
use super::log::{self, Log};
use super::mark::{Mark, Noted};
use super::physical::{Overrides, View};
use super::recent::Recent;
use super::snapshot::SledSnapshot;
use super::staged::Staged;
use super::state::State;
use crate::room;
use crate::store::{Layout, LogEntry, Revision, SCAN_BYTES, Snapshot as _, StoreError, logged};

/// How everything lies in the store. It is the only schema that this program can read; those before were never released.
const SCHEMA: u32 = 5;
/// The folder of the state in earlier schemas.
const STATE_BEFORE: &str = "db";

/// How much sled writes for a byte that is changed: it writes a node again when that has changed a few times. Twice what was measured.
const WRITTEN_PER_BYTE: usize = 4;

/// An open store.
#[derive(Debug)]
pub(super) struct Disk {
    about: Mutex<About>,
    log: Log,
    recent: Mutex<Recent>,
    state: State,
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

impl Disk {
    /// Opens the store in a folder, or makes it, with its state as the log has it. Answers its newest revision as well.
    pub(super) fn open(
        folder: &Path,
        cache_bytes: u64,
        layout: &'static Layout,
    ) -> Result<(Self, Revision), StoreError> {
        match Self::open_once(folder, cache_bytes, layout) {
            // It was found while the log was applied to it.
            Err(_) if State::is_damaged(folder) => Self::open_once(folder, cache_bytes, layout),
            opened => opened,
        }
    }

    fn open_once(folder: &Path, cache_bytes: u64, layout: &'static Layout) -> Result<(Self, Revision), StoreError> {
        let io = |error: std::io::Error| io_error(&error);
        fs::create_dir_all(folder).map_err(io)?;
        let mut about = about(folder)?;
        let suspect = about.open_since_boot.is_some() && about.open_since_boot != boot();
        if suspect {
            tracing::warn!("the machine went down while the store was open: its state is made of the log again");
        }
        // Who has it has the store.
        let state = State::open(folder, cache_bytes, about.identity, suspect)?;
        let mark = Mark::open(folder).map_err(io)?;
        let (log, newest) = Log::open(folder, about.identity)?;
        check_noted(&log, newest, &mark)?;
        log.cut()?;
        let (ahead, behind) = (state.reached()? > newest, lacks_beginning(&state, &log)?);
        if ahead {
            tracing::warn!(newest, "the state is ahead of the log, and is made of it again");
        }
        let state = if ahead || behind {
            drop(state);
            State::open(folder, cache_bytes, about.identity, true)?
        } else {
            state
        };
        about.open_since_boot = boot();
        about.write(folder).map_err(io)?;
        let (about, recent, folder) = (Mutex::new(about), Mutex::default(), folder.to_owned());
        let disk = Self { about, log, recent, state, mark, folder, layout };
        disk.recover()?;
        Ok((disk, newest))
    }

    pub(super) fn layout(&self) -> &'static Layout {
        self.layout
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    fn about(&self) -> MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn identity(&self) -> Uuid {
        self.about().identity
    }

    /// Whether the store is not in the middle of a restore.
    pub(super) fn whole(&self) -> bool {
        !self.about().restoring
    }

    /// Notes, durably, whether the store is whole.
    pub(super) fn set_whole(&self, whole: bool) -> Result<(), StoreError> {
        let mut about = self.about();
        if about.restoring != whole {
            return Ok(());
        }
        self.check_room()?;
        let noted = About { restoring: !whole, ..about.clone() };
        noted.write(&self.folder).map_err(|error| io_error(&error))?;
        *about = noted;
        Ok(())
    }

    /// Fails if there is no room for a commit, and for what of those before it has still to be written to the state.
    pub(super) fn check_room(&self) -> Result<(), StoreError> {
        let for_state = self.state.unsettled().saturating_mul(WRITTEN_PER_BYTE);
        room::check(&self.folder, room::FOR_LOG + for_state as u64).map_err(|error| io_error(&error))
    }

    /// Notes, beside the store, what it holds durably.
    pub(super) fn note(&self, noted: Noted) -> Result<(), StoreError> {
        self.mark.note(noted).map_err(|error| io_error(&error))
    }

    /// Adds a group to the log, durably.
    pub(super) fn append(&self, group: stored::LogGroup) -> Result<(), StoreError> {
        self.log.append(&group)?;
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).keep(group);
        Ok(())
    }

    /// Applies what the log has and the state lacks.
    fn recover(&self) -> Result<(), StoreError> {
        const GROUPS_AT_ONCE: usize = 16;
        const TELL_EVERY: Duration = Duration::from_secs(10);
        if lacks_beginning(&self.state, &self.log)? {
            self.state.fill(|take| self.log.base(take))?;
            tracing::info!(revision = self.state.applied()?, "made the state of the base");
        }
        let before = self.state.applied()?;
        let (mut revision, mut told) = (before, Instant::now());
        let mut groups = self.log.groups(revision);
        loop {
            let mut entries = Vec::new();
            for group in groups.by_ref().take(GROUPS_AT_ONCE) {
                entries.extend(group?.entries.into_iter().filter(|entry| entry.revision > revision));
            }
            let Some(last) = entries.last().map(|entry| entry.revision) else { break };
            logged::check_follows(revision, &entries)?;
            let mut overrides = Overrides::default();
            for entry in &entries {
                self.replay(entry, &mut overrides)?;
            }
            revision = last;
            // It goes to the tree when there is much of it: what changes often is written there rarely.
            self.state.add(&overrides, last)?;
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                tracing::info!(revision, "applying the log to the state");
            }
        }
        if revision > before {
            tracing::info!(revision, "applied the log to the state");
        }
        self.state.begin()
    }

    /// Stages the writes of a log entry again.
    fn replay(&self, entry: &stored::LogEntry, overrides: &mut Overrides) -> Result<(), StoreError> {
        Staged::new(self.layout, View::of(&self.state), overrides, entry.revision).replay(entry)
    }

    /// The first revision that the log has.
    pub(super) fn oldest(&self) -> Revision {
        self.log.oldest()
    }

    /// Drops what the log has before a revision, as far as whole files go, and adds no more to one with anything from before `recent`.
    /// The state of a snapshot, which has to be of `before` or later, is written in the place of what goes. Answers the first revision
    /// that there is then.
    pub(super) fn compact(
        &self,
        before: Revision,
        recent: Revision,
        snapshot: &SledSnapshot,
    ) -> Result<Revision, StoreError> {
        self.log.turn_over_before(recent);
        self.log.drop_before(before, || (snapshot.revision(), snapshot.entries()))
    }

    /// Entries behind a revision, without their writes; see [`Disk::new_changes`].
    pub(super) fn read_log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        let entries = self.new_entries(after, limit, |entry| entry.events.len())?;
        Ok(entries.into_iter().map(|entry| LogEntry { revision: entry.revision, events: entry.events }).collect())
    }

    /// Up to `limit` entries behind a revision, and none behind the one that brings them to [`SCAN_BYTES`]; those of the newest groups as
    /// they were written.
    pub(super) fn new_changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError> {
        self.new_entries(after, limit, logged::size_of)
    }

    /// The same as they lie on the disk.
    pub(super) fn read_changes(&self, after: Revision, limit: usize) -> Result<Vec<stored::LogEntry>, StoreError> {
        let groups = self.log.groups(after).map(|group| group.map(Arc::new));
        entries_of(groups, after, limit, logged::size_of)
    }

    fn new_entries(
        &self,
        after: Revision,
        limit: usize,
        size_of: impl Fn(&stored::LogEntry) -> usize,
    ) -> Result<Vec<stored::LogEntry>, StoreError> {
        let next = after.saturating_add(1);
        let recent = || self.recent.lock().unwrap_or_else(PoisonError::into_inner).from(next);
        // What was dropped from the log may be kept still.
        match (next >= self.oldest()).then(recent).flatten() {
            Some(recent) => entries_of(recent.into_iter().map(Ok), after, limit, size_of),
            None => entries_of(self.log.groups(after).map(|group| group.map(Arc::new)), after, limit, size_of),
        }
    }
}

/// What some groups have behind a revision: see [`Disk::new_changes`].
fn entries_of(
    groups: impl Iterator<Item = Result<Arc<stored::LogGroup>, StoreError>>,
    after: Revision,
    limit: usize,
    size_of: impl Fn(&stored::LogEntry) -> usize,
) -> Result<Vec<stored::LogEntry>, StoreError> {
    let mut entries = Vec::with_capacity(limit.min(64));
    let mut bytes = 0;
    if limit == 0 {
        return Ok(entries);
    }
    for group in groups {
        let group = match group {
            Ok(group) => group,
            // It comes again, and first, to who reads on: then it is known which revision can't be read.
            Err(_) if !entries.is_empty() => break,
            Err(error) => return Err(error),
        };
        for entry in group.entries.iter().filter(|entry| entry.revision > after) {
            if entries.is_empty() {
                logged::check_there(after, Some(entry.revision))?;
            }
            bytes += size_of(entry);
            entries.push(entry.clone());
            if entries.len() == limit || bytes >= SCAN_BYTES {
                return Ok(entries);
            }
        }
    }
    Ok(entries)
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What fails here costs time when the store is opened, and nothing else.
        let closed = About { open_since_boot: None, ..self.about().clone() };
        if let Err(error) =
            self.state.close().and_then(|()| closed.write(&self.folder).map_err(|error| io_error(&error)))
        {
            tracing::warn!(%error, "the state was not closed properly");
        }
    }
}

/// Whether a state can't be brought up from what the log has: the beginning was dropped.
fn lacks_beginning(state: &State, log: &Log) -> Result<bool, StoreError> {
    Ok(state.applied()? + 1 < log.oldest())
}

/// What is said of the store, which is made if nothing is there.
fn about(folder: &Path) -> Result<About, StoreError> {
    let Some(about) = About::read(folder).map_err(|error| damaged(format!("store.json can't be read: {error}")))?
    else {
        if folder.join(STATE_BEFORE).exists() {
            return Err(StoreError::TooOld { found: SCHEMA - 1, known: SCHEMA });
        }
        if log::is_there(folder) {
            return Err(damaged(format!("{} is missing, which says whose log that is", folder.join(FILE).display())));
        }
        let about = About { schema: SCHEMA, identity: Uuid::new_v4(), restoring: false, open_since_boot: None };
        about.write(folder).map_err(|error| io_error(&error))?;
        return Ok(about);
    };
    match about.schema.cmp(&SCHEMA) {
        Ordering::Less => Err(StoreError::TooOld { found: about.schema, known: SCHEMA }),
        Ordering::Equal => Ok(about),
        Ordering::Greater => Err(StoreError::TooNew { found: about.schema, known: SCHEMA }),
    }
}

/// Fails if the log, which ends at a revision, lacks what was acknowledged.
pub(super) fn check_noted(log: &Log, newest: Revision, mark: &Mark) -> Result<(), StoreError> {
    let Some(noted) = mark.read().map_err(|error| io_error(&error))? else { return Ok(()) };
    if newest >= noted.revision {
        let group = log.groups(noted.revision.saturating_sub(1)).next().transpose()?;
        let entries = group.map(|group| group.entries).unwrap_or_default();
        if entries.iter().any(|there| Noted::of(there.revision, &there.events) == noted) {
            return Ok(());
        }
    }
    Err(StoreError::Lost { newest, noted: noted.revision, file: mark.path().to_owned() })
}
