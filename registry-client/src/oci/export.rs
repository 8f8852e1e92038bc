//! A version as an image layout.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use tokio::task::spawn_blocking;

use super::layout::{Descriptor, Layout, MANIFEST};
use super::media;
use super::model::{Documents, pack};
use crate::names::complete;
use crate::progress::Meter;
use crate::pull::{fetch, incomplete, places};
use crate::receipt::Receipt;
use crate::{Error, Progress, RegistryClient, parallel, pb};

impl RegistryClient {
    /// Writes a READY version into an OCI image layout, as a model that tools for the CNCF ModelPack format can read and push to a
    /// registry of images. The layout is made if the folder is missing or empty; other models may be in it.
    ///
    /// The layers are the artifacts as they are. The same version gives the same bytes, unless what is known of it is changed or a
    /// plot or log is added.
    pub fn export_oci(&self, version: impl Into<String>, layout: impl Into<PathBuf>) -> ExportOci {
        ExportOci {
            client: self.clone(),
            version: complete(version),
            layout: layout.into(),
            reference: None,
            meter: Meter::default(),
        }
    }
}

/// An export that has not begun: `.await` it for what was [`Exported`].
#[must_use = "nothing is exported until this is awaited"]
#[derive(Debug, Clone)]
pub struct ExportOci {
    client: RegistryClient,
    version: String,
    layout: PathBuf,
    reference: Option<String>,
    meter: Meter,
}

/// A version that is in an image layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The version; if it was asked for by an alias, the one that had it.
    pub version: pb::Version,
    /// Its name in the layout.
    pub reference: String,
    /// The digest of its manifest, `sha256:...`.
    pub digest: String,
}

impl ExportOci {
    /// Its name in the layout, taken from what had it; by default the model and the version's number, `fraud-7`, or `risk/fraud-7`
    /// if the namespace is not the default one. It has to be given for names with other letters than ASCII's.
    pub fn reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// Calls back after each piece received.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    /// Exports; the same as `.await` on it. The index names the version only when all of it is there.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_data_loss`](Error::is_data_loss) if bytes are not what was stored,
    /// [`Error::Incomplete`] for a version that is not READY, was purged or has no artifacts, [`Error::UnsafePath`] for one that no
    /// folder can hold, [`Error::InvalidOption`] for more artifacts than fit into a manifest of 4 MiB, and for a reference that is none,
    /// [`Error::Malformed`] if there is something else in the folder, [`Error::Io`] if it can't be written.
    pub async fn send(mut self) -> Result<Exported, Error> {
        let version = self.client.get_version(&self.version).await?;
        let refuse = |problem: String| Err(Error::Incomplete { version: version.name.clone(), problem });
        if let Some(problem) = incomplete(&version) {
            return refuse(problem);
        }
        let reference = self.reference.take().unwrap_or_else(|| default_reference(&version.name));
        check_reference(&reference)?;
        let artifacts: Vec<_> =
            self.client.list_artifacts(&version.name).page_size(1000).stream().try_collect().await?;
        if artifacts.is_empty() {
            return refuse("has no artifacts".to_owned());
        }
        Receipt::of(&version, &artifacts).check_manifest()?;
        // What no folder can hold is of no use elsewhere.
        places(Path::new(""), artifacts.iter().map(|artifact| artifact.path.as_str()))?;
        let documents = pack(&version, &artifacts)?;

        let folder = self.layout.clone();
        let layout = self.blocking(move || Layout::open_or_create(&folder)).await?;
        let mut blobs = BTreeMap::new();
        for artifact in artifacts {
            let blob = layout.blob(&format!("sha256:{}", artifact.sha256));
            // Several artifacts may have its bytes: whether they may be run says the manifest.
            let bytes = pb::Artifact { executable: false, ..artifact };
            blobs.insert(blob.ok_or(Error::Protocol("an artifact without a SHA-256"))?, bytes);
        }
        self.meter.total = Some(blobs.values().map(|artifact| artifact.size_bytes.cast_unsigned()).sum());
        let fetch = |(blob, artifact)| fetch(&self.client, artifact, blob, &self.meter);
        let size = |(_, artifact): &(_, pb::Artifact)| artifact.size_bytes.cast_unsigned();
        parallel::each(blobs.into_iter().collect(), size, fetch).await?;
        let named = reference.clone();
        let digest = self.blocking(move || finish(&layout, &documents, &named)).await?;
        Ok(Exported { version, reference, digest })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        spawn_blocking(work).await.map_err(|error| Error::io(&self.layout, error.into()))?
    }
}

impl IntoFuture for ExportOci {
    type Output = Result<Exported, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Writes the documents, and names the manifest. Blocks.
fn finish(layout: &Layout, documents: &Documents, reference: &str) -> Result<String, Error> {
    let config = Descriptor::of(media::CONFIG, &documents.config);
    let mut manifest = Descriptor::of(MANIFEST, &documents.manifest);
    manifest.artifact_type = Some(media::MODEL.to_owned());
    let digest = manifest.digest.clone();
    layout.put(&config, &documents.config)?;
    layout.put(&manifest, &documents.manifest)?;
    layout.tag(manifest, reference)?;
    Ok(digest)
}

/// `fraud-7` for `namespaces/default/models/fraud/versions/7`, and `risk/fraud-7` in another namespace: no two versions have the
/// same one. No name has a `/`, and no number a `-`.
pub(super) fn default_reference(version: &str) -> String {
    let parts: Vec<_> = version.split('/').skip(1).step_by(2).collect();
    match parts[..] {
        ["default", model, number] => format!("{model}-{number}"),
        [namespace, model, number] => format!("{namespace}/{model}-{number}"),
        _ => String::new(),
    }
}

/// What the image specification allows: letters and digits with single separators between them.
pub(super) fn check_reference(reference: &str) -> Result<(), Error> {
    let is_separator = |c: char| matches!(c, '-' | '.' | '_' | ':' | '@' | '+' | '/');
    let is_part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
    if reference.replace("--", "-").split(is_separator).all(is_part) {
        return Ok(());
    }
    let problem = "expected letters and digits, with single separators of - . _ : @ + / between them".to_owned();
    Err(Error::InvalidOption { option: "reference", value: reference.to_owned(), problem })
}
