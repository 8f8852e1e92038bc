//! `promote`, `rollback`, `alias`.

use registry_client::pb;

use crate::args::{Alias, Promote, Rollback};
use crate::output::{brief, last};
use crate::values::short;
use crate::{Context, Failure};

pub(crate) async fn promote(context: &Context, command: Promote) -> Result<(), Failure> {
    let request = pb::TransitionStageRequest {
        name: command.name.into(),
        stage: command.stage.into(),
        incumbent: command.change.incumbent.unwrap_or_default().into(),
        comment: command.change.comment.unwrap_or_default(),
        validate_only: command.change.dry_run,
        ..Default::default()
    };
    let moved = context.client.call(request).await?;
    context.out.message("TransitionStageResponse", &moved, |moved| {
        text(moved.version.as_ref(), &moved.displaced, moved.revision)
    })
}

pub(crate) async fn rollback(context: &Context, command: Rollback) -> Result<(), Failure> {
    let request = pb::RollbackStageRequest {
        name: command.model.into(),
        stage: command.stage.into(),
        incumbent: command.change.incumbent.unwrap_or_default().into(),
        comment: command.change.comment.unwrap_or_default(),
        validate_only: command.change.dry_run,
        ..Default::default()
    };
    let moved = context.client.call(request).await?;
    context.out.message("RollbackStageResponse", &moved, |moved| {
        text(moved.version.as_ref(), &moved.displaced, moved.revision)
    })
}

fn text(version: Option<&pb::Version>, displaced: &[pb::Version], revision: i64) -> Vec<String> {
    let (is, at) = if revision == 0 { ("would be", String::new()) } else { ("is", format!(" (revision {revision})")) };
    let stands =
        |version: &pb::Version| format!("{} {is} in {}", brief(&version.name), short::<pb::Stage>(version.stage));
    let mut lines: Vec<_> = version.into_iter().chain(displaced).map(stands).collect();
    lines.last_mut().into_iter().for_each(|line| line.push_str(&at));
    lines
}

pub(crate) async fn alias(context: &Context, command: Alias) -> Result<(), Failure> {
    match command {
        Alias::Set { model, alias, version } => {
            let model = context.client.set_alias(model, &alias, version).await?;
            context.out.message("Model", &model, |model| {
                let version = model.aliases.get(&alias).map(|version| last(version)).unwrap_or_default();
                format!("{}@{alias} is version {version}", brief(&model.name))
            })
        }
        Alias::Delete { model, alias } => {
            let model = context.client.delete_alias(model, &alias).await?;
            context.out.message("Model", &model, |model| format!("deleted {}@{alias}", brief(&model.name)))
        }
    }
}
