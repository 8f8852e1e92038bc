//! `list`.

mod of_models;
mod ordered;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use registry_client::{Error, Kind, Name, pb};

use self::ordered::Ordered;
use crate::args::{AsOf, Fields, List, Parent};
use crate::models::hinted;
use crate::nearest::note_missing;
use crate::output::{Column, brief, bytes, first, last, minute, note, page_size};
use crate::search::of_all_models;
use crate::select::{Of, Select, are_of_versions};
use crate::values::short;
use crate::{Context, Failure, Usage, namespaces, withdrawal};

/// How many versions are read at once.
const BATCH: usize = 100;

/// What tables show whatever they are ordered by.
const SHOWN_OF_MODELS: &[&str] = &["name", "model_type", "version_count", "latest_version", "update_time"];
const SHOWN_OF_VERSIONS: &[&str] =
    &["name", "number", "version_id", "state", "stage", "framework", "size_bytes", "create_time"];

pub(crate) async fn list(context: &Context, command: List) -> Result<(), Failure> {
    let List { parent, mut select, limit, deleted, as_of, order_by, count, explain, fields, .. } = command;
    let pages = Pages { limit, show_deleted: deleted, as_of, order_by, count, explain, fields };
    let (parent, namespaces) = match parent {
        Some(Parent::Namespaces) if as_of.is_given() => {
            return Err(Usage("--as-of is of models, versions and artifacts".to_owned()).into());
        }
        Some(Parent::Namespaces) => (None, true),
        Some(Parent::Models) | None => (None, false),
        Some(Parent::Of(name)) => (Some(name), false),
    };
    let is_of_model = parent.as_ref().is_some_and(|name| name.kind() != Kind::Namespace);
    let name = || parent.as_ref().map_or_else(|| context.namespace_name(), ToString::to_string);
    let of = match parent.as_ref().map_or(Kind::Namespace, Name::kind) {
        _ if namespaces => Of::Namespaces,
        Kind::Namespace if pages.order_by.as_deref().is_some_and(|by| are_of_versions(by.split(','))) => Of::Versions,
        Kind::Namespace => select.in_namespace(),
        Kind::Version => Of::Artifacts,
        _ => Of::Versions,
    };
    if pages.is_ordered() && matches!(of, Of::Namespaces | Of::Artifacts) {
        return Err(Usage("--order-by, --count and --explain are of models and versions".to_owned()).into());
    }
    if pages.fields.is_given() && of == Of::Namespaces {
        return Err(Usage("--fields are of models, versions and artifacts".to_owned()).into());
    }
    let of_models = if of == Of::Versions && !is_of_model { select.take_of_models()? } else { String::new() };
    let filter = select.condition(of)?;
    let listed = match (of, &parent) {
        (Of::Namespaces, _) => namespaces::list(context, filter, limit, deleted).await,
        (Of::Artifacts, _) => artifacts(context, name(), filter, &pages).await,
        (Of::Versions, Some(model)) if model.kind() != Kind::Namespace => {
            match versions(context, name(), &select, filter, &pages).await {
                Ok(versions) => {
                    versions_table(context, name(), &versions, &pages, |version| version.number.to_string()).await
                }
                Err(error) => Err(hinted(context, model, error).await),
            }
        }
        (Of::Versions, _) if !of_models.is_empty() => {
            of_models::versions(context, name(), of_models, filter, &pages).await
        }
        (Of::Versions, _) => match select.stage {
            Some(stage)
                if select.is_only_stage()
                    && !pages.is_ordered()
                    && !pages.fields.is_given()
                    && stage != pb::Stage::Development =>
            {
                holders(context, name(), stage, &pages).await
            }
            _ => versions_of_all(context, &name(), filter, &pages).await,
        },
        _ => models(context, name(), filter, &pages).await,
    };
    match (listed, select.filter_of_several(of)) {
        (Err(error), Some(filter)) => {
            let parent = if of == Of::Versions && !is_of_model { of_all_models(&name()) } else { name() };
            Err(fault(context, of, parent, filter, error).await)
        }
        (listed, _) => listed,
    }
}

/// Which part of a list to print, and what to say of it.
struct Pages {
    limit: usize,
    show_deleted: bool,
    as_of: AsOf,
    order_by: Option<String>,
    count: bool,
    explain: bool,
    fields: Fields,
}

impl Pages {
    /// Whether the list is asked for more than its items in their own order.
    fn is_ordered(&self) -> bool {
        self.order_by.is_some() || self.findings().is_some()
    }

    /// Whether to count, and to explain, if either.
    fn findings(&self) -> Option<(bool, bool)> {
        (self.count || self.explain).then_some((self.count, self.explain))
    }

    fn of_versions(&self, parent: String, filter: String, order_by: &str) -> pb::ListVersionsRequest {
        pb::ListVersionsRequest {
            parent,
            filter,
            page_size: page_size(self.limit),
            order_by: order_by.to_owned(),
            show_deleted: self.show_deleted,
            revision: self.as_of.revision(),
            read_time: self.as_of.read_time(),
            read_mask: self.fields.mask("Version", &[]),
            ..Default::default()
        }
    }

    async fn explain_versions(&self, context: &Context, list: &pb::ListVersionsRequest) -> Result<(), Error> {
        let Some((count, explain)) = self.findings() else { return Ok(()) };
        let page = context.client.call(pb::ListVersionsRequest { count, explain, ..list.clone() }).await?;
        note_findings("versions", count, page.total_size, page.explanation.as_ref());
        Ok(())
    }
}

/// Says what was found out about a list.
fn note_findings(what: &str, count: bool, total: Option<i64>, explanation: Option<&pb::ListExplanation>) {
    match total {
        Some(total) => note(&format!("{total} {what} in all")),
        None if count => note(&format!("how many {what} there are would take long to say")),
        None => {}
    }
    let Some(of) = explanation else { return };
    let duration = of.duration.and_then(|duration| Duration::try_from(duration).ok()).unwrap_or_default();
    let chosen = match (of.candidates, of.resources) {
        (Some(candidates), Some(resources)) => format!("; {candidates} of {resources} {what} are left by the index"),
        _ => String::new(),
    };
    note(&format!(
        "{}{chosen}; {} records were read for {} in {duration:.1?}",
        of.plan, of.records_read, of.records_returned
    ));
}

/// What is wrong with a filter by itself, if an error of it and other options is about that.
async fn fault(context: &Context, of: Of, parent: String, filter: String, error: Failure) -> Failure {
    if !error.downcast_ref::<Error>().is_some_and(Error::is_invalid_argument) {
        return error;
    }
    let client = &context.client;
    let page_size = 1;
    let alone = match of {
        Of::Models => {
            client.call(pb::ListModelsRequest { parent, filter, page_size, ..Default::default() }).await.map(drop)
        }
        Of::Artifacts => {
            client.call(pb::ListArtifactsRequest { parent, filter, page_size, ..Default::default() }).await.map(drop)
        }
        Of::Namespaces => {
            client.call(pb::ListNamespacesRequest { filter, page_size, ..Default::default() }).await.map(drop)
        }
        Of::Versions => {
            client.call(pb::ListVersionsRequest { parent, filter, page_size, ..Default::default() }).await.map(drop)
        }
    };
    alone.err().map_or(error, Into::into)
}

async fn models(context: &Context, parent: String, filter: String, pages: &Pages) -> Result<(), Failure> {
    let namespace = parent.clone();
    let list = pb::ListModelsRequest {
        parent,
        filter,
        page_size: page_size(pages.limit),
        order_by: pages.order_by.clone().unwrap_or_default(),
        show_deleted: pages.show_deleted,
        revision: pages.as_of.revision(),
        read_time: pages.as_of.read_time(),
        read_mask: pages.fields.mask("Model", &[]),
        ..Default::default()
    };
    if let Some((count, explain)) = pages.findings() {
        let page = context.client.call(pb::ListModelsRequest { count, explain, ..list.clone() }).await?;
        note_findings("models", count, page.total_size, page.explanation.as_ref());
    }
    let models = first(context.client.call(list).stream(), pages.limit, "first").await?;
    let order_by = pages.order_by.as_deref();
    let ordered = Ordered::by(order_by, SHOWN_OF_MODELS);
    if let Some(path) = ordered.missing(order_by, "Model", models.first()).filter(|_| !pages.fields.is_given()) {
        note_missing(context, Of::Models, namespace, path).await;
    }
    let columns = ordered.columns([
        "model".into(),
        Column::from("deleted").rank(1).if_any(),
        Column::from("type").rank(5),
        Column::number("versions").rank(4),
        Column::number("latest").rank(3),
        Column::number("production").rank(1),
        Column::from("updated").rank(6),
        Column::from("owner").wide(),
        Column::from("team").wide(),
        Column::prose("description").wide(),
    ]);
    context.out.rows("Model", &models, &columns, |model| {
        let production = model.stages.iter().find(|stage| stage.stage == pb::Stage::Production as i32);
        let cells = vec![
            brief(&model.name).to_owned(),
            minute(model.delete_time.as_ref()),
            model.model_type.clone(),
            model.version_count.to_string(),
            last(&model.latest_version).to_owned(),
            production.map(|stage| last(&stage.version).to_owned()).unwrap_or_default(),
            minute(model.update_time.as_ref()),
            model.owner.clone(),
            model.team.clone(),
            first_line(&model.description),
        ];
        ordered.cells("Model", model, cells)
    })
}

async fn artifacts(context: &Context, parent: String, filter: String, pages: &Pages) -> Result<(), Failure> {
    let (revision, read_time) = (pages.as_of.revision(), pages.as_of.read_time());
    let (page_size, read_mask) = (page_size(pages.limit), pages.fields.mask("Artifact", &[]));
    let list =
        pb::ListArtifactsRequest { parent, filter, page_size, revision, read_time, read_mask, ..Default::default() };
    let artifacts = first(context.client.call(list).stream(), pages.limit, "first").await?;
    let columns = [
        "path".into(),
        Column::from("type").rank(2),
        Column::number("size").rank(1),
        Column::from("sha256").rank(3),
        Column::from("media_type").wide(),
        Column::from("created").wide(),
    ];
    context.out.rows("Artifact", &artifacts, &columns, |artifact| {
        vec![
            artifact.path.clone(),
            artifact.r#type.clone(),
            bytes(artifact.size_bytes),
            artifact.sha256.chars().take(12).collect(),
            artifact.media_type.clone(),
            minute(artifact.create_time.as_ref()),
        ]
    })
}

/// The newest versions of a model, of those that are selected or of all.
async fn versions(
    context: &Context,
    parent: String,
    select: &Select,
    filter: String,
    pages: &Pages,
) -> Result<Vec<pb::Version>, Error> {
    let client = &context.client;
    // The newest are what people look for.
    let (order_by, which) = match &pages.order_by {
        Some(order_by) => (order_by.as_str(), "first"),
        None => ("number desc", "newest"),
    };
    let list = pages.of_versions(parent.clone(), filter, order_by);
    pages.explain_versions(context, &list).await?;
    let listed = client.call(list).stream();
    let Some(stage) = select.stage else { return first(listed, pages.limit, which).await };
    // The model says how many versions are in a stage that holds few: once all of them are found, no others are looked at.
    let (revision, read_time) = (pages.as_of.revision(), pages.as_of.read_time());
    let model = client.call(pb::GetModelRequest { name: parent, revision, read_time, ..Default::default() }).await?;
    let holds = match model.stages.iter().find(|summary| summary.stage() == stage) {
        _ if matches!(stage, pb::Stage::Development | pb::Stage::Archived) => usize::MAX,
        Some(summary) if summary.version_count == 1 && select.is_only_stage() => {
            let name = summary.version.clone();
            return Ok(vec![
                client
                    .call(pb::GetVersionRequest {
                        name,
                        revision,
                        read_time,
                        read_mask: pages.fields.mask("Version", &[]),
                    })
                    .await?,
            ]);
        }
        summary => usize::try_from(summary.map_or(0, |summary| summary.version_count)).unwrap_or(usize::MAX),
    };
    first(listed.take(holds), pages.limit, which).await
}

/// Versions of all models of a namespace.
async fn versions_of_all(context: &Context, namespace: &str, filter: String, pages: &Pages) -> Result<(), Failure> {
    let list = pages.of_versions(of_all_models(namespace), filter, pages.order_by.as_deref().unwrap_or_default());
    pages.explain_versions(context, &list).await?;
    let versions = first(context.client.call(list).stream(), pages.limit, "first").await?;
    let parent = of_all_models(namespace);
    versions_table(context, parent, &versions, pages, |version| brief(&version.name).to_owned()).await
}

/// The versions that hold a stage, of each model of a namespace the one that entered it last.
async fn holders(context: &Context, parent: String, stage: pb::Stage, pages: &Pages) -> Result<(), Failure> {
    let (limit, revision, read_time) = (pages.limit, pages.as_of.revision(), pages.as_of.read_time());
    let list =
        pb::ListModelsRequest { parent: parent.clone(), page_size: 1000, revision, read_time, ..Default::default() };
    let holder = |model: pb::Model| {
        let summary = model.stages.into_iter().find(|summary| summary.stage() == stage);
        std::future::ready(Ok(summary.map(|summary| summary.version)))
    };
    let held = first(context.client.call(list).stream().try_filter_map(holder), limit, "first").await?;
    let batches = stream::iter(held.chunks(BATCH));
    let read = batches.then(async |names| {
        let request = pb::BatchGetVersionsRequest { names: names.to_vec(), revision, read_time };
        context.client.call(request).await.map(|read| read.versions)
    });
    let versions = read.try_collect::<Vec<_>>().await?.concat();
    versions_table(context, parent, &versions, pages, |version| brief(&version.name).to_owned()).await
}

/// Versions, each under the name that is short enough where they are listed.
async fn versions_table(
    context: &Context,
    parent: String,
    versions: &[pb::Version],
    pages: &Pages,
    name: impl Fn(&pb::Version) -> String,
) -> Result<(), Failure> {
    let order_by = pages.order_by.as_deref();
    let ordered = Ordered::by(order_by, SHOWN_OF_VERSIONS);
    if let Some(path) = ordered.missing(order_by, "Version", versions.first()).filter(|_| !pages.fields.is_given()) {
        note_missing(context, Of::Versions, parent, path).await;
    }
    let columns = ordered.columns([
        "version".into(),
        Column::from("deleted").rank(1).if_any(),
        Column::from("version_id").rank(3),
        Column::from("state").rank(2),
        Column::from("stage").rank(1),
        Column::from("framework").rank(7),
        Column::number("size").rank(6),
        Column::from("created").rank(4),
        Column::from("creator").wide(),
        Column::from("manifest").wide(),
        Column::prose("description").rank(5),
    ]);
    context.out.rows("Version", versions, &columns, |version| {
        let cells = vec![
            name(version),
            minute(version.delete_time.as_ref()),
            version.version_id.clone(),
            withdrawal::state(version),
            short::<pb::Stage>(version.stage),
            version.framework.clone(),
            bytes(version.size_bytes),
            minute(version.create_time.as_ref()),
            version.creator.clone(),
            version.manifest_sha256.chars().take(12).collect(),
            first_line(&version.description),
        ];
        ordered.cells("Version", version, cells)
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
