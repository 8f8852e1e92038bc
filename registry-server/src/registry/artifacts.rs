//! Artifacts: bytes first, then the record that makes them one.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use registry_proto::chunks::Chunk;
use registry_proto::store::ManifestRecord;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use uuid::Uuid;

use super::contents::{Content, Sum};
use super::records::{Records as _, decode};
use super::transaction::Tx;
use super::usage::{self, Room};
use super::versions::{live_version, reads_of, touch};
use super::{Committed, Mutation, Order, Registry, keys, sweep};
use crate::chunks::ChunkError;
use crate::chunks::incoming::{Cutter, Incoming};
use crate::error::{Error, Violations};
use crate::rules::names::{ArtifactName, VersionName, VersionRef};
use crate::rules::quota::Limits;
use crate::store::{Attribute, Index, Kind};

/// A file that is to become an artifact; its fields were checked.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) parent: VersionName,
    pub(crate) path: String,
    pub(crate) r#type: pb::ArtifactType,
    pub(crate) media_type: String,
    /// As announced.
    pub(crate) size_bytes: Option<u64>,
    /// As announced, lower-case.
    pub(crate) sha256: Option<String>,
    /// Where the fields stand in the request: `metadata.`, or nothing.
    pub(crate) within: &'static str,
}

impl Upload {
    /// What the artifact will be called, as the caller calls its version.
    fn name(&self) -> String {
        format!("{}/artifacts/{}", self.parent, self.path)
    }

    fn field(&self, name: &str) -> String {
        format!("{}{name}", self.within)
    }
}

/// What an artifact is to be made of.
#[derive(Debug)]
pub(crate) enum Source {
    /// Stored chunks, and what the caller called their upload.
    Chunks(Vec<Chunk>, Option<Uuid>),
    /// Few bytes.
    Bytes(Bytes),
}

impl Source {
    /// In bytes, as the caller says.
    fn size(&self) -> u64 {
        match self {
            Self::Chunks(chunks, _) => chunks.iter().map(|chunk| u64::from(chunk.size)).sum(),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// An upload that is cut into chunks here.
#[derive(Debug)]
pub(crate) struct Receiving {
    id: Uuid,
    /// The newest sweep before the first chunk was stored.
    settled: u64,
    cutter: Cutter,
    room: Room,
}

impl Receiving {
    /// Takes the next bytes, if there is room for them.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.room.admit_artifact(self.cutter.size() + bytes.len() as u64)?;
        self.cutter.write(bytes).await
    }

    /// How many bytes came so far.
    pub(crate) fn size(&self) -> u64 {
        self.cutter.size()
    }
}

impl Registry {
    /// Begins an upload, if the version can take it; asked before bytes come, so that none come in vain.
    pub(crate) async fn begin_upload(&self, upload: &Upload) -> Result<Receiving, Error> {
        let room = self.check_upload(upload).await?;
        room.admit_artifact(upload.size_bytes.unwrap_or(0))?;
        self.prepare_key(&upload.parent.model.namespace).await?;
        let id = Uuid::new_v4();
        let settled = self.settled().await?;
        Ok(Receiving { id, settled, cutter: Cutter::new(self.incoming(&upload.parent, Some(id))), room })
    }

    async fn check_upload(&self, upload: &Upload) -> Result<Room, Error> {
        let version = self.version(&upload.parent).await?;
        let there = self.stored_artifact(upload, version.number).await?;
        admit(&version, upload, there.as_ref())?;
        self.room(&upload.parent.model.namespace, there.as_ref()).await
    }

    /// Which of these chunks a version's namespace lacks, by their places. Refused if it lacks some and is full.
    pub(crate) async fn missing_chunks(&self, parent: &VersionName, chunks: Vec<[u8; 32]>) -> Result<Vec<u32>, Error> {
        self.version(parent).await?;
        let namespace = &parent.model.namespace;
        let missing = self.chunks.missing(namespace, chunks).await?;
        if !missing.is_empty() {
            self.room(namespace, None).await?.admit(1)?;
        }
        Ok(missing)
    }

    /// Begins to take chunks for a version, into the room there is.
    pub(crate) async fn begin_chunks(
        &self,
        parent: &VersionName,
        upload: Option<Uuid>,
    ) -> Result<(Incoming, Room), Error> {
        self.version(parent).await?;
        let room = self.room(&parent.model.namespace, None).await?;
        self.prepare_key(&parent.model.namespace).await?;
        Ok((self.incoming(parent, upload), room))
    }

    fn incoming(&self, parent: &VersionName, upload: Option<Uuid>) -> Incoming {
        let namespace = &parent.model.namespace;
        let digesting = upload.map(|upload| self.digests.of(namespace, upload));
        Incoming::new(self.chunks.clone(), namespace.clone(), digesting)
    }

    /// Makes an artifact of the bytes that came, if they are the announced ones.
    pub(crate) async fn finish_upload(
        &self,
        order: Order,
        upload: Upload,
        receiving: Receiving,
    ) -> Result<pb::Artifact, Error> {
        let cut = receiving.cutter.finish().await?;
        let sum = self.sum_of_cut(&upload.parent.model.namespace, receiving.id, cut).await?;
        let name = upload.name();
        match self.add_artifact(order, upload, sum, receiving.settled).await {
            // Its caller does not know of chunks.
            Err(Error::Precondition { reason: ErrorReason::ChunksMissing, .. }) => Err(Error::ChunksCollected(name)),
            added => added,
        }
    }

    /// Makes an artifact of what is stored already, or came with the request.
    pub(crate) async fn commit_artifact(
        &self,
        order: Order,
        upload: Upload,
        source: Source,
    ) -> Result<pb::Artifact, Error> {
        let room = self.check_upload(&upload).await?;
        room.admit_artifact(source.size())?;
        let settled = self.settled().await?;
        let sum = match source {
            // A trial keeps nothing, and so makes no key.
            Source::Bytes(bytes) if order.validate_only => Sum::of_bytes(&bytes, Bytes::new()),
            Source::Bytes(bytes) => {
                self.prepare_key(&upload.parent.model.namespace).await?;
                self.sum_of_bytes(&upload.parent.model.namespace, bytes).await?
            }
            Source::Chunks(chunks, id) => {
                self.sum_of_chunks(&upload.name(), &upload.parent.model.namespace, id, chunks).await?
            }
        };
        self.add_artifact(order, upload, sum, settled).await
    }

    /// Makes the artifact. Its chunks were there behind the sweep `settled`.
    async fn add_artifact(
        &self,
        order: Order,
        upload: Upload,
        sum: Sum,
        mut settled: u64,
    ) -> Result<pb::Artifact, Error> {
        let mut found = Violations::default();
        let size = sum.size;
        if let Some(announced) = upload.size_bytes.filter(|announced| *announced != size) {
            let sizes = format!("{announced} bytes were announced, {size} came");
            found.add(upload.field("size_bytes"), ErrorReason::SizeMismatch, sizes);
        }
        if let Some(announced) = upload.sha256.as_ref().filter(|announced| **announced != sum.sha256) {
            let digests = format!("{announced} was announced, the bytes have {}", sum.sha256);
            found.add(upload.field("sha256"), ErrorReason::DigestMismatch, digests);
        }
        found.check()?;
        let (parent, path) = (upload.parent.clone(), upload.path.clone());
        let (name, namespace) = (upload.name(), &parent.model.namespace);
        let committed = loop {
            let limits = Arc::clone(&self.limits);
            let add = AddArtifact { upload: upload.clone(), sum: sum.clone(), settled, limits };
            match self.commit(order.clone(), add).await {
                Err(Error::ChunksCollected(_)) => {}
                committed => break committed?,
            }
            let content = Content::from_record(sum.manifest.clone())?;
            let chunks = content.stored();
            settled = match self.unharmed(settled, &name, namespace, chunks).await? {
                Some(newest) => newest,
                None => {
                    let settled = self.settled().await?;
                    self.check_stored(&name, namespace, chunks).await?;
                    settled
                }
            };
        };
        match artifact_after(committed, pb::EventType::ArtifactCreated) {
            Some(artifact) => Ok(artifact),
            // The same bytes were there already.
            None => self.artifact(&ArtifactName { version: parent, path }).await,
        }
    }

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
        match self.store.get(Kind::Artifact, &key).await? {
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

    async fn stored_artifact(&self, upload: &Upload, number: i64) -> Result<Option<pb::Artifact>, Error> {
        let key = keys::artifact(&upload.parent.model, number, &upload.path);
        self.store.get(Kind::Artifact, &key).await?.map(|record| decode(&record)).transpose()
    }
}

/// Whether a version takes a file. `Ok(true)` if it has just this one already.
fn admit(version: &pb::Version, upload: &Upload, there: Option<&pb::Artifact>) -> Result<bool, Error> {
    super::records::must_live(&version.name, version.delete_time.as_ref())?;
    if let Some(there) = there {
        let same = upload.sha256.as_ref().is_none_or(|sha256| *sha256 == there.sha256);
        if same {
            return Ok(true);
        }
        let name = there.name.clone();
        return Err(Error::AlreadyExists { reason: ErrorReason::ArtifactAlreadyExists, name });
    }
    let late =
        matches!(upload.r#type, pb::ArtifactType::Plot | pb::ArtifactType::ConfusionMatrix | pb::ArtifactType::Log);
    match version.state() {
        pb::VersionState::Pending => Ok(false),
        pb::VersionState::Ready if late => Ok(false),
        state => {
            let detail = format!("is {} and takes no {}", state.as_str_name(), upload.r#type.as_str_name());
            Err(Error::precondition(ErrorReason::VersionSealed, version.name.clone(), detail))
        }
    }
}

/// An artifact to be recorded; its bytes are stored, or few.
struct AddArtifact {
    upload: Upload,
    sum: Sum,
    /// Its chunks were there behind this sweep.
    settled: u64,
    limits: Arc<Limits>,
}

#[async_trait]
impl Mutation for AddArtifact {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut version = live_version(tx, &self.upload.parent).await?;
        if self.sum.is_stored() {
            sweep::check_settled(tx, self.settled, &self.upload.name()).await?;
        }
        let model = &self.upload.parent.model;
        let key = keys::artifact(model, version.number, &self.upload.path);
        let there = tx.store.get(Kind::Artifact, &key).await?.map(|record| decode(&record)).transpose()?;
        let upload = Upload { sha256: Some(self.sum.sha256.clone()), ..self.upload.clone() };
        if admit(&version, &upload, there.as_ref())? {
            return Ok(());
        }
        let artifact = pb::Artifact {
            name: format!("{}/artifacts/{}", version.name, self.upload.path),
            path: self.upload.path.clone(),
            r#type: self.upload.r#type.into(),
            media_type: self.upload.media_type.clone(),
            size_bytes: i64::try_from(self.sum.size).map_err(Error::internal)?,
            sha256: self.sum.sha256.clone(),
            chunks_blake3: self.sum.chunks_blake3.clone(),
            create_time: Some(tx.now),
            supplementary: version.state() != pb::VersionState::Pending,
        };
        version.artifact_count += 1;
        version.size_bytes += artifact.size_bytes;
        touch(tx, &mut version);
        tx.log(event(pb::EventType::ArtifactCreated, &artifact.name, None, Some(&artifact)));
        put_artifact(tx, &self.limits, key, &artifact, &self.sum.manifest).await?;
        tx.put_version(model, &version).await
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let Upload { parent, path, .. } = &self.upload;
        let mut reads = reads_of(parent);
        if self.sum.is_stored() {
            reads.push(sweep::reads());
        }
        reads.push((Kind::Usage, keys::usage(&parent.model.namespace)));
        if let VersionRef::Number(number) = parent.version {
            reads.push((Kind::Artifact, keys::artifact(&parent.model, number, path)));
        }
        reads
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
        let Some(record) = tx.store.get(Kind::Artifact, &key).await? else { return Err(no_artifact(name)) };
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
async fn put_artifact(
    tx: &mut Tx<'_>,
    limits: &Limits,
    key: Vec<u8>,
    artifact: &pb::Artifact,
    manifest: &ManifestRecord,
) -> Result<(), Error> {
    let namespace = keys::namespace_of(&key).to_owned();
    usage::take(tx, limits, &namespace, artifact.size_bytes.unsigned_abs()).await?;
    tx.put(Kind::Artifact, key.clone(), artifact, Vec::new()).await?;
    let value = keys::contents(&namespace, &artifact.chunks_blake3);
    let listed = vec![Attribute { index: Index::Contents, value }];
    tx.put(Kind::Manifest, key, manifest, listed).await
}

/// Removes the records of an artifact, which counts no more: whatever removes one does it here.
pub(super) async fn remove_artifact(tx: &mut Tx<'_>, key: &[u8], artifact: &pb::Artifact) -> Result<(), Error> {
    tx.store.remove(Kind::Artifact, key).await?;
    tx.store.remove(Kind::Manifest, key).await?;
    usage::give_back(tx, keys::namespace_of(key), artifact.size_bytes.unsigned_abs()).await
}

pub(super) fn resource(artifact: &pb::Artifact) -> pb::Resource {
    pb::Resource { resource: Some(pb::resource::Resource::Artifact(artifact.clone())) }
}

fn event(r#type: pb::EventType, name: &str, before: Option<&pb::Artifact>, after: Option<&pb::Artifact>) -> pb::Event {
    pb::Event {
        r#type: r#type.into(),
        resource_name: name.to_owned(),
        before: before.map(resource),
        after: after.map(resource),
        ..Default::default()
    }
}

/// The artifact that an event of a type is about.
fn artifact_after(committed: Committed, r#type: pb::EventType) -> Option<pb::Artifact> {
    let event = committed.into_event(r#type).ok()?;
    match event.after.or(event.before)?.resource {
        Some(pb::resource::Resource::Artifact(artifact)) => Some(artifact),
        _ => None,
    }
}

fn no_artifact(name: &ArtifactName) -> Error {
    Error::NotFound { reason: ErrorReason::ArtifactNotFound, name: name.to_string() }
}
