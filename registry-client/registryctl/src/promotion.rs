//! `promote`, `rollback`, `alias`.

use std::time::Duration;

use registry_client::pb;
use serde::Serialize;

use crate::args::{Alias, Promote, Rollback};
use crate::output::{Column, brief, last};
use crate::values::short;
use crate::{Context, Failure, approvals, policies, rollout};

pub(crate) async fn promote(context: &Context, command: Promote) -> Result<(), Failure> {
    let request = pb::TransitionStageRequest {
        name: command.name.into(),
        stage: command.stage.into(),
        incumbent: command.change.incumbent.unwrap_or_default().into(),
        override_gates: command.override_reason.is_some(),
        comment: command.override_reason.or(command.change.comment).unwrap_or_default(),
        validate_only: command.change.dry_run,
        etag: command.change.if_match.into_etag(),
        ..Default::default()
    };
    if command.check {
        return policies::check(context, request).await;
    }
    let (explained, dry_run) = (!request.comment.is_empty(), request.validate_only);
    let moved = match context.client.call(request.clone()).await {
        Ok(moved) => moved,
        Err(error) => return Err(policies::explain(context, request, error).await),
    };
    let (wait, version) = (command.change.arrival.wait.filter(|_| !dry_run), moved.version.clone());
    context.out.message("TransitionStageResponse", &moved, |moved| {
        if let Some(version) = moved.version.as_ref().filter(|version| version.stage == moved.from_stage) {
            let stands = format!("{} is in {} already", brief(&version.name), short::<pb::Stage>(version.stage));
            return match explained && moved.revision != 0 {
                true => vec![format!("{stands}, and that it stays is logged (revision {})", moved.revision)],
                false => vec![stands],
            };
        }
        let mut lines = text(moved.version.as_ref(), &moved.displaced, moved.revision);
        if let (Some(version), pb::Stage::Staging | pb::Stage::Production) = (&moved.version, moved.from_stage()) {
            let leaves = if moved.revision == 0 { "would leave" } else { "has left" };
            lines.push(format!("{} {leaves} {}", brief(&version.name), short::<pb::Stage>(moved.from_stage)));
        }
        lines.extend(moved.gates.iter().flat_map(policies::remarks));
        lines
    })?;
    arrival(context, version, command.stage, wait).await
}

/// Waits until a version that has entered a stage runs wherever that is followed, if that is asked for.
async fn arrival(
    context: &Context,
    version: Option<pb::Version>,
    stage: pb::Stage,
    wait: Option<Duration>,
) -> Result<(), Failure> {
    let (Some(version), Some(wait)) = (version, wait.filter(|wait| !wait.is_zero())) else { return Ok(()) };
    match (rollout::target_of(stage), version.name.rsplit_once("/versions/")) {
        (Some(target), Some((model, _))) => rollout::wait(context, model, target, &version.name, wait).await,
        // Nobody follows any other stage.
        _ => Ok(()),
    }
}

pub(crate) async fn rollback(context: &Context, command: Rollback) -> Result<(), Failure> {
    let request = pb::RollbackStageRequest {
        name: command.model.into(),
        stage: command.stage.into(),
        incumbent: command.change.incumbent.unwrap_or_default().into(),
        comment: command.change.comment.unwrap_or_default(),
        validate_only: command.change.dry_run,
        etag: command.change.if_match.into_etag(),
        ..Default::default()
    };
    let moved = context.client.call(request).await?;
    context.out.message("RollbackStageResponse", &moved, |moved| {
        text(moved.version.as_ref(), &moved.displaced, moved.revision)
    })?;
    let wait = command.change.arrival.wait.filter(|_| !command.change.dry_run);
    arrival(context, moved.version, command.stage, wait).await
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
        Alias::Set { model, alias, version, arrival, if_match } => {
            let of = match version.as_bytes() {
                [b'@', ..] => format!("{model}{version}"),
                _ if version.contains('/') => version.clone(),
                _ => format!("{model}/versions/{version}"),
            };
            let set = context.client.set_alias(model, &alias, version).etag(if_match.into_etag()).await;
            let model = set.map_err(|error| approvals::hinted(error, &of, &format!("--alias {alias}")))?;
            let version = model.aliases.get(&alias).cloned().unwrap_or_default();
            context.out.message("Model", &model, |model| {
                format!("{}@{alias} is version {}", brief(&model.name), last(&version))
            })?;
            match arrival.wait.filter(|wait| !wait.is_zero()) {
                Some(wait) => rollout::wait(context, &model.name, &format!("@{alias}"), &version, wait).await,
                None => Ok(()),
            }
        }
        Alias::Delete { model, alias, if_match } => {
            let model = context.client.delete_alias(model, &alias).etag(if_match.into_etag()).await?;
            context.out.message("Model", &model, |model| format!("deleted {}@{alias}", brief(&model.name)))
        }
        Alias::List { model, .. } => {
            let model = context.client.get_model(model).await?;
            let name = |alias: &AliasOf| format!("{}@{}", model.name, alias.alias);
            let columns = ["alias".into(), Column::number("version"), "computed".into()];
            context.out.records(&aliases(&model), name, &columns, |alias| {
                let computed = if alias.computed { "yes" } else { "" };
                vec![alias.alias.clone(), last(&alias.version).to_owned(), computed.to_owned()]
            })
        }
    }
}

/// An alias of a model.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct AliasOf {
    alias: String,
    version: String,
    /// By the registry, from stages and numbers.
    computed: bool,
}

/// The aliases that were set, and before them those that are computed and stand for a version.
fn aliases(model: &pb::Model) -> Vec<AliasOf> {
    let holder = |stage: pb::Stage| {
        let summary = model.stages.iter().find(|summary| summary.stage() == stage);
        summary.map(|summary| summary.version.as_str()).unwrap_or_default()
    };
    let computed = [
        ("production", holder(pb::Stage::Production)),
        ("staging", holder(pb::Stage::Staging)),
        ("latest", &model.latest_version),
    ];
    let computed = computed.into_iter().filter(|(_, version)| !version.is_empty());
    let alias = |alias: &str, version: &str, computed| AliasOf {
        alias: alias.to_owned(),
        version: version.to_owned(),
        computed,
    };
    computed
        .map(|(name, version)| alias(name, version, true))
        .chain(model.aliases.iter().map(|(name, version)| alias(name, version, false)))
        .collect()
}
