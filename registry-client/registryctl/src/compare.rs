//! `compare`.

use std::collections::BTreeMap;

use registry_client::{Error, Name, pb};
use serde::Serialize;
use serde_json::Value as Json;
use unicode_width::UnicodeWidthStr as _;

use crate::output::json::{self, Tree};
use crate::output::{Column, better, brief, note, significant};
use crate::{Context, Failure, values};

/// How many metrics a note names.
const NAMED: usize = 3;

pub(crate) async fn compare(context: &Context, names: Vec<Name>) -> Result<(), Failure> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    let comparison = metrics(context, &names).await?;
    let versions = context.client.call(pb::BatchGetVersionsRequest { names, ..Default::default() }).await?.versions;
    let differences = differences(&versions);
    let out = &context.out;
    let tree = || {
        let mut tree = json::tree("CompareVersionsResponse", &comparison)?;
        if let Tree::Map(entries) = &mut tree {
            entries.retain(|(key, _)| key != "nextPageToken");
            entries.push(("differences".to_owned(), serde_json::to_value(&differences)?.into()));
        }
        Ok(tree)
    };
    let text = || {
        let (columns, rows) = metrics_table(&comparison);
        let mut lines = out.whole_table(&columns, &rows).unwrap_or_else(|| blocks(&comparison.names, METRIC, &rows));
        if !differences.is_empty() {
            let (columns, rows) = differences_table(&comparison.names, &differences);
            lines.push(String::new());
            lines.extend(out.whole_table(&columns, &rows).unwrap_or_else(|| blocks(&comparison.names, SETTING, &rows)));
        }
        note_unknown(&comparison);
        lines
    };
    out.tree(&comparison.names, tree, text)
}

/// The metrics of all pages.
async fn metrics(context: &Context, names: &[String]) -> Result<pb::CompareVersionsResponse, Error> {
    let mut comparison = pb::CompareVersionsResponse::default();
    loop {
        let (names, page_token) = (names.to_vec(), comparison.next_page_token);
        let page = context.client.call(pb::CompareVersionsRequest { names, page_token, ..Default::default() }).await?;
        let mut metrics = comparison.metrics;
        metrics.extend(page.metrics);
        comparison = pb::CompareVersionsResponse { metrics, ..page };
        if comparison.next_page_token.is_empty() {
            return Ok(comparison);
        }
    }
}

/// Says of which metrics nobody knows whether more or less of it is better.
fn note_unknown(comparison: &pb::CompareVersionsResponse) {
    let unknown = comparison.metrics.iter().filter(|metric| metric.direction() == pb::MetricDirection::Unspecified);
    let names: Vec<_> = unknown.map(|metric| format!("{}.{}", metric.split, metric.metric)).collect();
    if !names.is_empty() {
        let more = if names.len() > NAMED { ", ..." } else { "" };
        let names = names[..names.len().min(NAMED)].join(", ");
        note(&format!("which values of {names}{more} are better is unknown: the model's metric_directions can say"));
    }
}

/// Something other than metrics in which versions differ.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    kind: &'static str,
    name: String,
    /// One for each version; null where it has none.
    values: Vec<Option<Json>>,
}

/// What the versions were made with and of, where that is not the same.
fn differences(versions: &[pb::Version]) -> Vec<Difference> {
    // Kinds in this order, and names in theirs.
    let mut found = BTreeMap::<(usize, String), Vec<Option<Json>>>::new();
    for (at, version) in versions.iter().enumerate() {
        for (kind, name, value) in settings(version) {
            found.entry((kind, name)).or_insert_with(|| vec![None; versions.len()])[at] = Some(value);
        }
    }
    found.retain(|_, values| values.iter().any(|value| *value != values[0]));
    found.into_iter().map(|((kind, name), values)| Difference { kind: KINDS[kind], name, values }).collect()
}

/// What versions are compared by.
const KINDS: [&str; 6] = ["framework", "hyperparameter", "feature", "input", "output", "dataset"];

fn settings(version: &pb::Version) -> Vec<(usize, String, Json)> {
    let framework = format!("{} {}", version.framework, version.framework_version).trim().to_owned();
    let mut settings = Vec::new();
    if !framework.is_empty() {
        settings.push((0, String::new(), framework.into()));
    }
    let params = version.hyperparameters.iter().flat_map(|params| &params.fields);
    // A parameter that is null is one that was not set.
    let set = params.map(|(name, value)| (1, name.clone(), values::json(value)));
    settings.extend(set.filter(|(_, _, value)| !value.is_null()));
    let signature = version.signature.clone().unwrap_or_default();
    for (kind, fields) in [(2, &version.features), (3, &signature.inputs), (4, &signature.outputs)] {
        settings.extend(fields.iter().map(|field| {
            let shape = if field.shape.is_empty() { String::new() } else { format!("{:?}", field.shape) };
            let form = format!("{} {shape}", field.dtype).trim().to_owned();
            (kind, field.name.clone(), if form.is_empty() { true.into() } else { form.into() })
        }));
    }
    let datasets = version.datasets.iter();
    let what =
        |data: &pb::DatasetReference| if data.digest.is_empty() { data.uri.clone() } else { data.digest.clone() };
    settings.extend(datasets.map(|data| (5, data.name.clone(), what(data).into())));
    settings
}

/// What a row has before its values: a setting, its kind and name.
const SETTING: usize = 1;

fn differences_table(names: &[String], differences: &[Difference]) -> (Vec<Column>, Vec<Vec<String>>) {
    let columns = std::iter::once(Column::from("differs")).chain(versions(names)).collect();
    let row = |difference: &Difference| {
        let setting = format!("{} {}", difference.kind, difference.name).trim().to_owned();
        let value = |value: &Option<Json>| match value {
            None => "-".to_owned(),
            Some(Json::String(text)) => text.clone(),
            Some(Json::Bool(true)) if difference.kind != KINDS[1] => "yes".to_owned(),
            Some(json) => json.to_string(),
        };
        std::iter::once(setting).chain(difference.values.iter().map(value)).collect()
    };
    (columns, differences.iter().map(row).collect())
}

fn versions(names: &[String]) -> impl Iterator<Item = Column> {
    names.iter().map(|name| Column::from(brief(name).to_owned()))
}

/// Of each metric its name and which values are better.
const METRIC: usize = 2;

/// A row for each metric: the values, the best marked by `*`, and their distance to the first.
fn metrics_table(comparison: &pb::CompareVersionsResponse) -> (Vec<Column>, Vec<Vec<String>>) {
    let columns = ["metric", "better"].into_iter().map(Column::from).chain(versions(&comparison.names));
    let rows = comparison.metrics.iter().map(|metric| {
        let better = better(metric.direction());
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

/// The same below each other, for terminals that have no room for all versions: rows with so many cells before the values.
fn blocks(names: &[String], facts: usize, rows: &[Vec<String>]) -> Vec<String> {
    let names: Vec<_> = names.iter().map(|name| brief(name)).collect();
    let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for row in rows {
        let (facts, values) = row.split_at(facts);
        let more = facts[1..].iter().map(|fact| format!(" ({fact})"));
        lines.push(facts[0].clone() + &more.collect::<String>());
        lines.extend(names.iter().zip(values).map(|(name, value)| format!("  {name:width$}  {value}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let field =
            |name: &str, dtype: &str| pb::Field { name: name.to_owned(), dtype: dtype.to_owned(), shape: vec![] };
        let version = |depth: u32, features: &[pb::Field]| pb::Version {
            framework: "sklearn".to_owned(),
            hyperparameters: Some(values::structure(
                serde_json::json!({"max_depth": depth, "seed": 1, "missing": null}).as_object().unwrap().clone(),
            )),
            features: features.to_vec(),
            ..Default::default()
        };
        let versions = [
            version(6, &[field("age", "int64"), field("income", "float64")]),
            version(8, &[field("age", "float64"), field("region", "")]),
        ];
        let found = serde_json::to_value(differences(&versions)).unwrap();
        let expected = serde_json::json!([
            {"kind": "hyperparameter", "name": "max_depth", "values": [6, 8]},
            {"kind": "feature", "name": "age", "values": ["int64", "float64"]},
            {"kind": "feature", "name": "income", "values": ["float64", null]},
            {"kind": "feature", "name": "region", "values": [null, true]},
        ]);
        assert_eq!(found, expected);
        let (_, rows) = differences_table(&["a".to_owned(), "b".to_owned()], &differences(&versions));
        assert_eq!(rows[3], ["feature region", "-", "yes"]);
        assert_eq!(
            blocks(&["a".to_owned(), "bb".to_owned()], SETTING, &rows[..1]),
            ["hyperparameter max_depth", "  a   6", "  bb  8",]
        );
        assert!(differences(&versions[..1]).is_empty());
    }
}
