//! The files of an OCI image layout: `oci-layout`, `index.json`, and blobs by their digest.
//!
//! The documents are read into types of our own: those of the crate `oci-spec` write annotations in no certain order, and the same
//! version has to give the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Error;
use crate::artifacts::{Hasher, hash_file};
use crate::destination::{is_at, is_part, write_new, write_whole};
use crate::folder::{create_folder, create_parent};
use crate::progress::FileMeter;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Says that a folder is a layout. Whoever changes the index holds its lock.
const MARKER: &str = "oci-layout";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The largest document: what registries take for a manifest as well.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// Says where a blob is and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of bytes that are to be a blob.
    pub(super) fn of(media_type: &str, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        Self {
            media_type: media_type.to_owned(),
            artifact_type: None,
            digest: format!("sha256:{}", hasher.finish()),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }
}

/// A config, layers, and notes on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// A folder with a layout in it. All its methods block.
#[derive(Debug, Clone)]
pub(super) struct Layout(PathBuf);

impl Layout {
    /// The layout in a folder.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let marker = folder.join(MARKER);
        let said: Value = parse(&marker, &read(&marker)?)?;
        if said["imageLayoutVersion"] != "1.0.0" {
            return Err(malformed(&marker, "imageLayoutVersion", "is not 1.0.0"));
        }
        Ok(Self(folder.to_owned()))
    }

    /// The same, made if the folder is missing or empty.
    pub(super) fn open_or_create(folder: &Path) -> Result<Self, Error> {
        create_folder(folder)?;
        let failed = |error| Error::io(folder, error);
        let marker = folder.join(MARKER);
        // What another export begins is nobody's yet.
        let is_other = |entry: &io::Result<fs::DirEntry>| {
            !entry.as_ref().is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_part))
        };
        if !fs::read_dir(folder).map_err(failed)?.any(|entry| is_other(&entry)) {
            // Another export may be making it at this moment, and hold its lock.
            write_new(&marker, json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
        } else if !marker.exists() {
            return Err(malformed(folder, MARKER, "is missing, though there is something else in the folder"));
        }
        let layout = Self::open(folder)?;
        create_parent(folder, &folder.join("blobs/sha256/blob"))?;
        Ok(layout)
    }

    /// Where the blob with a digest is, which has to be one: it becomes a part of a path.
    pub(super) fn blob(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        let is_digest = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_digest.then(|| self.0.join("blobs/sha256").join(hex))
    }

    /// Makes a blob of some bytes.
    pub(super) fn put(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
        write_whole(&self.place(descriptor)?, bytes)
    }

    /// The document that a descriptor is of.
    pub(super) fn get<T: for<'de> Deserialize<'de>>(&self, descriptor: &Descriptor) -> Result<T, Error> {
        let blob = self.place(descriptor)?;
        let bytes = read(&blob)?;
        let mut hasher = Hasher::default();
        hasher.update(&bytes);
        check(hasher, &blob, descriptor)?;
        parse(&blob, &bytes)
    }

    /// Whether a blob is what its descriptor says.
    pub(super) fn verify(&self, descriptor: &Descriptor, meter: &FileMeter) -> Result<(), Error> {
        let blob = self.place(descriptor)?;
        // Before it is read: what is not a file may have no end.
        let size = size_of(&blob)?;
        if size != descriptor.size {
            return Err(Error::SizeMismatch { name: name(&blob), expected: descriptor.size, actual: size });
        }
        let hasher = hash_file(&blob, |bytes| meter.there(bytes)).map_err(|error| Error::io(&blob, error))?;
        check(hasher, &blob, descriptor)
    }

    /// The manifest with a name or digest, or the only one.
    pub(super) fn find(&self, reference: Option<&str>) -> Result<Descriptor, Error> {
        let file = self.index();
        let Index { manifests } = parse(&file, &read(&file)?)?;
        let called = |manifest: &Descriptor| match manifest.annotations.get(REF_NAME) {
            Some(name) => name.clone(),
            None => manifest.digest.clone(),
        };
        let there = manifests.iter().map(called).collect::<Vec<_>>().join(", ");
        let asked = |manifest: &Descriptor| {
            reference.is_none_or(|wanted| called(manifest) == wanted || manifest.digest == wanted)
        };
        let mut found: Vec<_> = manifests.into_iter().filter(asked).collect();
        // Several tags of one manifest are a single match.
        found.dedup_by(|a, b| a.digest == b.digest);
        match (found.pop(), found.is_empty()) {
            (Some(manifest), true) if manifest.media_type == MANIFEST => Ok(manifest),
            (Some(manifest), true) => {
                Err(malformed(&file, "manifests", format!("{} is no manifest", manifest.media_type)))
            }
            (found, _) => {
                let problem = match (reference, found.is_some()) {
                    (None, true) => format!("the layout has several models, say which one (`--ref`): {there}"),
                    (None, false) => "the layout has no model".to_owned(),
                    (Some(_), true) => format!("names more than one of the manifests, which are: {there}"),
                    (Some(_), false) => format!("names none of the manifests, which are: {there}"),
                };
                Err(Error::InvalidOption {
                    option: "reference",
                    value: reference.unwrap_or_default().to_owned(),
                    problem,
                })
            }
        }
    }

    /// Names a manifest in the index, in place of what had that name. What else is in the index stays as it is.
    pub(super) fn tag(&self, mut manifest: Descriptor, reference: &str) -> Result<(), Error> {
        let file = self.index();
        let _locked = self.lock()?;
        let mut index: Value = match read(&file) {
            Ok(bytes) => parse(&file, &bytes)?,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] })
            }
            Err(error) => return Err(error),
        };
        let Some(manifests) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
            return Err(malformed(&file, "manifests", "is no list"));
        };
        manifest.annotations.insert(REF_NAME.to_owned(), reference.to_owned());
        let manifest = serde_json::to_value(manifest).map_err(|error| Error::io(&file, error.into()))?;
        match manifests.iter().position(|there| there["annotations"][REF_NAME] == reference) {
            Some(place) => manifests[place] = manifest,
            None => manifests.push(manifest),
        }
        write_whole(&file, index.to_string().as_bytes())
    }

    /// Waits until nobody else changes the index. Where the file system has no locks, it can't be told.
    fn lock(&self) -> Result<File, Error> {
        let marker = self.0.join(MARKER);
        loop {
            // To lock a file on NFS, one has to be allowed to write it.
            let open = OpenOptions::new().read(true).write(true).open(&marker).or_else(|_| File::open(&marker));
            let file = open.map_err(|error| Error::io(&marker, error))?;
            let locked = file.lock().is_ok();
            // Where there are no links, two that make a layout at once both put it there.
            if !locked || is_at(&file, &marker).map_err(|error| Error::io(&marker, error))? {
                return Ok(file);
            }
        }
    }

    /// Where a blob is, for errors as well.
    pub(super) fn place(&self, descriptor: &Descriptor) -> Result<PathBuf, Error> {
        let problem = || format!("{:?} is no SHA-256", descriptor.digest);
        self.blob(&descriptor.digest).ok_or_else(|| malformed(&self.0, "digest", problem()))
    }

    fn index(&self) -> PathBuf {
        self.0.join("index.json")
    }
}

pub(super) fn malformed(path: &Path, field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Malformed { path: path.to_owned(), field: field.into(), problem: problem.into() }
}

fn name(blob: &Path) -> String {
    blob.display().to_string()
}

fn check(hasher: Hasher, blob: &Path, descriptor: &Descriptor) -> Result<(), Error> {
    let sha256 = descriptor.digest.trim_start_matches("sha256:");
    hasher.check(&name(blob), descriptor.size, sha256)
}

/// The size of a file, which it has to be: neither a folder, nor a link to somewhere else.
fn size_of(file: &Path) -> Result<u64, Error> {
    let failed = |error| Error::io(file, error);
    let there = fs::symlink_metadata(file).map_err(failed)?;
    if there.is_file() { Ok(there.len()) } else { Err(failed(io::Error::other("is not a file"))) }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    if size_of(file)? > MAX_DOCUMENT_BYTES {
        return Err(malformed(file, "size", format!("is larger than {MAX_DOCUMENT_BYTES} bytes")));
    }
    fs::read(file).map_err(|error| Error::io(file, error))
}

fn parse<T: for<'de> Deserialize<'de>>(file: &Path, json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| malformed(file, "json", error.to_string()))
}
