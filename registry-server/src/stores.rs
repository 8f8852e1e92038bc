//! The stores that a configuration names: of records, and of bytes.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::backup::shipper::ArchiveError;
use crate::chunks::ChunkStore;
use crate::config::{Config, StoreChoice};
use crate::encryption::data::{DataKeyError, DataKeys};
use crate::encryption::master::KeyError;
use crate::error::Error;
use crate::owners::{Owner, OwnerError, Purpose};
use crate::places::{self, Folder, PlaceError};
use crate::registry::kinds::LAYOUT;
use crate::store::postgres::{PostgresOptions, PostgresStore};
use crate::store::sled::SledStore;
use crate::store::{Revision, Store, StoreError};
use crate::tls::TlsError;

/// How long a database may take to be connected to.
const CONNECTING: Duration = Duration::from_secs(5);

/// Why a server can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another server uses the folder.
    #[error("another server is running on {path}: stop it, or choose another {setting}")]
    InUse {
        /// Which.
        path: String,
        /// The setting that names it.
        setting: &'static str,
    },
    /// The file system of the folder has no locks that would keep a second server away.
    #[error(
        "{path} can't be locked, which keeps a second server from it: {source}; put it on a file system that has file locks"
    )]
    NoLocks {
        /// The folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing is there.
    #[error("there is no store in {0}")]
    NoStore(String),
    /// Two settings name one place: the collection would remove what was archived.
    #[error("--artifacts and --archive are both {0}: each needs a place of its own")]
    SamePlace(String),
    /// There is no registry in the database.
    #[error("there is no registry in the database: is --store right?")]
    NoTables,
    /// A restore would go to the place of another registry.
    #[error(
        "{0}. To fill this empty registry by a restore, and take that place for it, run `registry-server claim --for-restore` first, and \
         `registry-server claim` behind the restore"
    )]
    Restoring(OwnerError),
    /// A place is claimed for a restore into what is not empty.
    #[error("the registry is at revision {0}: --for-restore is for an empty one")]
    NotEmpty(Revision),
    /// What is to be the first token is none.
    #[error("{0} has no token: remove it, and one is made")]
    NoToken(String),
    /// Other machines would reach the server, and nothing keep strangers out.
    #[error(
        "{address} is reached by other machines, and {danger}: {remedy}, or listen on 127.0.0.1, or take the risk with --insecure"
    )]
    Exposed {
        /// Where it would listen.
        address: SocketAddr,
        /// What could happen.
        danger: &'static str,
        /// What keeps them out.
        remedy: &'static str,
    },
    /// The files of TLS can't be used.
    #[error(transparent)]
    Certificates(#[from] TlsError),
    /// There is no TLS to send webhooks or to fetch the keys of issuers with.
    #[error("there is no TLS for what the server sends: {0}")]
    Tls(#[from] rustls::Error),
    /// The folder can't be used.
    #[error("can't use {path}: {source}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry can't work.
    #[error(transparent)]
    Registry(#[from] Error),
    /// A restore was broken off.
    #[error("the store is in the middle of a restore: run `registry-server restore` again to finish it")]
    Unfinished,
    /// The artifacts' bytes can't be reached.
    #[error(transparent)]
    Artifacts(#[from] PlaceError),
    /// The artifacts' place is another registry's.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// What is stored can't be decrypted, or a key can't be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The archive can't be kept.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The network can't be used.
    #[error("can't serve: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Something has ended that should not have: its log has the reason.
    #[error("the server can't go on: {0} has ended")]
    Ended(&'static str),
    /// Reflection can't be offered.
    #[error("can't describe the services: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl From<DataKeyError> for ServeError {
    fn from(error: DataKeyError) -> Self {
        match error {
            DataKeyError::Key(error) => Self::Key(error),
            DataKeyError::Store(error) => Self::Store(error),
        }
    }
}

/// The open stores.
pub struct Stores {
    /// Of records.
    pub store: Arc<dyn Store>,
    /// Of the artifacts' bytes.
    pub chunks: ChunkStore,
    /// Of the place of these bytes.
    pub(crate) owner: Owner,
    /// Whether the bytes of new artifacts are encrypted.
    pub(crate) encrypted: bool,
    /// Held as long as this process uses the folder of an embedded store, and one of its artifacts.
    locks: Vec<File>,
    /// The local folder of these bytes, of an embedded store.
    folder: Option<PathBuf>,
}

impl Stores {
    /// Opens stores that are there already, to read them. Nothing is claimed.
    ///
    /// # Errors
    /// If they are not, another server uses the folder, something can't be read, or is encrypted and its key was not given.
    pub async fn open_existing(config: &Config) -> Result<Self, ServeError> {
        Self::check_existing(config).await?;
        let stores = Self::open_unclaimed(config).await?;
        stores.owner.look(&*stores.store).await?;
        stores.locked()
    }

    /// Opens the stores, or makes them, for a restore.
    ///
    /// # Errors
    /// As [`Stores::open`]; if the artifacts' place is another registry's, the error says how it is taken.
    pub async fn open_to_fill(config: &Config) -> Result<Self, ServeError> {
        let stores = Self::open_unclaimed(config).await?;
        match stores.owner.enter(&*stores.store).await {
            Ok(_) => stores.locked(),
            Err(error @ (OwnerError::Place(_) | OwnerError::Store(_))) => Err(error.into()),
            Err(error) if stores.store.newest().await? == 0 => Err(ServeError::Restoring(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Fails if there is no store where the configuration says.
    pub(crate) async fn check_existing(config: &Config) -> Result<(), ServeError> {
        match &config.store {
            StoreChoice::Sled if !config.storage_path.join("store").exists() => {
                Err(ServeError::NoStore(config.storage_path.display().to_string()))
            }
            StoreChoice::Postgres(url) if !PostgresStore::is_made(&postgres(config, url)).await? => {
                Err(ServeError::NoTables)
            }
            StoreChoice::Sled | StoreChoice::Postgres(_) => Ok(()),
        }
    }

    /// Opens the stores, or makes them.
    ///
    /// # Errors
    /// If another server uses the folder, the artifacts' place is another registry's, something can't be read, or is encrypted and its
    /// key was not given.
    pub async fn open(config: &Config) -> Result<Self, ServeError> {
        let stores = Self::open_unclaimed(config).await?;
        stores.owner.enter(&*stores.store).await?;
        stores.locked()
    }

    /// The same without asking whose the artifacts' place is: to claim it.
    pub(crate) async fn open_unclaimed(config: &Config) -> Result<Self, ServeError> {
        let folder = &config.storage_path;
        if let Some(archive) = &config.archive
            && places::are_same(&config.artifacts_place(), archive)?
        {
            return Err(ServeError::SamePlace(archive.clone()));
        }
        // What can be refused before there is a store is: a folder that was made for nothing would be left behind.
        let masters = config.master_keys()?;
        let encrypted = masters.current().is_some();
        let remote = match &config.artifacts {
            Some(place) if !places::is_local(place)? => Some(Folder::open(place).await?),
            _ => None,
        };
        if let Some(archive) = &config.archive
            && !places::is_local(archive)?
        {
            Folder::open(archive).await?;
        }
        let (store, locks): (Arc<dyn Store>, _) = match &config.store {
            StoreChoice::Sled => {
                let lock = lock(folder, "lock", "--storage-path")?;
                (Arc::new(SledStore::open(&folder.join("store"), config.cache.size().bytes(), &LAYOUT)?), vec![lock])
            }
            StoreChoice::Postgres(url) => (Arc::new(PostgresStore::open(postgres(config, url)).await?), Vec::new()),
        };
        let keys = DataKeys::new(Arc::clone(&store), masters);
        keys.check().await?;
        let place = match (&config.artifacts, remote) {
            (_, Some(remote)) => remote,
            (Some(place), None) => Folder::open(place).await?,
            (None, None) => Folder::local(&folder.join("artifacts"))?,
        };
        let embedded = !locks.is_empty();
        let local = place.local_path().filter(|_| embedded).map(Path::to_owned);
        let beside = embedded && place.is_copied_with(&folder.join("store"), folder);
        let owner = Owner::new(place.clone(), Purpose::Artifacts, store.identity().await?, beside);
        let chunks = ChunkStore::new(place, keys).owned_by(owner.clone());
        let chunks = if embedded && config.artifacts.is_none() { chunks.alone() } else { chunks };
        Ok(Self { store, chunks, owner, encrypted, locks, folder: local })
    }

    /// The same if no other process uses the artifacts' folder: of one registry on two storage paths, as of copies that share a volume
    /// with artifacts, only one is at work.
    pub(crate) fn locked(mut self) -> Result<Self, ServeError> {
        if let Some(folder) = &self.folder {
            self.locks.push(lock(folder, "artifacts.lock", "--artifacts")?);
        }
        Ok(self)
    }
}

fn postgres(config: &Config, url: &str) -> PostgresOptions {
    let timeout = config.call_timeout.0.max(Duration::from_secs(1));
    PostgresOptions {
        url: url.to_owned(),
        pool_size: config.store_connections.max(1),
        statement_timeout: timeout,
        connect_timeout: CONNECTING.min(timeout),
        patience: config.store_patience.0,
        layout: &LAYOUT,
    }
}

/// Makes sure that no other server uses the folder, which a setting names.
fn lock(folder: &Path, file: &str, setting: &'static str) -> Result<File, ServeError> {
    let path = folder.display().to_string();
    let file = std::fs::create_dir_all(folder).and_then(|()| File::create(folder.join(file)));
    match file.map(|file| (file.try_lock(), file)) {
        Ok((Ok(()), file)) => Ok(file),
        Ok((Err(TryLockError::WouldBlock), _)) => Err(ServeError::InUse { path, setting }),
        Ok((Err(TryLockError::Error(source)), _)) => Err(ServeError::NoLocks { path, source }),
        Err(source) => Err(ServeError::Folder { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn artifacts_and_archive_have_places_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let storage_path = folder.path().join("storage");
        let (default, inside) = (storage_path.join("artifacts/"), folder.path().join("storage/../places"));
        let shared = folder.path().join("places");
        std::fs::create_dir_all(&shared).unwrap();
        std::fs::create_dir_all(&storage_path).unwrap();
        let url = format!("file://{}/", shared.display());
        let text = |path: &Path| path.to_str().map(str::to_owned);
        for (artifacts, archive) in [
            (None, text(&default)),
            (text(&shared), text(&shared)),
            (text(&shared), text(&inside)),
            (text(&shared), Some(url)),
            (Some("s3://bucket/registry".to_owned()), Some("s3://bucket/registry/".to_owned())),
        ] {
            let config = Config { storage_path: storage_path.clone(), artifacts, archive, ..Config::default() };
            let refused = Stores::open(&config).await.err().unwrap();
            assert!(matches!(refused, ServeError::SamePlace(_)), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_folder_of_artifacts_is_used_by_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = folder.path().join("artifacts").to_str().map(str::to_owned);
        let config =
            |name| Config { storage_path: folder.path().join(name), artifacts: artifacts.clone(), ..Config::default() };
        let open = async |config: &Config| Stores::open_unclaimed(config).await?.locked();
        let first = open(&config("first")).await.unwrap();
        let refused = open(&config("second")).await.err().unwrap();
        assert!(matches!(refused, ServeError::InUse { setting: "--artifacts", .. }), "{refused}");
        drop(first);
        open(&config("second")).await.unwrap();
        // Also where both are in one folder.
        let same = Config { artifacts: folder.path().join("same").to_str().map(str::to_owned), ..config("same") };
        open(&same).await.unwrap();
    }
}
