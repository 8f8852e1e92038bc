//! Where backups and archives lie: a file, a folder, or a URL of an object store.

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::Url;

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
    #[error("{place}: {source}")]
    Failed {
        /// As it was given.
        place: String,
        /// Why.
        source: object_store::Error,
    },
}

/// A folder of objects.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// As it was given.
    pub(crate) name: String,
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
}

/// The object store behind a URL, and the path in it. Credentials and endpoints come from the usual variables.
fn by_url(place: &str) -> Result<(Arc<dyn ObjectStore>, Path), PlaceError> {
    let unknown = |problem: String| PlaceError::Unknown { place: place.to_owned(), problem };
    let url = Url::parse(place).map_err(|error| unknown(error.to_string()))?;
    let variables = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let (objects, path) = object_store::parse_url_opts(&url, variables).map_err(|error| unknown(error.to_string()))?;
    Ok((Arc::from(objects), path))
}

impl Folder {
    /// A folder by its path or URL; a local one is made if it is missing.
    pub(crate) fn make(place: &str) -> Result<Self, PlaceError> {
        let local = match Url::parse(place) {
            Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
            Ok(url) if place.contains("://") && !url.cannot_be_a_base() => None,
            _ => Some(FilePath::new(place).to_owned()),
        };
        let Some(folder) = local else {
            let (objects, prefix) = by_url(place)?;
            return Ok(Self { name: place.to_owned(), objects, prefix });
        };
        let unknown = |problem: String| PlaceError::Unknown { place: place.to_owned(), problem };
        std::fs::create_dir_all(&folder).map_err(|error| unknown(error.to_string()))?;
        let objects = LocalFileSystem::new_with_prefix(&folder).map_err(|error| unknown(error.to_string()))?;
        Ok(Self { name: place.to_owned(), objects: Arc::new(objects.with_fsync(true)), prefix: Path::default() })
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The path of what lies in the folder under these names.
    pub(crate) fn path<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Path {
        names.into_iter().fold(self.prefix.clone(), |path, name| path.join(name))
    }

    pub(crate) fn failed(&self, source: object_store::Error) -> PlaceError {
        PlaceError::Failed { place: self.name.clone(), source }
    }
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
    if !place.contains("://") {
        let unknown =
            |error: std::io::Error| PlaceError::Unknown { place: place.to_owned(), problem: error.to_string() };
        if tokio::fs::metadata(place).await.map_err(unknown)?.is_dir() {
            return Ok(Source::Archive(Folder::make(place)?));
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
            Ok(Source::Archive(Folder { name: place.to_owned(), objects, prefix: path }))
        }
        Err(source) => Err(PlaceError::Failed { place: place.to_owned(), source }),
    }
}
