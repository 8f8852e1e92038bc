//! `create`, `get`.

use registry_client::{Error, Kind, Name, pb};

use crate::args::{AsOf, Create, Fields};
use crate::output::{self, note};
use crate::{Context, Failure, Usage, approvals, instances, locks, metadata, namespaces, withdrawal};

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

pub(crate) async fn get(context: &Context, name: Name, as_of: AsOf, fields: &Fields) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    let (revision, read_time) = (as_of.revision(), as_of.read_time());
    let has_past = matches!(name.kind(), Kind::Model | Kind::Version | Kind::Artifact);
    match name.kind() {
        _ if !has_past && as_of.is_given() => {
            Err(Usage("--as-of is of models, versions and artifacts".to_owned()).into())
        }
        _ if !has_past && fields.is_given() => {
            Err(Usage("--fields are of models, versions and artifacts".to_owned()).into())
        }
        Kind::Event => out.message("Event", &client.get_event(name).await?, output::event),
        Kind::Instance => out.message("Instance", &client.get_instance(name).await?, instances::text),
        Kind::Approval => out.message("Approval", &client.get_approval(name).await?, approvals::text),
        Kind::Lock => out.message("Lock", &client.get_lock(name).await?, locks::text),
        Kind::Artifact => {
            let request = pb::GetArtifactRequest {
                name: name.into(),
                revision,
                read_time,
                read_mask: fields.mask("Artifact", &[]),
            };
            out.message("Artifact", &client.call(request).await?, output::artifact)
        }
        Kind::Version => {
            let request = pb::GetVersionRequest {
                name: name.into(),
                revision,
                read_time,
                read_mask: fields.mask("Version", withdrawal::WARNED_OF),
            };
            let version = client.call(request).await?;
            withdrawal::warn(&version);
            out.message("Version", &version, output::version)
        }
        Kind::Model => match client
            .call(pb::GetModelRequest {
                name: name.to_string(),
                revision,
                read_time,
                read_mask: fields.mask("Model", &[]),
            })
            .await
        {
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
