//! `create`, `get`, `list`.

use registry_client::{Error, Kind, Name, pb};

use crate::args::{Create, List};
use crate::output::{self, Column, brief, bytes, first, last, minute, note, page_size};
use crate::values::short;
use crate::{Context, Failure, namespaces};

pub(crate) async fn create(context: &Context, command: Create) -> Result<(), Failure> {
    let draft = pb::Model {
        model_type: command.model_type.unwrap_or_default(),
        display_name: command.display_name.unwrap_or_default(),
        description: command.description.unwrap_or_default(),
        owner: command.owner.unwrap_or_default(),
        team: command.team.unwrap_or_default(),
        project: command.project.unwrap_or_default(),
        business_domain: command.business_domain.unwrap_or_default(),
        purpose: command.purpose.unwrap_or_default(),
        tags: command.tags.into_iter().collect(),
        ..Default::default()
    };
    let model = context.client.create_model(command.model).model(draft).await?;
    context.out.message("Model", &model, |model| format!("created {}", model.name))
}

pub(crate) async fn get(context: &Context, name: Name) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match name.kind() {
        Kind::Event => out.message("Event", &client.get_event(name).await?, output::event),
        Kind::Artifact => out.message("Artifact", &client.get_artifact(name).await?, output::artifact),
        Kind::Version => out.message("Version", &client.get_version(name).await?, output::version),
        Kind::Model => match client.get_model(name.as_str()).await {
            Ok(model) => out.message("Model", &model, output::model),
            Err(error) => Err(hinted(context, &name, error).await),
        },
        Kind::Namespace => out.message("Namespace", &client.get_namespace(name).await?, namespaces::text),
        kind => Err(format!("{kind:?}s can't be shown").into()),
    }
}

/// Tells who asked for a model that there is a namespace of that name, if that is so.
async fn hinted(context: &Context, name: &Name, error: Error) -> Failure {
    if error.is_not_found()
        && let Some(id) = name.as_str().strip_prefix("models/")
        && context.client.get_namespace(id).await.is_ok()
    {
        note(&format!("there is a namespace of that name: namespaces/{id}"));
    }
    error.into()
}

pub(crate) async fn list(context: &Context, command: List) -> Result<(), Failure> {
    let (client, out, limit) = (&context.client, &context.out, command.limit);
    let page_size = page_size(limit);
    let show_deleted = command.deleted;
    let kind = command.parent.as_ref().map_or(Kind::Namespace, Name::kind);
    let parent = command.parent.as_ref().map(ToString::to_string).unwrap_or_default();
    if kind == Kind::Namespace {
        let list = pb::ListModelsRequest { parent, page_size, show_deleted, ..Default::default() };
        let models = first(client.call(list).stream(), limit, "first").await?;
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
        return out.rows("Model", &models, &columns, |model| {
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
        });
    }
    if kind == Kind::Version {
        let list = pb::ListArtifactsRequest { parent, page_size, ..Default::default() };
        let artifacts = first(client.call(list).stream(), limit, "first").await?;
        let columns = [
            "path".into(),
            Column::from("type").rank(2),
            Column::number("size").rank(1),
            Column::from("sha256").rank(3),
            Column::from("media_type").wide(),
            Column::from("created").wide(),
        ];
        return out.rows("Artifact", &artifacts, &columns, |artifact| {
            vec![
                artifact.path.clone(),
                artifact.r#type.clone(),
                bytes(artifact.size_bytes),
                artifact.sha256.chars().take(12).collect(),
                artifact.media_type.clone(),
                minute(artifact.create_time.as_ref()),
            ]
        });
    }
    // The newest are what people look for.
    let order_by = "number desc".to_owned();
    let list = pb::ListVersionsRequest { parent, page_size, show_deleted, order_by, ..Default::default() };
    let versions = match (first(client.call(list).stream(), limit, "newest").await, &command.parent) {
        (Err(error), Some(model)) => return Err(hinted(context, model, error).await),
        (versions, _) => versions?,
    };
    versions_table(context, &versions, |version| version.number.to_string())
}

/// The newest versions, each under the name that is short enough where they are listed.
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
            short::<pb::VersionState>(version.state),
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
