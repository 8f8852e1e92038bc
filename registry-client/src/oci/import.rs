//! A version out of an image layout.

use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::layout::{Descriptor, Layout, Manifest, malformed};
use super::model::{Layer, Unpacked, check_type, unpack};
use crate::names::complete;
use crate::progress::Meter;
use crate::walk::{Known, LocalFile};
use crate::{Error, Progress, Publish, RegistryClient, pb};

impl RegistryClient {
    /// Makes a version of a model out of a manifest in an OCI image layout: one that [`export_oci`](Self::export_oci) wrote, or
    /// another tool for the CNCF ModelPack format. What was exported comes back as it was, except for its base versions.
    ///
    /// A layer has to be one raw file; archives are refused. Everything is checked before the registry is asked for anything.
    pub fn import_oci(&self, layout: impl Into<PathBuf>, model: impl Into<String>) -> ImportOci {
        ImportOci {
            client: self.clone(),
            layout: layout.into(),
            name: complete(model),
            reference: None,
            version_id: None,
            model: None,
            meter: Meter::default(),
        }
    }
}

/// An import that has not begun: `.await` it for the READY [`Version`](pb::Version).
#[must_use = "nothing is imported until this is awaited"]
#[derive(Debug, Clone)]
pub struct ImportOci {
    client: RegistryClient,
    layout: PathBuf,
    name: String,
    reference: Option<String>,
    version_id: Option<String>,
    model: Option<pb::Model>,
    meter: Meter,
}

impl ImportOci {
    /// Which manifest: its name in the layout, or its digest. It may be left out if there is only one.
    pub fn reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// The version's id, in place of the one that the manifest gives it.
    pub fn version_id(mut self, id: impl Into<String>) -> Self {
        self.version_id = Some(id.into());
        self
    }

    /// Makes the model, as described, if it does not exist.
    pub fn create_model_if_missing(mut self, model: pb::Model) -> Self {
        self.model = Some(model);
        self
    }

    /// Calls back after each piece. All pieces pass twice: first they are checked, then sent.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    /// Imports; the same as `.await` on it.
    ///
    /// # Errors
    /// Before anything is changed: [`Error::Malformed`] with the field at fault, [`Error::InvalidOption`] if the reference names
    /// none or several, [`is_data_loss`](Error::is_data_loss) if a blob is not what its digest or size says, [`Error::Io`] if it
    /// can't be read. Then those of [`Publish::send`]; what was added to the version after it was READY is sent last, and if that
    /// fails, the version is there without it.
    pub async fn send(self) -> Result<pb::Version, Error> {
        let (layout, unpacked) = checked(&self.layout, self.reference, self.meter.again()).await?;
        let Unpacked { mut version, layers } = unpacked;
        if let Some(id) = self.version_id {
            version.version_id = id;
        }
        let (late, sealed): (Vec<_>, Vec<_>) = layers.into_iter().partition(|layer| layer.supplementary);
        let sealed = sealed.into_iter().map(|layer| local(&layout, layer)).collect::<Result<_, _>>()?;
        let mut publish = Publish::of_files(&self.client, sealed, self.name, self.meter).version(version);
        if let Some(model) = self.model {
            publish = publish.create_model_if_missing(model);
        }
        let version = publish.send().await?;
        if late.is_empty() {
            return Ok(version);
        }
        for layer in late {
            local(&layout, layer)?.upload(&self.client, &version.name, &Meter::default()).await?;
        }
        self.client.get_version(version.name).await
    }
}

impl IntoFuture for ImportOci {
    type Output = Result<pb::Version, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Checks a manifest in an OCI image layout, which is the only one or has this name or digest: whether all of its blobs are there, are
/// what their digests say, and can be [imported](RegistryClient::import_oci). Answers the version as it was exported.
///
/// # Errors
/// Those of [`ImportOci::send`] before anything is changed.
pub async fn verify_oci(layout: impl Into<PathBuf>, reference: Option<String>) -> Result<pb::Version, Error> {
    Ok(checked(&layout.into(), reference, Meter::default()).await?.1.version)
}

/// Reads the documents of a model, and checks all of its blobs.
async fn checked(folder: &Path, reference: Option<String>, mut meter: Meter) -> Result<(Layout, Unpacked), Error> {
    let place = folder.to_owned();
    let (layout, unpacked) = blocking(folder, move || read(&place, reference.as_deref())).await?;
    // Of sizes that may be lies.
    meter.total = Some(unpacked.layers.iter().map(|layer| layer.blob.size).fold(0, u64::saturating_add));
    stream::iter(unpacked.layers.clone())
        .map(|layer| {
            let (layout, counted) = (layout.clone(), meter.file(&layer.path));
            blocking(folder, move || layout.verify(&layer.blob, &counted))
        })
        .buffer_unordered(available_parallelism().map_or(1, usize::from))
        .try_for_each(async |()| Ok(()))
        .await?;
    Ok((layout, unpacked))
}

async fn blocking<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work).await.map_err(|error| Error::io(folder, error.into()))?
}

/// Reads the documents of a model. Blocks.
fn read(folder: &Path, reference: Option<&str>) -> Result<(Layout, Unpacked), Error> {
    let layout = Layout::open(folder)?;
    let found: Descriptor = layout.find(reference)?;
    let file = layout.place(&found)?;
    let manifest: Manifest = layout.get(&found)?;
    check_type(&manifest).map_err(|fault| malformed(&file, fault.field, fault.problem))?;
    let config: Value = layout.get(&manifest.config)?;
    let unpacked = unpack(&manifest, &config).map_err(|fault| malformed(&file, fault.field, fault.problem))?;
    Ok((layout, unpacked))
}

fn local(layout: &Layout, layer: Layer) -> Result<LocalFile, Error> {
    Ok(LocalFile {
        file: layout.place(&layer.blob)?,
        size: layer.blob.size,
        // What it has to hold is known.
        stamp: None,
        known: Some(Known {
            artifact_type: layer.artifact_type,
            media_type: layer.media_type,
            executable: layer.executable,
            sha256: layer.blob.digest.trim_start_matches("sha256:").to_owned(),
        }),
        path: layer.path,
    })
}
