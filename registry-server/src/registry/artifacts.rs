//! Artifacts: reading them, and the records that make and unmake them.

use std::sync::LazyLock;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use registry_common::hex;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use sha2::{Digest, Sha256};

use super::contents::{Content, contents_place};
use super::kinds::kind;
use super::lists::{Listed, Page, page_token_invalid};
use super::resource::{Resource, check_etag, missing};
use super::stages::state;
use super::transaction::{Tx, decode, event};
use super::{Committed, Mutation, Registry, facts, kinds, usage, validate};
use crate::chunks::ChunkError;
use crate::error::{Error, Violations};
use crate::rules::artifacts::may_remove;
use crate::rules::names::{ARTIFACTS, Collection, Name, VERSIONS};
use crate::rules::quota::Limits;
use crate::store::{FactView, Kind, KindLayout, Pages, Place, Source};
use crate::stored::ManifestRecord;

#[async_trait]
impl Resource for pb::Artifact {
    const LAYOUT: KindLayout = KindLayout {
        view: Some(FactView {
            about: "The artifacts of all versions",
            facts: facts::MADE,
            facts_of: facts::standard::<Self>,
        }),
        ..kind(Kind(3), "artifacts")
    };
    const LISTED: Source = Source::Kind(Self::KIND);
    const OF: &'static Collection = &ARTIFACTS;

    fn places(&self, _: &Name) -> Vec<Place> {
        Vec::new()
    }

    fn check(message: &Self, found: &mut Violations) {
        validate::artifact(message, found);
    }

    async fn live_above(tx: &Tx<'_>, name: &Name) -> Result<(), Error> {
        tx.live::<pb::Version>(&name.parent()).await.map(drop)
    }
}

/// Where a page begins that goes on at a number.
pub(super) fn position(page: &Page) -> Result<u32, Error> {
    let position = page.after.as_deref().map(<[u8; 4]>::try_from).transpose();
    position.map(|after| after.map_or(0, u32::from_be_bytes)).map_err(|_| page_token_invalid())
}

impl Registry {
    /// An artifact and what it consists of.
    pub(crate) async fn manifest(&self, name: &Name) -> Result<(pb::Artifact, Content), Error> {
        let artifact = self.get::<pb::Artifact>(name).await?;
        // An alias is asked once: it may move at any time.
        let content = self.content(&Name::canonical(&ARTIFACTS, &artifact.name).key()).await?;
        Ok((artifact, content))
    }

    /// Over all artifacts of a version, as `Version.manifest_sha256` has it.
    pub(super) async fn manifest_digest(&self, version: &Name) -> Result<String, Error> {
        let mut hasher = Sha256::new();
        let mut all = Pages::under(Source::Kind(pb::Artifact::KIND), version.prefix());
        while let Some(hit) = all.next(&*self.store).await? {
            let artifact: pb::Artifact = decode(&hit.record)?;
            hasher.update(format!("{} {} {}\n", artifact.sha256, artifact.size_bytes, artifact.path));
        }
        Ok(hex(&hasher.finalize()))
    }

    /// The chunks of an artifact, in order.
    pub(crate) async fn list_chunks(&self, name: &Name, page: &Page) -> Result<Listed<pb::Chunk>, Error> {
        let (_, content) = self.manifest(name).await?;
        let from = position(page)? as usize;
        let rest = content.chunks.get(from..).unwrap_or_default();
        let items: Vec<_> = rest.iter().take(page.size).map(|chunk| chunk.to_message()).collect();
        let next = from + items.len();
        let next = (items.len() < rest.len()).then(|| u32::try_from(next).unwrap_or(u32::MAX));
        Ok(Listed::of(items, next.map(|next| next.to_be_bytes().to_vec())))
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
        match (&error, self.get::<pb::Artifact>(&name).await) {
            (Error::Damaged { .. }, Err(Error::NotFound { .. })) => missing::<pb::Artifact>(&name),
            (Error::Damaged { .. }, Ok(there)) if there.chunks_blake3 != read.chunks_blake3 => {
                missing::<pb::Artifact>(&name)
            }
            _ => error,
        }
    }
}

/// An artifact to be removed.
pub(crate) struct DeleteArtifact {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for DeleteArtifact {
    type Answer = pb::Artifact;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut version: pb::Version = tx.live(&self.name.parent()).await?;
        let name = Name::canonical(&VERSIONS, &version.name).child(&ARTIFACTS, self.name.id());
        let artifact: pb::Artifact = tx.any(&name).await?;
        check_etag(&artifact, &self.etag)?;
        if !may_remove(state(&version), artifact.supplementary) {
            let detail = format!("is sealed: its version is {}", state(&version));
            return Err(Error::precondition(ErrorReason::VersionSealed, artifact.name, detail));
        }
        version.artifact_count -= 1;
        version.size_bytes -= artifact.size_bytes;
        tx.store.remove(kinds::MANIFEST, &name.key()).await?;
        usage::give_back(tx, name.namespace(), 1, artifact.size_bytes.unsigned_abs()).await?;
        tx.remove(event(event_type::ARTIFACT_DELETED), artifact).await?;
        tx.touch(version).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Artifact, Error> {
        committed.resource::<pb::Artifact>(event_type::ARTIFACT_DELETED)
    }
}

/// Writes a new artifact with what it consists of, and counts it, if it fits.
pub(super) async fn put_artifact(
    tx: &mut Tx<'_>,
    limits: &Limits,
    artifact: pb::Artifact,
    manifest: &ManifestRecord,
) -> Result<(), Error> {
    let name = Name::canonical(&ARTIFACTS, &artifact.name);
    usage::take(tx, limits, name.namespace(), artifact.size_bytes.unsigned_abs()).await?;
    // Few bytes are looked at as they come: nobody asks whether they are known.
    let listed = manifest.inline.is_none().then(|| contents_place(name.namespace(), &artifact.chunks_blake3));
    let listed = listed.map(|value| Place { slot: kinds::CONTENTS.slot, value }).into_iter().collect();
    tx.put(kinds::MANIFEST, name.key(), manifest, listed).await?;
    tx.write(event(event_type::ARTIFACT_CREATED), None, artifact).await.map(drop)
}

/// Removes the records of an artifact. Whoever does so counts it off.
pub(super) async fn remove_records(tx: &mut Tx<'_>, key: &[u8]) -> Result<(), Error> {
    tx.store.remove(pb::Artifact::KIND, key).await?;
    Ok(tx.store.remove(kinds::MANIFEST, key).await?)
}

/// The manifest digest of a version without artifacts.
pub(crate) fn manifest_of_nothing() -> String {
    static DIGEST: LazyLock<String> = LazyLock::new(|| hex(&Sha256::digest([])));
    DIGEST.clone()
}
