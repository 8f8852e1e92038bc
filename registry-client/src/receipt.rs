//! What a pulled folder says of itself: which version it holds, and which files.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use registry_common::paths::RECEIPT;
use serde::{Deserialize, Serialize};

use crate::artifacts::Hasher;
use crate::destination::write_whole;
use crate::folder;
use crate::{Error, pb};

/// The content of [`RECEIPT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// The version's canonical name.
    pub(crate) version: String,
    /// As the registry has it; empty if the version was not sealed.
    pub(crate) manifest_sha256: String,
    pub(crate) files: Vec<ReceiptFile>,
}

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ReceiptFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    /// Not covered by the manifest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) supplementary: bool,
    /// May be run. Not covered by the manifest, either, and not checked: some file systems can't tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) executable: bool,
    /// Not in the folder: only a part of the version was asked for. Listed, so that the manifest vouches for the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) left_out: bool,
}

impl Receipt {
    pub(crate) fn of(version: &pb::Version, artifacts: &[pb::Artifact]) -> Self {
        let file = |artifact: &pb::Artifact| ReceiptFile {
            path: artifact.path.clone(),
            size: artifact.size_bytes.cast_unsigned(),
            sha256: artifact.sha256.clone(),
            supplementary: artifact.supplementary,
            executable: artifact.executable,
            left_out: false,
        };
        Self {
            version: version.name.clone(),
            // Of content that is elsewhere, the manifest says nothing.
            manifest_sha256: if version.source_uri.is_empty() {
                version.manifest_sha256.clone()
            } else {
                String::new()
            },
            files: artifacts.iter().map(file).collect(),
        }
    }

    /// The files that are in the folder.
    pub(crate) fn present(&self) -> impl Iterator<Item = &ReceiptFile> + Clone {
        self.files.iter().filter(|file| !file.left_out)
    }

    /// Leaves files out, except those that the folder has of the same version by another receipt.
    pub(crate) fn leave_out(&mut self, is_wanted: impl Fn(&str) -> bool, there: Option<&Self>) {
        let there = there.filter(|there| there.version == self.version);
        let has: BTreeSet<_> = there.into_iter().flat_map(Self::present).map(|file| file.path.as_str()).collect();
        for file in &mut self.files {
            file.left_out = !is_wanted(&file.path) && !has.contains(file.path.as_str());
        }
    }

    /// Reads the receipt of a folder. Its paths stay in the folder, and there is one file for each. Blocks.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let file = folder.join(RECEIPT);
        // Before it is read: what is not a file may have no end.
        let read = fs::metadata(&file).and_then(|there| match there.is_file() {
            true => fs::read(&file),
            false => Err(io::Error::other("is not a file")),
        });
        let bytes = read.map_err(|error| Error::io(&file, error))?;
        let malformed = |field: String, problem: String| Error::Malformed { path: file.clone(), field, problem };
        let receipt: Self =
            serde_json::from_slice(&bytes).map_err(|error| malformed("json".to_owned(), error.to_string()))?;
        let mut paths = BTreeSet::new();
        for (i, ReceiptFile { path, .. }) in receipt.files.iter().enumerate() {
            folder::join(folder, path)?;
            if !paths.insert(path) {
                return Err(malformed(format!("files[{i}].path"), format!("{path} is there twice")));
            }
        }
        Ok(receipt)
    }

    /// Makes this the receipt of a folder. Blocks.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let file = folder.join(RECEIPT);
        let json = serde_json::to_vec_pretty(self).map_err(|error| Error::io(&file, error.into()))?;
        write_whole(&file, &json)
    }

    /// Removes the receipt of a folder unless it is this one: what the folder holds is about to change. Blocks.
    pub(crate) fn retract_others(&self, folder: &Path) -> Result<(), Error> {
        if Self::read(folder).is_ok_and(|there| there == *self) {
            return Ok(());
        }
        let file = folder.join(RECEIPT);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(file, error)),
            _ => Ok(()),
        }
    }

    /// The manifest digest over the files, as the registry computes it; `None` if it is of a version that had none.
    pub(crate) fn manifest(&self) -> Option<String> {
        let mut sealed: Vec<_> = self.files.iter().filter(|file| !file.supplementary).collect();
        sealed.sort_by(|a, b| a.path.cmp(&b.path));
        let mut hasher = Hasher::default();
        for file in sealed {
            hasher.update(format!("{} {} {}\n", file.sha256, file.size, file.path).as_bytes());
        }
        (!self.manifest_sha256.is_empty()).then(|| hasher.finish())
    }

    /// Whether the files are those that the version was sealed with.
    pub(crate) fn check_manifest(&self) -> Result<(), Error> {
        match self.manifest() {
            Some(actual) if actual != self.manifest_sha256 => {
                let expected = self.manifest_sha256.clone();
                Err(Error::DigestMismatch { name: self.version.clone(), expected, actual })
            }
            _ => Ok(()),
        }
    }
}
