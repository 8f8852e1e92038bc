//! The base: the state of one revision, in a file beside the segments. With it the state can be made again when the log no longer has
//! everything.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `MRLOGBAS` |
//! | 4 | the version of this layout, 1; all numbers are big-endian |
//! | 16 | the identity of the store |
//! | 8 | the revision |
//! | 8 | the first revision that the log still has |
//! | | a zstd stream (RFC 8878): for each entry of the state, in the order of their keys, 4 bytes with the length of its key, 4 with that of its value, the key, the value |
//! | 32 | BLAKE3 of what stands before, under the key of the log |

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use uuid::Uuid;
use zstd::stream::{read, write};

use super::super::physical::Entry;
use super::failed;
use super::frame::Key;
use super::segment::Broken;
use crate::store::{Revision, StoreError};

const MAGIC: &[u8; 8] = b"MRLOGBAS";
const LAYOUT: u32 = 1;
const HEADER: usize = 8 + 4 + 16 + 8 + 8;
const DIGEST: u64 = 32;
/// A base is read when the state is lost, and else only written.
const LEVEL: i32 = 1;
/// Neither keys nor values of the state are longer: a damaged length must not fill the memory.
const LONGEST: usize = 1024 * 1024;
/// What a file is called while it is written.
const UNFINISHED: &str = "base.tmp";

/// A file with the state of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) path: PathBuf,
    pub(super) revision: Revision,
    /// The log has everything from here on.
    pub(super) oldest: Revision,
}

impl Base {
    /// The newest base in the folder of a log, if there is one that begins as one.
    pub(super) fn newest(folder: &Path, store: Uuid) -> Result<Option<Self>, StoreError> {
        let mut newest: Option<Self> = None;
        for path in files(folder)? {
            let base = begins(path, store)?;
            newest = newest.into_iter().chain(base).max_by_key(|base| base.revision);
        }
        Ok(newest)
    }

    /// Writes the state of a revision, durably, in place of what other bases there are.
    pub(super) fn write(
        folder: &Path,
        (store, key): (Uuid, &Key),
        (revision, oldest): (Revision, Revision),
        entries: impl Iterator<Item = Result<Entry, StoreError>>,
    ) -> Result<Self, StoreError> {
        let (unfinished, path) = (folder.join(UNFINISHED), folder.join(format!("{revision:020}.base")));
        let written = write_to(&unfinished, &header(store, revision, oldest), key, entries);
        let written = written.and_then(|()| {
            let renamed = fs::rename(&unfinished, &path).and_then(|()| File::open(folder)?.sync_all());
            renamed.map_err(|error| failed(&path, &error))
        });
        if written.is_err() {
            // It is written over the next time; now it may take room that others need.
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        let older = files(folder)?.into_iter().filter(|other| *other != path);
        older.into_iter().try_for_each(|other| fs::remove_file(&other).map_err(|error| failed(&other, &error)))?;
        Ok(Self { path, revision, oldest })
    }

    /// Hands out all entries, once it is known that they are what was written.
    pub(super) fn read(
        &self,
        key: &Key,
        mut take: impl FnMut(Entry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let broken = |error: &io::Error| super::refused_file(&self.path, &Broken::at(HEADER as u64, error));
        let mut entries = checked(&self.path, key)
            .map_err(|error| failed(&self.path, &error))?
            .ok_or_else(|| super::refused_file(&self.path, &Broken::at(0, "it is not what was written")))?;
        while let Some(entry) = read_entry(&mut entries).map_err(|error| broken(&error))? {
            take(entry)?;
        }
        Ok(())
    }
}

/// The bases in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.and_then(|files| files.map(|file| Ok(file?.path())).collect::<io::Result<Vec<_>>>()),
    };
    let mut files = files.map_err(|error| failed(folder, &error))?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "base"));
    Ok(files)
}

fn header(store: Uuid, revision: Revision, oldest: Revision) -> Vec<u8> {
    let numbers = [revision.to_be_bytes(), oldest.to_be_bytes()].concat();
    [MAGIC.as_slice(), &LAYOUT.to_be_bytes(), store.as_bytes(), &numbers].concat()
}

/// What a file begins with, if it is a base of this store.
fn begins(path: PathBuf, store: Uuid) -> Result<Option<Base>, StoreError> {
    let mut bytes = Vec::with_capacity(HEADER);
    let read = File::open(&path).and_then(|file| file.take(HEADER as u64).read_to_end(&mut bytes));
    read.map_err(|error| failed(&path, &error))?;
    let numbers = bytes.last_chunk::<16>().map(|numbers| u128::from_be_bytes(*numbers)).unwrap_or_default();
    let (revision, oldest) = ((numbers >> 64) as Revision, numbers as Revision);
    Ok((bytes == header(store, revision, oldest)).then_some(Base { path, revision, oldest }))
}

fn write_to(
    path: &Path,
    header: &[u8],
    key: &Key,
    entries: impl Iterator<Item = Result<Entry, StoreError>>,
) -> Result<(), StoreError> {
    let io = |error: io::Error| failed(path, &error);
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(io)?;
    let mut out = Hashed { file: BufWriter::new(file), hasher: key.hasher() };
    out.write_all(header).map_err(io)?;
    let mut packed = write::Encoder::new(&mut out, LEVEL).map_err(io)?;
    for entry in entries {
        let (key, value) = entry?;
        for part in [&length(&key), &length(&value), &key[..], &value[..]] {
            packed.write_all(part).map_err(io)?;
        }
    }
    packed.finish().map_err(io)?;
    let Hashed { mut file, hasher } = out;
    file.write_all(hasher.finalize().as_bytes()).map_err(io)?;
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// The entries of a base, if it is as it was written.
fn checked(path: &Path, key: &Key) -> io::Result<Option<impl Read>> {
    let mut file = File::open(path)?;
    let Some(covered) = file.metadata()?.len().checked_sub(DIGEST) else { return Ok(None) };
    let mut hasher = key.hasher();
    io::copy(&mut (&file).take(covered), &mut hasher)?;
    let mut digest = Vec::new();
    file.read_to_end(&mut digest)?;
    if digest != hasher.finalize().as_bytes() || covered < HEADER as u64 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(HEADER as u64))?;
    let packed = BufReader::new(file.take(covered - HEADER as u64));
    Ok(Some(BufReader::new(read::Decoder::with_buffer(packed)?)))
}

fn read_entry(entries: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut lengths = [0; 8];
    match entries.read(&mut lengths[..1])? {
        0 => return Ok(None),
        _ => entries.read_exact(&mut lengths[1..])?,
    }
    let (key, value) = lengths.split_at(4);
    let mut read = |length: &[u8]| {
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length > LONGEST {
            return Err(io::Error::other("an entry is too long"));
        }
        let mut bytes = vec![0; length];
        entries.read_exact(&mut bytes)?;
        Ok(Bytes::from(bytes))
    };
    Ok(Some((read(key)?, read(value)?)))
}

/// A file, and the digest of what was written to it.
struct Hashed {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Uuid = Uuid::from_u128(7);

    fn entries(count: usize) -> Vec<Entry> {
        let entry = |number: usize| (format!("key {number:05}").into(), vec![b'v'; number * 37 % 3000].into());
        (0..count).map(entry).collect()
    }

    fn read(base: &Base) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        base.read(&Key::of(STORE), |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    #[test]
    fn a_base_has_what_was_written_and_the_newest_one_replaces_the_others() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Base::newest(folder.path(), STORE).unwrap(), None);
        for (revision, count) in [(7, 0), (9, 1000)] {
            let all = entries(count);
            let key = Key::of(STORE);
            let written =
                Base::write(folder.path(), (STORE, &key), (revision, 5), all.iter().cloned().map(Ok)).unwrap();
            assert_eq!(Base::newest(folder.path(), STORE).unwrap(), Some(written.clone()));
            assert_eq!(read(&written).unwrap(), all);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(Base::newest(folder.path(), Uuid::from_u128(8)).unwrap(), None, "of another store");
    }

    #[test]
    fn what_fails_leaves_the_base_before() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::of(STORE);
        let before = Base::write(folder.path(), (STORE, &key), (3, 2), entries(3).into_iter().map(Ok)).unwrap();
        let failing = entries(2).into_iter().map(Ok).chain([Err(StoreError::Full("no room".to_owned()))]);
        Base::write(folder.path(), (STORE, &key), (5, 4), failing).unwrap_err();
        assert_eq!(Base::newest(folder.path(), STORE).unwrap(), Some(before));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_base_that_is_not_what_was_written_is_refused_whole() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::of(STORE);
        let base = Base::write(folder.path(), (STORE, &key), (3, 2), entries(20).into_iter().map(Ok)).unwrap();
        let whole = fs::read(&base.path).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&base.path, bytes).unwrap();
            let mut taken = 0;
            let read = base.read(&key, |_| {
                taken += 1;
                Ok(())
            });
            assert_eq!(taken, 0);
            let error = read.unwrap_err().to_string();
            assert!(error.contains("00003.base") && error.contains("Restore a backup or the archive"), "{error}");
        };
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1 << (at % 8);
            refused(&other);
            refused(&whole[..at]);
        }
    }
}
