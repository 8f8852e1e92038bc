//! A version out of a local folder.

use std::collections::HashMap;
use std::fmt;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::task::spawn_blocking;
use tracing::warn;

use registry_proto::resource::Resource as _;

use crate::error::causes;
use crate::names::complete;
use crate::plan::PublishPlan;
use crate::progress::Meter;
use crate::versions::version_setters;
use crate::walk::{Choice, Listed, LocalFile, walk};
use crate::{Error, Progress, RegistryClient, collision, parallel, pb};

impl RegistryClient {
    /// Makes a new version of a model out of a folder: the files in it, with their paths, each as the
    /// [type that its name suggests](crate::artifact_type_of). Left out are, unless [`everything`](Publish::everything) is asked for,
    /// what is no part of a model (`.git`, `__pycache__`, `.env` and the like), and what the folder's `.registryignore` names; in any
    /// case the `.model-registry.json` of a folder that was pulled.
    pub fn publish(&self, folder: impl Into<PathBuf>, model: impl Into<String>) -> Publish {
        Publish {
            client: self.clone(),
            files: Files::In { folder: folder.into(), choice: Choice::default() },
            request: pb::CreateVersionRequest { parent: complete(model), ..Default::default() },
            model: None,
            meter: Meter::default(),
            on_begin: OnBegin::default(),
        }
    }
}

/// A publication that has not begun: say what is known of the version, then `.await` it for the READY
/// [`Version`](pb::Version).
///
/// The folder is read, and all that is wrong with it is found, before the registry is asked for anything. Links in it are followed as
/// long as they stay in it, or [everywhere](Self::follow_links). A file that changes between that and its last byte fails the
/// publication; to a log, something may be added.
///
/// After an error the version is FAILED, with the error as the reason. It stays PENDING if the registry was away for too long, or if the
/// publication is dropped: then one under the same [version id](Self::version_id), described alike and without other files, goes on
/// with it, and what is there is not sent again. Without an id, a new version is made each time.
///
/// Paths that differ only in case, or that Windows can't hold, are published with a warning in the log. Of a file's mode, only
/// is kept whether its owner may run it; times and empty folders are not.
#[must_use = "nothing is published until this is awaited"]
#[derive(Debug, Clone)]
pub struct Publish {
    client: RegistryClient,
    files: Files,
    request: pb::CreateVersionRequest,
    model: Option<pb::Model>,
    meter: Meter,
    on_begin: OnBegin,
}

/// Who is told the name of the version.
#[derive(Clone, Default)]
struct OnBegin(Option<Told>);

type Told = Arc<dyn Fn(&str) + Send + Sync>;

impl fmt::Debug for OnBegin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "told" } else { "nobody" })
    }
}

/// What is to be published.
#[derive(Debug, Clone)]
enum Files {
    /// The files in a folder.
    In { folder: PathBuf, choice: Choice },
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
        Self {
            client: client.clone(),
            files: Files::These(files),
            request,
            model: None,
            meter,
            on_begin: OnBegin::default(),
        }
    }

    /// Makes the model, as described, if it does not exist.
    pub fn create_model_if_missing(mut self, model: pb::Model) -> Self {
        self.model = Some(model);
        self
    }

    /// Follow links that lead out of the folder, as the snapshots of a Hugging Face cache have them. Whoever made the folder chooses
    /// then what is published of this machine.
    pub fn follow_links(self, follow: bool) -> Self {
        self.choosing(|choice| choice.follow_links = follow)
    }

    /// Leave out what these patterns match, which are as those of a `.gitignore`: `*.log`, `/data/`. They go over what is left out by
    /// default and the folder's `.registryignore`: `!.env` takes that in.
    pub fn exclude(self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.choosing(|choice| choice.exclude.extend(patterns.into_iter().map(Into::into)))
    }

    /// Take also what is left out by default, and what the folder's `.registryignore` leaves out.
    pub fn everything(self, everything: bool) -> Self {
        self.choosing(|choice| choice.everything = everything)
    }

    fn choosing(mut self, set: impl FnOnce(&mut Choice)) -> Self {
        match &mut self.files {
            Files::In { choice, .. } => set(choice),
            #[cfg(feature = "oci")]
            Files::These(_) => {}
        }
        self
    }

    /// Calls back after each piece sent.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    /// Calls back with the name of the version once it is made or taken up, before the first file is sent.
    pub fn on_begin(mut self, callback: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_begin = OnBegin(Some(Arc::new(callback)));
        self
    }

    /// Reads the folder, and tells what would be published of it. The registry is not asked.
    ///
    /// # Errors
    /// [`Error::UnfitFiles`] for what can't be an artifact, [`Error::Io`] for a folder that can't be read or has nothing to publish,
    /// [`Error::InvalidOption`] or [`Error::Malformed`] for a pattern that can't be read.
    pub async fn plan(mut self) -> Result<PublishPlan, Error> {
        let listed = match &mut self.files {
            Files::In { folder, choice } => list(folder, choice.clone()).await?,
            #[cfg(feature = "oci")]
            Files::These(files) => Listed { files: std::mem::take(files), left_out: Vec::new() },
        };
        Ok(PublishPlan::new(self, listed))
    }

    /// Publishes; the same as `.await` on it.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan), and of [`PublishPlan::send`].
    pub async fn send(self) -> Result<pb::Version, Error> {
        self.plan().await?.send().await
    }

    /// Publishes these files.
    pub(crate) async fn run(mut self, files: Vec<LocalFile>) -> Result<pb::Version, Error> {
        self.meter.total = Some(files.iter().map(|file| file.size).sum());
        let begun = self.begin(&files, false).await?;
        if let OnBegin(Some(callback)) = &self.on_begin {
            callback(&begun.name);
        }
        match self.fill(&begun, files).await {
            Ok(version) => Ok(version),
            // It was there before.
            Err(error) if begun.taken_up => Err(error),
            // Nothing is wrong with it, and nobody is there to say so to.
            Err(error) if error.is_unavailable() || error.is_deadline_exceeded() => Err(error),
            Err(error) => {
                let given_up = self.client.finalize_version(&begun.name).failed(causes(&error)).await;
                if let Err(error) = given_up {
                    warn!(version = begun.name, %error, "a version whose upload failed stays PENDING");
                }
                Err(error)
            }
        }
    }

    /// Makes the version, or takes up the one that a publication like this left; if it is `dry`, only tells which.
    pub(crate) async fn begin(&self, files: &[LocalFile], dry: bool) -> Result<Begun, Error> {
        let error = match self.create(dry).await {
            Ok(version) => return Ok(Begun { name: version.name, taken_up: false }),
            Err(error) => error,
        };
        let id = &self.request.version_id;
        let resource = error.status().and_then(|status| status.resource.as_ref());
        let taken = error.is_already_exists() && resource.is_some_and(|there| there.resource_type == pb::Version::TYPE);
        if id.is_empty() || !taken {
            return Err(error);
        }
        let there = self.client.get_version(format!("{}/versions/{id}", self.request.parent)).await?;
        if there.state() != pb::VersionState::Pending || there.delete_time.is_some() {
            return Err(error);
        }
        let refuse = |problem: String| Err(Error::Incomplete { version: there.name.clone(), problem });
        let differs = self.described_differently(&there).await?;
        if !differs.is_empty() {
            let differs = differs.join(", ");
            return refuse(format!(
                "is PENDING, and was described differently when it was made ({differs}): describe this one alike, or delete and purge that one"
            ));
        }
        let ours: HashMap<_, _> = files.iter().map(|file| (file.path.as_str(), file.is_executable())).collect();
        let mut artifacts = self.client.list_artifacts(&there.name).page_size(1000).stream();
        while let Some(pb::Artifact { name, path, executable, .. }) = artifacts.try_next().await? {
            match ours.get(path.as_str()) {
                Some(ours) if *ours == executable => {}
                // Its bytes are there; what is said of them is not what it is now.
                Some(_) => drop(self.client.delete_artifact(name).validate_only(dry).await?),
                None => {
                    return refuse(format!(
                        "is PENDING, and has {path}, which is not to be published: delete that first"
                    ));
                }
            }
        }
        Ok(Begun { name: there.name, taken_up: true })
    }

    /// The fields in which a version is not what this publication says.
    async fn described_differently(&self, there: &pb::Version) -> Result<Vec<&'static str>, Error> {
        let wanted = self.request.version.clone().unwrap_or_default();
        let (_, mut differs) = described(there).changes(&described(&wanted));
        let mut bases = Vec::new();
        for base in wanted.base_versions {
            bases.push(self.client.get_version(base).await?.name);
        }
        if bases != there.base_versions {
            differs.push("base_versions");
        }
        Ok(differs)
    }

    async fn create(&self, dry: bool) -> Result<pb::Version, Error> {
        let created = self.client.call(self.request.clone()).validate_only(dry).await;
        let (error, model) = match (created, &self.model) {
            (Err(error), Some(model)) => (error, model),
            (created, _) => return created,
        };
        let resource = error.status().and_then(|status| status.resource.as_ref());
        let missing = error.is_not_found() && resource.is_some_and(|there| there.resource_type == pb::Model::TYPE);
        // A purged model's name is free.
        if !(missing || error.reason() == Some(pb::ErrorReason::ResourcePurged)) {
            return Err(error);
        }
        match self.client.create_model(&self.request.parent).model(model.clone()).validate_only(dry).await {
            // Without the model there is nothing that could say more of the version.
            Ok(_) if dry => Ok(pb::Version::default()),
            // Somebody else was faster, which is just as well.
            Err(error) if !error.is_already_exists() => Err(error),
            _ => self.client.call(self.request.clone()).await,
        }
    }

    async fn fill(&self, begun: &Begun, files: Vec<LocalFile>) -> Result<pb::Version, Error> {
        let count = i64::try_from(files.len()).unwrap_or(i64::MAX);
        let upload = async |file: LocalFile| {
            let path = file.path.clone();
            let uploaded = file.upload(&self.client, &begun.name, &self.meter).await;
            uploaded.map_err(|error| Error::Upload { path, source: Box::new(error) })
        };
        parallel::each(files, |file| file.size, upload).await?;
        let finalize = self.client.finalize_version(&begun.name);
        if self.request.version_id.is_empty() {
            return finalize.await;
        }
        // Another publication under the same id may go on with this version: it is sealed as one of them has it, or not at all.
        let there = self.client.get_version(&begun.name).await?;
        if there.artifact_count != count {
            let problem =
                format!("has {} files, and {count} were published: somebody else adds to it", there.artifact_count);
            return Err(Error::Incomplete { version: there.name, problem });
        }
        finalize.etag(there.etag).await
    }

    fn creation(&mut self) -> &mut pb::CreateVersionRequest {
        &mut self.request
    }
}

/// The version that files go to.
pub(crate) struct Begun {
    pub(crate) name: String,
    /// It was PENDING already.
    pub(crate) taken_up: bool,
}

/// What is said of a version when it is made, as far as the registry keeps it word by word: the names of versions become canonical.
fn described(version: &pb::Version) -> pb::Version {
    pb::Version { base_versions: Vec::new(), version_id: String::new(), ..version.given() }
}

impl LocalFile {
    /// Uploads the file, as what is known of it. A change since that became known is noticed.
    pub(crate) async fn upload(self, client: &RegistryClient, version: &str, meter: &Meter) -> Result<(), Error> {
        let mut upload = client.upload(version, self.path, self.file).seen_as(self.stamp).part_of(meter);
        let Some(known) = self.known else { return upload.send().await.map(drop) };
        upload = upload.artifact_type(known.artifact_type).media_type(known.media_type).executable(known.executable);
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

async fn list(folder: &Path, choice: Choice) -> Result<Listed, Error> {
    let path = folder.to_owned();
    let failed = |error| Error::io(folder, error);
    let listed = spawn_blocking(move || walk(&path, &choice)).await.map_err(|error| failed(error.into()))??;
    if listed.files.is_empty() {
        let problem = if listed.left_out.is_empty() { "no files to publish" } else { "all files in it are left out" };
        return Err(failed(std::io::Error::other(problem)));
    }
    let paths = || listed.files.iter().map(|file| file.path.as_str());
    for (parent, names) in collision::similar(paths()) {
        warn!(folder = parent, ?names, "these can't be pulled where the file system ignores case");
    }
    for path in paths().filter(|path| collision::not_on_windows(path)) {
        warn!(path, "can't be pulled on Windows");
    }
    Ok(listed)
}
