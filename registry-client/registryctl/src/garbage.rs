//! `gc`, `scrub`, `purge`.

use std::sync::Once;
use std::time::Duration;

use registry_client::{Error, Kind, Name, RegistryClient, pb};

use crate::admin::{Damaged, bar};
use crate::args::IfMatch;
use crate::output::{brief, bytes, count as number, note};
use crate::{Context, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Spare chunks that were written within this time, for example 1h; as the server is configured by default.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
}

pub(crate) async fn collect(context: &Context, command: Gc) -> Result<(), Failure> {
    let bar = bar("{msg} {pos}");
    let (moved, said) = (bar.clone(), Once::new());
    let mut collect = context.client.collect_garbage().validate_only(command.dry_run).progress(move |progress| {
        if progress.phase() == pb::CollectGarbagePhase::Archive {
            // Also where no bar is drawn, and once.
            said.call_once(|| {
                let why = format!(
                    "waiting for the archive, which is at revision {}: no chunk goes before it has all that there is",
                    progress.done
                );
                moved.suspend(|| note(&why));
            });
        }
        moved.set_message(match progress.phase() {
            pb::CollectGarbagePhase::Forget => "request ids forgotten:",
            pb::CollectGarbagePhase::DropLog => "dropping the log:",
            pb::CollectGarbagePhase::Archive => "waiting for the archive, at revision",
            pb::CollectGarbagePhase::Mark => "artifacts read:",
            pb::CollectGarbagePhase::Sweep => "chunks looked at:",
            _ => "versions purged:",
        });
        moved.set_position(progress.done.cast_unsigned());
    });
    if let Some(grace) = command.grace {
        collect = collect.grace(grace);
    }
    let report = collect.await;
    bar.finish_and_clear();
    context.out.message("CollectGarbageReport", &report?, |report| {
        let refused = match report.refused_chunks {
            0 => String::new(),
            count => format!("; the object store refuses to remove {count}: see the server's log"),
        };
        let [purged, removed, forgotten, dropped] = match command.dry_run {
            true => ["would purge", "would remove", "would be forgotten", "may be dropped"],
            false => ["purged", "removed", "forgotten", "dropped"],
        };
        let revisions = match report.dropped_revisions {
            0 => String::new(),
            revisions => format!("; {} {dropped} from the log", number(revisions, "revision")),
        };
        let requests = match report.forgotten_requests {
            0 => String::new(),
            requests => format!("; {} {forgotten}", number(requests, "request id")),
        };
        let parts = match report.removed_parts {
            0 => String::new(),
            parts => format!("; {removed} {} of uploads", number(parts, "part")),
        };
        format!(
            "{purged} {} and {}, {removed} {} of {} ({}) and {}; {} more are too recent{parts}{requests}{revisions}{refused}",
            number(report.purged_versions, "version"),
            number(report.purged_models, "model"),
            report.removed_chunks,
            number(report.stored_chunks, "chunk"),
            bytes(report.removed_bytes),
            number(report.removed_leftovers, "leftover"),
            report.recent_chunks,
        )
    })
}

pub(crate) async fn scrub(context: &Context, quarantine: bool) -> Result<(), Failure> {
    let bar = bar("artifacts read: {pos}, {msg}");
    let moved = bar.clone();
    let scrub = context.client.scrub().quarantine(quarantine).progress(move |progress| {
        let size = bytes(progress.size_bytes);
        let (chunks, problems) = (number(progress.chunks, "chunk"), number(progress.problem_count, "problem"));
        moved.set_message(format!("{chunks} ({size}), {problems}"));
        moved.set_position(progress.artifacts.cast_unsigned());
    });
    let report = scrub.await;
    bar.finish_and_clear();
    let report = report?;
    context.out.message("ScrubReport", &report, scrub_text)?;
    match report.problem_count {
        0 => Ok(()),
        1 => Err(Damaged("1 chunk or list of chunks is missing or damaged".to_owned()).into()),
        count => Err(Damaged(format!("{count} chunks or lists of chunks are missing or damaged")).into()),
    }
}

fn scrub_text(report: &pb::ScrubReport) -> Vec<String> {
    let mut lines = Vec::new();
    for problem in &report.problems {
        lines.push(format!("{}:", problem.detail));
        lines.extend(problem.artifacts.iter().map(|name| format!("  {}", brief(name))));
        let unlisted = problem.artifact_count - problem.artifacts.len() as i64;
        if unlisted > 0 {
            lines.push(format!("  and {unlisted} more"));
        }
    }
    let put_aside = match report.quarantined_chunks {
        0 => String::new(),
        count => format!(", {count} put aside"),
    };
    let size = bytes(report.size_bytes);
    let (artifacts, chunks) = (number(report.artifacts, "artifact"), number(report.chunks, "chunk"));
    let well = match (report.problem_count, report.chunks) {
        (0, 1) => " is well",
        (0, _) => " are well",
        _ => "",
    };
    lines.push(format!("read {artifacts}: {chunks} ({size}){well}{put_aside}"));
    lines
}

pub(crate) async fn purge(context: &Context, name: Name, if_match: IfMatch) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match name.kind() {
        Kind::Version => {
            let version = client.purge_version(name).etag(if_match.into_etag()).await?;
            out.message("Version", &version, |version| format!("purged {}", brief(&version.name)))
        }
        Kind::Model => {
            let model = purge_model(client, name.as_str(), if_match.into_etag()).await?;
            out.message("Model", &model, |model| format!("purged {}: its name is free", brief(&model.name)))
        }
        kind => Err(format!("{kind:?}s can't be purged").into()),
    }
}

/// Purges a model, however many versions it has: a call that takes too long has purged some.
pub(crate) async fn purge_model(client: &RegistryClient, name: &str, mut etag: String) -> Result<pb::Model, Error> {
    let mut left = i64::MAX;
    loop {
        // What a call has purged changes the etag.
        match client.purge_model(name).etag(std::mem::take(&mut etag)).await {
            Err(error) if error.is_deadline_exceeded() => {
                let before = std::mem::replace(&mut left, client.get_model(name).await?.version_count);
                if left >= before {
                    return Err(error);
                }
            }
            answer => return answer,
        }
    }
}
