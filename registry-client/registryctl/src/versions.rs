//! `compare`, `prune`, `delete`, `undelete`.

use registry_client::{Kind, Name, pb};
use unicode_width::UnicodeWidthStr as _;

use crate::args::Prune;
use crate::output::{Column, brief, note, significant};
use crate::{Context, Failure};

pub(crate) async fn compare(context: &Context, names: Vec<Name>) -> Result<(), Failure> {
    let names: Vec<_> = names.into_iter().map(Into::into).collect();
    let mut comparison = pb::CompareVersionsResponse::default();
    loop {
        let (names, page_token) = (names.clone(), comparison.next_page_token);
        let page = context.client.call(pb::CompareVersionsRequest { names, page_token, ..Default::default() }).await?;
        let mut metrics = comparison.metrics;
        metrics.extend(page.metrics);
        comparison = pb::CompareVersionsResponse { metrics, ..page };
        if comparison.next_page_token.is_empty() {
            break;
        }
    }
    let out = &context.out;
    out.message("CompareVersionsResponse", &comparison, |comparison| {
        let (columns, rows) = comparison_table(comparison);
        out.whole_table(&columns, &rows).unwrap_or_else(|| comparison_blocks(comparison, &rows))
    })
}

/// Of each metric its name and which values are better, and then, in columns of their own, the values.
const FACTS: [&str; 2] = ["metric", "better"];

/// A row for each metric: the values, the best marked by `*`, and their distance to the first.
fn comparison_table(comparison: &pb::CompareVersionsResponse) -> (Vec<Column>, Vec<Vec<String>>) {
    let versions = comparison.names.iter().map(|name| Column::from(brief(name).to_owned()));
    let columns = FACTS.into_iter().map(Column::from).chain(versions);
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
                (Some(value), Some(delta)) if i > 0 => {
                    let sign = if delta.is_sign_negative() { "" } else { "+" };
                    format!("{}{best} ({sign}{})", significant(value), significant(delta))
                }
                (Some(value), _) => format!("{}{best}", significant(value)),
            }
        });
        [format!("{}.{}", metric.split, metric.metric), better.to_owned()].into_iter().chain(values).collect()
    });
    (columns.collect(), rows.collect())
}

/// The same below each other: for terminals that have no room for all versions.
fn comparison_blocks(comparison: &pb::CompareVersionsResponse, rows: &[Vec<String>]) -> Vec<String> {
    let names: Vec<_> = comparison.names.iter().map(|name| brief(name)).collect();
    let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for row in rows {
        let (facts, values) = row.split_at(FACTS.len());
        lines.push(format!("{} ({})", facts[0], facts[1]));
        lines.extend(names.iter().zip(values).map(|(name, value)| format!("  {name:width$}  {value}")));
    }
    lines
}

pub(crate) async fn prune(context: &Context, command: Prune) -> Result<(), Failure> {
    loop {
        let request = pb::PruneVersionsRequest {
            parent: command.model.to_string(),
            keep: command.keep,
            validate_only: command.dry_run,
            ..Default::default()
        };
        let pruned = context.client.call(request).await?;
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

pub(crate) async fn delete(context: &Context, name: Name, force: bool) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match name.kind() {
        Kind::Artifact => {
            let artifact = client.delete_artifact(name).await?;
            out.message("Artifact", &artifact, |artifact| format!("deleted {}", brief(&artifact.name)))
        }
        Kind::Version => {
            let request = pb::DeleteVersionRequest { name: name.into(), force, ..Default::default() };
            let version = client.call(request).await?;
            out.message("Version", &version, |version| format!("deleted {}", brief(&version.name)))
        }
        Kind::Model => {
            let request = pb::DeleteModelRequest { name: name.into(), force, ..Default::default() };
            let model = client.call(request).await?;
            out.message("Model", &model, |model| format!("deleted {}", brief(&model.name)))
        }
        Kind::Namespace => {
            let namespace = client.delete_namespace(name).await?;
            out.message("Namespace", &namespace, |namespace| format!("deleted {}", namespace.name))
        }
        kind => Err(format!("{kind:?}s can't be deleted").into()),
    }
}

pub(crate) async fn undelete(context: &Context, name: Name) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match name.kind() {
        Kind::Version => {
            let version = client.undelete_version(name).await?;
            out.message("Version", &version, |version| format!("undeleted {}", brief(&version.name)))
        }
        Kind::Model => {
            let model = client.undelete_model(name).await?;
            out.message("Model", &model, |model| format!("undeleted {}", brief(&model.name)))
        }
        Kind::Namespace => {
            let namespace = client.undelete_namespace(name).await?;
            out.message("Namespace", &namespace, |namespace| format!("undeleted {}", namespace.name))
        }
        kind => Err(format!("{kind:?}s can't be undeleted").into()),
    }
}
