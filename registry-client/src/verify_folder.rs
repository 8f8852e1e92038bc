//! Checks a folder against what it says that it holds.

use std::fmt;
use std::fs;
use std::future::IntoFuture;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use registry_common::paths::RECEIPT;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::artifacts::hash_file;
use crate::folder::{self, contents};
use crate::progress::{FileMeter, Meter};
use crate::receipt::{Receipt, ReceiptFile};
use crate::{Error, Progress};

/// Checks a folder that was [pulled](crate::RegistryClient::pull) against its `.model-registry.json`, without a registry.
///
/// ```no_run
/// # async fn example() -> Result<(), registry_client::Error> {
/// let report = registry_client::verify_folder("models/fraud/").await?;
/// assert!(report.problems.is_empty(), "{:?}", report.problems);
/// # Ok(())
/// # }
/// ```
///
/// Whoever can change the files can change that one too: compare [`manifest_sha256`](FolderReport::manifest_sha256) with the
/// version's to know that the folder is what the registry sealed.
pub fn verify_folder(folder: impl Into<PathBuf>) -> VerifyFolder {
    VerifyFolder { folder: folder.into(), meter: Meter::default() }
}

/// A verification of a folder that has not begun: `.await` it for the [`FolderReport`]. Nothing is changed. That something is
/// wrong with the folder is no error: it is in the report.
///
/// # Errors
/// [`Error::Io`] if the folder, or the `.model-registry.json` in it, can't be read; [`Error::Malformed`] or
/// [`Error::UnsafePath`] if that says something no registry would.
#[must_use = "nothing is verified until this is awaited"]
#[derive(Debug, Clone)]
pub struct VerifyFolder {
    folder: PathBuf,
    meter: Meter,
}

/// What a folder is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderReport {
    /// The version that it holds.
    pub version: String,
    /// The version's manifest digest; empty if it was not sealed when it was pulled.
    pub manifest_sha256: String,
    /// How many files of the version it holds.
    pub files: usize,
    /// How many more the version has, which were not asked for when it was pulled.
    pub left_out: usize,
    /// The bytes of those it holds.
    pub bytes: u64,
    /// What is not as it should be, by path; empty for a folder that is what it says.
    pub problems: Vec<FolderProblem>,
}

/// Something in a folder that is not as its `.model-registry.json` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields' names say it all")]
pub enum FolderProblem {
    /// A file is not there.
    Missing { path: String },
    /// A file is longer or shorter.
    Size { path: String, expected: u64, actual: u64 },
    /// A file holds other bytes.
    Digest { path: String, expected: String, actual: String },
    /// A file can't be read, or is none.
    Unreadable { path: String, detail: String },
    /// A file, or a link, does not belong to the version.
    Unexpected { path: String },
    /// The files that should be there are not those that the version was sealed with.
    Manifest { expected: String, actual: String },
    /// The version was not sealed when it was pulled: nothing says which files it should have.
    Unsealed,
}

impl FolderProblem {
    /// The path in the folder.
    pub fn path(&self) -> &str {
        match self {
            Self::Missing { path }
            | Self::Size { path, .. }
            | Self::Digest { path, .. }
            | Self::Unreadable { path, .. }
            | Self::Unexpected { path } => path,
            Self::Manifest { .. } | Self::Unsealed => RECEIPT,
        }
    }
}

impl fmt::Display for FolderProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path())?;
        match self {
            Self::Missing { .. } => f.write_str("is missing"),
            Self::Size { expected, actual, .. } => write!(f, "has {actual} bytes instead of {expected}"),
            Self::Digest { expected, actual, .. } => write!(f, "the SHA-256 is {actual}, not {expected}"),
            Self::Unreadable { detail, .. } => f.write_str(detail),
            Self::Unexpected { .. } => f.write_str("does not belong to the version"),
            Self::Manifest { expected, actual } => write!(f, "the manifest of its files is {actual}, not {expected}"),
            Self::Unsealed => f.write_str("the version was not whole when it was pulled: files may be missing"),
        }
    }
}

impl VerifyFolder {
    /// Calls back after each piece read.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    async fn run(mut self) -> Result<FolderReport, Error> {
        let folder = self.folder.clone();
        let read = spawn_blocking(move || Ok::<_, Error>((Receipt::read(&folder)?, contents(&folder)?)));
        let (receipt, others) = read.await.map_err(|error| Error::io(&self.folder, error.into()))??;
        let present: Vec<_> = receipt.present().cloned().collect();
        let bytes = present.iter().map(|file| file.size).fold(0, u64::saturating_add);
        self.meter.total = Some(bytes);

        let threads = available_parallelism().map_or(1, usize::from);
        let checked: Vec<_> =
            stream::iter(present.clone()).map(|file| self.check(file)).buffer_unordered(threads).try_collect().await?;
        let mut problems: Vec<_> = checked.into_iter().flatten().collect();
        let mut others = others.files;
        for file in &present {
            others.remove(&file.path);
        }
        problems.extend(others.into_iter().map(|path| FolderProblem::Unexpected { path }));
        problems.extend(
            receipt
                .manifest()
                .filter(|actual| *actual != receipt.manifest_sha256)
                .map(|actual| FolderProblem::Manifest { expected: receipt.manifest_sha256.clone(), actual }),
        );
        if receipt.manifest_sha256.is_empty() {
            problems.push(FolderProblem::Unsealed);
        }
        problems.sort_by(|a, b| a.path().cmp(b.path()));
        let (files, left_out) = (present.len(), receipt.files.len() - present.len());
        let (version, manifest_sha256) = (receipt.version, receipt.manifest_sha256);
        Ok(FolderReport { version, manifest_sha256, files, left_out, bytes, problems })
    }

    async fn check(&self, file: ReceiptFile) -> Result<Option<FolderProblem>, Error> {
        let at = folder::join(&self.folder, &file.path)?;
        let meter = self.meter.file(&file.path);
        spawn_blocking(move || problem(&at, file, &meter)).await.map_err(|error| Error::io(&self.folder, error.into()))
    }
}

impl IntoFuture for VerifyFolder {
    type Output = Result<FolderReport, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// What is wrong with a file. Blocks.
fn problem(at: &Path, file: ReceiptFile, meter: &FileMeter) -> Option<FolderProblem> {
    let ReceiptFile { path, size: expected, sha256, .. } = file;
    let hashed = fs::metadata(at).and_then(|there| match there.len() {
        _ if !there.is_file() => Err(io::Error::other("is not a file")),
        // The digest of more or fewer bytes says nothing new.
        actual if actual != expected => Ok(Err(actual)),
        _ => hash_file(at, |bytes| meter.there(bytes)).map(Ok),
    });
    match hashed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(FolderProblem::Missing { path }),
        Err(error) => Some(FolderProblem::Unreadable { path, detail: error.to_string() }),
        Ok(Err(actual)) => Some(FolderProblem::Size { path, expected, actual }),
        Ok(Ok(hasher)) => {
            let actual = hasher.finish();
            (actual != sha256).then_some(FolderProblem::Digest { path, expected: sha256, actual })
        }
    }
}
