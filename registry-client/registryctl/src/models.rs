//! `create`, `get`.

use registry_client::{Error, Kind, Name, pb};

use crate::args::Create;
use crate::output::{self, note};
use crate::{Context, Failure, metadata, namespaces, withdrawal};

pub(crate) async fn create(context: &Context, command: Create) -> Result<(), Failure> {
    let mut draft = pb::Model::default();
    if let Some(file) = metadata::read(&command.common).await? {
        file.apply(&mut draft);
    }
    command.common.apply(&mut draft);
    command.titled.apply(&mut draft.display_name);
    command.of_model.apply(&mut draft);
    let model = context.client.create_model(command.model).model(draft).await?;
    context.out.message("Model", &model, |model| format!("created {}", model.name))
}

pub(crate) async fn get(context: &Context, name: Name) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match name.kind() {
        Kind::Event => out.message("Event", &client.get_event(name).await?, output::event),
        Kind::Artifact => out.message("Artifact", &client.get_artifact(name).await?, output::artifact),
        Kind::Version => {
            let version = client.get_version(name).await?;
            withdrawal::warn(&version);
            out.message("Version", &version, output::version)
        }
        Kind::Model => match client.get_model(name.as_str()).await {
            Ok(model) => out.message("Model", &model, output::model),
            Err(error) => Err(hinted(context, &name, error).await),
        },
        Kind::Namespace => out.message("Namespace", &client.get_namespace(name).await?, namespaces::text),
        kind => Err(format!("{kind:?}s can't be shown").into()),
    }
}

/// Tells who asked for a model that there is a namespace of that name, if that is so.
pub(crate) async fn hinted(context: &Context, name: &Name, error: Error) -> Failure {
    if error.is_not_found()
        && let Some(id) = name.as_str().strip_prefix("models/")
        && context.client.get_namespace(id).await.is_ok()
    {
        note(&format!("there is a namespace of that name: namespaces/{id}"));
    }
    error.into()
}
