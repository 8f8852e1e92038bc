//! Where `prune --backup-to` keeps versions before they go: a folder with an OCI image layout, or an object for each.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use registry_client::{Error, Exported, RegistryClient, pb, verify_oci};
use registry_common::places;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::io::SyncIoBridge;

use crate::Failure;
use crate::objects::{self, Upload};
use crate::tarred;

/// A place for versions.
pub(crate) enum Kept {
    Layout(PathBuf),
    Objects { url: String, objects: Arc<dyn ObjectStore>, path: Path },
}

impl Kept {
    /// The place of that name, which has to answer if it is a URL.
    pub(crate) async fn open(place: &str) -> Result<Self, Failure> {
        if places::url(place)?.is_none() {
            return Ok(Self::Layout(place.into()));
        }
        let (objects, path) = objects::open(place).await?;
        Ok(Self::Objects { url: place.trim_end_matches('/').to_owned(), objects, path })
    }

    /// Keeps a version, and reads it again. Answers where it is.
    pub(crate) async fn keep(&self, client: &RegistryClient, version: &pb::Version) -> Result<String, Failure> {
        match self {
            Self::Layout(folder) => {
                let exported = export(client, version, folder).await?;
                verify_oci(folder, Some(exported.digest)).await?;
                Ok(format!("{} as {}", folder.display(), exported.reference))
            }
            Self::Objects { url, objects, path } => {
                let scratch = tempfile::tempdir()?;
                let exported = export(client, version, scratch.path()).await?;
                verify_oci(scratch.path(), Some(exported.digest)).await?;
                let name = format!("{}.tar", exported.reference);
                let at = Path::parse(format!("{path}/{name}").trim_start_matches('/'))?;
                let place = format!("{url}/{name}");
                put(objects, at, scratch.path().to_owned()).await.map_err(|error| format!("{place}: {error}"))?;
                Ok(place)
            }
        }
    }
}

/// Exports a version under its usual name, or, if an image layout can't have that, under its uid.
async fn export(client: &RegistryClient, version: &pb::Version, layout: &std::path::Path) -> Result<Exported, Error> {
    match client.export_oci(&version.name, layout).await {
        Err(Error::InvalidOption { option: "reference", .. }) => {
            client.export_oci(&version.name, layout).reference(&version.uid).await
        }
        exported => exported,
    }
}

/// Writes a folder as an object, unless it is there already, and reads it again. What else is there is not replaced.
async fn put(objects: &Arc<dyn ObjectStore>, at: Path, folder: PathBuf) -> Result<(), Failure> {
    match objects.head(&at).await {
        Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {
            let digest = spawn_blocking(move || tarred::pack(&folder, std::io::sink())).await??;
            if objects::sha256(objects, &at).await? == digest {
                return Ok(());
            }
            return Err("is there already, and is something else: it is not replaced".into());
        }
    }
    let (upload, runtime) = (Upload::new(Arc::clone(objects), at.clone()), Handle::current());
    let (upload, packed) = spawn_blocking(move || {
        let mut bridge = SyncIoBridge::new_with_handle(upload, runtime);
        let packed = tarred::pack(&folder, &mut bridge);
        (bridge.into_inner(), packed)
    })
    .await?;
    let digest = match packed {
        Ok(digest) => digest,
        Err(error) => {
            upload.abort().await;
            return Err(error.into());
        }
    };
    upload.finish(&digest).await?;
    match objects::sha256(objects, &at).await? {
        found if found == digest => Ok(()),
        found => Err(format!("was read again with the SHA-256 {found}, not {digest}").into()),
    }
}
