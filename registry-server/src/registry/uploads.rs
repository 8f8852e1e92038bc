//! Uploads: bytes first, then the record that makes them an artifact.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use registry_proto::chunks::Chunk;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use uuid::Uuid;

use super::artifacts::{artifact_after, event, put_artifact};
use super::contents::{Content, Sum};
use super::kinds;
use super::records::decode;
use super::transaction::Tx;
use super::usage::Room;
use super::versions::{live_version, reads_of, touch};
use super::{Mutation, Order, Registry, keys, sweep};
use crate::chunks::incoming::{Cutter, Incoming};
use crate::error::{Error, Violations};
use crate::rules::names::{ArtifactName, VersionName, VersionRef};
use crate::rules::quota::Limits;
use crate::store::Kind;

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

    async fn stored_artifact(&self, upload: &Upload, number: i64) -> Result<Option<pb::Artifact>, Error> {
        let key = keys::artifact(&upload.parent.model, number, &upload.path);
        self.store.get(kinds::ARTIFACT, &key).await?.map(|record| decode(&record)).transpose()
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
        let there = tx.store.get(kinds::ARTIFACT, &key).await?.map(|record| decode(&record)).transpose()?;
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
        reads.push((kinds::USAGE, keys::usage(&parent.model.namespace)));
        if let VersionRef::Number(number) = parent.version {
            reads.push((kinds::ARTIFACT, keys::artifact(&parent.model, number, path)));
        }
        reads
    }
}
