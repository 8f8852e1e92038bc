//! A local folder out of a version.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use registry_common::paths::{self, CLAIM, RECEIPT};
use tokio::task::spawn_blocking;

use crate::artifacts::remove_part;
use crate::claim::Claim;
use crate::destination::is_at;
#[cfg(feature = "oci")]
use crate::folder::holds;
use crate::folder::{Contents, contents, retire, set_executable};
use crate::names::complete;
use crate::progress::Meter;
use crate::receipt::{Receipt, ReceiptFile};
use crate::selection::Selection;
use crate::{Download, Error, Progress, RegistryClient, collision, folder, parallel, pb, precious};

impl RegistryClient {
    /// Fetches all artifacts of a version into a folder, which is made if it is missing.
    pub fn pull(&self, version: impl Into<String>, folder: impl Into<PathBuf>) -> Pull {
        let (version, folder) = (complete(version), folder.into());
        Pull {
            client: self.clone(),
            version,
            folder,
            partial: false,
            patterns: Vec::new(),
            overwrite: false,
            alike: Vec::new(),
            meter: Meter::default(),
        }
    }
}

/// A pull that has not begun: `.await` it for what was [`Pulled`].
///
/// Every file is written beside its place, checked, and then takes it, so that none is ever there by half. But the folder as a
/// whole is complete only when this is answered: to replace a folder that is in use, pull into a new one. One pull works in a folder
/// at a time.
///
/// A file that is there already, with the right size and SHA-256, is not fetched again. Files that an earlier pull put there are
/// replaced, or removed if this version does not have them, unless they were changed since; what else is in the folder stays. If
/// anything else is in the place of one of the version's files, nothing is pulled, unless it is to be [overwritten](Self::overwrite). The last thing written is
/// `.model-registry.json`, which says what the folder holds: the version, its manifest digest, and path, size and SHA-256 of each
/// file. [`verify_folder`](crate::verify_folder) compares the two. Until then `.model-registry.pull` says that the folder is not
/// complete.
#[must_use = "nothing is pulled until this is awaited"]
#[derive(Debug, Clone)]
pub struct Pull {
    client: RegistryClient,
    version: String,
    folder: PathBuf,
    partial: bool,
    patterns: Vec<String>,
    overwrite: bool,
    alike: Vec<PathBuf>,
    meter: Meter,
}

/// A version that is in a local folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// The version; if it was asked for by an alias, the one that had it.
    pub version: pb::Version,
    /// Its artifacts that are in the folder, by path.
    pub artifacts: Vec<pb::Artifact>,
    /// Where they are now, in the same order.
    pub files: Vec<PathBuf>,
    /// How many more artifacts it has, which were [not asked for](Pull::files).
    pub left_out: usize,
    /// The paths of what else is in the folder, which is not the version's.
    pub others: Vec<String>,
}

impl Pull {
    /// Take also a version that is not READY, or whose content is elsewhere: what the registry has of it, which nothing proves to
    /// be all.
    pub fn partial(mut self, partial: bool) -> Self {
        self.partial = partial;
        self
    }

    /// Only the artifacts that one of these patterns matches, which are as those of a `.gitignore`: `*.onnx`, `plots/`, `/config.json`.
    /// Others that the folder has of the same version stay there. The folder says that it holds a part, and
    /// [`verify_folder`](crate::verify_folder) checks that.
    pub fn files(mut self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.patterns.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Put the version's files also in the place of files that no pull has put there, or that were changed since.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// A folder that another version was pulled into: what the two have in common is copied from there rather than fetched, whole
    /// files as well as parts of files that have changed.
    pub fn reuse(mut self, folder: impl Into<PathBuf>) -> Self {
        self.alike.push(folder.into());
        self
    }

    /// Calls back after each piece received.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    /// Pulls; the same as `.await` on it.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_data_loss`](Error::is_data_loss) if bytes, or the artifacts as a whole, are not
    /// what was stored, [`Error::Io`] if they can't be written; before anything is fetched, [`Error::Incomplete`] for a version that
    /// is not [whole](Self::partial) or was purged, [`Error::FolderInUse`] if another pull works in the folder,
    /// [`Error::WouldOverwrite`] if files would be lost, [`Error::InvalidOption`] for a pattern that can't be read or matches nothing,
    /// [`Error::UnsafePath`] if an artifact would not land in the folder or in place of what else is there,
    /// [`Error::PathCollision`] if two would be one file because the folder's file system ignores case.
    pub async fn send(mut self) -> Result<Pulled, Error> {
        let version = self.client.get_version(&self.version).await?;
        if let Some(problem) = incomplete(&version).filter(|_| !self.partial || version.purged) {
            return Err(Error::Incomplete { version: version.name, problem });
        }
        // By the canonical name: what the alias meant a moment ago is what all the files are of.
        let artifacts: Vec<_> =
            self.client.list_artifacts(&version.name).page_size(1000).stream().try_collect().await?;
        let mut receipt = Receipt::of(&version, &artifacts);
        receipt.check_manifest()?;
        places(&self.folder, artifacts.iter().map(|artifact| artifact.path.as_str()))?;
        if !self.patterns.is_empty() {
            self.select(&mut receipt).await?;
        }
        let (mut places, mut left_out) = (Vec::new(), 0);
        for (artifact, file) in artifacts.into_iter().zip(&receipt.files) {
            if file.left_out {
                left_out += 1;
            } else {
                let at = place(&self.folder, &file.path)?;
                places.push((artifact, file.clone(), at));
            }
        }
        self.meter.total = Some(places.iter().map(|(artifact, ..)| artifact.size_bytes.cast_unsigned()).sum());

        let folder = self.folder.clone();
        let prepared = self.blocking(move || Prepared::of(&folder, receipt)).await?;
        let looked_at = places.iter().map(|(_, file, at)| (file.clone(), at.clone())).collect();
        let same = match precious::survey(&self.folder, looked_at, &prepared.before, self.overwrite).await {
            Ok(same) => same,
            Err(error) => {
                self.blocking(move || prepared.claim.give_back()).await?;
                return Err(error);
            }
        };
        let folder = self.folder.clone();
        let prepared = self.blocking(move || prepared.make_room(&folder).map(|()| prepared)).await?;
        let claim = &prepared.claim;
        let alike = std::mem::take(&mut self.alike);
        let alike = self.blocking(move || Ok(Alike::of(alike))).await?;
        let fetch = async |(artifact, _, at): (pb::Artifact, ReceiptFile, PathBuf)| {
            if same.contains(&artifact.path) {
                return keep(artifact, at, &self.meter).await;
            }
            let files = alike.to(&artifact);
            let download = Download::of(&self.client, artifact).part_of(&self.meter);
            let download = files.into_iter().fold(download, Download::reuse);
            download.in_place(at, Some(claim.clone())).await.map(drop)
        };
        let size = |(artifact, ..): &(pb::Artifact, ReceiptFile, PathBuf)| artifact.size_bytes.cast_unsigned();
        parallel::each(places.clone(), size, fetch).await?;
        let folder = self.folder.clone();
        let others = self.blocking(move || prepared.finish(&folder)).await?;
        let (artifacts, files) = places.into_iter().map(|(artifact, _, at)| (artifact, at)).unzip();
        Ok(Pulled { version, artifacts, files, left_out, others })
    }

    /// Leaves out what was not asked for.
    async fn select(&self, receipt: &mut Receipt) -> Result<(), Error> {
        let selection = Selection::of(&self.patterns)?;
        if !receipt.files.iter().any(|file| selection.has(&file.path)) {
            return Err(Error::InvalidOption {
                option: "files",
                value: self.patterns.join(" "),
                problem: "matches no artifact of the version".to_owned(),
            });
        }
        let folder = self.folder.clone();
        let there = self.blocking(move || Ok(Receipt::read(&folder).ok())).await?;
        receipt.leave_out(|path| selection.has(path), there.as_ref());
        Ok(())
    }

    /// Works on the folder, off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        spawn_blocking(work).await.map_err(|error| Error::io(&self.folder, error.into()))?
    }
}

/// What there is not of a version.
pub(crate) fn incomplete(version: &pb::Version) -> Option<String> {
    let pb::Version { source_uri, failure_reason, .. } = version;
    match version.state() {
        _ if version.purged => Some("was purged: the registry has none of its files any more".to_owned()),
        pb::VersionState::Ready if source_uri.is_empty() => None,
        pb::VersionState::Ready => Some(format!("has its content at {source_uri}, not in the registry")),
        pb::VersionState::Failed => Some(format!("has FAILED, its files may be incomplete: {failure_reason}")),
        _ => Some("is not ready: files of it may still be missing".to_owned()),
    }
}

/// Where in a folder artifacts go. One folder has to be able to hold them all.
pub(crate) fn places<'a>(folder: &Path, paths: impl Iterator<Item = &'a str> + Clone) -> Result<Vec<PathBuf>, Error> {
    if let Some((file, _)) = paths::conflict(paths.clone()) {
        return Err(Error::UnsafePath {
            path: file.into(),
            problem: "the version has a file and a folder of this name",
        });
    }
    paths.map(|path| place(folder, path)).collect()
}

/// Where in a folder an artifact goes.
pub(crate) fn place(folder: &Path, path: &str) -> Result<PathBuf, Error> {
    if paths::is_reserved(path) {
        return Err(Error::UnsafePath { path: path.into(), problem: "in its place the folder says what it holds" });
    }
    folder::join(folder, path)
}

/// Folders with other versions.
struct Alike(Vec<(PathBuf, Receipt)>);

impl Alike {
    /// Those that say what they hold. Blocks.
    fn of(folders: Vec<PathBuf>) -> Self {
        let read = |folder: PathBuf| Receipt::read(&folder).ok().map(|receipt| (folder, receipt));
        Self(folders.into_iter().filter_map(read).collect())
    }

    /// The files that may have something in common with an artifact: of each folder the one with the same bytes, or else the one at
    /// the same path.
    fn to(&self, artifact: &pb::Artifact) -> Vec<PathBuf> {
        let like = |(folder, receipt): &(PathBuf, Receipt)| {
            let same = receipt.present().find(|file| file.sha256 == artifact.sha256);
            let same = same.or_else(|| receipt.present().find(|file| file.path == artifact.path))?;
            folder::join(folder, &same.path).ok()
        };
        self.0.iter().filter_map(like).collect()
    }
}

/// A folder that is ready for the files of a receipt.
struct Prepared {
    receipt: Receipt,
    claim: Claim,
    /// What earlier pulls put there.
    before: Vec<ReceiptFile>,
}

impl Prepared {
    /// Makes the folder, and claims it; what is in it does not change yet. Blocks.
    fn of(folder: &Path, receipt: Receipt) -> Result<Self, Error> {
        folder::create_folder(folder)?;
        let (claim, before) = Claim::of(folder, &receipt)?;
        Ok(Self { claim, before, receipt })
    }

    /// Makes room for the files. Blocks.
    fn make_room(&self, folder: &Path) -> Result<(), Error> {
        let Self { receipt, before, .. } = self;
        let paths = || receipt.present().map(|file| file.path.as_str());
        collision::refuse(folder, paths().chain([RECEIPT, CLAIM]))?;
        receipt.retract_others(folder)?;
        let (files, folders): (HashSet<_>, HashSet<_>) =
            (paths().collect(), paths().flat_map(paths::folders).collect());
        let in_the_way =
            |path: &str| folders.contains(path) || paths::folders(path).any(|folder| files.contains(folder));
        retire(folder, before.iter().filter(|file| in_the_way(&file.path)))?;
        paths().try_for_each(|path| room_for(folder, path))
    }

    /// Leaves nothing of earlier pulls, and says what the folder holds; answers what else is in it. Blocks.
    fn finish(self, folder: &Path) -> Result<Vec<String>, Error> {
        let Self { receipt, claim, before } = self;
        claim.check()?;
        let ours: HashSet<_> = receipt.present().map(|file| file.path.as_str()).collect();
        let alike: HashMap<_, _> = ours.iter().map(|path| (collision::fold(path), *path)).collect();
        // Where case is ignored, a file of theirs may be one of ours.
        let is_ours = |path: &str| {
            let twin = alike.get(&collision::fold(path));
            ours.contains(path) || twin.is_some_and(|twin| same(&folder.join(path), &folder.join(twin)))
        };
        retire(folder, before.iter().filter(|file| !is_ours(&file.path)))?;
        let Contents { files, parts } = contents(folder)?;
        parts.iter().for_each(|part| remove_part(part));
        receipt.write(folder)?;
        claim.end()?;
        Ok(files.into_iter().filter(|path| !ours.contains(path.as_str())).collect())
    }
}

/// Whether two paths are of one file. Blocks.
fn same(one: &Path, other: &Path) -> bool {
    fs::File::open(one).and_then(|opened| is_at(&opened, other)).unwrap_or(false)
}

/// Makes the folder that a file goes to, if nothing is in the way of either. Blocks.
fn room_for(folder: &Path, path: &str) -> Result<(), Error> {
    let refuse = |path: &str, problem| Err(Error::UnsafePath { path: folder.join(path), problem });
    for above in paths::folders(path) {
        if fs::metadata(folder::join(folder, above)?).is_ok_and(|there| !there.is_dir()) {
            return refuse(above, "is in the way: the version has a folder of this name");
        }
    }
    let file = folder::join(folder, path)?;
    match fs::symlink_metadata(&file) {
        Ok(there) if there.is_dir() => refuse(path, "is in the way: the version has a file of this name"),
        Ok(there) if !there.is_file() && !there.is_symlink() => refuse(path, "is in the way, and is no file"),
        _ => folder::create_parent(folder, &file),
    }
}

/// Leaves a file where it is, that is the artifact already.
async fn keep(artifact: pb::Artifact, at: PathBuf, meter: &Meter) -> Result<(), Error> {
    let counted = meter.file(&artifact.path);
    let (file, executable) = (at.clone(), artifact.executable);
    let kept = spawn_blocking(move || set_executable(&file, executable)).await;
    kept.map_err(|error| Error::io(at, error.into()))?;
    counted.there(artifact.size_bytes as usize);
    Ok(())
}

/// Puts the bytes of an artifact into a file, unless they are there already. A link is replaced, not followed.
#[cfg(feature = "oci")]
pub(crate) async fn fetch(
    client: &RegistryClient,
    artifact: pb::Artifact,
    file: PathBuf,
    meter: &Meter,
) -> Result<(), Error> {
    let (size, sha256, there) = (artifact.size_bytes.cast_unsigned(), artifact.sha256.clone(), file.clone());
    let is_there = spawn_blocking(move || holds(&there, size, &sha256)).await;
    if is_there.map_err(|error| Error::io(&file, error.into()))? {
        return keep(artifact, file, meter).await;
    }
    Download::of(client, artifact).part_of(meter).in_place(file, None).await.map(drop)
}

impl IntoFuture for Pull {
    type Output = Result<Pulled, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
