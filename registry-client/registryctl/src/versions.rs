//! `prune`, `delete`, `undelete`.

use registry_client::{Kind, Name, pb};

use crate::args::Prune;
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

pub(crate) async fn delete(context: &Context, name: Name, force: bool) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match name.kind() {
        Kind::Artifact => {
            let artifact = client.delete_artifact(name).await?;
            out.message("Artifact", &artifact, |artifact| format!("deleted {}", brief(&artifact.name)))
        }
        Kind::Version => {
            let request = pb::DeleteVersionRequest { name: name.into(), force, ..Default::default() };
            let version = client.call(request).await?;
            out.message("Version", &version, |version| format!("deleted {}", brief(&version.name)))
        }
        Kind::Model => {
            let request = pb::DeleteModelRequest { name: name.into(), force, ..Default::default() };
            let model = client.call(request).await?;
            out.message("Model", &model, |model| format!("deleted {}", brief(&model.name)))
        }
        Kind::Namespace => {
            let namespace = client.delete_namespace(name).await?;
            out.message("Namespace", &namespace, |namespace| format!("deleted {}", namespace.name))
        }
        kind => Err(format!("{kind:?}s can't be deleted").into()),
    }
}

pub(crate) async fn undelete(context: &Context, name: Name) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match name.kind() {
        Kind::Version => {
            let version = client.undelete_version(name).await?;
            out.message("Version", &version, |version| format!("undeleted {}", brief(&version.name)))
        }
        Kind::Model => {
            let model = client.undelete_model(name).await?;
            out.message("Model", &model, |model| format!("undeleted {}", brief(&model.name)))
        }
        Kind::Namespace => {
            let namespace = client.undelete_namespace(name).await?;
            out.message("Namespace", &namespace, |namespace| format!("undeleted {}", namespace.name))
        }
        kind => Err(format!("{kind:?}s can't be undeleted").into()),
    }
}
