//! A version out of a local folder.

use std::future::IntoFuture;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use tokio::task::spawn_blocking;
use tracing::warn;

use registry_proto::resource::Resource as _;

use crate::folder::{LocalFile, walk};
use crate::names::complete;
use crate::progress::Meter;
use crate::versions::version_setters;
use crate::{Error, Progress, RegistryClient, collision, parallel, pb};

impl RegistryClient {
    /// Makes a new version of a model out of a folder: all files in it, with their paths, each as the
    /// [type that its name suggests](crate::artifact_type_of). Only the `.model-registry.json` of a folder that was pulled stays out.
    pub fn publish(&self, folder: impl Into<PathBuf>, model: impl Into<String>) -> Publish {
        Publish {
            client: self.clone(),
            files: Files::In(folder.into()),
            request: pb::CreateVersionRequest { parent: complete(model), ..Default::default() },
            model: None,
            meter: Meter::default(),
        }
    }
}

/// A publication that has not begun: say what is known of the version, then `.await` it for the READY
/// [`Version`](pb::Version).
///
/// Links in the folder are followed as long as they stay in it. The folder is read before the registry is asked for anything.
/// After an error the version is FAILED, with the error as the reason, if that much can still be done; if the publication is
/// dropped, it stays PENDING. Paths that differ only in case are published, with a warning in the log: file systems that ignore
/// case can't hold the version.
#[must_use = "nothing is published until this is awaited"]
#[derive(Debug, Clone)]
pub struct Publish {
    client: RegistryClient,
    files: Files,
    request: pb::CreateVersionRequest,
    model: Option<pb::Model>,
    meter: Meter,
}

/// What is to be published.
#[derive(Debug, Clone)]
enum Files {
    /// All files in a folder.
    In(PathBuf),
    /// These.
    #[cfg(feature = "oci")]
    These(Vec<LocalFile>),
}

version_setters!(Publish);

impl Publish {
    /// Of files that may be anywhere.
    #[cfg(feature = "oci")]
    pub(crate) fn of_files(client: &RegistryClient, files: Vec<LocalFile>, model: String, meter: Meter) -> Self {
        let request = pb::CreateVersionRequest { parent: model, ..Default::default() };
        Self { client: client.clone(), files: Files::These(files), request, model: None, meter }
    }

    /// Makes the model, as described, if it does not exist.
    pub fn create_model_if_missing(mut self, model: pb::Model) -> Self {
        self.model = Some(model);
        self
    }

    /// Calls back after each piece sent.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    /// Publishes; the same as `.await` on it.
    ///
    /// # Errors
    /// [`Error::UnsafePath`] for what can't be an artifact, [`Error::Io`] for what can't be read or if there is nothing in the
    /// folder; [`is_not_found`](Error::is_not_found) without the model, [`is_already_exists`](Error::is_already_exists) if the
    /// version's id is taken.
    pub async fn send(mut self) -> Result<pb::Version, Error> {
        let files = match &mut self.files {
            Files::In(folder) => list(folder).await?,
            #[cfg(feature = "oci")]
            Files::These(files) => std::mem::take(files),
        };
        self.meter.total = Some(files.iter().map(|file| file.size).sum());
        let version = self.create_version().await?;
        match self.fill(&version.name, files).await {
            Ok(version) => Ok(version),
            Err(error) => {
                let given_up = self.client.finalize_version(&version.name).failed(error.to_string()).await;
                if let Err(error) = given_up {
                    warn!(version = version.name, %error, "a version whose upload failed stays PENDING");
                }
                Err(error)
            }
        }
    }

    async fn create_version(&self) -> Result<pb::Version, Error> {
        let created = self.client.call(self.request.clone()).await;
        let (error, model) = match (created, &self.model) {
            (Err(error), Some(model)) => (error, model),
            (created, _) => return created,
        };
        let resource = error.status().and_then(|status| status.resource.as_ref());
        if !(error.is_not_found() && resource.is_some_and(|resource| resource.resource_type == pb::Model::TYPE)) {
            return Err(error);
        }
        match self.client.create_model(&self.request.parent).model(model.clone()).await {
            // Somebody else was faster, which is just as well.
            Err(error) if !error.is_already_exists() => Err(error),
            _ => self.client.call(self.request.clone()).await,
        }
    }

    async fn fill(&self, version: &str, files: Vec<LocalFile>) -> Result<pb::Version, Error> {
        let upload = |file: LocalFile| file.upload(&self.client, version, &self.meter);
        parallel::each(files, |file| file.size, upload).await?;
        self.client.finalize_version(version).await
    }

    fn creation(&mut self) -> &mut pb::CreateVersionRequest {
        &mut self.request
    }
}

impl LocalFile {
    /// Uploads the file, as what is known of it. A change since that became known is noticed.
    pub(crate) async fn upload(self, client: &RegistryClient, version: &str, meter: &Meter) -> Result<(), Error> {
        let mut upload = client.upload(version, self.path, self.file).part_of(meter);
        let Some(known) = self.known else { return upload.send().await.map(drop) };
        upload = upload.artifact_type(known.artifact_type).media_type(known.media_type);
        let artifact = upload.send().await?;
        if artifact.sha256 == known.sha256 {
            return Ok(());
        }
        Err(Error::DigestMismatch { name: artifact.name, expected: known.sha256, actual: artifact.sha256 })
    }
}

impl IntoFuture for Publish {
    type Output = Result<pb::Version, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

async fn list(folder: &Path) -> Result<Vec<LocalFile>, Error> {
    let path = folder.to_owned();
    let failed = |error| Error::io(folder, error);
    let files = spawn_blocking(move || walk(&path)).await.map_err(|error| failed(error.into()))??;
    if files.is_empty() {
        return Err(failed(std::io::Error::other("no files to publish")));
    }
    for (parent, names) in collision::similar(files.iter().map(|file| file.path.as_str())) {
        warn!(folder = parent, ?names, "these can't be pulled where the file system ignores case");
    }
    Ok(files)
}
