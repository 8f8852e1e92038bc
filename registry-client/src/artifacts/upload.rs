use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tonic::transport::Channel;

use super::digest::{CHUNK_BYTES, Hasher, hash_file};
use super::kind::artifact_type_of;
use super::service;
use crate::pb::upload_artifact_request::Request;
use crate::progress::{FileMeter, Meter};
use crate::{Error, Progress, RegistryClient, call, pb};

/// Where the bytes of an upload come from.
pub enum Source {
    /// A local file. It is read twice: for its digest, which the registry then checks, and to be sent.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Bytes),
    /// Something that can be read once. Such an upload is not tried again, and its digest is checked after it.
    Reader(Pin<Box<dyn AsyncRead + Send>>),
}

impl Source {
    /// Whatever `reader` gives, to its end.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::Reader(Box::pin(reader))
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
/// The artifact exists once that is answered; an upload that breaks off, or is dropped, leaves nothing behind. The same bytes
/// under the same path again are answered with what is there.
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
    metadata: pb::UploadMetadata,
    meter: Meter,
}

impl Upload {
    pub(super) fn new(client: &RegistryClient, version: String, path: String, source: Source) -> Self {
        let metadata =
            pb::UploadMetadata { r#type: artifact_type_of(&path).into(), parent: version, path, ..Default::default() };
        Self { target: Target { client: client.clone(), metadata, meter: Meter::default() }, source }
    }

    /// What the file is; otherwise [guessed from its name](artifact_type_of).
    pub fn artifact_type(mut self, artifact_type: pb::ArtifactType) -> Self {
        self.target.metadata.r#type = artifact_type.into();
        self
    }

    /// For example `text/csv`; otherwise the registry guesses it from the path's ending.
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.target.metadata.media_type = media_type.into();
        self
    }

    /// Calls back after each piece sent.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.target.meter.report_to(callback);
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
    /// [`Error::Io`] if the source can't be read, and what `UploadArtifact` in [`registry_proto::v1`] says.
    pub async fn send(self) -> Result<pb::Artifact, Error> {
        let Self { mut target, source } = self;
        call::identify(&mut target.metadata.request_id);
        match source {
            Source::File(path) => target.file(path).await,
            Source::Bytes(bytes) => target.bytes(bytes).await,
            Source::Reader(reader) => target.reader(reader).await,
        }
    }
}

impl IntoFuture for Upload {
    type Output = Result<pb::Artifact, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Target {
    async fn file(mut self, path: PathBuf) -> Result<pb::Artifact, Error> {
        let file = path.clone();
        self.announce(move || hash_file(&file)).await.map_err(|error| Error::io(&path, error))?;
        let meter = self.start();
        let (this, meter, path) = (&self, &meter, &path);
        let attempt = |channel| async move {
            let file = File::open(path).await.map_err(|error| Error::io(path, error))?;
            let path = path.clone();
            let chunks = chunks(file).map_err(move |error| Error::io(&path, error)).boxed();
            this.attempt(channel, meter, chunks).await
        };
        self.client.retry().run(self.client.route(), "upload_artifact", None, attempt).await
    }

    async fn bytes(mut self, bytes: Bytes) -> Result<pb::Artifact, Error> {
        let hashed = bytes.clone();
        let hash = move || {
            let mut hasher = Hasher::default();
            hasher.update(&hashed);
            Ok(hasher)
        };
        self.announce(hash).await.map_err(|error| Error::io(&self.metadata.path, error))?;
        let meter = self.start();
        let attempt = |channel| {
            let mut rest = bytes.clone();
            let next = move || (!rest.is_empty()).then(|| Ok(rest.split_to(CHUNK_BYTES.min(rest.len()))));
            self.attempt(channel, &meter, stream::iter(std::iter::from_fn(next)).boxed())
        };
        self.client.retry().run(self.client.route(), "upload_artifact", None, attempt).await
    }

    async fn reader(mut self, reader: Pin<Box<dyn AsyncRead + Send>>) -> Result<pb::Artifact, Error> {
        let meter = self.start();
        let hasher = Arc::new(Mutex::new(Hasher::default()));
        let sent = Arc::clone(&hasher);
        let path = PathBuf::from(&self.metadata.path);
        let chunks = chunks(reader)
            .inspect_ok(move |chunk| sent.lock().unwrap_or_else(PoisonError::into_inner).update(chunk))
            .map_err(move |error| Error::io(&path, error));
        let mut route = self.client.route();
        let result = self.attempt(route.next(), &meter, chunks.boxed()).await;
        route.ended(&result);
        let artifact = result?;
        hasher.lock().unwrap_or_else(PoisonError::into_inner).clone().verify(&artifact)?;
        Ok(artifact)
    }

    /// Computes size and digest off the runtime's threads, for the registry to check.
    async fn announce(&mut self, hash: impl FnOnce() -> io::Result<Hasher> + Send + 'static) -> io::Result<()> {
        let hasher = spawn_blocking(hash).await.map_err(io::Error::other)??;
        self.metadata.size_bytes = Some(hasher.size.cast_signed());
        self.metadata.sha256 = hasher.finish();
        Ok(())
    }

    fn start(&mut self) -> FileMeter {
        self.meter.total = self.meter.total.or(self.metadata.size_bytes.map(i64::cast_unsigned));
        self.meter.file(&self.metadata.path)
    }

    async fn attempt(
        &self,
        channel: Channel,
        meter: &FileMeter,
        chunks: BoxStream<'static, Result<Bytes, Error>>,
    ) -> Result<pb::Artifact, Error> {
        meter.restart();
        let (failed, failure) = oneshot::channel();
        let messages = messages(self.metadata.clone(), chunks, meter.clone(), failed);
        let mut service = service(channel);
        let answer = service.upload_artifact(self.client.request(messages));
        tokio::select! {
            answer = answer => Ok(answer?.into_inner()),
            Ok(error) = failure => Err(error),
        }
    }
}

/// The metadata, then the data.
///
/// If the data can't be read, the stream must not end: the registry would take what it has for the whole. It reports the error and
/// hangs, until the call is dropped and so reset.
fn messages(
    metadata: pb::UploadMetadata,
    chunks: BoxStream<'static, Result<Bytes, Error>>,
    meter: FileMeter,
    failed: oneshot::Sender<Error>,
) -> impl Stream<Item = pb::UploadArtifactRequest> + Send + 'static {
    let message = |request| pb::UploadArtifactRequest { request: Some(request) };
    let data = stream::unfold((chunks, failed, meter), async |(mut chunks, failed, meter)| {
        match chunks.next().await? {
            Ok(chunk) => {
                meter.add(chunk.len());
                Some((Request::Data(chunk), (chunks, failed, meter)))
            }
            Err(error) => {
                // Nobody listens only if the call has been dropped already.
                let _ = failed.send(error);
                future::pending().await
            }
        }
    });
    stream::iter([Request::Metadata(metadata)]).chain(data).map(message)
}

/// The bytes of a reader in pieces of [`CHUNK_BYTES`].
fn chunks(reader: impl AsyncRead + Send + Unpin + 'static) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(reader, async |mut reader| {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        while chunk.len() < CHUNK_BYTES && reader.read_buf(&mut chunk).await? > 0 {}
        Ok((!chunk.is_empty()).then(|| (chunk.freeze(), reader)))
    })
}
