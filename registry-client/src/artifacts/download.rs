use std::io::Write;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tonic::Streaming;
use tracing::debug;
use uuid::Uuid;

use super::digest::Hasher;
use super::service;
use crate::pool::Route;
use crate::progress::{FileMeter, Meter};
use crate::{Error, Progress, RegistryClient, pb};

/// Messages that wait for the disk: little memory, and enough that network and disk work at the same time.
const QUEUED_MESSAGES: usize = 8;

/// A download that has not begun: choose where to.
///
/// A whole artifact is checked against its size and SHA-256, whichever way it goes. A download that is cut off goes on where it
/// was, on another server or as the retry policy says, with the count of failures starting anew whenever bytes came.
#[must_use = "nothing is downloaded before to_file(), bytes() or stream()"]
#[derive(Debug, Clone)]
pub struct Download {
    client: RegistryClient,
    name: String,
    meter: Meter,
}

impl Download {
    pub(super) fn new(client: &RegistryClient, name: String) -> Self {
        Self { client: client.clone(), name, meter: Meter::default() }
    }

    /// Calls back after each piece received.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    /// Counts this file as a part of many.
    pub(crate) fn part_of(mut self, meter: &Meter) -> Self {
        self.meter = meter.clone();
        self
    }

    /// Only these bytes. A part can't be checked against the digest of the whole.
    pub fn range(self, range: impl RangeBounds<u64>) -> DownloadRange {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        DownloadRange { download: self, start, end }
    }

    /// Downloads to a file: to a temporary one beside it, which takes its place once it is complete, checked and on the disk.
    /// When that fails, or is dropped, the temporary file is removed, and what was at `path` before is still there.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_data_loss`](Error::is_data_loss) if the bytes are not what was stored,
    /// [`Error::Io`] if they can't be written.
    pub async fn to_file(self, path: impl Into<PathBuf>) -> Result<pb::Artifact, Error> {
        let (artifact, mut transfer) = self.begin().await?;
        let part = PartFile::beside(path.into());
        let expected = artifact.clone();
        let (queue, pieces) = mpsc::channel(QUEUED_MESSAGES);
        // Hashing and writing block, and go on while the next bytes arrive.
        let writer = spawn_blocking(move || part.write(pieces, &expected));
        let received = transfer.send_to(queue).await;
        // The writer ends soon in any case. To wait for it means that its file is gone when the caller hears of an error.
        let written = writer.await.map_err(|_| Error::Protocol("the thread that wrote the file panicked"))?;
        received?;
        written?;
        Ok(artifact)
    }

    /// Downloads into memory.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_data_loss`](Error::is_data_loss) if the bytes are not what was stored.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        collect(self.stream().await?).await
    }

    /// Downloads as a stream. Trust nothing before it has ended well: that the bytes are not what was stored, is only known at
    /// the end.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found); in the stream, [`is_data_loss`](Error::is_data_loss) if the bytes are not what
    /// was stored.
    pub async fn stream(self) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let (artifact, transfer) = self.begin().await?;
        let state = (transfer, Hasher::default(), artifact);
        let verified = stream::try_unfold(state, async |(mut transfer, mut hasher, artifact)| {
            let Some(bytes) = transfer.next().await? else {
                hasher.verify(&artifact)?;
                return Ok(None);
            };
            hasher.update(&bytes);
            Ok(Some((bytes, (transfer, hasher, artifact))))
        });
        Ok(verified.boxed())
    }

    async fn begin(self) -> Result<(pb::Artifact, Transfer), Error> {
        let artifact = self.client.get_artifact(self.name).await?;
        let transfer = Transfer::new(self.client, self.meter, &artifact, 0, u64::MAX);
        Ok((artifact, transfer))
    }
}

/// A download of a part of an artifact.
#[must_use = "nothing is downloaded before bytes() or stream()"]
#[derive(Debug, Clone)]
pub struct DownloadRange {
    download: Download,
    start: u64,
    end: u64,
}

impl DownloadRange {
    /// Downloads into memory.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_out_of_range`](Error::is_out_of_range) if the range starts behind the end.
    /// That it ends there is no error.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        collect(self.stream().await?).await
    }

    /// Downloads as a stream.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub async fn stream(self) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let Download { client, name, meter } = self.download;
        let artifact = client.get_artifact(name).await?;
        let transfer = Transfer::new(client, meter, &artifact, self.start, self.end);
        let pieces = async |mut transfer: Transfer| Ok(transfer.next().await?.map(|bytes| (bytes, transfer)));
        Ok(stream::try_unfold(transfer, pieces).boxed())
    }
}

async fn collect(mut stream: BoxStream<'static, Result<Bytes, Error>>) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    while let Some(bytes) = stream.try_next().await? {
        whole.extend_from_slice(&bytes);
    }
    Ok(whole.freeze())
}

/// Bytes of an artifact, over as many calls as it takes.
struct Transfer {
    client: RegistryClient,
    meter: FileMeter,
    /// The canonical name, so that an alias which moves on the way does not mix two versions.
    name: String,
    /// The next byte to arrive.
    next: u64,
    /// Behind the last byte.
    end: u64,
    route: Route,
    answers: Option<Streaming<pb::DownloadArtifactResponse>>,
    /// In a row, without a byte between them.
    failures: u32,
}

impl Transfer {
    fn new(client: RegistryClient, mut meter: Meter, artifact: &pb::Artifact, start: u64, end: u64) -> Self {
        let size = artifact.size_bytes.cast_unsigned();
        // For a start behind the end, a byte is asked for: the server knows best how to refuse that.
        let end = if start > size { start.saturating_add(1) } else { end.clamp(start, size) };
        meter.total = meter.total.or(Some(end - start));
        let meter = meter.file(&artifact.path);
        let route = client.route();
        Self { client, meter, name: artifact.name.clone(), next: start, end, route, answers: None, failures: 0 }
    }

    /// The next bytes, or `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.answers.is_none() && self.next == self.end {
                return Ok(None);
            }
            match self.receive().await {
                Ok(Some(bytes)) => {
                    self.failures = 0;
                    self.next += bytes.len() as u64;
                    if self.next > self.end {
                        return Err(Error::Protocol("more bytes than were asked for"));
                    }
                    self.meter.add(bytes.len());
                    return Ok(Some(bytes));
                }
                Ok(None) if self.next == self.end => return Ok(None),
                Ok(None) => {
                    return Err(Error::SizeMismatch { name: self.name.clone(), expected: self.end, actual: self.next });
                }
                Err(error) if error.is_unavailable() => {
                    self.answers = None;
                    self.failures = self.failures.saturating_add(1);
                    let pause = self.route.failed(self.failures, Some(&error), self.client.retry());
                    if pause.rounds > self.client.retry().retries {
                        return Err(error);
                    }
                    let delay = pause.delay;
                    debug!(name = self.name, offset = self.next, ?delay, %error, "download goes on after a failure");
                    pause.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Error> {
        let answers = match &mut self.answers {
            Some(answers) => answers,
            None => {
                let answers = self.open().await?;
                self.answers.insert(answers)
            }
        };
        let answer = answers.message().await?;
        self.route.answered();
        Ok(answer.map(|answer| answer.data))
    }

    async fn open(&mut self) -> Result<Streaming<pb::DownloadArtifactResponse>, Error> {
        let mut service = service(self.route.next());
        let request = pb::DownloadArtifactRequest {
            name: self.name.clone(),
            offset: self.next.cast_signed(),
            length: (self.end - self.next).cast_signed(),
        };
        self.client.open(service.download_artifact(self.client.request(request))).await
    }

    /// Passes everything on, closed by [`Piece::End`]. A receiver that is gone has its own error to report.
    async fn send_to(&mut self, queue: mpsc::Sender<Piece>) -> Result<(), Error> {
        while let Some(bytes) = self.next().await? {
            if queue.send(Piece::Data(bytes)).await.is_err() {
                return Ok(());
            }
        }
        // As above.
        let _ = queue.send(Piece::End).await;
        Ok(())
    }
}

/// What the writer of a file gets. A queue that closes without `End` is a download that failed or was dropped.
enum Piece {
    Data(Bytes),
    End,
}

/// A file that does not have its name yet. Removed when dropped, unless it got it.
struct PartFile {
    part: PathBuf,
    destination: PathBuf,
}

impl PartFile {
    fn beside(destination: PathBuf) -> Self {
        let mut part = destination.clone().into_os_string();
        part.push(format!(".part-{}", Uuid::new_v4()));
        Self { part: part.into(), destination }
    }

    /// Writes what comes, checks it, and gives it its name. Blocks.
    fn write(self, mut pieces: mpsc::Receiver<Piece>, artifact: &pb::Artifact) -> Result<(), Error> {
        let failed = |error| Error::io(&self.part, error);
        let mut file = std::fs::File::create_new(&self.part).map_err(failed)?;
        let mut hasher = Hasher::default();
        loop {
            match pieces.blocking_recv() {
                Some(Piece::Data(bytes)) => {
                    hasher.update(&bytes);
                    file.write_all(&bytes).map_err(failed)?;
                }
                Some(Piece::End) => break,
                // The receiving side knows why.
                None => return Ok(()),
            }
        }
        hasher.verify(artifact)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&self.part, &self.destination).map_err(|error| Error::io(&self.destination, error))?;
        sync_folder_of(&self.destination)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Once it has its name, there is no such file any more. If it can't be removed, its name says what it is.
        let _ = std::fs::remove_file(&self.part);
    }
}

/// Makes a rename durable, where folders can be synchronised.
fn sync_folder_of(path: &Path) -> Result<(), Error> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::io(folder, error))
}
