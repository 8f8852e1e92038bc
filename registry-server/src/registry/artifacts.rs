//! Artifacts: reading them, and the records that make and unmake them.

use std::sync::LazyLock;

use crate::stored::ManifestRecord;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use sha2::{Digest, Sha256};

use super::contents::Content;
use super::records::{Records as _, decode};
use super::transaction::Tx;
use super::{Committed, Mutation, Registry, keys, usage};
use crate::chunks::ChunkError;
use crate::convert;
use crate::error::Error;
use crate::rules::artifacts::may_remove;
use crate::rules::names::{ARTIFACTS, Name, VERSIONS};
use crate::rules::quota::Limits;
use crate::store::{Attribute, Index, Kind, Pages, Source};
use registry_common::hex;

impl Registry {
    /// An artifact and what it consists of.
    pub(crate) async fn manifest(&self, name: &Name) -> Result<(pb::Artifact, Content), Error> {
        let (key, artifact) = self.located(name).await?;
        Ok((artifact, self.content(&key).await?))
    }

    pub(crate) async fn artifact(&self, name: &Name) -> Result<pb::Artifact, Error> {
        Ok(self.located(name).await?.1)
    }

    /// An artifact and its key. An alias is asked once: it may move at any time.
    async fn located(&self, name: &Name) -> Result<(Vec<u8>, pb::Artifact), Error> {
        let key = self.store.resolve(name).await?.key();
        match self.store.get(Kind::Artifact, &key).await? {
            Some(record) => Ok((key, decode(&record)?)),
            None => {
                // Say so if it is the version or the model that is missing.
                self.version(&name.parent()).await?;
                Err(no_artifact(name))
            }
        }
    }

    /// Over all artifacts of a version, as `Version.manifest_sha256` has it.
    pub(super) async fn manifest_digest(&self, version: &Name) -> Result<String, Error> {
        let mut hasher = Sha256::new();
        let mut all = Pages::under(Source::Kind(Kind::Artifact), version.prefix());
        while let Some(hit) = all.next(&*self.store).await? {
            let artifact: pb::Artifact = decode(&hit.record)?;
            hasher.update(format!("{} {} {}\n", artifact.sha256, artifact.size_bytes, artifact.path));
        }
        Ok(hex(&hasher.finalize()))
    }

    /// The bytes of an artifact, from `offset`, and at most `length` of them unless that is 0.
    pub(crate) async fn read_artifact(
        &self,
        name: &Name,
        offset: u64,
        length: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static + use<>, Error> {
        let (artifact, content) = self.manifest(name).await?;
        let size = content.size();
        if offset > size || (offset == size && size > 0) {
            let detail = format!("{name} has {size} bytes: there is nothing from offset {offset} on");
            return Err(Error::OutOfRange { reason: ErrorReason::RangeInvalid, detail });
        }
        let end = if length == 0 { size } else { size.min(offset.saturating_add(length)) };
        let namespace = name.namespace().to_owned();
        let pieces = self.read_content(namespace, content, offset..end);
        let read = (self.clone(), artifact);
        Ok(pieces.or_else(move |error| {
            let (registry, artifact) = read.clone();
            async move { Err(registry.lost(&artifact, error).await) }
        }))
    }

    /// What it means for its reader that a chunk of an artifact can't be read. If it is damaged, it makes room for the same bytes.
    async fn lost(&self, read: &pb::Artifact, error: ChunkError) -> Error {
        let name = Name::canonical(&ARTIFACTS, &read.name);
        if let Err(error) = self.put_aside_if_damaged(name.namespace(), &error).await {
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
}

/// An artifact to be removed.
pub(crate) struct DeleteArtifact {
    pub(crate) name: Name,
}

#[async_trait]
impl Mutation for DeleteArtifact {
    type Answer = pb::Artifact;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut version: pb::Version = tx.live(&self.name.parent()).await?;
        let name = Name::canonical(&VERSIONS, &version.name).child(&ARTIFACTS, self.name.id());
        let key = name.key();
        let Some(record) = tx.store.get(Kind::Artifact, &key).await? else { return Err(no_artifact(&self.name)) };
        let artifact: pb::Artifact = decode(&record)?;
        if !may_remove(convert::state(&version), artifact.supplementary) {
            let detail = format!("is sealed: its version is {}", version.state().as_str_name());
            return Err(Error::precondition(ErrorReason::VersionSealed, artifact.name, detail));
        }
        version.artifact_count -= 1;
        version.size_bytes -= artifact.size_bytes;
        tx.record(event_of(pb::EventType::ArtifactDeleted, &artifact.name, Some(&artifact), None));
        remove_records(tx, &key).await?;
        usage::give_back(tx, name.namespace(), 1, artifact.size_bytes.unsigned_abs()).await?;
        tx.touch(version).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Artifact, Error> {
        let deleted = artifact_of(committed, pb::EventType::ArtifactDeleted);
        deleted.ok_or_else(|| Error::internal("a deletion has no event"))
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
    tx.put(Kind::Artifact, key.clone(), artifact, Vec::new()).await?;
    // Few bytes are looked at as they come: nobody asks whether they are known.
    let listed = manifest.inline.is_none().then(|| keys::contents(&namespace, &artifact.chunks_blake3));
    let listed = listed.map(|value| Attribute { index: Index::Contents, value }).into_iter().collect();
    tx.put(Kind::Manifest, key, manifest, listed).await
}

/// Removes the records of an artifact. Whoever does so counts it off.
pub(super) async fn remove_records(tx: &mut Tx<'_>, key: &[u8]) -> Result<(), Error> {
    tx.store.remove(Kind::Artifact, key).await?;
    Ok(tx.store.remove(Kind::Manifest, key).await?)
}

pub(super) fn resource(artifact: &pb::Artifact) -> pb::Resource {
    pb::Resource { resource: Some(pb::resource::Resource::Artifact(artifact.clone())) }
}

pub(super) fn event_of(
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
pub(super) fn artifact_of(committed: Committed, r#type: pb::EventType) -> Option<pb::Artifact> {
    let event = committed.into_event(r#type).ok()?;
    match event.after.or(event.before)?.resource {
        Some(pb::resource::Resource::Artifact(artifact)) => Some(artifact),
        _ => None,
    }
}

/// The manifest digest of a version without artifacts.
pub(crate) fn manifest_of_nothing() -> String {
    static DIGEST: LazyLock<String> = LazyLock::new(|| hex(&Sha256::digest([])));
    DIGEST.clone()
}

fn no_artifact(name: &Name) -> Error {
    Error::NotFound { reason: ErrorReason::ArtifactNotFound, name: name.to_string() }
}
