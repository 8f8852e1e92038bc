//! Downloads: of an artifact, or a part of it, to a file, to memory or as a stream.

use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use registry_common::chunks::{Chunk, ListDigest};
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_blocking;
use tonic::Streaming;

use super::received::{PartFile, Placed};
use crate::claim::Claim;
use crate::destination::Destination;
use crate::pool::Route;
use crate::progress::{FileMeter, Meter};
use crate::retry::Failures;
use crate::{Error, Items, Progress, RegistryClient, pb};

/// How many chunks are asked for in one call.
const RUN: usize = 16;
/// How many calls receive at once.
const AT_ONCE: usize = 2;

/// A download that has not begun: choose where to.
///
/// Every chunk is checked against its BLAKE3, and the list of the chunks against the artifact's, whichever way it goes. A download
/// that is cut off goes on where it was, on another server or when the registry is back, for which it waits as the
/// [`RetryPolicy`](crate::RetryPolicy) says, counted anew whenever bytes came.
#[must_use = "nothing is downloaded before to_file(), bytes() or stream()"]
#[derive(Debug, Clone)]
pub struct Download {
    client: RegistryClient,
    name: String,
    /// If it is known already.
    artifact: Option<pb::Artifact>,
    meter: Meter,
    alike: Vec<PathBuf>,
}

impl Download {
    pub(super) fn new(client: &RegistryClient, name: String) -> Self {
        Self { client: client.clone(), name, artifact: None, meter: Meter::default(), alike: Vec::new() }
    }

    /// A local file that may be like the artifact, for example an older version of it: what they have in common is not
    /// downloaded [to a file](Self::to_file). What is at the destination is looked at in any case.
    pub fn reuse(mut self, file: impl Into<PathBuf>) -> Self {
        self.alike.push(file.into());
        self
    }

    /// Calls back after each piece received.
    pub fn progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.meter.report_to(callback);
        self
    }

    /// Of an artifact that was looked up.
    pub(crate) fn of(client: &RegistryClient, artifact: pb::Artifact) -> Self {
        let name = artifact.name.clone();
        Self { artifact: Some(artifact), ..Self::new(client, name) }
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

    /// Downloads to a file: to a partial one beside it, which takes its place once it is whole and checked. Until then what was at
    /// `path` before is there. A link is followed to its target. What is no regular file there (a device, a pipe) is written
    /// through, in order, each piece once it is checked.
    ///
    /// When this is cut off in whatever way the partial file stays if it may be large, and the next download of the same artifact to
    /// the same path goes on with it. The file is not forced to the disk: after a crash of the machine, check it.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_data_loss`](Error::is_data_loss) if the bytes are not what was stored,
    /// [`Error::Io`] if they can't be written.
    pub async fn to_file(self, path: impl Into<PathBuf>) -> Result<pb::Artifact, Error> {
        let path = path.into();
        let given = path.clone();
        let there = spawn_blocking(move || Destination::of(&given)).await;
        match there.map_err(|error| Error::io(path, error.into()))?? {
            Destination::File(path) => self.in_place(path, None).await,
            Destination::Stream(path) => self.through(path).await,
        }
    }

    /// Downloads to a file, or in place of a link, if the folder is still the claimed one.
    pub(crate) async fn in_place(self, path: PathBuf, claim: Option<Claim>) -> Result<pb::Artifact, Error> {
        let (artifact, chunks) = self.begin().await?;
        let (meter, name) = (self.meter(&artifact), artifact.name.clone());
        let size = |placed: &[Placed]| placed.iter().map(|(_, chunk)| chunk.size as usize).sum::<usize>();
        let whole = size(&chunks);
        let (part, mut missing) = PartFile::open(path.clone(), artifact.chunks_blake3.clone(), chunks).await?;
        for alike in std::iter::once(path).chain(self.alike) {
            if !missing.is_empty() && alike.is_file() {
                missing = part.take_from(alike, missing).await?;
            }
        }
        meter.there(whole - size(&missing));
        let receive = async |run: Vec<Placed>| {
            let mut chunks = Chunks::new(&self.client, &meter, &name, run);
            while let Some((placed, bytes)) = chunks.next().await? {
                part.write(placed, bytes).await?;
            }
            Ok::<_, Error>(())
        };
        stream::iter(runs(missing)).map(receive).buffer_unordered(AT_ONCE).try_for_each(async |()| Ok(())).await?;
        part.finish(artifact.executable, claim).await?;
        Ok(artifact)
    }

    /// Downloads to what is there, and can't be replaced.
    async fn through(self, path: PathBuf) -> Result<pb::Artifact, Error> {
        let failed = |error| Error::io(&path, error);
        let mut out = OpenOptions::new().write(true).open(&path).await.map_err(failed)?;
        let (artifact, mut chunks) = self.checked().await?;
        while let Some(bytes) = chunks.try_next().await? {
            out.write_all(&bytes).await.map_err(failed)?;
        }
        out.flush().await.map_err(failed)?;
        Ok(artifact)
    }

    /// Downloads into memory.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found), [`is_data_loss`](Error::is_data_loss) if the bytes are not what was stored.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        collect(self.stream().await?).await
    }

    /// Downloads as a stream of chunks, each of them checked.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found); in the stream, [`is_data_loss`](Error::is_data_loss) if the bytes are not what
    /// was stored.
    pub async fn stream(self) -> Result<Items<Bytes>, Error> {
        self.checked().await.map(|(_, chunks)| chunks)
    }

    /// The artifact, and the stream of its chunks.
    async fn checked(self) -> Result<(pb::Artifact, Items<Bytes>), Error> {
        let (artifact, chunks) = self.begin().await?;
        let chunks = Chunks::new(&self.client, &self.meter(&artifact), &artifact.name, chunks);
        let next = async |mut chunks: Chunks| Ok(chunks.next().await?.map(|(_, bytes)| (bytes, chunks)));
        Ok((artifact, Items::new(stream::try_unfold(chunks, next))))
    }

    /// The artifact under its canonical name, so that an alias which moves on the way does not mix two versions; and its chunks.
    async fn begin(&self) -> Result<(pb::Artifact, Vec<Placed>), Error> {
        let artifact = match &self.artifact {
            Some(artifact) => artifact.clone(),
            None => self.client.get_artifact(&self.name).await?,
        };
        let listed: Vec<_> = self.client.list_chunks(&artifact.name).stream().try_collect().await?;
        let chunks = listed.iter().map(Chunk::from_message).collect::<Option<Vec<_>>>();
        let chunks = chunks.ok_or(Error::Protocol("a chunk without digest or size"))?;
        let (name, actual) = (artifact.name.clone(), ListDigest::of(&chunks).hex());
        if actual != artifact.chunks_blake3 {
            return Err(Error::DigestMismatch { name, expected: artifact.chunks_blake3, actual });
        }
        let (expected, mut size) = (artifact.size_bytes.cast_unsigned(), 0);
        let chunks = chunks.into_iter().map(|chunk| {
            size += u64::from(chunk.size);
            (size - u64::from(chunk.size), chunk)
        });
        let chunks = chunks.collect();
        if size != expected {
            return Err(Error::SizeMismatch { name, expected, actual: size });
        }
        Ok((artifact, chunks))
    }

    fn meter(&self, artifact: &pb::Artifact) -> FileMeter {
        let mut meter = self.meter.clone();
        meter.total = meter.total.or(Some(artifact.size_bytes.cast_unsigned()));
        meter.file(&artifact.path)
    }
}

/// Chunks that follow each other, as many as one call asks for.
fn runs(chunks: Vec<Placed>) -> Vec<Vec<Placed>> {
    let mut runs: Vec<Vec<Placed>> = Vec::new();
    for placed in chunks {
        match runs.last_mut() {
            Some(run) if run.len() < RUN && end(run) == placed.0 => run.push(placed),
            _ => runs.push(vec![placed]),
        }
    }
    runs
}

/// Where a run ends.
fn end(run: &[Placed]) -> u64 {
    run.last().map_or(0, |(begin, chunk)| begin + u64::from(chunk.size))
}

/// A run of chunks on its way here.
struct Chunks {
    transfer: Transfer,
    chunks: std::vec::IntoIter<Placed>,
    rest: BytesMut,
}

impl Chunks {
    fn new(client: &RegistryClient, meter: &FileMeter, name: &str, run: Vec<Placed>) -> Self {
        let begin = run.first().map_or(0, |(begin, _)| *begin);
        let transfer = Transfer::new(client.clone(), meter.clone(), name.to_owned(), begin, end(&run));
        Self { transfer, chunks: run.into_iter(), rest: BytesMut::new() }
    }

    /// The next chunk, checked.
    async fn next(&mut self) -> Result<Option<(Placed, Bytes)>, Error> {
        let Some(placed) = self.chunks.next() else { return Ok(None) };
        let size = placed.1.size as usize;
        let mut whole = None;
        self.rest.reserve(size.saturating_sub(self.rest.len()));
        while whole.is_none() && self.rest.len() < size {
            match self.transfer.next().await? {
                // A chunk that comes in one message is not copied.
                Some(bytes) if self.rest.is_empty() && bytes.len() == size => whole = Some(bytes),
                Some(bytes) => self.rest.extend_from_slice(&bytes),
                None => return Err(Error::Protocol("fewer bytes than were asked for")),
            }
        }
        let bytes = whole.unwrap_or_else(|| self.rest.split_to(size).freeze());
        let hashed = bytes.clone();
        let found = spawn_blocking(move || Chunk::of(&hashed)).await;
        let found = found.map_err(|_| Error::Protocol("a thread that hashed a chunk panicked"))?;
        if found != placed.1 {
            let name = format!("{}, chunk at {}", self.transfer.name, placed.0);
            return Err(Error::DigestMismatch { name, expected: placed.1.hex(), actual: found.hex() });
        }
        Ok(Some((placed, bytes)))
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
    pub async fn stream(self) -> Result<Items<Bytes>, Error> {
        let Download { client, name, mut meter, .. } = self.download;
        let artifact = client.get_artifact(name).await?;
        let size = artifact.size_bytes.cast_unsigned();
        // For a start behind the end, a byte is asked for: the server knows best how to refuse that.
        let end = if self.start > size { self.start.saturating_add(1) } else { self.end.clamp(self.start, size) };
        meter.total = meter.total.or(Some(end - self.start));
        let meter = meter.file(&artifact.path);
        let transfer = Transfer::new(client, meter, artifact.name, self.start, end);
        let pieces = async |mut transfer: Transfer| Ok(transfer.next().await?.map(|bytes| (bytes, transfer)));
        Ok(Items::new(stream::try_unfold(transfer, pieces)))
    }
}

async fn collect(mut stream: Items<Bytes>) -> Result<Bytes, Error> {
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
    name: String,
    /// The next byte to arrive.
    next: u64,
    /// Behind the last byte.
    end: u64,
    route: Route,
    answers: Option<Streaming<pb::DownloadArtifactResponse>>,
    /// Without a byte between them.
    failures: Failures,
}

impl Transfer {
    fn new(client: RegistryClient, meter: FileMeter, name: String, start: u64, end: u64) -> Self {
        let route = client.route();
        let failures = Failures::new(client.retry(), route.budget(), None);
        Self { client, meter, name, next: start, end, route, answers: None, failures }
    }

    /// The next bytes, or `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.answers.is_none() && self.next == self.end {
                return Ok(None);
            }
            match self.receive().await {
                Ok(Some(bytes)) => {
                    self.failures.forget();
                    self.next += bytes.len() as u64;
                    if self.next > self.end {
                        return Err(Error::Protocol("more bytes than were asked for"));
                    }
                    self.meter.moved(bytes.len());
                    return Ok(Some(bytes));
                }
                Ok(None) if self.next == self.end => return Ok(None),
                Ok(None) => {
                    return Err(Error::SizeMismatch { name: self.name.clone(), expected: self.end, actual: self.next });
                }
                Err(error) if error.is_unavailable() => {
                    self.answers = None;
                    self.failures.wait(&mut self.route, error, &self.name).await?;
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
        let transport = self.route.next();
        let request = pb::DownloadArtifactRequest {
            name: self.name.clone(),
            offset: self.next.cast_signed(),
            length: (self.end - self.next).cast_signed(),
        };
        self.client.receive(transport, request).await
    }
}
