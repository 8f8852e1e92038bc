//! `compare`, `prune`, `delete`, `undelete`.

use registry_client::pb;

use crate::args::Prune;
use crate::models::Named;
use crate::output::{brief, table};
use crate::values::resource;
use crate::{Context, Failure};

pub(crate) async fn compare(context: &Context, names: Vec<String>) -> Result<(), Failure> {
    let names = names.iter().map(|name| resource(name)).collect();
    let comparison = context.client.call(pb::CompareVersionsRequest { names }).await?;
    context.out.message("CompareVersionsResponse", &comparison, comparison_text)
}

/// A row for each metric: the values, the best marked by `*`, and their distance to the first.
fn comparison_text(comparison: &pb::CompareVersionsResponse) -> String {
    let mut head = vec!["METRIC".to_owned(), "BETTER".to_owned()];
    head.extend(comparison.versions.iter().map(|version| brief(&version.name).to_owned()));
    let rows = comparison.metrics.iter().map(|metric| {
        let better = match metric.direction() {
            pb::MetricDirection::HigherIsBetter => "higher",
            pb::MetricDirection::LowerIsBetter => "lower",
            pb::MetricDirection::Unspecified => "?",
        };
        let values = (0..).zip(&metric.values).map(|(i, value)| {
            let best = if metric.best.contains(&i) { "*" } else { " " };
            match (value.value, value.delta) {
                (None, _) => "-".to_owned(),
                (Some(value), Some(delta)) if i > 0 => format!("{value:.6}{best} ({delta:+.6})"),
                (Some(value), _) => format!("{value:.6}{best}"),
            }
        });
        [format!("{}.{}", metric.split, metric.metric), better.to_owned()].into_iter().chain(values).collect()
    });
    table(&head, rows)
}

pub(crate) async fn prune(context: &Context, command: Prune) -> Result<(), Failure> {
    loop {
        let request = pb::PruneVersionsRequest {
            parent: resource(&command.model),
            keep: command.keep,
            dry_run: command.dry_run,
            ..Default::default()
        };
        let pruned = context.client.call(request).await?;
        context.out.message("PruneVersionsResponse", &pruned, |pruned| {
            let done = if command.dry_run { "would delete" } else { "deleted" };
            let lines: Vec<_> =
                pruned.versions.iter().map(|version| format!("{done} {}", brief(&version.name))).collect();
            if lines.is_empty() { "nothing to delete".to_owned() } else { lines.join("\n") }
        })?;
        if command.dry_run && pruned.more {
            eprintln!("and more: a dry run shows the first ones only");
        }
        if command.dry_run || !pruned.more {
            return Ok(());
        }
    }
}

pub(crate) async fn delete(context: &Context, name: &str, force: bool) -> Result<(), Failure> {
    let (client, out, name) = (&context.client, &context.out, resource(name));
    match Named::of(&name) {
        Named::Event => Err("events stay".into()),
        Named::Artifact => {
            let artifact = client.delete_artifact(name).await?;
            out.message("Artifact", &artifact, |artifact| format!("deleted {}", brief(&artifact.name)))
        }
        Named::Version => {
            let request = pb::DeleteVersionRequest { name, force, ..Default::default() };
            let version = client.call(request).await?;
            out.message("Version", &version, |version| format!("deleted {}", brief(&version.name)))
        }
        Named::Model => {
            let request = pb::DeleteModelRequest { name, force, ..Default::default() };
            let model = client.call(request).await?;
            out.message("Model", &model, |model| format!("deleted {}", brief(&model.name)))
        }
    }
}

pub(crate) async fn undelete(context: &Context, name: &str) -> Result<(), Failure> {
    let (client, out, name) = (&context.client, &context.out, resource(name));
    match Named::of(&name) {
        Named::Event | Named::Artifact => Err("only models and versions can be undeleted".into()),
        Named::Version => {
            let version = client.undelete_version(name).await?;
            out.message("Version", &version, |version| format!("undeleted {}", brief(&version.name)))
        }
        Named::Model => {
            let model = client.undelete_model(name).await?;
            out.message("Model", &model, |model| format!("undeleted {}", brief(&model.name)))
        }
    }
}
