//! `prune`: old versions go, and are kept elsewhere before if that is asked for.

use registry_client::pb;

use crate::args::Prune;
use crate::kept::Kept;
use crate::output::{brief, note};
use crate::{Context, Failure};

pub(crate) async fn prune(context: &Context, command: Prune) -> Result<(), Failure> {
    if let (Some(place), false) = (&command.backup_to, command.dry_run) {
        let kept = Kept::open(place).await?;
        return keep_and_delete(context, &command, &kept).await;
    }
    loop {
        let pruned = context.client.call(request(&command, command.dry_run)?).await?;
        context.out.message("PruneVersionsResponse", &pruned, |pruned| {
            let done = if command.dry_run { "would delete" } else { "deleted" };
            let lines: Vec<_> =
                pruned.versions.iter().map(|version| format!("{done} {}", brief(&version.name))).collect();
            if lines.is_empty() { vec!["nothing to delete".to_owned()] } else { lines }
        })?;
        if command.dry_run && pruned.more {
            note("and more: a dry run shows the first ones only");
        }
        if command.dry_run || !pruned.more {
            return Ok(());
        }
    }
}

fn request(command: &Prune, validate_only: bool) -> Result<pb::PruneVersionsRequest, Failure> {
    Ok(pb::PruneVersionsRequest {
        parent: command.model.to_string(),
        keep: command.keep,
        filter: command.filter.clone().unwrap_or_default(),
        validate_only,
        pending_older_than: command.pending_older_than.map(TryInto::try_into).transpose()?,
        ..Default::default()
    })
}

/// Deletes what pruning would, one by one, each as it was when it was kept.
async fn keep_and_delete(context: &Context, command: &Prune, kept: &Kept) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    let mut count = 0;
    loop {
        let planned = client.call(request(command, true)?).await?;
        for planned in &planned.versions {
            let version = client.get_version(&planned.name).await?;
            let place = if version.state() != pb::VersionState::Ready {
                None
            } else {
                let kept = kept.keep(client, &version).await;
                let name = brief(&version.name);
                Some(kept.map_err(|error| format!("{name} can't be kept, and stays; so do the others: {error}"))?)
            };
            let deleted = client.delete_version(&version.name).etag(&version.etag).await?;
            count += 1;
            out.message("Version", &deleted, |deleted| match place {
                Some(place) => format!("deleted {}, kept in {place}", brief(&deleted.name)),
                None => {
                    let what = if deleted.state() == pb::VersionState::Failed { "has failed" } else { "is pending" };
                    format!("deleted {}, which {what}: nothing of it is kept", brief(&deleted.name))
                }
            })?;
        }
        if planned.versions.is_empty() || !planned.more {
            break;
        }
    }
    if count == 0 && !out.json { out.line("nothing to delete") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        prune: Prune,
    }

    #[test]
    fn a_condition_that_is_empty_is_no_leave_to_delete_all() {
        let line = |filter| Line::try_parse_from(["prune", "fraud", "--keep", "1", "--filter", filter]);
        assert!(line("").unwrap_err().to_string().contains("--filter"));
        assert_eq!(line("true").unwrap().prune.filter.as_deref(), Some("true"));
    }
}
