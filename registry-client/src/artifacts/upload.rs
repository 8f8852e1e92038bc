//! Uploads: from a file, from memory or from a reader to an artifact.

use std::fmt;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use futures::future::BoxFuture;
use registry_common::chunks::Chunk;
use registry_common::possession::Possession;
use tokio::io::AsyncRead;
use tracing::debug;
use uuid::Uuid;

use super::cut::{self, Cut};
use super::kind::artifact_type_of;
use super::sending::{BATCH, Sending};
use registry_proto::known::artifact_type;
use registry_proto::rpc::Request as _;

use crate::progress::Meter;
use crate::stamp::Stamp;
use crate::{Error, Progress, RegistryClient, call, pb, transport};

/// Where the bytes of an upload come from.
#[non_exhaustive]
pub enum Source {
    /// A local file.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Bytes),
    /// Something that can be read once.
    Reader(Pin<Box<dyn AsyncRead + Send>>),
}

impl Source {
    /// Whatever `reader` gives, to its end.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::Reader(Box::pin(reader))
    }

    /// The same once more, if it can be had.
    fn again(&self) -> Option<Self> {
        match self {
            Self::File(path) => Some(Self::File(path.clone())),
            Self::Bytes(bytes) => Some(Self::Bytes(bytes.clone())),
            Self::Reader(_) => None,
        }
    }

    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Bytes(_) | Self::Reader(_) => None,
        }
    }

    /// As far as it is known; to open a file says more about what is wrong with it.
    fn stamp(&self) -> Option<Stamp> {
        let there = std::fs::metadata(self.path()?).ok()?;
        there.is_file().then(|| Stamp::of(&there))
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => f.debug_tuple("Bytes").field(&bytes.len()).finish(),
            Self::Reader(_) => f.debug_tuple("Reader").finish_non_exhaustive(),
        }
    }
}

/// An upload that has not begun: set what is optional, then `.await` it for the [`Artifact`](pb::Artifact).
///
/// The artifact exists once that is answered. Only what the registry lacks is sent: an upload that broke off, in whatever way, goes
/// on where it was when it is made again, and a file that changed a little sends little. The same bytes under the same path
/// again are answered with what is there.
#[must_use = "nothing is uploaded until this is awaited"]
#[derive(Debug)]
pub struct Upload {
    target: Target,
    source: Source,
}

/// Where an upload goes, and what is known of it.
#[derive(Debug)]
struct Target {
    client: RegistryClient,
    commit: pb::CreateArtifactRequest,
    /// What the artifact will be, as far as that is known.
    artifact: pb::Artifact,
    /// Proof that its bytes are here, if that is asked for.
    possession: Option<Possession>,
    /// What the file was when it was looked at first.
    stamp: Option<Stamp>,
    /// Whether it may be run, unless the file tells.
    executable: Option<bool>,
    meter: Meter,
}

impl Upload {
    pub(super) fn new(client: &RegistryClient, version: String, path: String, source: Source) -> Self {
        let commit = pb::CreateArtifactRequest { parent: version, ..Default::default() };
        let artifact = pb::Artifact { r#type: artifact_type_of(&path).to_owned(), path, ..Default::default() };
        let (client, meter) = (client.clone(), Meter::default());
        Self {
            target: Target { client, commit, artifact, possession: None, stamp: None, executable: None, meter },
            source,
        }
    }

    /// What the file is; otherwise [guessed from its name](artifact_type_of).
    pub fn artifact_type(mut self, artifact_type: impl Into<String>) -> Self {
        self.target.artifact.r#type = artifact_type.into();
        self
    }

    /// For example `text/csv`; otherwise the registry guesses it from the path's ending.
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.target.artifact.media_type = media_type.into();
        self
    }

    /// Whether the file may be run; otherwise whether its owner may, if the source is a file.
    pub fn executable(mut self, executable: bool) -> Self {
        self.target.executable = Some(executable);
        self
    }

    /// Adds a tag, for selecting.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.target.artifact.tags.insert(key.into(), value.into());
        self
    }

    /// Calls back after each piece sent.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.target.meter.report_to(callback);
        self
    }

    /// Fails if the file is no longer what it was.
    pub(crate) fn seen_as(mut self, stamp: Option<Stamp>) -> Self {
        self.target.stamp = stamp;
        self
    }

    /// Counts this file as a part of many.
    pub(crate) fn part_of(mut self, meter: &Meter) -> Self {
        self.target.meter = meter.clone();
        self
    }

    /// Uploads; the same as `.await` on it.
    ///
    /// # Errors
    /// [`Error::Io`] if the source can't be read, or is a file that changes while it is (to a log, something may be added), and what
    /// `UploadArtifact` in [`registry_proto::v1`] says.
    pub async fn send(self) -> Result<pb::Artifact, Error> {
        let Self { mut target, source } = self;
        call::identify(&mut target.commit);
        target.send(source).await
    }
}

impl IntoFuture for Upload {
    type Output = Result<pb::Artifact, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// What was uploaded of a source.
enum Uploaded {
    Small(Bytes),
    Chunks(Vec<Chunk>),
}

impl Uploaded {
    /// In bytes.
    fn size(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Chunks(chunks) => chunks.iter().map(|chunk| chunk.size as usize).sum(),
        }
    }
}

impl Target {
    /// Sends what the registry lacks, and makes the artifact. If chunks were removed meanwhile, or proof is asked for, once more.
    async fn send(mut self, source: Source) -> Result<pb::Artifact, Error> {
        // A reader can't be read again if the registry asks for proof: it is made at once.
        let begun = Possession::new(&self.commit.parent, &self.artifact.path);
        self.possession = source.again().is_none().then(|| begun.clone());
        let mut source = source;
        let mut was_missing = false;
        // Whatever is read in several goes is the same each time. Logs are written to while they are read.
        self.stamp = self.stamp.or_else(|| source.stamp());
        let of_file = || self.stamp.as_ref().is_some_and(|stamp| stamp.executable);
        self.artifact.executable = self.executable.unwrap_or_else(of_file);
        if self.artifact.r#type == artifact_type::LOG {
            self.stamp = self.stamp.map(Stamp::of_log);
        }
        // With another one, the commit would be another request under the same request id.
        self.commit.upload_id = Uuid::new_v4().to_string();
        loop {
            let again = source.again();
            let uploaded = self.upload(source).await?;
            let size = uploaded.size();
            let (error, same) = match (self.commit(uploaded).await, again) {
                (Err(error), Some(same)) => (error, same),
                (committed, _) => return committed,
            };
            match error.reason() {
                Some(pb::ErrorReason::ChunksMissing) if !was_missing => {
                    was_missing = true;
                    self.possession = self.possession.map(|_| begun.clone());
                }
                Some(pb::ErrorReason::PossessionUnproven) if self.possession.is_none() => {
                    self.possession = Some(begun.clone());
                }
                _ => return Err(error),
            }
            debug!(path = self.artifact.path, %error, "uploading again");
            self.meter.file(&self.artifact.path).lost(size);
            source = same;
        }
    }

    async fn upload(&mut self, source: Source) -> Result<Uploaded, Error> {
        let origin = source.path().unwrap_or_else(|| PathBuf::from(&self.artifact.path));
        let size = match &source {
            Source::Bytes(bytes) => Some(bytes.len() as u64),
            _ => self.stamp.as_ref().map(|stamp| stamp.size),
        };
        self.meter.total = self.meter.total.or(size);
        let meter = self.meter.file(&self.artifact.path);
        let mut sending = Sending::new(&self.client, &self.commit.parent, &self.commit.upload_id, meter.clone());
        let mut cuts = cut::begin(source, self.stamp.clone());
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if cuts.recv_many(&mut batch, BATCH).await == 0 {
                return sending.finish().await.map(Uploaded::Chunks);
            }
            let mut pieces = Vec::with_capacity(BATCH);
            for cut in batch.drain(..) {
                match cut.map_err(|error| Error::io(&origin, error))? {
                    Cut::Small(bytes) => {
                        meter.moved(bytes.len());
                        return Ok(Uploaded::Small(bytes));
                    }
                    Cut::Chunk(piece) => {
                        if let Some(possession) = &mut self.possession {
                            possession.add(&piece.bytes);
                        }
                        pieces.push(piece);
                    }
                }
            }
            sending.take(pieces).await?;
        }
    }

    /// There is no deadline: the registry may have to read all bytes again.
    async fn commit(&self, uploaded: Uploaded) -> Result<pb::Artifact, Error> {
        let size_bytes = i64::try_from(uploaded.size()).unwrap_or(i64::MAX);
        let artifact = Some(pb::Artifact { size_bytes, ..self.artifact.clone() });
        let mut request = pb::CreateArtifactRequest { artifact, ..self.commit.clone() };
        match uploaded {
            Uploaded::Small(bytes) => request.data = bytes,
            Uploaded::Chunks(chunks) => {
                request.chunks = chunks.into_iter().map(Chunk::to_message).collect();
                let proof = self.possession.as_ref().map(Possession::proof);
                request.possession = proof.map(|proof| Bytes::copy_from_slice(&proof)).unwrap_or_default();
            }
        }
        let request = &request;
        let attempt = |transport| async move {
            Ok(transport::unary(transport, self.client.request(request.clone())).await?.into_inner())
        };
        self.client.retry().run(self.client.route(), pb::CreateArtifactRequest::METHOD, None, attempt).await
    }
}
