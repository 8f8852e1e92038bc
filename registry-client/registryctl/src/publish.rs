//! `publish`: a version out of a folder.

use registry_client::{Foreseen, LeftOut, LeftOutBy, PublishPlan, pb};
use serde::Serialize;

use crate::args::Publish;
use crate::interrupt::{Begun, asked_to_end};
use crate::metadata::mlmodel;
use crate::output::{brief, bytes, count, note};
use crate::progress::{Bar, Moved};
use crate::{Context, Failure, Usage};

/// How many paths a note names.
const NAMED: usize = 8;

pub(crate) async fn publish(context: &Context, command: Publish) -> Result<(), Failure> {
    let mut version = pb::Version::default();
    if command.folder.is_file() {
        return Err(Usage(format!("{}: is a file, and a folder is published", command.folder.display())).into());
    }
    if !command.no_mlmodel {
        let folder = command.folder.clone();
        match tokio::task::spawn_blocking(move || mlmodel::read(&folder)).await? {
            Ok(None) => {}
            Ok(Some(said)) => {
                note(&format!("what MLmodel says is taken: {} (--no-mlmodel leaves it out)", taken(&said)));
                version = said;
            }
            // Nobody has asked for it.
            Err(problem) => note(&format!("MLmodel is not understood, and nothing is taken from it: {problem}")),
        }
    }
    command.draft.apply(&mut version).await?;
    if !version.source_uri.is_empty() {
        let problem = "the metadata have a sourceUri, and the content of what is published is in the folder";
        return Err(Usage(format!("{problem}: see create-version")).into());
    }
    let bar = Bar::new("uploading");
    let publish = context.client.publish(command.folder, command.model).version(version).progress(bar.follow());
    let publish = publish.follow_links(command.follow_links).exclude(command.exclude);
    let mut publish = publish.everything(command.no_ignore);
    let takes_up = command.version_id.is_some();
    if let Some(version_id) = command.version_id {
        publish = publish.version_id(version_id);
    }
    if command.create {
        publish = publish.create_model_if_missing(pb::Model::default());
    }
    let begun = Begun::default();
    let plan = publish.on_begin(begun.told()).plan().await?;
    if command.dry_run {
        let foreseen = plan.check().await?;
        return say(context, &plan, &foreseen);
    }
    let unasked: Vec<_> = plan.left_out().iter().filter(|left_out| left_out.by != LeftOutBy::Caller).collect();
    if !unasked.is_empty() {
        let paths: Vec<_> = unasked.iter().take(NAMED).map(|left_out| left_out.path.as_str()).collect();
        let more = match unasked.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        note(&format!("left out: {}{more} (--no-ignore takes all, --dry-run says why)", paths.join(", ")));
    }
    let published = tokio::select! {
        published = plan.send() => published,
        () = asked_to_end() => {
            bar.end();
            return Err(begun.left(context, takes_up).await.into());
        }
    };
    let moved = bar.end();
    made(context, "published", &published?, moved)
}

/// What of a version a file has said.
fn taken(version: &pb::Version) -> String {
    let framework = format!("{} {}", version.framework, version.framework_version);
    let parts = [
        framework.trim(),
        if version.signature.is_some() { "the signature" } else { "" },
        if version.environment.is_some() { "the environment" } else { "" },
        if version.training_time.is_some() { "the time" } else { "" },
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Says what a version that was made of files is.
pub(crate) fn made(context: &Context, how: &str, version: &pb::Version, moved: Moved) -> Result<(), Failure> {
    context.out.message("Version", version, |version| {
        let (files, size) = (count(version.artifact_count, "file"), moved.of(version.size_bytes, "sent"));
        format!("{how} {}: {files}, {size}, manifest {}", version.name, version.manifest_sha256)
    })
}

/// A dry run, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DryRun<'a> {
    version: Option<&'a str>,
    taken_up: bool,
    size_bytes: u64,
    files: Vec<FileJson<'a>>,
    left_out: Vec<LeftOutJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileJson<'a> {
    path: &'a str,
    r#type: &'a str,
    size_bytes: u64,
    executable: bool,
}

#[derive(Serialize)]
struct LeftOutJson<'a> {
    path: &'a str,
    pattern: &'a str,
    by: &'static str,
}

fn by(left_out: &LeftOut) -> &'static str {
    match left_out.by {
        LeftOutBy::IgnoreFile => ".registryignore",
        LeftOutBy::Caller => "--exclude",
        _ => "default",
    }
}

fn say(context: &Context, plan: &PublishPlan, foreseen: &Foreseen) -> Result<(), Failure> {
    let (files, left_out) = (plan.files(), plan.left_out());
    let size_bytes: u64 = files.iter().map(|file| file.size).sum();
    if context.out.json {
        return context.out.value(&DryRun {
            version: foreseen.version.as_deref(),
            taken_up: foreseen.taken_up,
            size_bytes,
            files: files
                .iter()
                .map(|file| FileJson {
                    path: &file.path,
                    r#type: &file.artifact_type,
                    size_bytes: file.size,
                    executable: file.executable,
                })
                .collect(),
            left_out: left_out
                .iter()
                .map(|left_out| LeftOutJson { path: &left_out.path, pattern: &left_out.pattern, by: by(left_out) })
                .collect(),
        });
    }
    let size = |count: u64| bytes(i64::try_from(count).unwrap_or(i64::MAX));
    let rows = files.iter().map(|file| vec![file.path.clone(), file.artifact_type.clone(), size(file.size)]);
    context.out.table(&["path", "type", "size"], rows.collect())?;
    for left_out in left_out {
        context.out.line(&format!("left out: {} ({}: {})", left_out.path, by(left_out), left_out.pattern))?;
    }
    let version = foreseen.version.as_deref().map_or("the first version of a new model", brief);
    let how = if foreseen.taken_up { "would go on with" } else { "would publish" };
    context.out.line(&format!("{how} {version}: {}, {}", count(files.len(), "file"), size(size_bytes)))
}
