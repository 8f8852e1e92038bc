//! `backup`, `verify`, `tombstone` and `usage`.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use registry_client::{Error, pb};
use registry_common::{hex, places};

use crate::args::Backup;
use crate::artifacts::is_stdout;
use crate::objects::Upload;
use crate::output::{Column, bytes, count as number, last, note};
use crate::progress::target;
use crate::{Context, Failure, objects};

/// The registry is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Damaged(pub(crate) String);

pub(crate) async fn backup(context: &Context, command: Backup) -> Result<(), Failure> {
    let bar = bar("revision {pos}/{len}, {msg}");
    let moved = bar.clone();
    let backup = context.client.backup().skip_artifacts(command.skip_artifacts).progress(move |step| {
        moved.set_length(step.of_revision.cast_unsigned());
        moved.set_position(step.revision.cast_unsigned());
        let size = bytes(step.bytes);
        moved.set_message(format!("chunk {}/{}, {size}", step.chunks, step.of_chunks));
    });
    let piped = is_stdout(Path::new(&command.to));
    let completed = if places::url(&command.to)?.is_some() {
        let (objects, path) = objects::open(&command.to).await?;
        let mut object = Upload::new(objects, path);
        match backup.write_to(&mut object).await {
            Ok(completed) => {
                let finished = object.finish(&completed.sha256).await;
                finished.map(|()| completed).map_err(|source| Error::Io { path: command.to.clone().into(), source })
            }
            // After a failed write it has ended.
            Err(error @ Error::Io { .. }) => Err(error),
            Err(error) => {
                object.abort().await;
                Err(error)
            }
        }
    } else if piped {
        backup.write_to(tokio::io::stdout()).await
    } else {
        backup.to_file(&command.to).await
    };
    bar.finish_and_clear();
    let completed = completed?;
    let text = |completed: &pb::BackupCompleted| {
        let size = bytes(completed.size_bytes);
        format!("backed up revision {}: {size}, sha256 {}, to {}", completed.revision, completed.sha256, command.to)
    };
    if piped {
        // On standard output it would be a part of the backup.
        note(&text(&completed));
    } else {
        context.out.message("BackupCompleted", &completed, text)?;
    }
    match completed.lost_artifacts.as_slice() {
        [] => Ok(()),
        lost => {
            let unlisted = completed.lost_artifact_count - lost.len() as i64;
            let more = if unlisted > 0 { format!(" and {unlisted} more") } else { String::new() };
            let names = lost.join(", ");
            Err(Damaged(format!("the bytes of {names}{more} are missing or damaged, and not in the backup")).into())
        }
    }
}

pub(crate) async fn verify(context: &Context, skip_artifacts: bool) -> Result<(), Failure> {
    let bar = bar("{msg} {pos}");
    let moved = bar.clone();
    let verify = context.client.verify().skip_artifacts(skip_artifacts).progress(move |progress| {
        let phase = progress.phase().as_str_name().trim_start_matches("VERIFY_PHASE_").to_lowercase();
        moved.set_message(phase);
        moved.set_position(progress.done.cast_unsigned());
    });
    let report = verify.await;
    bar.finish_and_clear();
    let report = report?;
    context.out.message("VerifyReport", &report, text)?;
    match report.problem_count {
        0 => Ok(()),
        1 => Err(Damaged("1 problem was found".to_owned()).into()),
        count => Err(Damaged(format!("{count} problems were found")).into()),
    }
}

fn text(report: &pb::VerifyReport) -> Vec<String> {
    let mut lines: Vec<_> =
        report.problems.iter().map(|problem| format!("{}: {}", problem.name, problem.detail)).collect();
    if report.tombstoned_revisions > 0 {
        lines.push(format!("revisions that can't be read and have a tombstone: {}", report.tombstoned_revisions));
    }
    if report.archived_revisions > 0 {
        lines.push(format!("revisions that were read from the archive: {}", report.archived_revisions));
    }
    let head = hex(&report.chain_head);
    lines.push(format!(
        "verified revision {}: {} (chain {}), {}, {} of {}",
        report.revision,
        number(report.events, "event"),
        head,
        number(report.records, "record"),
        number(report.artifacts, "artifact"),
        bytes(report.artifact_bytes),
    ));
    lines
}

pub(crate) async fn tombstone(context: &Context, revision: i64, comment: Option<String>) -> Result<(), Failure> {
    let laid = context.client.tombstone_revision(revision).comment(comment.unwrap_or_default()).await?;
    context.out.message("Event", &laid, |laid| format!("revision {revision} has a tombstone: {}", laid.name))
}

pub(crate) async fn usage(context: &Context) -> Result<(), Failure> {
    let namespaces: Vec<_> = context.client.list_usage().page_size(1000).stream().try_collect().await?;
    let columns = [
        "namespace".into(),
        Column::number("artifacts").rank(3),
        Column::number("size"),
        Column::number("quota").rank(1).if_any(),
    ];
    context.out.rows("NamespaceUsage", &namespaces, &columns, |usage| {
        let quota = usage.quota_bytes.map(bytes).unwrap_or_default();
        vec![last(&usage.name).to_owned(), usage.artifact_count.to_string(), bytes(usage.size_bytes), quota]
    })
}

/// A line on stderr that follows something of unknown length.
pub(crate) fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{spinner}} {template}"));
    // The template is fixed: if indicatif could not read it, its own style serves.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(None, target()).with_style(style)
}
