//! The state of the newest revision: a tree of sled's and, above it in memory, what the newest revisions changed.
//!
//! A change is seen as soon as it is here. A thread takes many of them to the tree at once: a record that changes often is written
//! there rarely, and no commit waits for sled. What the tree lacks after a crash, the log has.
//!
//! The tree is changed key by key, since a batch of sled's holds up all readers. A crash amid that leaves a part of the keys as they
//! were, with which replaying the log from before has to work: it removes the index entries and the parts that the record tells of.
//! So a record is written behind its index entries and new parts, and its former parts are removed last of all, by a list that is in
//! the tree before anything else is.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::collections::btree_map::Range as Overridden;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::disk::{damaged, io_error, store_error};
use super::physical::{Bounds, Entry, Overrides, is_fixed, is_part};
use crate::store::{Revision, StoreError};

/// The folder, in that of the store.
const FOLDER: &str = "state";
/// The file in it that says that something there could not be read.
const DAMAGED: &str = "damaged";
/// How everything lies in the tree. A state of another format is made of the log again.
const FORMAT: u8 = 2;
/// Of which log it is made, and in which format, and the newest revision of which all is in the tree. Not a prefix of any other key.
const MADE_OF_KEY: &[u8] = b"L";
const APPLIED_KEY: &[u8] = b"A";
/// Begins the keys of what is left to be removed; behind it the revision that is being applied and a number. The value is the keys of
/// parts, each of [`PART_KEY`] bytes.
const LEFT: u8 = b'S';
const PART_KEY: usize = 17;
/// How many keys are in one value.
const LEFT_AT_ONCE: usize = 1024;
/// sled puts a node of more than a quarter of this into a file that it never syncs; see [`super`].
pub(super) const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
/// How often what sled has in memory is written to its files.
const FLUSH_MS: u64 = 1000;
/// How often changes are taken to the tree. It is what opening the store has to replay after a crash.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// In bytes: earlier if there are more, and who adds some waits if there are very many more.
const SETTLE_FROM: usize = 16 * 1024 * 1024;
const UNSETTLED_MOST: usize = 4 * SETTLE_FROM;
/// What a change takes in memory besides its key and value, about.
const CHANGE_BYTES: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    db: sled::Db,
    tree: sled::Tree,
    slate: sled::Tree,
    folder: PathBuf,
    newer: RwLock<Newer>,
    /// Held by who takes changes to the tree. Set for good when that failed: then what failed is in memory only, and nothing newer may
    /// get to the tree.
    settles: Mutex<Option<StoreError>>,
}

/// What the tree lacks.
#[derive(Debug, Default)]
struct Newer {
    recent: Overrides,
    /// Those of its keys that are not in the tree, of those that have one value only.
    fresh: HashSet<Bytes>,
    /// What is in the tree is one revision, so that it can be known what is not.
    has_begun: bool,
    /// The size of what was changed, in bytes.
    bytes: usize,
    /// On its way to the tree.
    settling: Arc<Overrides>,
    /// The size of that.
    settling_bytes: usize,
    /// The newest revision.
    last: Revision,
}

impl Newer {
    /// `is_again`: the key was removed before it got its value.
    fn change(&mut self, key: &Bytes, value: &Option<Bytes>, is_again: bool) {
        if value.is_none() && self.fresh.remove(key) {
            // It never got to the tree, so nothing has to tell that it is gone.
            return self.recent.forget(key);
        }
        self.bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + CHANGE_BYTES;
        let former = self.recent.insert(key.clone(), value.clone());
        let is_new = value.is_some() && former.is_none() && !is_again && self.settling.get(key).is_none();
        if is_new && self.has_begun && is_fixed(key) {
            self.fresh.insert(key.clone());
        }
    }
}

/// What overrides a range of the tree.
pub(super) struct Over {
    /// The newest first: each goes over what comes behind it.
    pub(super) layers: [Vec<(Bytes, Option<Bytes>)>; 2],
    /// Behind this key nothing is known: the range has to be begun anew there.
    pub(super) until: Option<Bytes>,
}

impl State {
    /// Opens it, or makes it. What is there is removed first if it is `suspect`, was found to be damaged, can't be read, or is of another
    /// log.
    pub(super) fn open(store: &Path, cache_bytes: u64, made_of: Uuid, suspect: bool) -> Result<Self, StoreError> {
        let path = store.join(FOLDER);
        let made_of = [made_of.as_bytes().as_slice(), &[FORMAT]].concat();
        let open = || {
            let config = sled::Config::new().path(&path).cache_capacity(cache_bytes).segment_size(SEGMENT_BYTES);
            let db = config.flush_every_ms(Some(FLUSH_MS)).open()?;
            let tree = db.open_tree("state")?;
            let of = tree.get(MADE_OF_KEY)?;
            let is_new = of.is_none() && tree.is_empty();
            if is_new {
                tree.insert(MADE_OF_KEY, made_of.as_slice())?;
            }
            let slate = db.open_tree("slate")?;
            Ok((is_new || of.as_deref() == Some(made_of.as_slice())).then_some((db, tree, slate)))
        };
        let opened = if suspect || Self::is_damaged(store) { None } else { readable(&path, open)? };
        let (db, tree, slate) = match opened {
            Some(opened) => opened,
            None => {
                match fs::remove_dir_all(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_error(&error)),
                    _ => {}
                }
                open().map_err(store_error)?.ok_or_else(|| damaged("a new state has something in it"))?
            }
        };
        let state = Self { db, tree, slate, folder: path, newer: RwLock::default(), settles: Mutex::default() };
        state.write().last = state.applied()?;
        Ok(state)
    }

    /// Whether the state of a store was found to be damaged: it is made of the log again when it is opened.
    pub(super) fn is_damaged(store: &Path) -> bool {
        store.join(FOLDER).join(DAMAGED).exists()
    }

    /// Calls sled, which finds most damage only when it comes to it, and panics over some. Then it is noted for who opens the state next.
    fn sled<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        let problem = match catch(AssertUnwindSafe(call)) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(sled::Error::Io(error))) if !is_damage(&error) => return Err(io_error(&error)),
            Ok(Err(error)) => error.to_string(),
            Err(said) => said,
        };
        let file = self.folder.join(DAMAGED);
        if !file.exists() {
            let folder = self.folder.display();
            tracing::error!(%folder, problem, "the state is damaged: it is made of the log again when the server is started again");
            if let Err(error) = fs::write(&file, &problem) {
                tracing::error!(%folder, %error, "this can't be noted there: remove the folder before the server is started again");
            }
        }
        Err(damaged(format!(
            "{}: {problem}; it is made of the log again when the server is started",
            self.folder.display()
        )))
    }

    /// The newest revision of which all is in the tree.
    pub(super) fn applied(&self) -> Result<Revision, StoreError> {
        Ok(self.sled(|| self.tree.get(APPLIED_KEY))?.map_or(0, |applied| number(&applied)))
    }

    /// Fills a new state with all entries that there are at a revision, which `read` hands out before it answers which one that is.
    pub(super) fn fill(
        &self,
        read: impl FnOnce(&mut dyn FnMut(Entry) -> Result<(), StoreError>) -> Result<Option<Revision>, StoreError>,
    ) -> Result<(), StoreError> {
        let revision = read(&mut |(key, value)| self.sled(|| self.tree.insert(key, value.as_ref()).map(drop)))?;
        if let Some(revision) = revision {
            self.sled(|| self.tree.insert(APPLIED_KEY, &revision.to_be_bytes()))?;
            self.write().last = revision;
        }
        Ok(())
    }

    /// The newest revision of which anything is in the tree.
    pub(super) fn reached(&self) -> Result<Revision, StoreError> {
        let left = self.left().last().transpose()?;
        Ok(self.applied()?.max(left.map_or(0, |(key, _)| number(&key[1..9]))))
    }

    fn read(&self) -> RwLockReadGuard<'_, Newer> {
        self.newer.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Newer> {
        self.newer.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        {
            let newer = self.read();
            if let Some(value) = newer.recent.get(key).or_else(|| newer.settling.get(key)) {
                return Ok(value.clone());
            }
        }
        Ok(self.sled(|| self.tree.get(key))?.map(Bytes::from_owner))
    }

    /// What overrides the tree in a range, for who wants `limit` entries that are there. The tree has to be read after this: what is
    /// not here then may have got there meanwhile.
    pub(super) fn over(&self, bounds: &Bounds, reverse: bool, limit: usize) -> Over {
        let newer = self.read();
        let mut until = None;
        let layers = [&newer.recent, &*newer.settling].map(|layer| {
            let (taken, last) = take(layer.range(bounds), reverse, limit);
            until = match (until.take(), last) {
                (Some(a), Some(b)) => Some(if reverse { Bytes::max(a, b) } else { Bytes::min(a, b) }),
                (a, b) => a.or(b),
            };
            taken
        });
        Over { layers, until }
    }

    /// What the tree has within bounds, in order.
    pub(super) fn entries<'a>(
        &'a self,
        bounds: &Bounds,
        reverse: bool,
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StoreError>> + use<'a> {
        let mut range = self.tree.range::<Vec<u8>, _>(bounds.clone());
        let mut next = move || if reverse { range.next_back() } else { range.next() };
        std::iter::from_fn(move || self.sled(|| next().transpose()).transpose())
    }

    /// Makes the state that of the revision `last`. Waits if too much of it is not in the tree.
    pub(super) fn add(&self, changes: &Overrides, last: Revision) -> Result<(), StoreError> {
        let unsettled = {
            let mut newer = self.write();
            for (key, value) in changes.iter() {
                newer.change(key, value, changes.is_again(key));
            }
            newer.last = last;
            newer.bytes
        };
        if unsettled > UNSETTLED_MOST { self.settle() } else { Ok(()) }
    }

    /// How many bytes of changes are not in the tree.
    pub(super) fn unsettled(&self) -> usize {
        let newer = self.read();
        newer.bytes + newer.settling_bytes
    }

    /// Whether so much is not in the tree that it should get there.
    pub(super) fn is_due(&self) -> bool {
        self.read().bytes > SETTLE_FROM
    }

    /// Takes changes to the tree now and then, or when asked to, until nobody can ask any more. Then takes the rest there.
    pub(super) fn keep_settling(&self, due: &Receiver<()>) -> Result<(), StoreError> {
        loop {
            let ended = due.recv_timeout(SETTLE_EVERY) == Err(RecvTimeoutError::Disconnected);
            self.settle()?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Takes everything that is not in the tree there.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let mut failed = self.settles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &*failed {
            return Err(error.clone());
        }
        let (settling, last) = {
            let mut newer = self.write();
            if newer.recent.is_empty() {
                return Ok(());
            }
            newer.settling_bytes = std::mem::take(&mut newer.bytes);
            newer.fresh.clear();
            newer.settling = Arc::new(std::mem::take(&mut newer.recent));
            (Arc::clone(&newer.settling), newer.last)
        };
        self.write_to_tree(&settling, last).inspect_err(|error| *failed = Some(error.clone()))?;
        {
            let mut newer = self.write();
            newer.settling_bytes = 0;
            newer.settling = Arc::default();
        }
        // The last one, which takes a while: not under the lock.
        drop(settling);
        Ok(())
    }

    fn write_to_tree(&self, changes: &Overrides, last: Revision) -> Result<(), StoreError> {
        // Behind the lists that are there from before a crash.
        let number = self.left().count();
        steps(changes, last, number).into_iter().try_for_each(|(key, value)| {
            self.sled(|| match value {
                Some(value) => self.tree.insert(key, value.as_ref()).map(drop),
                None => self.tree.remove(key).map(drop),
            })
        })
    }

    /// The lists of what was left to be removed when the store ended.
    fn left(&self) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StoreError>> {
        let mut lists = self.tree.scan_prefix([LEFT]);
        std::iter::from_fn(move || self.sled(|| lists.next().transpose()).transpose())
    }

    /// Once the state is behind what was being applied when the store ended: removes what was left, which nothing needs any more.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        self.settle()?;
        for entry in self.left() {
            let (list, keys) = entry?;
            for key in keys.chunks(PART_KEY).chain([&*list]) {
                self.sled(|| self.tree.remove(key))?;
            }
        }
        self.write().has_begun = true;
        Ok(())
    }

    /// See [`crate::store::Store::slate_get`], as with the next two. The slate is lost where the state is made of the log again.
    pub(super) fn slate_get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.sled(|| self.slate.get(key))?.map(Bytes::from_owner))
    }

    pub(super) fn slate_scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let entries = self.sled(|| self.slate.scan_prefix(prefix).collect::<sled::Result<Vec<_>>>())?;
        Ok(entries.into_iter().map(|(key, value)| (Bytes::from_owner(key), Bytes::from_owner(value))).collect())
    }

    pub(super) fn slate_swap(&self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, StoreError> {
        let swapped = self.sled(|| self.slate.compare_and_swap(key, old, new))?;
        Ok(swapped.map_or_else(|there| there.current.as_deref() == new, |()| true))
    }

    /// Writes everything to the disk.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.settle()?;
        self.sled(|| self.db.flush())?;
        let file = File::open(self.folder.join("db"));
        file.and_then(|file| file.sync_all()).map_err(|error| io_error(&error))
    }
}

/// What is done to the tree, one key after the other, so that all of the changes are there up to the revision `last`. The lists of what
/// is left to be removed are numbered from `number` on.
fn steps(changes: &Overrides, last: Revision, number: usize) -> Vec<(Bytes, Option<Bytes>)> {
    let (left, others): (Vec<_>, Vec<_>) =
        changes.iter().partition(|(key, value)| value.is_none() && is_part(key.as_ref()));
    let joined = |keys: &[(&Bytes, _)]| keys.iter().flat_map(|(key, _)| key.iter().copied()).collect::<Bytes>();
    let mut lists: Vec<_> = left.chunks(LEFT_AT_ONCE).map(joined).collect();
    // One at least: it tells how far this gets.
    lists.resize(lists.len().max(1), Bytes::new());
    let key_of = |number: usize| [&[LEFT], last.to_be_bytes().as_slice(), &number.to_be_bytes()].concat().into();
    let lists: Vec<(Bytes, _)> = (number..).map(key_of).zip(lists).collect();
    let listed = lists.iter().map(|(key, list)| (key.clone(), Some(list.clone())));
    // In their order: index entries, parts, records.
    let changed = others.into_iter().map(|(key, value)| (key.clone(), value.clone()));
    let applied = (Bytes::from_static(APPLIED_KEY), Some(Bytes::copy_from_slice(&last.to_be_bytes())));
    let removed =
        left.iter().map(|(key, _)| *key).chain(lists.iter().map(|(key, _)| key)).map(|key| (key.clone(), None));
    listed.chain(changed).chain([applied]).chain(removed).collect()
}

/// What `open` opens, or nothing, and a line in the log, if it can't be used.
fn readable<T>(
    path: &Path,
    open: impl FnOnce() -> sled::Result<Option<T>> + UnwindSafe,
) -> Result<Option<T>, StoreError> {
    let problem = match catch(open) {
        Ok(Ok(Some(opened))) => return Ok(Some(opened)),
        Ok(Ok(None)) => "it is of another log, or of another version of this program".to_owned(),
        Ok(Err(sled::Error::Io(error))) if !is_damage(&error) => return Err(io_error(&error)),
        Ok(Err(error)) => error.to_string(),
        Err(said) => said,
    };
    tracing::warn!(folder = %path.display(), problem, "the state can't be read, and is made of the log again");
    Ok(None)
}

/// Calls sled; an error is what it says in a panic.
fn catch<T>(call: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    catch_unwind(call).map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("sled panicked").to_owned()
    })
}

/// Whether an error that sled passes on comes of damage, such as a file that ends too early, and not of the disk.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData)
}

/// The first changes of a range, up to the `limit`th of those that are there, and the key of that if there are more.
fn take(
    mut range: Overridden<'_, Bytes, Option<Bytes>>,
    reverse: bool,
    limit: usize,
) -> (Vec<(Bytes, Option<Bytes>)>, Option<Bytes>) {
    let (mut taken, mut there) = (Vec::new(), 0);
    while let Some((key, value)) = if reverse { range.next_back() } else { range.next() } {
        if there == limit {
            let last = taken.last().map(|(key, _): &(Bytes, _)| key.clone());
            return (taken, last);
        }
        there += usize::from(value.is_some());
        taken.push((key.clone(), value.clone()));
    }
    (taken, None)
}

/// Reads a big-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
