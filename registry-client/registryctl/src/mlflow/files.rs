//! The files of versions, from wherever they are.

use std::path::Path;

use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use registry_common::paths;
use reqwest::Url;
use tempfile::TempDir;
use tokio_util::io::StreamReader;

use super::Import;
use super::server::{Unread, Version};
use crate::output::note;
use crate::{Failure, objects};

/// URL schemes of the object stores that can be read.
const BUCKETS: [&str; 7] = ["s3://", "s3a://", "gs://", "az://", "abfs://", "abfss://", "azure://"];

impl Import<'_> {
    /// A folder with the files of a version, unless they stay where they are.
    pub(super) async fn files(&self, version: &Version) -> Result<Option<TempDir>, Failure> {
        if self.command.references {
            return Ok(None);
        }
        let what = format!("{} {}", version.name, version.version);
        let uri = match self.server.location(version).await {
            Err(Unread::Missing(why)) => {
                note(&format!("{what}: only what is known of it is taken: {why}"));
                return Ok(None);
            }
            uri => uri?,
        };
        let folder = TempDir::new()?;
        let local = Url::parse(&uri).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
        let local = local.or_else(|| uri.starts_with('/').then(|| uri.clone().into()));
        let files = match (self.server.stored(&uri), local) {
            (Some(path), _) => self.stored(&path, folder.path()).await?,
            (None, Some(path)) if self.command.local_folders => copied(path, folder.path().to_owned()).await?,
            (None, Some(_)) => {
                let how = "--local-folders reads there what the server names, --references leaves it there";
                return Err(format!("its files are at {uri}, on this machine or another: {how}").into());
            }
            (None, None) if BUCKETS.iter().any(|scheme| uri.starts_with(scheme)) => {
                objects_at(&uri, folder.path()).await?
            }
            (None, None) => {
                note(&format!("{what}: its files stay at {uri}, which only MLflow's client can read"));
                return Ok(None);
            }
        };
        if files == 0 {
            return Err(format!("there are no files at {uri}; --references takes it without").into());
        }
        Ok(Some(folder))
    }

    async fn stored(&self, path: &str, folder: &Path) -> Result<usize, Failure> {
        let files = self.server.files(path).await?;
        for file in &files {
            let to = folder.join(file);
            if let Some(parent) = to.parent() {
                tokio::fs::create_dir_all(parent).await?;
            }
            self.server.fetch(&format!("{path}/{file}"), &to).await?;
        }
        Ok(files.len())
    }
}

/// Copies what is below the URL of an object store.
async fn objects_at(url: &str, to: &Path) -> Result<usize, Failure> {
    let (store, root) = objects::open(url).await?;
    let mut listed = store.list(Some(&root));
    let mut copied = 0;
    while let Some(object) = listed.try_next().await? {
        let below: Vec<_> = object.location.prefix_match(&root).into_iter().flatten().collect();
        let path = below.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("/");
        paths::check(&path).map_err(|why| format!("{path:?} {why}"))?;
        let to = to.join(&path);
        if let Some(parent) = to.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        let mut bytes =
            StreamReader::new(store.get(&object.location).await?.into_stream().map_err(std::io::Error::other));
        tokio::io::copy(&mut bytes, &mut tokio::fs::File::create(&to).await?).await?;
        copied += 1;
    }
    Ok(copied)
}

/// Copies the files of a folder of this machine.
async fn copied(from: std::path::PathBuf, to: std::path::PathBuf) -> Result<usize, Failure> {
    Ok(tokio::task::spawn_blocking(move || copy(&from, &to)).await??)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<usize> {
    let mut copied = 0;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        // Links lead to what MLflow has not stored.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            std::fs::create_dir_all(&to)?;
            copied += copy(&path, &to)?;
        } else if kind.is_file() {
            std::fs::copy(&path, &to)?;
            copied += 1;
        }
    }
    Ok(copied)
}
