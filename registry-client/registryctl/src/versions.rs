//! `delete`, `undelete`.

use registry_client::{Kind, Name, pb};

use crate::args::IfMatch;
use crate::failure::Hinted;
use crate::output::brief;
use crate::{Context, Failure};

pub(crate) async fn delete(context: &Context, name: Name, force: bool, if_match: IfMatch) -> Result<(), Failure> {
    let kind = name.kind();
    let hint = "--force deletes it all the same: it leaves production and loses its aliases";
    delete_one(context, name, force, if_match.into_etag()).await.map_err(|error| match kind {
        // It has to be empty, whatever is said.
        Kind::Namespace => error,
        _ => Hinted::if_for(pb::ErrorReason::ResourceProtected, error, hint),
    })
}

async fn delete_one(context: &Context, name: Name, force: bool, etag: String) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match name.kind() {
        Kind::Artifact => {
            let artifact = client.delete_artifact(name).etag(etag).await?;
            out.message("Artifact", &artifact, |artifact| format!("deleted {}", brief(&artifact.name)))
        }
        Kind::Version => {
            let request = pb::DeleteVersionRequest { name: name.into(), force, etag, ..Default::default() };
            let version = client.call(request).await?;
            out.message("Version", &version, |version| format!("deleted {}", brief(&version.name)))
        }
        Kind::Model => {
            let request = pb::DeleteModelRequest { name: name.into(), force, etag, ..Default::default() };
            let model = client.call(request).await?;
            out.message("Model", &model, |model| format!("deleted {}", brief(&model.name)))
        }
        Kind::Namespace => {
            let namespace = client.delete_namespace(name).etag(etag).await?;
            out.message("Namespace", &namespace, |namespace| format!("deleted {}", namespace.name))
        }
        Kind::Instance => {
            let instance = client.delete_instance(name).etag(etag).await?;
            out.message("Instance", &instance, |instance| format!("deleted {}", brief(&instance.name)))
        }
        Kind::Lock => {
            let lock = client.delete_lock(name).etag(etag).await?;
            out.message("Lock", &lock, |lock| format!("released {}", brief(&lock.name)))
        }
        kind => Err(format!("{kind:?}s can't be deleted").into()),
    }
}

pub(crate) async fn undelete(context: &Context, name: Name, if_match: IfMatch) -> Result<(), Failure> {
    let (client, out, etag) = (&context.client, &context.out, if_match.into_etag());
    match name.kind() {
        Kind::Version => {
            let version = client.undelete_version(name).etag(etag).await?;
            out.message("Version", &version, |version| format!("undeleted {}", brief(&version.name)))
        }
        Kind::Model => {
            let model = client.undelete_model(name).etag(etag).await?;
            out.message("Model", &model, |model| format!("undeleted {}", brief(&model.name)))
        }
        Kind::Namespace => {
            let namespace = client.undelete_namespace(name).etag(etag).await?;
            out.message("Namespace", &namespace, |namespace| format!("undeleted {}", namespace.name))
        }
        kind => Err(format!("{kind:?}s can't be undeleted").into()),
    }
}
