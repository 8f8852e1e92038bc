//! Object stores by URL.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::buffered::BufWriter;
use object_store::client::ReqwestConnector;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, RetryConfig};
use registry_common::{hex, places};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::Failure;

/// How long a request that fails is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The object store at a URL, which has to answer, and the path in it.
pub(crate) async fn open(place: &str) -> Result<(Arc<dyn ObjectStore>, Path), Failure> {
    let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
    let (objects, path) = places::open(place, retry, ReqwestConnector::default())?;
    match objects.head(&path).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok((objects, path)),
        Err(error) => Err(format!("{place}: {error}").into()),
    }
}

/// The SHA-256 of an object.
pub(crate) async fn sha256(objects: &Arc<dyn ObjectStore>, path: &Path) -> object_store::Result<String> {
    let mut bytes = objects.get(path).await?.into_stream();
    let mut hasher = Sha256::new();
    while let Some(piece) = bytes.try_next().await? {
        hasher.update(&piece);
    }
    Ok(hex(&hasher.finalize()))
}

/// An object that is being written. It is there when [`finish`](Self::finish) has ended well.
pub(crate) struct Upload {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    writer: BufWriter,
}

impl Upload {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, path: Path) -> Self {
        Self { writer: BufWriter::new(Arc::clone(&objects), path.clone()), objects, path }
    }

    /// Completes the object, which has these bytes. A store may complete one and then answer with an error, or not at all; so it is read
    /// before that counts.
    pub(crate) async fn finish(mut self, sha256: &str) -> io::Result<()> {
        let Err(error) = self.writer.shutdown().await else { return Ok(()) };
        tracing::warn!(%error, path = %self.path, "the end of the upload was answered with an error: reading what is there");
        match self::sha256(&self.objects, &self.path).await {
            Ok(found) if found == sha256 => Ok(()),
            _ => Err(error),
        }
    }

    /// Removes what was uploaded of it: an object store keeps, and charges for, the parts of an upload that nobody ends.
    pub(crate) async fn abort(mut self) {
        if let Err(error) = self.writer.abort().await {
            tracing::warn!(%error, "what was uploaded could not be removed");
        }
    }
}

/// Its end is not that of the object.
impl AsyncWrite for Upload {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
