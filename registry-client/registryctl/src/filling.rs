//! `create-version` and `finalize`: a version that is filled file by file, by `upload`.

use registry_client::pb;

use crate::args::{CreateVersion, Finalize};
use crate::output::{brief, bytes, count, note};
use crate::{Context, Failure};

pub(crate) async fn create_version(context: &Context, command: CreateVersion) -> Result<(), Failure> {
    let CreateVersion { model, version_id, source_uri, dry_run, draft } = command;
    let mut version = pb::Version::default();
    draft.apply(&mut version).await?;
    if let Some(uri) = source_uri {
        version.source_uri = uri;
    }
    let mut create = context.client.create_version(model).version(version).validate_only(dry_run);
    if let Some(version_id) = version_id {
        create = create.version_id(version_id);
    }
    let created = create.await?;
    context.out.message("Version", &created, |created| {
        let done = if dry_run { "would create" } else { "created" };
        let state = match created.state() {
            pb::VersionState::Pending => ", pending: upload its files, then finalize it".to_owned(),
            _ => format!(", ready, its content at {}", created.source_uri),
        };
        format!("{done} {}{state}", created.name)
    })
}

pub(crate) async fn finalize(context: &Context, command: Finalize) -> Result<(), Failure> {
    let mut finalize = context.client.finalize_version(command.version).etag(command.if_match.into_etag());
    if let Some(reason) = command.failed {
        finalize = finalize.failed(reason);
    }
    let version = finalize.await?;
    if version.state() == pb::VersionState::Ready && version.artifact_count == 0 {
        note(&format!("{} has no files, and gets none any more", brief(&version.name)));
    }
    context.out.message("Version", &version, |version| match version.state() {
        pb::VersionState::Failed => format!("{} is given up: {}", brief(&version.name), version.failure_reason),
        _ => {
            let (files, size) = (count(version.artifact_count, "file"), bytes(version.size_bytes));
            format!("finalized {}: {files}, {size}, manifest {}", version.name, version.manifest_sha256)
        }
    })
}
