//! A local folder out of a version.

use std::fs;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use futures::stream::TryStreamExt;
use tokio::task::spawn_blocking;

use crate::artifacts::hash_file;
use crate::folder::RECEIPT;
use crate::names::complete;
use crate::progress::Meter;
use crate::receipt::Receipt;
use crate::{Download, Error, Progress, RegistryClient, collision, folder, parallel, pb};

impl RegistryClient {
    /// Fetches all artifacts of a version into a folder, which is made if it is missing.
    pub fn pull(&self, version: impl Into<String>, folder: impl Into<PathBuf>) -> Pull {
        Pull { client: self.clone(), version: complete(version), folder: folder.into(), meter: Meter::default() }
    }
}

/// A pull that has not begun: `.await` it for what was [`Pulled`].
///
/// Every file is written beside its place, checked, and then takes it, so that none is ever there by half. But the folder as a
/// whole is complete only when this is answered: to replace a folder that is in use, pull into a new one.
///
/// A file that is there already, with the right size and SHA-256, is not fetched again; what else is in the folder stays. The last
/// thing written is `.model-registry.json`, which says what the folder holds: the version, its manifest digest, and path, size and
/// SHA-256 of each file. [`verify_folder`](crate::verify_folder) compares the two.
#[must_use = "nothing is pulled until this is awaited"]
#[derive(Debug, Clone)]
pub struct Pull {
    client: RegistryClient,
    version: String,
    folder: PathBuf,
    meter: Meter,
}

/// A version that is in a local folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// The version; if it was asked for by an alias, the one that had it.
    pub version: pb::Version,
    /// Its artifacts, by path.
    pub artifacts: Vec<pb::Artifact>,
    /// Where they are now, in the same order.
    pub files: Vec<PathBuf>,
}

impl Pull {
    /// Calls back after each piece received.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    /// Pulls; the same as `.await` on it.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_data_loss`](Error::is_data_loss) if bytes, or the artifacts as a whole, are not
    /// what was stored, [`Error::Io`] if they can't be written; before anything is fetched, [`Error::UnsafePath`] if an artifact
    /// would not land in the folder or in place of `.model-registry.json`, [`Error::PathCollision`] if two would be one file
    /// because the folder's file system ignores case.
    pub async fn send(mut self) -> Result<Pulled, Error> {
        let version = self.client.get_version(&self.version).await?;
        // By the canonical name: what the alias meant a moment ago is what all the files are of.
        let artifacts: Vec<_> =
            self.client.list_artifacts(&version.name).page_size(1000).stream().try_collect().await?;
        let receipt = Receipt::of(&version, &artifacts);
        receipt.check_manifest()?;
        let files = artifacts.iter().map(|artifact| place(&self.folder, &artifact.path));
        let files: Vec<_> = files.collect::<Result<_, _>>()?;
        self.meter.total = Some(artifacts.iter().map(|artifact| artifact.size_bytes.cast_unsigned()).sum());

        let receipt = self.blocking(receipt, prepare).await?;
        let places = artifacts.clone().into_iter().zip(files.clone()).collect();
        let fetch = |(artifact, file)| fetch(&self.client, artifact, file, &self.meter);
        parallel::each(places, |(artifact, _): &(pb::Artifact, _)| artifact.size_bytes.cast_unsigned(), fetch).await?;
        self.blocking(receipt, |folder, receipt| receipt.write(folder)).await?;
        Ok(Pulled { version, artifacts, files })
    }

    /// Does something with the folder, off the runtime's threads.
    async fn blocking(
        &self,
        receipt: Receipt,
        work: fn(&Path, &Receipt) -> Result<(), Error>,
    ) -> Result<Receipt, Error> {
        let folder = self.folder.clone();
        let work = move || work(&folder, &receipt).map(|()| receipt);
        spawn_blocking(work).await.map_err(|error| Error::io(&self.folder, error.into()))?
    }
}

/// Where in a folder an artifact goes.
pub(crate) fn place(folder: &Path, path: &str) -> Result<PathBuf, Error> {
    if path.split('/').next() == Some(RECEIPT) {
        return Err(Error::UnsafePath { path: path.into(), problem: "in its place the folder says what it holds" });
    }
    folder::join(folder, path)
}

/// Makes a folder ready for the files of a receipt. Blocks.
fn prepare(folder: &Path, receipt: &Receipt) -> Result<(), Error> {
    folder::create_folder(folder)?;
    let mut paths = receipt.files.iter().map(|file| file.path.as_str());
    collision::refuse(folder, paths.clone().chain([RECEIPT]))?;
    receipt.retract_others(folder)?;
    paths.try_for_each(|path| folder::create_parent(folder, &folder::join(folder, path)?))
}

/// Puts the bytes of an artifact into a file, unless they are there already.
pub(crate) async fn fetch(
    client: &RegistryClient,
    artifact: pb::Artifact,
    file: PathBuf,
    meter: &Meter,
) -> Result<(), Error> {
    let (sought, there, counted) = (artifact.clone(), file.clone(), meter.file(&artifact.path));
    let size = artifact.size_bytes as usize;
    let holds = spawn_blocking(move || holds(&there, &sought)).await;
    if holds.map_err(|error| Error::io(&file, error.into()))? {
        counted.there(size);
    } else {
        Download::of(client, artifact).part_of(meter).in_place(file).await?;
    }
    Ok(())
}

/// Whether a file holds the bytes of an artifact. What can't be read holds nothing: it is about to be replaced. Blocks.
fn holds(file: &Path, artifact: &pb::Artifact) -> bool {
    // Of a link, only the link would be replaced, so that what it points at is no matter.
    let size = artifact.size_bytes.cast_unsigned();
    if !fs::symlink_metadata(file).is_ok_and(|there| there.is_file() && there.len() == size) {
        return false;
    }
    hash_file(file, |_| {}).is_ok_and(|hasher| hasher.finish() == artifact.sha256)
}

impl IntoFuture for Pull {
    type Output = Result<Pulled, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
