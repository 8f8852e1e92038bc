//! Uploads: bytes first, then the record that makes them an artifact.

pub(crate) mod parts;
pub(crate) mod possession;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use registry_common::chunks::Chunk;
use registry_common::paths;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use uuid::Uuid;

use self::possession::Claim;
use super::artifacts::put_artifact;
use super::contents::{Content, Sum};
use super::models::ModelRow;
use super::resource::{Resource, exists, must_live};
use super::stages::state;
use super::transaction::{Records as _, Tx, decode, resource_of};
use super::usage::{self, Room};
use super::{Committed, Intent, Mutation, Registry, sweep};
use crate::chunks::Names;
use crate::chunks::incoming::{Cutter, Incoming};
use crate::error::{Error, Violations};
use crate::rules::artifacts::{is_late, may_add};
use crate::rules::names::{ARTIFACTS, Name, VERSIONS, VersionRef};
use crate::rules::quota::Limits;
use crate::store::{self, Kind, Range};

/// A file that is to become an artifact; its fields were checked.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// The version.
    pub(crate) parent: Name,
    /// What its caller gave: `size_bytes` and `sha256`, if they are not empty, are announcements.
    pub(crate) artifact: pb::Artifact,
}

impl Upload {
    /// What the artifact will be called, as the caller calls its version.
    fn name(&self) -> Name {
        self.parent.child(&ARTIFACTS, &self.artifact.path)
    }

    /// How many bytes were announced.
    pub(crate) fn announced(&self) -> Option<u64> {
        Some(self.artifact.size_bytes.unsigned_abs()).filter(|size| *size > 0)
    }
}

/// What an artifact is to be made of.
#[derive(Debug)]
pub(crate) enum Source {
    /// Stored chunks, which came from the caller as parts.
    Parts(Vec<Chunk>),
    /// Stored chunks that the caller names, what they called their upload, and proof that they have the bytes.
    Chunks(Vec<Chunk>, Option<Uuid>, Claim),
    /// Few bytes.
    Bytes(Bytes),
}

impl Source {
    /// In bytes, as the caller says.
    fn size(&self) -> u64 {
        match self {
            Self::Parts(chunks) | Self::Chunks(chunks, ..) => chunks.iter().map(|chunk| u64::from(chunk.size)).sum(),
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
        room.admit_artifact(upload.announced().unwrap_or(0))?;
        self.begin_bytes(&upload.parent, room).await
    }

    /// Begins to take bytes for a version, into the room there is.
    async fn begin_bytes(&self, parent: &Name, room: Room) -> Result<Receiving, Error> {
        self.prepare_bytes(parent.namespace()).await?;
        let id = Uuid::new_v4();
        let look = self.look().await?;
        let cutter = Cutter::new(self.incoming(parent, look.names, Some(id)));
        Ok(Receiving { id, settled: look.settled, cutter, room })
    }

    async fn check_upload(&self, upload: &Upload) -> Result<Room, Error> {
        let version = self.version_to_fill(&upload.parent).await?;
        let there = self.stored_artifact(upload, &version).await?;
        admit(&version, upload, &upload.artifact.sha256, there.as_ref())?;
        self.room(upload.parent.namespace(), there.as_ref()).await
    }

    /// The version that bytes are for, if neither it nor its model is deleted.
    async fn version_to_fill(&self, name: &Name) -> Result<pb::Version, Error> {
        must_live(&self.store.resource::<ModelRow>(&name.parent()).await?)?;
        let version = self.version(name).await?;
        must_live(&version)?;
        Ok(version)
    }

    /// Which of these chunks a version's namespace lacks, by their places. Refused if it lacks some and is full.
    pub(crate) async fn missing_chunks(&self, parent: &Name, chunks: Vec<[u8; 32]>) -> Result<Vec<u32>, Error> {
        self.version_to_fill(parent).await?;
        let namespace = parent.namespace();
        let look = self.look().await?;
        let missing = self.chunks.missing(&look.names, namespace, chunks).await?;
        if !missing.is_empty() {
            self.room(namespace, None).await?.admit(1)?;
        }
        Ok(missing)
    }

    /// Begins to take chunks for a version, into the room there is.
    pub(crate) async fn begin_chunks(&self, parent: &Name, upload: Option<Uuid>) -> Result<(Incoming, Room), Error> {
        self.version_to_fill(parent).await?;
        let room = self.room(parent.namespace(), None).await?;
        self.prepare_bytes(parent.namespace()).await?;
        let look = self.look().await?;
        Ok((self.incoming(parent, look.names, upload), room))
    }

    /// Asked before bytes are stored in a namespace.
    async fn prepare_bytes(&self, namespace: &str) -> Result<(), Error> {
        if self.chunks.encrypts() { self.prepare_key(namespace).await } else { Ok(()) }
    }

    fn incoming(&self, parent: &Name, names: Arc<Names>, upload: Option<Uuid>) -> Incoming {
        let namespace = parent.namespace();
        let digesting = upload.and_then(|upload| self.digests.of(namespace, upload));
        Incoming::new(self.chunks.clone(), names, namespace.to_owned(), digesting)
    }

    /// What an upload led to, if it was carried out already.
    pub(crate) async fn uploaded(&self, intent: &Intent) -> Result<Option<pb::Artifact>, Error> {
        Ok(self.repeated::<AddArtifact>(intent).await?.flatten())
    }

    /// Makes an artifact of the bytes that came, if they are the announced ones.
    pub(crate) async fn finish_upload(
        &self,
        intent: Intent,
        upload: Upload,
        receiving: Receiving,
    ) -> Result<pb::Artifact, Error> {
        let cut = receiving.cutter.finish().await?;
        let sum = self.sum_of_cut(upload.parent.namespace(), receiving.id, cut).await?;
        let name = upload.name().to_string();
        match self.add_artifact(intent, upload, sum, receiving.settled).await {
            // Its caller does not know of chunks.
            Err(Error::Precondition { reason: ErrorReason::ChunksMissing, .. }) => Err(Error::ChunksCollected(name)),
            added => added,
        }
    }

    /// Makes an artifact of what is stored already, or came with the request.
    pub(crate) async fn create_artifact(
        &self,
        intent: Intent,
        upload: Upload,
        source: Source,
    ) -> Result<pb::Artifact, Error> {
        if let Some(artifact) = self.uploaded(&intent).await? {
            return Ok(artifact);
        }
        let room = self.check_upload(&upload).await?;
        room.admit_artifact(source.size())?;
        let namespace = upload.parent.namespace();
        // Of bytes that are kept with the record no sweep has any.
        let (sum, settled) = match source {
            // A trial keeps nothing, and so makes no key.
            Source::Bytes(bytes) if intent.validate_only => (Sum::of_bytes(&bytes, Bytes::new()), 0),
            Source::Bytes(bytes) => {
                self.prepare_bytes(namespace).await?;
                (self.sum_of_bytes(namespace, bytes).await?, 0)
            }
            Source::Parts(chunks) => self.sum_of_stored(&upload, None, chunks).await?,
            Source::Chunks(chunks, id, claim) => {
                let unproven = self.unproven(&intent, &upload, claim)?;
                let (sum, settled) = self.sum_of_stored(&upload, id, chunks).await?;
                if let Some(claim) = unproven {
                    self.prove(&upload, &sum, claim).await?;
                }
                (sum, settled)
            }
        };
        self.add_artifact(intent, upload, sum, settled).await
    }

    /// Sums up stored chunks, and answers the newest sweep before they were there.
    async fn sum_of_stored(&self, upload: &Upload, id: Option<Uuid>, chunks: Vec<Chunk>) -> Result<(Sum, u64), Error> {
        let (look, name, namespace) = (self.look().await?, upload.name(), upload.parent.namespace());
        let sum = self.sum_of_chunks(name.as_str(), namespace, &look.names, id, chunks).await?;
        Ok((sum, look.settled))
    }

    /// Makes the artifact. Its chunks were there behind the sweep `settled`.
    async fn add_artifact(
        &self,
        intent: Intent,
        upload: Upload,
        sum: Sum,
        mut settled: u64,
    ) -> Result<pb::Artifact, Error> {
        let mut found = Violations::default();
        let announced = (upload.announced(), upload.artifact.sha256.as_str());
        found.within("artifact", |found| check_announced(announced, (sum.size, &sum.sha256), found));
        found.check()?;
        let (name, namespace) = (upload.name(), upload.parent.namespace());
        let added = loop {
            let limits = Arc::clone(&self.limits);
            let add = AddArtifact { upload: upload.clone(), sum: sum.clone(), settled, limits };
            match self.commit(intent.clone(), add).await {
                Err(Error::ChunksCollected(_)) => {}
                added => break added?,
            }
            let content = Content::from_record(sum.manifest.clone())?;
            let chunks = content.stored();
            settled = match self.unharmed(settled, name.as_str(), namespace, chunks).await? {
                Some(newest) => newest,
                None => {
                    let look = self.look().await?;
                    self.check_stored(name.as_str(), namespace, &look.names, chunks).await?;
                    look.settled
                }
            };
        };
        match added {
            Some(artifact) => Ok(artifact),
            // The same bytes were there already.
            None => self.get::<pb::Artifact>(&name).await,
        }
    }

    async fn stored_artifact(&self, upload: &Upload, version: &pb::Version) -> Result<Option<pb::Artifact>, Error> {
        let key = name_in(version, &upload.artifact.path).key();
        self.store.get(pb::Artifact::KIND, &key).await?.map(|record| decode(&record)).transpose()
    }
}

/// Finds fault with bytes of another size or SHA-256 than was announced.
fn check_announced(announced: (Option<u64>, &str), came: (u64, &str), found: &mut Violations) {
    if let Some(announced) = announced.0.filter(|announced| *announced != came.0) {
        let sizes = format!("{announced} bytes were announced, {} came", came.0);
        found.add("size_bytes", ErrorReason::SizeMismatch, sizes);
    }
    if !announced.1.is_empty() && announced.1 != came.1 {
        let digests = format!("{} was announced, the bytes have {}", announced.1, came.1);
        found.add("sha256", ErrorReason::DigestMismatch, digests);
    }
}

/// The name of an artifact of a version, by the version's number.
fn name_in(version: &pb::Version, path: &str) -> Name {
    Name::canonical(&VERSIONS, &version.name).child(&ARTIFACTS, path)
}

/// Whether a version takes a file with this SHA-256, if that is known. `Ok(true)` if it has just this one already.
fn admit(version: &pb::Version, upload: &Upload, sha256: &str, there: Option<&pb::Artifact>) -> Result<bool, Error> {
    if let Some(there) = there {
        if sha256.is_empty() || sha256 == there.sha256 {
            return Ok(true);
        }
        return Err(exists(&there.name, there));
    }
    let r#type = &upload.artifact.r#type;
    if may_add(state(version), is_late(r#type)) {
        return Ok(false);
    }
    let detail = format!("is {} and takes no file of type {type:?}", state(version));
    Err(Error::precondition(ErrorReason::VersionSealed, version.name.clone(), detail))
}

/// Fails if the version has a file where this artifact needs a folder, or the other way round: no folder could hold both.
async fn refuse_conflict(tx: &Tx<'_>, name: &Name) -> Result<(), Error> {
    let conflict = |path: &str, with: &str| {
        let detail =
            format!("the version has the file {with:?}, so that it can't have {path:?}: one would have to be a folder");
        Err(Error::precondition(ErrorReason::PathConflict, name.as_str(), detail))
    };
    let (path, version) = (name.id(), name.parent());
    for folder in paths::folders(path) {
        if tx.store.get(pb::Artifact::KIND, &version.child(&ARTIFACTS, folder).key()).await?.is_some() {
            return conflict(path, folder);
        }
    }
    let below = Range::first([name.key(), b"/".to_vec()].concat(), 1);
    match tx.store.scan(store::Source::Kind(pb::Artifact::KIND), &below).await?.first() {
        Some(hit) => conflict(path, &decode::<pb::Artifact>(&hit.record)?.path),
        None => Ok(()),
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
    /// `None` if the same bytes were there already.
    type Answer = Option<pb::Artifact>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut version: pb::Version = tx.live(&self.upload.parent).await?;
        if self.sum.is_stored() {
            sweep::check_settled(tx, self.settled, self.upload.name().as_str()).await?;
        }
        let name = name_in(&version, &self.upload.artifact.path);
        let there = tx.store.get(pb::Artifact::KIND, &name.key()).await?.map(|record| decode(&record)).transpose()?;
        if admit(&version, &self.upload, &self.sum.sha256, there.as_ref())? {
            let there = there.map(|there: pb::Artifact| there.into_resource());
            tx.unchanged(name.to_string(), there);
            return Ok(());
        }
        refuse_conflict(tx, &name).await?;
        let artifact = pb::Artifact {
            name: name.to_string(),
            size_bytes: i64::try_from(self.sum.size).map_err(Error::internal)?,
            sha256: self.sum.sha256.clone(),
            chunks_blake3: self.sum.chunks_blake3.clone(),
            supplementary: version.state() != pb::VersionState::Pending,
            ..self.upload.artifact.given()
        };
        version.artifact_count += 1;
        version.size_bytes += artifact.size_bytes;
        put_artifact(tx, &self.limits, artifact, &self.sum.manifest).await?;
        tx.touch(version).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        let event = committed.events.into_iter().next();
        event.map(resource_of::<pb::Artifact>).transpose()
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let Upload { parent, .. } = &self.upload;
        let mut reads = pb::Version::reads(parent);
        if self.sum.is_stored() {
            reads.push(sweep::reads());
        }
        reads.extend(usage::reads(parent.namespace()));
        if matches!(VersionRef::parse(parent.id()), Ok(VersionRef::Number(_))) {
            reads.push((pb::Artifact::KIND, self.upload.name().key()));
        }
        reads
    }
}
