//! `pull`, and `verify` of what was pulled.

use std::path::{Path, PathBuf};

use registry_client::{Error, Pulled, pb};

use crate::args::Pull;
use crate::failure::Hinted;
use crate::interrupt::{GO_ON, Interrupted, asked_to_end};
use crate::output::json::{self, Tree};
use crate::output::{Output, brief, bytes, count, note};
use crate::progress::Bar;
use crate::{Context, Failure, withdrawal};

pub(crate) async fn pull(context: &Context, command: Pull) -> Result<(), Failure> {
    let mut name = String::from(command.name);
    let folder = match command.output {
        Some(folder) => folder,
        None => {
            // By its number, an alias that moves in between is no matter.
            let version = context.client.get_version(&name).await?;
            name.clone_from(&version.name);
            default_folder(&version)
        }
    };
    let bar = Bar::new("downloading");
    let pull = context.client.pull(name, &folder).partial(command.partial).progress(bar.follow());
    let pulled = tokio::select! {
        pulled = pull.files(command.files).overwrite(command.force).send() => pulled,
        () = asked_to_end() => {
            bar.end();
            return Err(Interrupted(GO_ON.to_owned()).into());
        }
    };
    let moved = bar.end();
    let Pulled { version, artifacts, files, left_out, others } = pulled.map_err(|error| match error {
        Error::WouldOverwrite { .. } => Failure::from(Hinted::of(
            error,
            "nothing was pulled: move them away, pull into another folder, or replace them with --force",
        )),
        error => error.into(),
    })?;
    withdrawal::warn(&version);
    if version.delete_time.is_some() {
        note(&format!("{} is deleted", brief(&version.name)));
    }
    for path in &others {
        note(&format!("{}: does not belong to the version, and stays", folder.join(path).display()));
    }
    let tree = || {
        let entries = [
            ("version", json::tree("Version", &version)?),
            ("folder", serde_json::to_value(&folder)?.into()),
            ("files", serde_json::to_value(&files)?.into()),
            ("leftOut", serde_json::to_value(left_out)?.into()),
            ("others", serde_json::to_value(&others)?.into()),
        ];
        Ok(Tree::Map(entries.map(|(key, value)| (key.to_owned(), value)).into()))
    };
    context.out.tree(std::slice::from_ref(&version.name), tree, || {
        let size = moved.of(artifacts.iter().map(|artifact| artifact.size_bytes).sum(), "fetched");
        // Each file was checked; whether they are all, only a manifest tells.
        let sealed = if version.manifest_sha256.is_empty() || !version.source_uri.is_empty() {
            "incomplete"
        } else {
            "verified"
        };
        let files = parts(artifacts.len(), left_out);
        format!("pulled {}: {files}, {size}, {sealed}, to {}", brief(&version.name), folder.display())
    })
}

/// So many files, of so many if others were left out.
fn parts(files: usize, left_out: usize) -> String {
    match left_out {
        0 => count(files, "file"),
        left_out => format!("{files} of {}", count(files + left_out, "file")),
    }
}

/// `fraud-7`, and `risk~fraud-7` in another namespace: no two versions are mixed in one. No name has a `~`, and no number a `-`.
fn default_folder(version: &pb::Version) -> PathBuf {
    let parts: Vec<_> = version.name.split('/').skip(1).step_by(2).collect();
    PathBuf::from(match parts[..] {
        ["default", model, number] => format!("{model}-{number}"),
        [namespace, model, number] => format!("{namespace}~{model}-{number}"),
        _ => version.number.to_string(),
    })
}

pub(crate) async fn verify(out: &Output, folder: &Path) -> Result<(), Failure> {
    let bar = Bar::new("verifying");
    let report = registry_client::verify_folder(folder).progress(bar.follow()).await;
    bar.end();
    let report = report?;
    if out.json {
        out.value(&report)?;
    } else {
        report.problems.iter().try_for_each(|problem| out.line(&problem.to_string()))?;
    }
    match report.problems.len() {
        0 if out.json => Ok(()),
        0 => {
            let (version, size) = (brief(&report.version), bytes(report.bytes.cast_signed()));
            out.line(&format!(
                "verified {version}: {}, {size}, manifest {}",
                parts(report.files, report.left_out),
                report.manifest_sha256
            ))
        }
        1 => Err(format!("{}: 1 problem was found", folder.display()).into()),
        problems => Err(format!("{}: {problems} problems were found", folder.display()).into()),
    }
}
