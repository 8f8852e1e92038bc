//! `create`, `get`, `list`.

use registry_client::{Error, Kind, Name, pb};

use crate::args::{Create, List};
use crate::output::{self, brief, bytes, first, last, note, page_size, time};
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
        return out.rows(
            "Model",
            &models,
            &["model", "type", "versions", "latest", "production", "updated"],
            |model| {
                let production = model.stages.iter().find(|stage| stage.stage == pb::Stage::Production as i32);
                vec![
                    brief(&model.name).to_owned(),
                    model.model_type.clone(),
                    model.version_count.to_string(),
                    last(&model.latest_version).to_owned(),
                    production.map(|stage| last(&stage.version).to_owned()).unwrap_or_default(),
                    time(model.update_time.as_ref()),
                ]
            },
        );
    }
    if kind == Kind::Version {
        let list = pb::ListArtifactsRequest { parent, page_size, ..Default::default() };
        let artifacts = first(client.call(list).stream(), limit, "first").await?;
        return out.rows("Artifact", &artifacts, &["path", "type", "size", "sha256"], |artifact| {
            vec![
                artifact.path.clone(),
                artifact.r#type.clone(),
                bytes(artifact.size_bytes),
                artifact.sha256.chars().take(12).collect(),
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
    let head = ["version", "version_id", "state", "stage", "framework", "size", "created", "description"];
    out.rows("Version", &versions, &head, |version| {
        vec![
            brief(&version.name).to_owned(),
            version.version_id.clone(),
            short::<pb::VersionState>(version.state),
            short::<pb::Stage>(version.stage),
            version.framework.clone(),
            bytes(version.size_bytes),
            time(version.create_time.as_ref()),
            version.description.lines().next().unwrap_or_default().to_owned(),
        ]
    })
}
