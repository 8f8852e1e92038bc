//! `search`, `count` and `trend`.

use registry_client::{Kind, Name, pb};

use crate::args::{Count, Parent, Search, Trend};
use crate::nearest::note_missing;
use crate::output::{Column, better, brief, fields, first, minute, note, page_size, significant};
use crate::select::{Of, are_of_versions};
use crate::{Context, Failure, Usage};

pub(crate) async fn search(context: &Context, command: Search) -> Result<(), Failure> {
    let Search { words, kind, limit, .. } = command;
    let request = pb::SearchResourcesRequest {
        parent: context.namespace_name(),
        query: words.join(" "),
        kind: kind.unwrap_or_default().into(),
        page_size: page_size(limit),
        ..Default::default()
    };
    let found: Vec<pb::SearchResult> = first(context.client.call(request).stream(), limit, "best").await?;
    let columns = [
        "name".into(),
        Column::number("score").rank(3),
        Column::from("called").rank(2),
        Column::from("updated").rank(4),
        Column::prose("description").rank(1),
    ];
    context.out.rows("SearchResult", &found, &columns, |result| {
        let (name, called, updated, description) = match result.resource.as_ref().and_then(|of| of.resource.as_ref()) {
            Some(pb::resource::Resource::Model(of)) => (&of.name, &of.display_name, &of.update_time, &of.description),
            Some(pb::resource::Resource::Version(of)) => (&of.name, &of.version_id, &of.update_time, &of.description),
            _ => return Vec::new(),
        };
        vec![
            brief(name).to_owned(),
            result.score.to_string(),
            called.clone(),
            minute(updated.as_ref()),
            description.lines().next().unwrap_or_default().to_owned(),
        ]
    })
}

pub(crate) async fn count(context: &Context, command: Count) -> Result<(), Failure> {
    let Count { parent, by, versions, select, limit, .. } = command;
    let parent = match parent {
        Some(Parent::Namespaces) => return Err(Usage("what is counted are models or versions".to_owned()).into()),
        Some(Parent::Models) | None => None,
        Some(Parent::Of(name)) => Some(name),
    };
    let name = || parent.as_ref().map_or_else(|| context.namespace_name(), ToString::to_string);
    let of = match parent.as_ref().map_or(Kind::Namespace, Name::kind) {
        Kind::Namespace if versions || are_of_versions(by.iter().map(String::as_str)) => Of::Versions,
        Kind::Namespace => select.in_namespace(),
        Kind::Model => Of::Versions,
        _ => return Err(Usage("name a namespace or a model".to_owned()).into()),
    };
    if context.out.is_names() {
        return Err(Usage("what is counted has no names: -o name is of lists".to_owned()).into());
    }
    let (filter, limit) = (select.condition(of)?, i32::try_from(limit).unwrap_or(i32::MAX));
    let is_model = parent.as_ref().is_some_and(|name| name.kind() == Kind::Model);
    let of_parent = if of == Of::Models || is_model { name() } else { of_all_models(&name()) };
    let (total, facets, approximate) = if of == Of::Models {
        let request = pb::CountModelsRequest { parent: of_parent.clone(), filter, fields: by, limit };
        let counted = context.client.call(request).await?;
        (counted.total_size, counted.facets, counted.approximate)
    } else {
        let request = pb::CountVersionsRequest { parent: of_parent.clone(), filter, fields: by, limit };
        let counted = context.client.call(request).await?;
        (counted.total_size, counted.facets, counted.approximate)
    };
    let most = if approximate { "at most " } else { "" };
    let things = if total == 1 { of.plural().trim_end_matches('s') } else { of.plural() };
    note(&format!("{most}{total} {things}"));
    for facet in facets.iter().filter(|facet| facet.field.contains('.') && total > 0 && facet.missing_count == total) {
        note_missing(context, of, of_parent.clone(), &facet.field).await;
    }
    if !context.out.is_text() {
        return context.out.rows("Facet", &facets, &["field", "value", "count"], |_| Vec::new());
    }
    let mut rows = Vec::new();
    for facet in facets {
        let mut row = |value: String, count: i64| rows.push(vec![facet.field.clone(), value, count.to_string()]);
        for pb::FacetCount { value, count } in facet.counts {
            row(if value.is_empty() { "\"\"".to_owned() } else { value }, count);
        }
        if facet.other_count > 0 {
            row("(others)".to_owned(), facet.other_count);
        }
        if facet.missing_count > 0 {
            row("(none)".to_owned(), facet.missing_count);
        }
    }
    context.out.table(&["field".into(), "value".into(), Column::number("count")], rows)
}

/// The parent of the versions of all models of a namespace.
pub(crate) fn of_all_models(namespace: &str) -> String {
    if namespace.is_empty() { "models/-".to_owned() } else { format!("{namespace}/models/-") }
}

pub(crate) async fn trend(context: &Context, command: Trend) -> Result<(), Failure> {
    let Trend { model, metric, select, limit, .. } = command;
    let (split, metric) = metric
        .split_once('.')
        .filter(|(split, metric)| !split.is_empty() && !metric.is_empty())
        .ok_or_else(|| Usage(format!("{metric:?} is no metric: write SPLIT.NAME, such as validation.auc")))?;
    let request = pb::AggregateMetricRequest {
        parent: model.to_string(),
        split: split.to_owned(),
        metric: metric.to_owned(),
        filter: select.condition(Of::Versions)?,
        limit: i32::try_from(limit).unwrap_or(i32::MAX),
    };
    let parent = request.parent.clone();
    let found = context.client.call(request).await?;
    if found.count == 0 {
        note_missing(context, Of::Versions, parent, &format!("metrics.{split}.{metric}")).await;
    }
    if context.out.is_names() {
        return found.points.iter().try_for_each(|point| context.out.line(&point.version));
    }
    context.out.message("AggregateMetricResponse", &found, |found| {
        let shown = |point: &Option<pb::MetricPoint>| {
            let point = point.as_ref();
            let shown = point.map(|point| format!("{} ({})", significant(point.value), brief(&point.version)));
            shown.unwrap_or_default().into()
        };
        let points = found.points.iter().map(|point| {
            let version = point.version.rsplit('/').next().unwrap_or_default();
            format!("{version:>8}  {}  {}", minute(point.create_time.as_ref()), significant(point.value))
        });
        fields(vec![
            ("metric", format!("{split}.{metric}").into()),
            ("better", better(found.direction()).to_owned().into()),
            ("versions", found.count.to_string().into()),
            ("best", shown(&found.best)),
            ("worst", shown(&found.worst)),
            ("least", shown(&found.least.clone().filter(|_| found.best.is_none()))),
            ("most", shown(&found.most.clone().filter(|_| found.best.is_none()))),
            ("last", shown(&found.last)),
            ("mean", found.mean.map(significant).unwrap_or_default().into()),
            ("values", points.collect::<Vec<_>>().into()),
        ])
    })
}
