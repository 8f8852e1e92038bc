//! `publish`, `pull`, and `verify` of what was pulled.

use std::path::{Path, PathBuf};

use registry_client::{Pulled, pb};

use crate::args::{Publish, Pull};
use crate::interrupt::{Begun, GO_ON, Interrupted, asked_to_end};
use crate::output::json::{self, Tree};
use crate::output::{Output, brief, bytes, count, note};
use crate::progress::{Bar, Moved};
use crate::{Context, Failure, Usage, metadata, withdrawal};

pub(crate) async fn publish(context: &Context, command: Publish) -> Result<(), Failure> {
    let mut version = pb::Version::default();
    if let Some(file) = metadata::read(&command.common).await? {
        if file.has("source_uri") {
            let problem = "the metadata have a sourceUri, and the content of what is published is in the folder";
            return Err(Usage(format!("{problem}: see create-version")).into());
        }
        file.apply(&mut version);
    }
    command.common.apply(&mut version);
    command.of_version.apply(&mut version);
    command.bases.apply(&mut version);
    let bar = Bar::new("uploading");
    let publish = context.client.publish(command.folder, command.model).version(version).progress(bar.follow());
    let mut publish = publish.follow_links(command.follow_links);
    let takes_up = command.version_id.is_some();
    if let Some(version_id) = command.version_id {
        publish = publish.version_id(version_id);
    }
    if command.create {
        publish = publish.create_model_if_missing(pb::Model::default());
    }
    let begun = Begun::default();
    let published = tokio::select! {
        published = publish.on_begin(begun.told()).send() => published,
        () = asked_to_end() => {
            bar.end();
            return Err(begun.left(context, takes_up).await.into());
        }
    };
    let moved = bar.end();
    made(context, "published", &published?, moved)
}

/// Says what a version that was made of files is.
pub(crate) fn made(context: &Context, how: &str, version: &pb::Version, moved: Moved) -> Result<(), Failure> {
    context.out.message("Version", version, |version| {
        let (files, size) = (count(version.artifact_count, "file"), moved.of(version.size_bytes, "sent"));
        format!("{how} {}: {files}, {size}, manifest {}", version.name, version.manifest_sha256)
    })
}

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
        pulled = pull.send() => pulled,
        () = asked_to_end() => {
            bar.end();
            return Err(Interrupted(GO_ON.to_owned()).into());
        }
    };
    let moved = bar.end();
    let Pulled { version, files, others, .. } = pulled?;
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
            ("others", serde_json::to_value(&others)?.into()),
        ];
        Ok(Tree::Map(entries.map(|(key, value)| (key.to_owned(), value)).into()))
    };
    context.out.tree(std::slice::from_ref(&version.name), tree, || {
        let (files, size) = (count(version.artifact_count, "file"), moved.of(version.size_bytes, "fetched"));
        // Each file was checked; whether they are all, only a manifest tells.
        let sealed = if version.manifest_sha256.is_empty() || !version.source_uri.is_empty() {
            "incomplete"
        } else {
            "verified"
        };
        format!("pulled {}: {files}, {size}, {sealed}, to {}", brief(&version.name), folder.display())
    })
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
                count(report.files, "file"),
                report.manifest_sha256
            ))
        }
        1 => Err(format!("{}: 1 problem was found", folder.display()).into()),
        problems => Err(format!("{}: {problems} problems were found", folder.display()).into()),
    }
}
