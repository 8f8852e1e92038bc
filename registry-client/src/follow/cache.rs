//! Versions on the local disk, shared by all processes that use the same folder.
//!
//! ```text
//! versions/UID/      a pulled folder, which says itself what it holds and whether it is whole
//! versions/UID.lock  locked by all who use the folder, and alone by who removes it; changed when it is taken into use
//! names/DIGEST       what names of a registry were last found to be good for
//! ```
//!
//! Where a file system has no locks, nothing is removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, warn};
use uuid::Uuid;

use super::Fetched;
use crate::artifacts::Hasher;
use crate::destination::{is_at, open_regular, write_whole};
use crate::folder::create_folder;
use crate::receipt::Receipt;
use crate::verify_folder::{FolderProblem, verify_folder};
use crate::{Error, RegistryClient, pb};

/// Where the cache is unless the program says so.
const VARIABLE: &str = "MODEL_REGISTRY_CACHE_FOLDER";
/// How often to look whether another process is done with a folder.
const POLL: Duration = Duration::from_millis(50);

/// A cache of versions.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    client: RegistryClient,
    folder: PathBuf,
    most_bytes: u64,
}

/// A folder of the cache that nobody removes meanwhile.
#[derive(Debug, Clone)]
pub(super) struct InUse {
    _lock: Arc<File>,
}

/// What was good once.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) versions: Vec<pb::Version>,
    /// When that was.
    pub(super) time: Option<SystemTime>,
}

impl Cache {
    pub(super) fn new(client: RegistryClient, folder: Option<PathBuf>, most_bytes: u64) -> Result<Self, Error> {
        let folder = folder.or_else(default_folder).ok_or_else(|| Error::InvalidOption {
            option: "cache",
            value: String::new(),
            problem: format!("there is no home directory: set the folder, or {VARIABLE}"),
        })?;
        Ok(Self { client, folder, most_bytes })
    }

    /// A version's folder, whole and checked: what is missing or damaged in it is fetched, as far as `like`, folders of other
    /// versions, do not have it.
    pub(super) async fn fetch(&self, version: &pb::Version, like: &[PathBuf]) -> Result<Fetched, Error> {
        let (folder, in_use) = self.hold(version).await?;
        while !is_whole(&folder, version).await? {
            let mut pull = self.client.pull(&version.name, &folder).overwrite(true);
            for like in like.iter().filter(|like| **like != folder) {
                pull = pull.reuse(like);
            }
            match pull.await {
                // The name was given to another version meanwhile: that of a purged model was.
                Ok(pulled) if pulled.version.uid != version.uid => {
                    let problem = "is another version by now".to_owned();
                    return Err(Error::Incomplete { version: version.name.clone(), problem });
                }
                Ok(_) => break,
                Err(Error::FolderInUse { .. }) => sleep(POLL).await,
                Err(error) => return Err(error),
            }
        }
        Ok(Fetched { version: version.clone(), folder, in_use })
    }

    /// Takes a version's folder into use.
    async fn hold(&self, version: &pb::Version) -> Result<(PathBuf, InUse), Error> {
        // It becomes a part of a path.
        let uid: Uuid = version.uid.parse().map_err(|_| Error::Protocol("a version without a UUID"))?;
        let versions = self.folder.join("versions");
        let (folder, file) = (versions.join(uid.to_string()), lock_file(&versions, &uid.to_string()));
        loop {
            let (versions, file) = (versions.clone(), file.clone());
            let there = folder.clone();
            let held = blocking(move || {
                create_folder(&versions)?;
                let held = hold(&file).map_err(|error| Error::io(file, error))?;
                // Nobody writes to where a link leads that was put there.
                if held.is_some() && there.is_symlink() {
                    std::fs::remove_file(&there).map_err(|error| Error::io(there, error))?;
                }
                Ok(held)
            });
            match held.await? {
                Some(lock) => return Ok((folder, InUse { _lock: Arc::new(lock) })),
                // It is being removed.
                None => sleep(POLL).await,
            }
        }
    }

    /// What was last [remembered](Self::remember) of these names, if that can be read.
    pub(super) async fn recall(&self, names: &[String]) -> Option<Remembered> {
        let (file, count) = (self.file_of(names), names.len());
        let read = blocking(move || {
            let failed = |error| Error::io(&file, error);
            let mut open = open_regular(&file, OpenOptions::new().read(true)).map_err(failed)?;
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut open, &mut bytes).map_err(failed)?;
            Ok((bytes, open.metadata().and_then(|there| there.modified()).ok()))
        });
        let (bytes, time) = read.await.inspect_err(|error| debug!(%error, "nothing is remembered")).ok()?;
        let versions = pb::BatchGetVersionsResponse::decode(&*bytes).ok()?.versions;
        (versions.len() == count).then_some(Remembered { versions, time })
    }

    /// Remembers versions as those that are good for the names. Whether that succeeds matters only to the next start.
    pub(super) async fn remember(&self, names: &[String], versions: Vec<pb::Version>) {
        let file = self.file_of(names);
        let bytes = pb::BatchGetVersionsResponse { versions }.encode_to_vec();
        let written = blocking(move || {
            file.parent().map_or(Ok(()), create_folder)?;
            write_whole(&file, &bytes)
        });
        if let Err(error) = written.await {
            warn!(%error, "a start without the registry may find an older version, or none");
        }
    }

    /// Where names are remembered: names of another registry are other names.
    fn file_of(&self, names: &[String]) -> PathBuf {
        let mut servers: Vec<_> = self.client.servers().collect();
        servers.sort_unstable();
        let mut hasher = Hasher::default();
        for part in servers.into_iter().chain([""]).chain(names.iter().map(String::as_str)) {
            hasher.update(part.as_bytes());
            hasher.update(b"\n");
        }
        self.folder.join("names").join(hasher.finish())
    }

    /// Removes the versions that were not used for the longest time, as long as the cache is too large and nobody uses them.
    pub(super) async fn trim(&self) {
        let (versions, most) = (self.folder.join("versions"), self.most_bytes);
        let trimmed = blocking(move || trim(&versions, most).map_err(|error| Error::io(versions, error)));
        if let Err(error) = trimmed.await {
            warn!(%error, "the cache of models can't be trimmed");
        }
    }
}

/// `MODEL_REGISTRY_CACHE_FOLDER`, or a folder of the user's cache directory.
fn default_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_user = || {
        let cache = set("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
        let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
        cache.map(|cache| cache.join("model-registry"))
    };
    set(VARIABLE).or_else(of_user)
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    spawn_blocking(run).await.map_err(|_| Error::Protocol("a thread that worked on the cache panicked"))?
}

fn lock_file(versions: &Path, uid: &str) -> PathBuf {
    versions.join(format!("{uid}.lock"))
}

/// Whether a folder holds all of a version as the registry sealed it. What else is in it, as loaders leave it, does not matter.
async fn is_whole(folder: &Path, version: &pb::Version) -> Result<bool, Error> {
    let (at, name, manifest) = (folder.to_owned(), version.name.clone(), version.manifest_sha256.clone());
    let receipt = blocking(move || Ok(Receipt::read(&at).ok())).await?;
    let is_of_version = |receipt: Receipt| receipt.version == name && receipt.manifest_sha256 == manifest;
    if !receipt.is_some_and(is_of_version) {
        return Ok(false);
    }
    match verify_folder(folder).await {
        Ok(report) => {
            let damage = |problem: &&FolderProblem| !matches!(problem, FolderProblem::Unexpected { .. });
            if let Some(problem) = report.problems.iter().find(damage) {
                warn!(%problem, folder = %folder.display(), "a version in the cache is damaged, and is fetched again");
            }
            Ok(!report.problems.iter().any(|problem| damage(&problem)) && report.left_out == 0)
        }
        Err(error) => {
            warn!(%error, folder = %folder.display(), "a version in the cache can't be read, and is fetched again");
            Ok(false)
        }
    }
}

/// Opens and locks the file together with others who do; `None` while somebody removes what it stands for. Blocks.
fn hold(file: &Path) -> io::Result<Option<File>> {
    loop {
        let held = open_regular(file, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        match held.try_lock_shared() {
            // It was removed in between.
            Ok(()) if !is_at(&held, file)? => continue,
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Without locks nobody removes it.
            Err(TryLockError::Error(_)) => {}
        }
        // Only the order of removal depends on it.
        let _ = held.set_modified(SystemTime::now());
        return Ok(Some(held));
    }
}

/// Removes the least recently used versions. Blocks.
fn trim(versions: &Path, most_bytes: u64) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(versions)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(uid) = name.to_str().filter(|name| name.parse::<Uuid>().is_ok()) else { continue };
        let lock = lock_file(versions, uid);
        let used = fs::metadata(&lock).and_then(|there| there.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        found.push((used, entry.path(), lock, bytes_in(&entry.path())));
    }
    found.sort_unstable();
    let mut bytes = found.iter().map(|(.., bytes)| bytes).sum::<u64>();
    for (_, folder, lock, freed) in found {
        if bytes <= most_bytes {
            break;
        }
        match remove(&folder, &lock) {
            Ok(true) => {
                debug!(folder = %folder.display(), "removed from the cache");
                bytes -= freed;
            }
            Ok(false) => {}
            // It may be another user's: then others have to go.
            Err(error) => debug!(folder = %folder.display(), %error, "can't be removed from the cache"),
        }
    }
    Ok(())
}

/// Removes a version unless somebody uses it. Blocks.
fn remove(folder: &Path, lock: &Path) -> io::Result<bool> {
    let held = open_regular(lock, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
    if held.try_lock().is_err() || !is_at(&held, lock)? {
        return Ok(false);
    }
    fs::remove_dir_all(folder)?;
    // Who waits for it sees that it is gone, and makes another one.
    fs::remove_file(lock)?;
    Ok(true)
}

/// What a folder takes; what can't be read takes nothing. Blocks.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(there) if there.is_dir() => bytes_in(&entry.path()),
        Ok(there) => there.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of so many bytes, last used so many seconds after the beginning of time.
    fn version(versions: &Path, used: u64, bytes: usize) -> (PathBuf, PathBuf) {
        let uid = Uuid::new_v4().to_string();
        let (folder, lock) = (versions.join(&uid), lock_file(versions, &uid));
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/file"), vec![0; bytes]).unwrap();
        File::create(&lock).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(used)).unwrap();
        (folder, lock)
    }

    #[test]
    fn the_least_recently_used_go_except_those_in_use() {
        let root = tempfile::tempdir().unwrap();
        let made: Vec<_> = [2, 1, 4, 3].map(|used| version(root.path(), used, 100)).into();
        let there = || made.iter().map(|(folder, _)| folder.exists()).collect::<Vec<_>>();
        trim(root.path(), 400).unwrap();
        assert_eq!(there(), [true, true, true, true]);

        // The second is the oldest, but in use.
        let held = hold(&made[1].1).unwrap().unwrap();
        made[1].0.exists().then(|| held.set_modified(SystemTime::UNIX_EPOCH)).unwrap().unwrap();
        trim(root.path(), 250).unwrap();
        assert_eq!(there(), [false, true, true, false]);
        assert!(!made[0].1.exists());
        trim(root.path(), 0).unwrap();
        assert_eq!(there(), [false, true, false, false]);
        drop(held);
        trim(root.path(), 0).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_has_many_users_and_is_not_given_out_while_it_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let lock = root.path().join("lock");
        let (one, two) = (hold(&lock).unwrap(), hold(&lock).unwrap());
        assert!(one.is_some() && two.is_some());
        drop((one, two));
        let removing = File::open(&lock).unwrap();
        removing.try_lock().unwrap();
        assert!(hold(&lock).unwrap().is_none());
        // Once it is gone, the next one makes another.
        fs::remove_file(&lock).unwrap();
        assert!(hold(&lock).unwrap().is_some());
    }
}
