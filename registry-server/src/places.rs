//! Where bytes lie that are not in the store: a file, a folder, or a bucket of an object store by its URL.

mod answers;
mod settling;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use registry_common::places::{self, UrlError};
use registry_proto::v1 as pb;

use crate::room;
use crate::store::StoreError;

use answers::Connector;
pub use answers::Trouble;
pub(crate) use settling::settling;

/// How long a request that fails is tried again; object_store's own three minutes are longer than any caller waits.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a place can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is no path and no URL that is understood.
    #[error("{place}: {problem}")]
    Unknown {
        /// As it was given.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// It can't be reached, read or written.
    #[error("{place}: {trouble}: {source}")]
    Failed {
        /// As it was given.
        place: String,
        /// What kind of failure it is.
        trouble: Trouble,
        /// Why.
        source: object_store::Error,
    },
}

impl PlaceError {
    fn unknown(place: &str, problem: impl ToString) -> Self {
        Self::Unknown { place: place.to_owned(), problem: problem.to_string() }
    }

    fn failed(place: &str, source: object_store::Error) -> Self {
        Self::Failed { place: place.to_owned(), trouble: Trouble::of(&source), source }
    }
}

impl From<UrlError> for PlaceError {
    fn from(UrlError { place, problem }: UrlError) -> Self {
        Self::Unknown { place, problem }
    }
}

impl From<PlaceError> for StoreError {
    fn from(error: PlaceError) -> Self {
        match &error {
            PlaceError::Failed { trouble: Trouble::Full, .. } => Self::Full(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// A folder of objects.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// As it was given.
    pub(crate) name: String,
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Where the objects are files.
    local: Option<PathBuf>,
}

impl Folder {
    /// A folder by its path or URL: a local one is made if it is missing, an object store has to answer.
    pub(crate) async fn open(place: &str) -> Result<Self, PlaceError> {
        let Some(folder) = local(place)? else {
            let (objects, prefix) = by_url(place)?;
            let folder = Self { name: place.to_owned(), objects, prefix, local: None };
            // One page: enough to know that there is a bucket, and that it may be read.
            let first = folder.objects.list(Some(&folder.prefix)).try_next().await;
            first.map_err(|error| folder.failed(error))?;
            return Ok(folder);
        };
        Ok(Self { name: place.to_owned(), ..Self::local(&folder)? })
    }

    /// A local folder, which is made if it is missing.
    pub(crate) fn local(folder: &FilePath) -> Result<Self, PlaceError> {
        let name = folder.display().to_string();
        std::fs::create_dir_all(folder).map_err(|error| PlaceError::unknown(&name, error))?;
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(|error| PlaceError::unknown(&name, error))?;
        let (objects, local) = (Arc::new(objects.with_fsync(true)), Some(folder.to_owned()));
        Ok(Self { name, objects, prefix: Path::default(), local })
    }

    /// All of an object store.
    #[cfg(test)]
    pub(crate) fn of(objects: Arc<dyn ObjectStore>) -> Self {
        Self { name: objects.to_string(), objects, prefix: Path::default(), local: None }
    }

    /// What lies at a path of the folder, if there is something.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, PlaceError> {
        match async { self.objects.get(path).await?.bytes().await }.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether there is something at a path of the folder.
    pub(crate) async fn has(&self, path: &Path) -> Result<bool, PlaceError> {
        match self.objects.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Puts something at a path of the folder: durably, and all of it or nothing.
    pub(crate) async fn put(&self, path: &Path, payload: PutPayload) -> Result<(), PlaceError> {
        if let Some(folder) = &self.local {
            let full = |error: std::io::Error| object_store::Error::Generic { store: "disk", source: error.into() };
            room::check(folder, room::FOR_ARTIFACTS).map_err(|error| self.failed(full(error)))?;
        }
        self.put_small(path, payload).await
    }

    /// The same for the few bytes without which no room can be made: nothing has to stay free beside them.
    pub(crate) async fn put_small(&self, path: &Path, payload: PutPayload) -> Result<(), PlaceError> {
        self.objects.put(path, payload).await.map(drop).map_err(|error| self.failed(error))
    }

    /// The names of what lies in the folder itself, not below it, and when each was written.
    pub(crate) async fn names(&self) -> Result<Vec<(String, DateTime<Utc>)>, PlaceError> {
        let listed = self.objects.list_with_delimiter(Some(&self.prefix)).await;
        let listed = listed.map_err(|error| self.failed(error))?.objects;
        Ok(listed.iter().filter_map(|meta| Some((meta.location.filename()?.to_owned(), meta.last_modified))).collect())
    }

    /// Whether there is something below a path of the folder.
    pub(crate) async fn has_below(&self, path: &Path) -> Result<bool, PlaceError> {
        let first = self.objects.list(Some(path)).try_next().await;
        Ok(first.map_err(|error| self.failed(error))?.is_some())
    }

    /// Removes what lies at a path of the folder, if there is something.
    pub(crate) async fn remove(&self, path: &Path) -> Result<(), PlaceError> {
        match self.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Where the objects are files, if they are.
    pub(crate) fn local_path(&self) -> Option<&FilePath> {
        self.local.as_deref()
    }

    /// Whether whoever copies the folder `around` copies this one as well, with the folder `beside` in it: both have to be on the same
    /// volume. One of its own (which may be mounted in there, or be reached by a link) is not in a copy of the other's.
    pub(crate) fn is_copied_with(&self, beside: &FilePath, around: &FilePath) -> bool {
        let resolved = |path: &FilePath| path.canonicalize().ok();
        let device = |path: &FilePath| path.metadata().ok().map(|metadata| metadata.dev());
        let (Some(place), Some(beside), Some(around)) =
            (self.local_path().and_then(resolved), resolved(beside), resolved(around))
        else {
            return false;
        };
        let same_volume = device(&place).is_some() && device(&place) == device(&beside);
        same_volume && place.starts_with(&around) && beside.starts_with(&around)
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The path of what lies in the folder under these names.
    pub(crate) fn path<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Path {
        names.into_iter().fold(self.prefix.clone(), |path, name| path.join(name))
    }

    pub(crate) fn failed(&self, source: object_store::Error) -> PlaceError {
        PlaceError::failed(&self.name, source)
    }
}

/// Whether two places are the same, as far as their names tell.
pub(crate) fn are_same(one: &str, other: &str) -> Result<bool, PlaceError> {
    Ok(match (local(one)?, local(other)?) {
        (Some(one), Some(other)) => {
            // One that is not there yet has no other names.
            let named = |path: PathBuf| path.canonicalize().or_else(|_| std::path::absolute(&path)).unwrap_or(path);
            named(one) == named(other)
        }
        (None, None) => {
            let named =
                |place| Ok::<_, UrlError>(places::url(place)?.map(|url| url.as_str().trim_end_matches('/').to_owned()));
            named(one)? == named(other)?
        }
        _ => false,
    })
}

/// Whether a place is on this machine.
pub(crate) fn is_local(place: &str) -> Result<bool, PlaceError> {
    Ok(local(place)?.is_some())
}

/// The path of a place that is on this machine.
fn local(place: &str) -> Result<Option<PathBuf>, PlaceError> {
    Ok(match places::url(place)? {
        Some(url) if url.scheme() == "file" => url.to_file_path().ok(),
        Some(_) => None,
        None => Some(PathBuf::from(place)),
    })
}

/// What kind of place this is.
pub(crate) fn place_type(place: &str) -> Result<pb::PlaceType, PlaceError> {
    Ok(match places::url(place)? {
        None => pb::PlaceType::Folder,
        Some(url) => match url.scheme() {
            "file" => pb::PlaceType::Folder,
            "s3" | "s3a" => pb::PlaceType::S3,
            "gs" => pb::PlaceType::Gcs,
            "az" | "adl" | "azure" | "abfs" | "abfss" => pb::PlaceType::Azure,
            _ => pb::PlaceType::Unspecified,
        },
    })
}

/// The object store at a URL, and the path in it.
fn by_url(place: &str) -> Result<(Arc<dyn ObjectStore>, Path), PlaceError> {
    Ok(places::open(place, retry(), Connector)?)
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: PAUSE, ..BackoffConfig::default() };
    // The time is the bound.
    RetryConfig { backoff, max_retries: 1000, retry_timeout: PATIENCE }
}

/// Something that can be restored.
pub(crate) enum Source {
    /// A backup file, to be read from its beginning.
    File(Box<dyn tokio::io::AsyncRead + Send + Unpin>),
    /// An archive.
    Archive(Folder),
}

/// What lies at a path or URL.
pub(crate) async fn source(place: &str) -> Result<Source, PlaceError> {
    if places::url(place)?.is_none() {
        let unknown = |error: std::io::Error| PlaceError::unknown(place, error);
        if tokio::fs::metadata(place).await.map_err(unknown)?.is_dir() {
            return Ok(Source::Archive(Folder::open(place).await?));
        }
        let file = tokio::fs::File::open(place).await.map_err(unknown)?;
        return Ok(Source::File(Box::new(tokio::io::BufReader::with_capacity(1 << 20, file))));
    }
    let (objects, path) = by_url(place)?;
    match objects.head(&path).await {
        Ok(meta) => {
            let reader = object_store::buffered::BufReader::with_capacity(objects, &meta, 8 << 20);
            Ok(Source::File(Box::new(reader)))
        }
        // No object, so a folder of objects.
        Err(object_store::Error::NotFound { .. }) => {
            Ok(Source::Archive(Folder { name: place.to_owned(), objects, prefix: path, local: None }))
        }
        Err(source) => Err(PlaceError::failed(place, source)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_place_is_of_a_kind() {
        for (place, kind) in [
            ("./artifacts", pb::PlaceType::Folder),
            ("file:///data", pb::PlaceType::Folder),
            ("s3://bucket/a", pb::PlaceType::S3),
            ("gs://bucket/a", pb::PlaceType::Gcs),
            ("az://container/a", pb::PlaceType::Azure),
            ("abfss://container@account.dfs.core.windows.net/a", pb::PlaceType::Azure),
        ] {
            assert_eq!(place_type(place).unwrap(), kind, "{place}");
        }
    }

    #[test]
    fn only_what_is_on_the_same_volume_is_copied_along() {
        let around = tempfile::tempdir().unwrap();
        let store = around.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let is_beside =
            |place: &FilePath, around: &FilePath| Folder::local(place).unwrap().is_copied_with(&store, around);
        let inside = around.path().join("artifacts");
        assert!(is_beside(&inside, around.path()));
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(!is_beside(elsewhere.path(), around.path()));
        // A link out of it, and one into it.
        symlink(elsewhere.path(), around.path().join("out")).unwrap();
        assert!(!is_beside(&around.path().join("out"), around.path()));
        symlink(&inside, elsewhere.path().join("in")).unwrap();
        assert!(is_beside(&elsewhere.path().join("in"), around.path()));
        // A volume that is mounted in it.
        let mounted = FilePath::new("/proc/self");
        assert_ne!(mounted.metadata().unwrap().dev(), store.metadata().unwrap().dev());
        assert!(!is_beside(mounted, FilePath::new("/")));
        // A store that is elsewhere itself.
        assert!(!Folder::local(&inside).unwrap().is_copied_with(elsewhere.path(), around.path()));
    }
}
