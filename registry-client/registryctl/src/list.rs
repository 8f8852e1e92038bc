//! `list`.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use registry_client::{Error, Kind, Name, pb};

use crate::args::{AsOf, List, Parent};
use crate::models::hinted;
use crate::output::{Column, brief, bytes, first, last, minute, page_size};
use crate::select::{Of, Select};
use crate::values::short;
use crate::{Context, Failure, Usage, namespaces, withdrawal};

/// How many versions are read at once.
const BATCH: usize = 100;

pub(crate) async fn list(context: &Context, command: List) -> Result<(), Failure> {
    let List { parent, select, limit, deleted, as_of, .. } = command;
    let (parent, namespaces) = match parent {
        Some(Parent::Namespaces) if as_of.is_given() => {
            return Err(Usage("--as-of is of models, versions and artifacts".to_owned()).into());
        }
        Some(Parent::Namespaces) => (None, true),
        Some(Parent::Models) | None => (None, false),
        Some(Parent::Of(name)) => (Some(name), false),
    };
    let name = || parent.as_ref().map_or_else(|| context.namespace_name(), ToString::to_string);
    let of = match parent.as_ref().map_or(Kind::Namespace, Name::kind) {
        _ if namespaces => Of::Namespaces,
        Kind::Namespace => select.in_namespace(),
        Kind::Version => Of::Artifacts,
        _ => Of::Versions,
    };
    let filter = select.condition(of)?;
    let listed = match (of, &parent) {
        (Of::Namespaces, _) => namespaces::list(context, filter, limit, deleted).await,
        (Of::Artifacts, _) => artifacts(context, name(), filter, limit, as_of).await,
        (Of::Versions, Some(model)) if model.kind() != Kind::Namespace => {
            match versions(context, name(), &select, filter, limit, deleted, as_of).await {
                Ok(versions) => versions_table(context, &versions, |version| version.number.to_string()),
                Err(error) => Err(hinted(context, model, error).await),
            }
        }
        (Of::Versions, _) => match select.stage {
            Some(stage) if select.is_only_stage() && stage != pb::Stage::Development => {
                holders(context, name(), stage, limit, as_of).await
            }
            _ => versions_of_all(context, &name(), filter, limit, deleted, as_of).await,
        },
        _ => models(context, name(), filter, limit, deleted, as_of).await,
    };
    match (listed, select.filter_of_several(of)) {
        (Err(error), Some(filter)) => {
            let is_model = parent.as_ref().is_some_and(|name| name.kind() != Kind::Namespace);
            let parent = if of == Of::Versions && !is_model { of_all_models(&name()) } else { name() };
            Err(fault(context, of, parent, filter, error).await)
        }
        (listed, _) => listed,
    }
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

async fn models(
    context: &Context,
    parent: String,
    filter: String,
    limit: usize,
    show_deleted: bool,
    as_of: AsOf,
) -> Result<(), Failure> {
    let page_size = page_size(limit);
    let (revision, read_time) = (as_of.revision(), as_of.read_time());
    let list =
        pb::ListModelsRequest { parent, filter, page_size, show_deleted, revision, read_time, ..Default::default() };
    let models = first(context.client.call(list).stream(), limit, "first").await?;
    let columns = [
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
    ];
    context.out.rows("Model", &models, &columns, |model| {
        let production = model.stages.iter().find(|stage| stage.stage == pb::Stage::Production as i32);
        vec![
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
        ]
    })
}

async fn artifacts(
    context: &Context,
    parent: String,
    filter: String,
    limit: usize,
    as_of: AsOf,
) -> Result<(), Failure> {
    let (revision, read_time) = (as_of.revision(), as_of.read_time());
    let page_size = page_size(limit);
    let list = pb::ListArtifactsRequest { parent, filter, page_size, revision, read_time, ..Default::default() };
    let artifacts = first(context.client.call(list).stream(), limit, "first").await?;
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
    limit: usize,
    show_deleted: bool,
    as_of: AsOf,
) -> Result<Vec<pb::Version>, Error> {
    let client = &context.client;
    // The newest are what people look for.
    let order_by = "number desc".to_owned();
    let page_size = page_size(limit);
    let list = pb::ListVersionsRequest {
        parent: parent.clone(),
        filter,
        page_size,
        show_deleted,
        order_by,
        revision: as_of.revision(),
        read_time: as_of.read_time(),
        ..Default::default()
    };
    let listed = client.call(list).stream();
    let Some(stage) = select.stage else { return first(listed, limit, "newest").await };
    // The model says how many versions are in a stage that holds few: once all of them are found, no others are looked at.
    let (revision, read_time) = (as_of.revision(), as_of.read_time());
    let model = client.call(pb::GetModelRequest { name: parent, revision, read_time }).await?;
    let holds = match model.stages.iter().find(|summary| summary.stage() == stage) {
        _ if matches!(stage, pb::Stage::Development | pb::Stage::Archived) => usize::MAX,
        Some(summary) if summary.version_count == 1 && select.is_only_stage() => {
            let name = summary.version.clone();
            return Ok(vec![client.call(pb::GetVersionRequest { name, revision, read_time }).await?]);
        }
        summary => usize::try_from(summary.map_or(0, |summary| summary.version_count)).unwrap_or(usize::MAX),
    };
    first(listed.take(holds), limit, "newest").await
}

/// Versions of all models of a namespace.
async fn versions_of_all(
    context: &Context,
    namespace: &str,
    filter: String,
    limit: usize,
    show_deleted: bool,
    as_of: AsOf,
) -> Result<(), Failure> {
    let parent = of_all_models(namespace);
    let list = pb::ListVersionsRequest {
        parent,
        filter,
        page_size: page_size(limit),
        show_deleted,
        revision: as_of.revision(),
        read_time: as_of.read_time(),
        ..Default::default()
    };
    let versions = first(context.client.call(list).stream(), limit, "first").await?;
    versions_table(context, &versions, |version| brief(&version.name).to_owned())
}

fn of_all_models(namespace: &str) -> String {
    if namespace.is_empty() { "models/-".to_owned() } else { format!("{namespace}/models/-") }
}

/// The versions that hold a stage, of each model of a namespace the one that entered it last.
async fn holders(
    context: &Context,
    parent: String,
    stage: pb::Stage,
    limit: usize,
    as_of: AsOf,
) -> Result<(), Failure> {
    let (revision, read_time) = (as_of.revision(), as_of.read_time());
    let list = pb::ListModelsRequest { parent, page_size: 1000, revision, read_time, ..Default::default() };
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
    versions_table(context, &versions, |version| brief(&version.name).to_owned())
}

/// Versions, each under the name that is short enough where they are listed.
fn versions_table(
    context: &Context,
    versions: &[pb::Version],
    name: impl Fn(&pb::Version) -> String,
) -> Result<(), Failure> {
    let columns = [
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
    ];
    context.out.rows("Version", versions, &columns, |version| {
        vec![
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
        ]
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
