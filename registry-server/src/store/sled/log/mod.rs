//! The log: files of our own, to which groups of revisions are appended, each synced before the next one is written.
//!
//! The files are `log/FIRST.log`, named by their first revision; `segment.rs` says what they begin with, `frame.rs` what a group looks
//! like in them. A file is closed when it is large enough, and is then never written again.
//!
//! What a crash cuts off can only be the last group, which nobody was told of: it is dropped when the log is opened. Whatever else
//! does not have its digest is damage, and is refused with the file and the byte where it begins: the log is what everything else is
//! made of, and must not lose anything without a word.
//!
//! Files at the beginning can be dropped once a base (`base.rs`) has the state of a later revision.

mod base;
mod frame;
#[cfg(test)]
mod images;
mod segment;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};
use uuid::Uuid;

use self::base::Base;
use self::frame::{Key, Sealer};
use self::segment::{BEGIN, Broken, Header, Segment, Tail, behind};
use super::about::About;
use super::disk::{damaged, io_error};
use super::physical::Entry;
use crate::store::{Revision, StoreError};
use crate::stored::LogGroup;

/// The name of the folder, in that of the store.
const FOLDER: &str = "log";
/// A file is closed when it has so many bytes.
const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;
/// Room on the disk is reserved in steps of so many bytes: a sync need not write then how long the file is.
const RESERVE: u64 = 4 * 1024 * 1024;

/// An open log.
pub(super) struct Log {
    folder: PathBuf,
    store: Uuid,
    key: Key,
    /// In the order of their revisions; the last one is written to.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// A file that a crash left which came before anything was written to it.
    begun: Option<PathBuf>,
    /// Where the last group began when the log was opened.
    last_group: u64,
    writing: Mutex<Writing>,
    segment_bytes: u64,
    /// Held by who drops files.
    base: Mutex<Option<Base>>,
}

/// Where the next group goes.
struct Writing {
    sealer: Sealer,
    /// The revision behind the last one.
    next: Revision,
    /// Up to where the file has room on the disk.
    reserved: u64,
    /// The next group begins a file, however small the one before is: that is to be dropped before long.
    turn_over: bool,
}

impl Log {
    /// Opens the log of a store, and changes nothing. Answers its newest revision as well. Nothing is added before it is
    /// [cut](Log::cut).
    pub(super) fn open(store: &Path, identity: Uuid) -> Result<(Self, Revision), StoreError> {
        Self::with_segments_of(store, identity, SEGMENT_BYTES)
    }

    fn with_segments_of(store: &Path, identity: Uuid, segment_bytes: u64) -> Result<(Self, Revision), StoreError> {
        let (folder, key) = (store.join(FOLDER), Key::of(identity));
        let base = Base::newest(&folder, identity)?;
        let (segments, begun) = open_segments(&folder, identity, &key, base.as_ref())?;
        let tail = match segments.last() {
            Some(last) => last.check(&key).map_err(|broken| refused(last, &broken))?,
            None => Tail { next: 1, last: 0, end: BEGIN, torn: false },
        };
        if let (true, Some(last)) = (tail.torn, segments.last()) {
            let (file, revision) = (last.path.display(), tail.next);
            tracing::warn!(%file, at = tail.end, revision, "the last commits were not written whole: nobody was told of them");
        }
        if let Some(base) = base.as_ref().filter(|base| base.revision >= tail.next) {
            let what = format!("it is of revision {}, and the log ends at {}", base.revision, tail.next - 1);
            return Err(refused_file(&base.path, &Broken::at(0, what)));
        }
        let sealer = Sealer::new(key.clone());
        let writing = Mutex::new(Writing { sealer, next: tail.next, reserved: tail.end, turn_over: false });
        let (segments, base, last_group) = (RwLock::new(segments), Mutex::new(base), tail.last);
        let log = Self { folder, store: identity, key, segments, begun, last_group, writing, segment_bytes, base };
        Ok((log, tail.next - 1))
    }

    /// Removes what is behind the last group, and makes the first file if there is none. The last group, which the process before may
    /// have failed to sync, is durable then.
    pub(super) fn cut(&self) -> Result<(), StoreError> {
        if let Some(begun) = self.begun.as_ref().filter(|begun| begun.exists()) {
            fs::remove_file(begun).map_err(|error| failed(begun, &error))?;
        }
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = segments.last() {
            let cut = last.write_again(self.last_group).and_then(|()| last.cut());
            return cut.map_err(|error| failed(&last.path, &error));
        }
        fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        segments.push(create(&self.folder, Header { store: self.store, first: 1, previous: 0 })?);
        Ok(())
    }

    /// Appends a group, durably: it follows the newest revision.
    pub(super) fn append(&self, group: &LogGroup) -> Result<(), StoreError> {
        let Some(first) = group.entries.first().map(|entry| entry.revision) else { return Ok(()) };
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if first != writing.next {
            return Err(damaged(format!("the log goes on with revision {}, not {first}", writing.next)));
        }
        let frame = writing.sealer.seal(group).map_err(|error| io_error(&error))?;
        let segment = self.room_for(&mut writing, frame.len() as u64)?;
        let at = segment.end();
        let end = at + frame.len() as u64;
        let written = segment.file.write_all_at(&frame, at).and_then(|()| segment.file.sync_data());
        written.map_err(|error| failed(&segment.path, &error))?;
        segment.added(first, at, end);
        writing.next = first + group.entries.len() as u64;
        Ok(())
    }

    /// The file that the next so many bytes go to, with room for them on the disk.
    fn room_for(&self, writing: &mut Writing, bytes: u64) -> Result<Arc<Segment>, StoreError> {
        let mut last = self.last();
        if last.end() >= self.segment_bytes || (writing.turn_over && last.end() > BEGIN) {
            last.cut().map_err(|error| failed(&last.path, &error))?;
            let header = Header { store: self.store, first: writing.next, previous: last.header.first };
            last = create(&self.folder, header)?;
            self.segments.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&last));
            (writing.reserved, writing.turn_over) = (BEGIN, false);
        }
        let end = last.end() + bytes;
        if end > writing.reserved {
            let up_to = end.next_multiple_of(RESERVE);
            let (file, bytes) = (last.file.as_fd(), up_to - writing.reserved);
            match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), writing.reserved, bytes)) {
                // Not every file system can.
                Ok(()) | Err(Errno::OPNOTSUPP) => writing.reserved = up_to,
                Err(error) => return Err(failed(&last.path, &error.into())),
            }
        }
        Ok(last)
    }

    /// The first revision that it has.
    pub(super) fn oldest(&self) -> Revision {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).first().map_or(1, |first| first.header.first)
    }

    /// Adds no more to the newest file if that has anything from before a revision: it can be dropped once it is closed.
    pub(super) fn turn_over_before(&self, recent: Revision) {
        if self.last().header.first < recent {
            self.writing.lock().unwrap_or_else(PoisonError::into_inner).turn_over = true;
        }
    }

    /// Drops the files that have nothing from a revision on, which it has. If there are any, `state` is written to a base first: the
    /// state of that revision or a later one. Answers the first revision that there is then.
    pub(super) fn drop_before<I: Iterator<Item = Result<Entry, StoreError>>>(
        &self,
        before: Revision,
        state: impl FnOnce() -> (Revision, I),
    ) -> Result<Revision, StoreError> {
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let (dropped, oldest) = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let kept = segments.partition_point(|segment| segment.header.first <= before).saturating_sub(1);
            (segments[..kept].to_vec(), segments[kept].header.first)
        };
        if dropped.is_empty() {
            return Ok(oldest);
        }
        let (revision, entries) = state();
        *base = Some(Base::write(&self.folder, (self.store, &self.key), (revision, oldest), entries)?);
        for segment in dropped {
            // Who reads it now has it open. The oldest one first: what is left after a crash has no gap.
            fs::remove_file(&segment.path).map_err(|error| failed(&segment.path, &error))?;
            self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(0);
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(&self.folder, &error))?;
        Ok(oldest)
    }

    /// Hands out the state that the base has, and then answers its revision; `None` if there is no base.
    pub(super) fn base(
        &self,
        take: impl FnMut(Entry) -> Result<(), StoreError>,
    ) -> Result<Option<Revision>, StoreError> {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        base.as_ref().map(|base| base.read(&self.key, take).map(|()| base.revision)).transpose()
    }

    fn last(&self) -> Arc<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&segments[segments.len() - 1])
    }

    /// The groups that have revisions behind `after`, oldest first; the first one may begin before.
    pub(super) fn groups(&self, after: Revision) -> Groups {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = after.saturating_add(1);
        let at = segments.partition_point(|segment| segment.header.first <= wanted).saturating_sub(1);
        // Of a long log the files before that are many.
        Groups { key: self.key.clone(), segments: segments[at..].to_vec(), segment: 0, place: None, wanted }
    }
}

/// Whether there is a log in the folder of a store.
pub(super) fn is_there(store: &Path) -> bool {
    let is_segment = |file: std::io::Result<fs::DirEntry>| file.is_ok_and(|file| segment_of(&file.path()).is_some());
    fs::read_dir(store.join(FOLDER)).is_ok_and(|mut files| files.any(is_segment))
}

/// The first revision in a file, as its name has it.
fn segment_of(path: &Path) -> Option<Revision> {
    path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()
}

/// Opens all files of a log, and checks that they follow each other, and the base if the first ones were dropped. The newest one may be
/// one that a crash left before anything was written to it: it comes beside them.
fn open_segments(
    folder: &Path,
    store: Uuid,
    key: &Key,
    base: Option<&Base>,
) -> Result<(Vec<Arc<Segment>>, Option<PathBuf>), StoreError> {
    let (mut files, mut begun) = (Vec::new(), None);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
        entries => entries.map_err(|error| failed(folder, &error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| failed(folder, &error))?.path();
        files.extend(segment_of(&path).map(|first| (first, path)));
    }
    files.sort_unstable();
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    let newest = files.len().saturating_sub(1);
    for (at, (first, path)) in files.into_iter().enumerate() {
        let refused = |what: &str| damaged(format!("{}: {what}", path.display()));
        let segment = match Segment::open(path.clone()) {
            Ok(segment) => segment,
            Err(Broken::Damage { .. })
                if at == newest && !segment::holds_frames(&path, key).map_err(|error| failed(&path, &error))? =>
            {
                begun = Some(path);
                continue;
            }
            Err(Broken::Io(error)) => return Err(failed(&path, &error)),
            Err(broken) => return Err(refused(&broken.to_string())),
        };
        if segment.header.store != store {
            return Err(refused("it is of the log of another store"));
        }
        if segment.header.first != first {
            return Err(refused(&format!("it has revisions from {} on, and another name", segment.header.first)));
        }
        let previous = segments.last().map_or(0, |segment| segment.header.first);
        let behind_base = segments.is_empty() && base.is_some_and(|base| first <= base.oldest);
        if segment.header.previous != previous && !behind_base {
            let missing = file_of(segment.header.previous);
            let base = if segments.is_empty() { ", and no base has what was in it" } else { "" };
            return Err(refused(&format!("the file before it, {missing}, is missing{base}")));
        }
        segments.push(Arc::new(segment));
    }
    Ok((segments, begun))
}

fn file_of(first: Revision) -> String {
    format!("{first:020}.log")
}

fn create(folder: &Path, header: Header) -> Result<Arc<Segment>, StoreError> {
    let path = folder.join(file_of(header.first));
    let made = Segment::create(path.clone(), header).and_then(|segment| {
        // It is there for good only once its folder is synced.
        File::open(folder)?.sync_all()?;
        Ok(Arc::new(segment))
    });
    made.map_err(|error| failed(&path, &error))
}

/// What the system says of a file.
fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    io_error(&std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn refused(segment: &Segment, broken: &Broken) -> StoreError {
    refused_file(&segment.path, broken)
}

fn refused_file(path: &Path, broken: &Broken) -> StoreError {
    match broken {
        Broken::Io(error) => failed(path, error),
        broken => damaged(format!(
            "{}: {broken}. Restore a backup or the archive into an empty folder (`registry-server restore`)",
            path.display()
        )),
    }
}

/// Reads a log on, group by group.
pub(super) struct Groups {
    key: Key,
    segments: Vec<Arc<Segment>>,
    /// Which one is read.
    segment: usize,
    /// Which revision comes next, and where in the file, once that is known.
    place: Option<(Revision, u64)>,
    /// Groups that end before this are passed over.
    wanted: Revision,
}

impl Groups {
    fn read(&mut self) -> Option<Result<LogGroup, StoreError>> {
        loop {
            let segment = self.segments.get(self.segment)?;
            let failed = |broken: &Broken| Some(Err(refused(segment, broken)));
            let (next, at) = match self.place.map_or_else(|| segment.place(self.wanted), Ok) {
                Ok(place) => place,
                Err(broken) => return failed(&broken),
            };
            if at >= segment.end() {
                let following = self.segments.get(self.segment + 1)?.header.first;
                if following != next {
                    let what = format!("it ends before revision {next}, and the next file begins with {following}");
                    return failed(&Broken::Damage { at, what });
                }
                (self.segment, self.place) = (self.segment + 1, Some((next, BEGIN)));
                continue;
            }
            let read = match segment.head(at) {
                Ok(read) => read,
                Err(broken) => return failed(&broken),
            };
            let head = read.0;
            if head.first != next {
                let what = format!("it has revision {} where {next} belongs", head.first);
                return failed(&Broken::Damage { at, what });
            }
            self.place = Some((head.end(), behind(at, &head)));
            if head.end() <= self.wanted {
                continue;
            }
            let payload = segment.payload(&self.key, at, segment.end(), &read);
            let group =
                payload.and_then(|payload| frame::open(&head, payload).map_err(|what| Broken::Damage { at, what }));
            return Some(group.map_err(|broken| refused(segment, &broken)));
        }
    }
}

impl Iterator for Groups {
    type Item = Result<LogGroup, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if !matches!(read, Some(Ok(_))) {
            // An error is the last thing there is.
            self.segments.clear();
        }
        read
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// For tests: the log of a store that nobody has open, rewritten with other groups under the right digests.
///
/// # Errors
/// If it can't be read or written.
#[doc(hidden)]
pub fn rewrite(store: &Path, change: impl FnOnce(&mut Vec<LogGroup>)) -> Result<(), StoreError> {
    let about = About::read(store).map_err(|error| io_error(&error))?.ok_or_else(|| damaged("there is no store"))?;
    let (log, _) = Log::open(store, about.identity)?;
    let mut groups = log.groups(0).collect::<Result<Vec<_>, _>>()?;
    change(&mut groups);
    drop(log);
    fs::remove_dir_all(store.join(FOLDER)).map_err(|error| io_error(&error))?;
    let (log, _) = Log::open(store, about.identity)?;
    log.cut()?;
    groups.iter().try_for_each(|group| log.append(group))
}
