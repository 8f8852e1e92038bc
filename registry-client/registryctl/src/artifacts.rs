//! `upload` and `download`.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use registry_client::{Download, Name, Source, pb};
use registry_common::hex;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::args::Upload;
use crate::failure::Hinted;
use crate::output::{brief, last};
use crate::progress::Bar;
use crate::{Context, Failure, InTheWay};

/// What can be done where a version takes a file no more.
const SEALED: &str = "only plots, confusion matrices and logs (--type) may still be added to it; for others make a version anew, by publish or create-version";
/// How much of a file is read at once.
const READ: usize = 512 << 10;

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
    let file = match output {
        Some(file) => file,
        None => {
            let file = PathBuf::from(last(name.as_str()));
            let artifact = context.client.get_artifact(name.as_str()).await?;
            let (path, sha256) = (file.clone(), artifact.sha256);
            if tokio::task::spawn_blocking(move || is_other(&path, &sha256)).await?? {
                let problem = "is there already, and is another file: replace it with -o";
                return Err(InTheWay(format!("{} {problem} {}", file.display(), file.display())).into());
            }
            file
        }
    };
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

/// Whether there is something at a place that has not this digest. Blocks.
fn is_other(place: &Path, sha256: &str) -> io::Result<bool> {
    match place.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Ok(there) if there.is_file() => {}
        _ => return Ok(true),
    }
    let mut hasher = Sha256::new();
    let mut file = BufReader::with_capacity(READ, File::open(place)?);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(hex(&hasher.finalize()) != sha256);
        }
        hasher.update(bytes);
        let read = bytes.len();
        file.consume(read);
    }
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
