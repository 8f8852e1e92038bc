use std::future::IntoFuture;
use std::path::PathBuf;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::task::spawn_blocking;

use crate::progress::Meter;
use crate::publish::PARALLEL_FILES;
use crate::{Error, Progress, RegistryClient, folder, pb};

impl RegistryClient {
    /// Fetches all artifacts of a version into a folder, which is made if it is missing.
    pub fn pull(&self, version: impl Into<String>, folder: impl Into<PathBuf>) -> Pull {
        Pull { client: self.clone(), version: version.into(), folder: folder.into(), meter: Meter::default() }
    }
}

/// A pull that has not begun: `.await` it for what was [`Pulled`].
///
/// Every file is written beside its place, checked, and then takes it, so that none is ever there by half. But the folder as a
/// whole is complete only when this is answered: to replace a folder that is in use, pull into a new one.
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
    /// [`is_not_found`](Error::is_not_found), [`is_data_loss`](Error::is_data_loss) if bytes are not what was stored,
    /// [`Error::Io`] if they can't be written, [`Error::UnsafePath`], before anything is written, if an artifact would not land in
    /// the folder.
    pub async fn send(mut self) -> Result<Pulled, Error> {
        let version = self.client.get_version(&self.version).await?;
        // By the canonical name: what the alias meant a moment ago is what all the files are of.
        let artifacts: Vec<_> =
            self.client.list_artifacts(&version.name).page_size(1000).stream().try_collect().await?;
        let files = artifacts.iter().map(|artifact| folder::join(&self.folder, &artifact.path));
        let files: Vec<_> = files.collect::<Result<_, _>>()?;
        self.meter.total = Some(artifacts.iter().map(|artifact| artifact.size_bytes.cast_unsigned()).sum());

        self.create_folders(files.clone()).await?;
        let names: Vec<_> = artifacts.iter().map(|artifact| artifact.name.clone()).collect();
        stream::iter(names.into_iter().zip(files.clone()))
            .map(|(name, file)| self.client.download(name).part_of(&self.meter).to_file(file))
            .buffer_unordered(PARALLEL_FILES)
            .try_for_each(async |_| Ok(()))
            .await?;
        Ok(Pulled { version, artifacts, files })
    }

    async fn create_folders(&self, files: Vec<PathBuf>) -> Result<(), Error> {
        let root = self.folder.clone();
        let create = move || {
            folder::create_folder(&root)?;
            files.iter().try_for_each(|file| folder::create_parent(&root, file))
        };
        spawn_blocking(create).await.map_err(|error| Error::io(&self.folder, error.into()))?
    }
}

impl IntoFuture for Pull {
    type Output = Result<Pulled, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
