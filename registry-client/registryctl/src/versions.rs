//! `prune`, `delete`, `undelete`.

use registry_client::{Error, Kind, Name, pb};

use crate::args::{IfMatch, Prune};
use crate::failure::Hinted;
use crate::output::{brief, note};
use crate::{Context, Failure};

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

pub(crate) async fn delete(context: &Context, name: Name, force: bool, if_match: IfMatch) -> Result<(), Failure> {
    let kind = name.kind();
    delete_one(context, name, force, if_match.into_etag()).await.map_err(|error| {
        let reason = error.downcast_ref::<Error>().and_then(Error::reason);
        match reason {
            Some(pb::ErrorReason::ResourceProtected) if kind != Kind::Namespace => {
                Hinted::of(error, "--force deletes it all the same: it leaves production and loses its aliases").into()
            }
            _ => error,
        }
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
