//! A file of the log.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `MRLOGSEG` |
//! | 4 | the version of this layout, 1; all numbers are big-endian |
//! | 16 | the identity of the store |
//! | 8 | the first revision in it |
//! | 8 | the first revision in the segment before, 0 if there is none |
//! | 32 | BLAKE3 of what stands before |
//! | | frames, see [`super::frame`], and then zeros: room that was reserved |

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::frame::{self, HEAD, Head, Key};
use crate::store::Revision;

const MAGIC: &[u8; 8] = b"MRLOGSEG";
const LAYOUT: u32 = 1;
const COVERED: usize = 8 + 4 + 16 + 8 + 8;
/// Where the first frame begins.
pub(super) const BEGIN: u64 = (COVERED + 32) as u64;
/// How far apart, in bytes, the frames are of which it is remembered where they begin.
const STRIDE: u64 = 64 * 1024;

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) store: Uuid,
    pub(super) first: Revision,
    /// Of the segment before.
    pub(super) previous: Revision,
}

impl Header {
    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COVERED + 32);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&LAYOUT.to_be_bytes());
        bytes.extend_from_slice(self.store.as_bytes());
        bytes.extend_from_slice(&self.first.to_be_bytes());
        bytes.extend_from_slice(&self.previous.to_be_bytes());
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    /// Fails if the file begins with something else.
    fn read(file: &File) -> Result<Self, Broken> {
        let mut bytes = [0; COVERED + 32];
        read_at(file, &mut bytes, 0)?;
        let (covered, digest) = bytes.split_at(COVERED);
        let number = |at: usize| covered[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let layout = u32::from_be_bytes([covered[8], covered[9], covered[10], covered[11]]);
        if !covered.starts_with(MAGIC) || blake3::hash(covered).as_bytes() != digest {
            return Err(Broken::at(0, "it does not begin as a segment of the log"));
        }
        if layout != LAYOUT {
            return Err(Broken::Layout(layout));
        }
        let store = Uuid::from_slice(&covered[12..28]).unwrap_or_default();
        Ok(Self { store, first: number(28), previous: number(36) })
    }
}

/// What a file has that can't be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Where, in bytes from the beginning, and what.
    #[error("at byte {at}: {what}")]
    Damage { at: u64, what: String },
    #[error(
        "at byte 8: it has layout {0}, and this program knows layout {LAYOUT}: use the newer program that wrote it"
    )]
    Layout(u32),
}

impl Broken {
    pub(super) fn at(at: u64, what: impl ToString) -> Self {
        Self::Damage { at, what: what.to_string() }
    }
}

/// Fills the buffer, with zeros behind the end of the file.
fn read_at(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => {
                buffer.fill(0);
                return Ok(());
            }
            Ok(read) => (at, buffer) = (at + read as u64, &mut buffer[read..]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The head of a frame, and the bytes that it was read from.
pub(super) type Read = (Head, [u8; HEAD]);

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) header: Header,
    /// Behind the last frame that may be read.
    end: AtomicU64,
    /// Where frames begin, with their first revisions; `None` until it is asked for.
    places: Mutex<Option<Vec<(Revision, u64)>>>,
}

impl Segment {
    /// Makes the file, for revisions from `header.first` on.
    pub(super) fn create(path: PathBuf, header: Header) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        Ok(Self { file, path, header, end: AtomicU64::new(BEGIN), places: Mutex::new(Some(Vec::new())) })
    }

    /// Opens a file that no more is added to.
    pub(super) fn open(path: PathBuf) -> Result<Self, Broken> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let (header, end) = (Header::read(&file)?, file.metadata()?.len());
        Ok(Self { file, path, header, end: AtomicU64::new(end), places: Mutex::new(None) })
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Remembers that the frame of these revisions is there, up to `end`.
    pub(super) fn added(&self, first: Revision, at: u64, end: u64) {
        if let Some(places) = &mut *self.places.lock().unwrap_or_else(PoisonError::into_inner) {
            remember(places, first, at);
        }
        self.end.store(end, Ordering::Release);
    }

    /// With which revision, and where, a frame begins that has a revision, or stands not far before one that has.
    pub(super) fn place(&self, revision: Revision) -> Result<(Revision, u64), Broken> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let places = match &mut *places {
            Some(places) => places,
            none => none.insert(self.survey()?),
        };
        let behind = places.partition_point(|(first, _)| *first <= revision);
        Ok(behind.checked_sub(1).map_or((self.header.first, BEGIN), |at| places[at]))
    }

    fn survey(&self) -> Result<Vec<(Revision, u64)>, Broken> {
        let (mut places, mut at) = (vec![(self.header.first, BEGIN)], BEGIN);
        while at < self.end() {
            let (head, _) = self.head(at)?;
            remember(&mut places, head.first, at);
            at = behind(at, &head);
        }
        Ok(places)
    }

    /// The head of the frame that begins there.
    pub(super) fn head(&self, at: u64) -> Result<Read, Broken> {
        let mut bytes = [0; HEAD];
        read_at(&self.file, &mut bytes, at)?;
        let head = Head::read(&bytes).ok_or_else(|| Broken::at(at, "no group of revisions begins there"))?;
        Ok((head, bytes))
    }

    /// The payload of the frame that begins there, and ends before `end`, checked.
    pub(super) fn payload(&self, key: &Key, at: u64, end: u64, (head, bytes): &Read) -> Result<Vec<u8>, Broken> {
        let cut = || Broken::at(at, "a group of revisions is not what was written");
        if behind(at, head) > end {
            return Err(cut());
        }
        let mut payload = vec![0; head.length()];
        read_at(&self.file, &mut payload, at + HEAD as u64)?;
        if frame::is_whole(key, bytes, &payload) { Ok(payload) } else { Err(cut()) }
    }

    /// Goes over all frames of the file that was written last, checks them, and says how it ends.
    pub(super) fn check(&self, key: &Key) -> Result<Tail, Broken> {
        let length = self.file.metadata()?.len();
        let (mut at, mut next, mut places, mut last) = (BEGIN, self.header.first, Vec::new(), 0);
        loop {
            let whole = |read: Read| self.payload(key, at, length, &read).map(|_| read.0);
            let broken = match self.head(at).and_then(whole) {
                Ok(head) if head.first == next => {
                    remember(&mut places, head.first, at);
                    (last, at, next) = (at, behind(at, &head), head.end());
                    continue;
                }
                Ok(head) => Broken::at(at, format!("it has revision {} where {next} belongs", head.first)),
                Err(Broken::Io(error)) => return Err(error.into()),
                Err(broken) => broken,
            };
            let mut rest = vec![0; usize::try_from(length.saturating_sub(at)).map_err(io::Error::other)?];
            read_at(&self.file, &mut rest, at)?;
            // A group is written when the one before is synced: whole ones behind it say that this is no end.
            if holds_later(key, &rest, next) {
                return Err(broken);
            }
            *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Some(places);
            self.end.store(at, Ordering::Release);
            return Ok(Tail { next, last, end: at, torn: rest.iter().any(|byte| *byte != 0) });
        }
    }

    /// Writes what is there from a byte on once more. Where a sync failed, the system takes for written what is in its memory only, and
    /// no later sync would tell.
    pub(super) fn write_again(&self, from: u64) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.end() - from).map_err(io::Error::other)?];
        read_at(&self.file, &mut bytes, from)?;
        self.file.write_all_at(&bytes, from)
    }

    /// Drops everything behind the last frame.
    pub(super) fn cut(&self) -> io::Result<()> {
        self.file.set_len(self.end())?;
        self.file.sync_all()
    }
}

/// How the segment that was written last ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// The revision behind the last one.
    pub(super) next: Revision,
    /// Where its frame begins, in bytes; 0 if there is none.
    pub(super) last: u64,
    /// Behind its frame.
    pub(super) end: u64,
    /// What lies there is the beginning of a frame.
    pub(super) torn: bool,
}

/// Where the next frame begins.
pub(super) fn behind(at: u64, head: &Head) -> u64 {
    at + (HEAD + head.length()) as u64
}

fn remember(places: &mut Vec<(Revision, u64)>, first: Revision, at: u64) {
    if places.last().is_none_or(|(_, last)| at - last >= STRIDE) {
        places.push((first, at));
    }
}

/// Whether there is a whole frame, wherever it begins, with revisions from `next` on.
fn holds_later(key: &Key, bytes: &[u8], next: Revision) -> bool {
    memchr::memmem::find_iter(bytes, frame::MARK).any(|at| {
        let Some((bytes, rest)) = bytes[at..].split_first_chunk() else { return false };
        let head = Head::read(bytes).filter(|head| head.first >= next);
        head.and_then(|head| rest.get(..head.length())).is_some_and(|payload| frame::is_whole(key, bytes, payload))
    })
}

/// Whether a file that does not begin as a segment has frames all the same.
pub(super) fn holds_frames(path: &Path, key: &Key) -> io::Result<bool> {
    Ok(holds_later(key, &std::fs::read(path)?, 0))
}
