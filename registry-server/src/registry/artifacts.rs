//! Artifacts: reading them, and the records that make and unmake them.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use registry_proto::store::ManifestRecord;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::contents::Content;
use super::kinds;
use super::records::{Records as _, decode};
use super::transaction::Tx;
use super::usage;
use super::versions::{live_version, touch};
use super::{Committed, Mutation, Order, Registry, keys};
use crate::chunks::ChunkError;
use crate::error::Error;
use crate::rules::names::ArtifactName;
use crate::rules::quota::Limits;
use crate::store::Place;

impl Registry {
    /// An artifact and what it consists of.
    pub(crate) async fn manifest(&self, name: &ArtifactName) -> Result<(pb::Artifact, Content), Error> {
        let (key, artifact) = self.located(name).await?;
        Ok((artifact, self.content(&key).await?))
    }

    pub(crate) async fn artifact(&self, name: &ArtifactName) -> Result<pb::Artifact, Error> {
        Ok(self.located(name).await?.1)
    }

    /// An artifact and its key. An alias is asked once: it may move at any time.
    async fn located(&self, name: &ArtifactName) -> Result<(Vec<u8>, pb::Artifact), Error> {
        let number = self.store.resolve(&name.version).await?;
        let key = keys::artifact(&name.version.model, number, &name.path);
        match self.store.get(kinds::ARTIFACT, &key).await? {
            Some(record) => Ok((key, decode(&record)?)),
            None => {
                // Say so if it is the version or the model that is missing.
                self.version(&name.version).await?;
                Err(no_artifact(name))
            }
        }
    }

    /// The bytes of an artifact, from `offset`, and at most `length` of them unless that is 0.
    pub(crate) async fn read_artifact(
        &self,
        name: &ArtifactName,
        offset: u64,
        length: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static, Error> {
        let (artifact, content) = self.manifest(name).await?;
        let size = content.size();
        if offset > size || (offset == size && size > 0) {
            let detail = format!("{name} has {size} bytes: there is nothing from offset {offset} on");
            return Err(Error::OutOfRange { reason: ErrorReason::RangeInvalid, detail });
        }
        let end = if length == 0 { size } else { size.min(offset.saturating_add(length)) };
        let namespace = name.version.model.namespace.clone();
        let pieces = self.read_content(namespace, content, offset..end);
        let read = (self.clone(), artifact);
        Ok(pieces.or_else(move |error| {
            let (registry, artifact) = read.clone();
            async move { Err(registry.lost(&artifact, error).await) }
        }))
    }

    /// What it means for its reader that a chunk of an artifact can't be read. If it is damaged, it makes room for the same bytes.
    async fn lost(&self, read: &pb::Artifact, error: ChunkError) -> Error {
        let Ok(name) = ArtifactName::parse(&read.name) else { return error.of(&read.name) };
        if let Err(error) = self.put_aside_if_damaged(&name.version.model.namespace, &error).await {
            tracing::warn!(%error, artifact = read.name, "a damaged chunk stays where it is");
        }
        // It is no loss if the artifact was deleted while it was read.
        let error = error.of(&read.name);
        match (&error, self.artifact(&name).await) {
            (Error::Damaged { .. }, Err(Error::NotFound { .. })) => no_artifact(&name),
            (Error::Damaged { .. }, Ok(there)) if there.chunks_blake3 != read.chunks_blake3 => no_artifact(&name),
            _ => error,
        }
    }

    pub(crate) async fn delete_artifact(&self, order: Order, delete: DeleteArtifact) -> Result<pb::Artifact, Error> {
        let committed = self.commit(order, delete).await?;
        artifact_after(committed, pb::EventType::ArtifactDeleted)
            .ok_or_else(|| Error::internal("a deletion logged no event"))
    }
}

/// An artifact to be removed.
pub(crate) struct DeleteArtifact {
    pub(crate) name: ArtifactName,
}

#[async_trait]
impl Mutation for DeleteArtifact {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let name = &self.name;
        let mut version = live_version(tx, &name.version).await?;
        let key = keys::artifact(&name.version.model, version.number, &name.path);
        let Some(record) = tx.store.get(kinds::ARTIFACT, &key).await? else { return Err(no_artifact(name)) };
        let artifact: pb::Artifact = decode(&record)?;
        if version.state() != pb::VersionState::Pending && !artifact.supplementary {
            let detail = format!("is sealed: its version is {}", version.state().as_str_name());
            return Err(Error::precondition(ErrorReason::VersionSealed, artifact.name, detail));
        }
        version.artifact_count -= 1;
        version.size_bytes -= artifact.size_bytes;
        touch(tx, &mut version);
        tx.log(event(pb::EventType::ArtifactDeleted, &artifact.name, Some(&artifact), None));
        remove_artifact(tx, &key, &artifact).await?;
        tx.put_version(&name.version.model, &version).await
    }
}

/// Writes the records of a new artifact, and counts it, if it fits: whatever adds one does it here.
pub(super) async fn put_artifact(
    tx: &mut Tx<'_>,
    limits: &Limits,
    key: Vec<u8>,
    artifact: &pb::Artifact,
    manifest: &ManifestRecord,
) -> Result<(), Error> {
    let namespace = keys::namespace_of(&key).to_owned();
    usage::take(tx, limits, &namespace, artifact.size_bytes.unsigned_abs()).await?;
    tx.put(kinds::ARTIFACT, key.clone(), artifact, Vec::new()).await?;
    // Few bytes are looked at as they come: nobody asks whether they are known.
    let listed = manifest.inline.is_none().then(|| keys::contents(&namespace, &artifact.chunks_blake3));
    let listed = listed.map(|value| Place { slot: kinds::CONTENTS.slot, value }).into_iter().collect();
    tx.put(kinds::MANIFEST, key, manifest, listed).await
}

/// Removes the records of an artifact, which counts no more: whatever removes one does it here.
pub(super) async fn remove_artifact(tx: &mut Tx<'_>, key: &[u8], artifact: &pb::Artifact) -> Result<(), Error> {
    tx.store.remove(kinds::ARTIFACT, key).await?;
    tx.store.remove(kinds::MANIFEST, key).await?;
    usage::give_back(tx, keys::namespace_of(key), artifact.size_bytes.unsigned_abs()).await
}

pub(super) fn resource(artifact: &pb::Artifact) -> pb::Resource {
    pb::Resource { resource: Some(pb::resource::Resource::Artifact(artifact.clone())) }
}

pub(super) fn event(
    r#type: pb::EventType,
    name: &str,
    before: Option<&pb::Artifact>,
    after: Option<&pb::Artifact>,
) -> pb::Event {
    pb::Event {
        r#type: r#type.into(),
        resource_name: name.to_owned(),
        before: before.map(resource),
        after: after.map(resource),
        ..Default::default()
    }
}

/// The artifact that an event of a type is about.
pub(super) fn artifact_after(committed: Committed, r#type: pb::EventType) -> Option<pb::Artifact> {
    let event = committed.into_event(r#type).ok()?;
    match event.after.or(event.before)?.resource {
        Some(pb::resource::Resource::Artifact(artifact)) => Some(artifact),
        _ => None,
    }
}

fn no_artifact(name: &ArtifactName) -> Error {
    Error::NotFound { reason: ErrorReason::ArtifactNotFound, name: name.to_string() }
}
