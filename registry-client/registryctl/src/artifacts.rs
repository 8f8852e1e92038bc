//! `upload` and `download`.

use std::path::{Path, PathBuf};

use registry_client::{Download, Name, Source, pb};
use tokio::io::AsyncWriteExt as _;

use crate::args::Upload;
use crate::failure::Hinted;
use crate::output::{brief, last};
use crate::progress::Bar;
use crate::{Context, Failure};

/// What can be done where a version takes a file no more.
const SEALED: &str = "only plots, confusion matrices and logs (--type) may still be added to it; for others make a version anew, by publish or create-version";

pub(crate) async fn upload(context: &Context, command: Upload) -> Result<(), Failure> {
    let from_stdin = command.file == Path::new("-");
    let path = match command.path {
        Some(path) => path,
        None => command
            .file
            .file_name()
            .filter(|_| !from_stdin)
            .and_then(|name| name.to_str())
            .ok_or("the file has no name: give --path")?
            .to_owned(),
    };
    let source = if from_stdin { Source::reader(tokio::io::stdin()) } else { Source::from(command.file) };
    // So that it can be told whether the upload made the artifact.
    let there = context.client.get_artifact(format!("{}/artifacts/{path}", command.version)).await.ok();
    let bar = Bar::new("uploading");
    let mut upload = context.client.upload(command.version, path, source).progress(bar.follow());
    if let Some(artifact_type) = command.artifact_type {
        upload = upload.artifact_type(artifact_type);
    }
    for (key, value) in command.tags {
        upload = upload.tag(key, value);
    }
    let uploaded = upload.send().await;
    let moved = bar.end();
    let uploaded = uploaded.map_err(|error| match error.reason() {
        Some(pb::ErrorReason::VersionSealed) => Hinted::of(error, SEALED).into(),
        _ => Failure::from(error),
    });
    context.out.message("Artifact", &uploaded?, |artifact| {
        let size = moved.of(artifact.size_bytes, "sent");
        let (name, sha256) = (brief(&artifact.name), &artifact.sha256);
        match there.is_some_and(|there| there.uid == artifact.uid) {
            true => format!("{name} is there already: {size}, sha256 {sha256}"),
            false => format!("uploaded {name}: {size}, sha256 {sha256}"),
        }
    })
}

pub(crate) async fn download(context: &Context, name: Name, output: Option<PathBuf>) -> Result<(), Failure> {
    let file = output.unwrap_or_else(|| PathBuf::from(last(name.as_str())));
    let bar = Bar::new("downloading");
    let download = context.client.download(name).progress(bar.follow());
    if is_stdout(&file) {
        let printed = print(download).await;
        bar.end();
        return printed;
    }
    let downloaded = download.to_file(&file).await;
    let moved = bar.end();
    context.out.message("Artifact", &downloaded?, |artifact| {
        let size = moved.of(artifact.size_bytes, "fetched");
        format!("downloaded {}: {size}, verified, to {}", brief(&artifact.name), file.display())
    })
}

/// Whether a command is to write to standard output, so that it can't say anything else there.
pub(crate) fn is_stdout(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// Prints the bytes, each chunk once it is checked, and nothing else.
async fn print(download: Download) -> Result<(), Failure> {
    let (mut chunks, mut out) = (download.stream().await?, tokio::io::stdout());
    while let Some(bytes) = chunks.try_next().await? {
        out.write_all(&bytes).await?;
    }
    Ok(out.flush().await?)
}
