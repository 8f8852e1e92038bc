use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::poll;
use registry_client::pb::ErrorReason;
use registry_client::{Error, Progress, RegistryClient, Source, Upload, pb};
use registry_common::chunks::{self, Chunk};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::{Fake, Sent, client_of, impatient};

const VERSION: &str = "models/m/versions/1";

/// Bytes without a pattern, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// Where bytes are cut.
pub(crate) fn cut(bytes: &Bytes) -> Vec<(Chunk, Bytes)> {
    let mut rest = bytes.clone();
    let mut cut = Vec::new();
    while let Some(length) = chunks::first(&rest, true) {
        let bytes = rest.split_to(length);
        cut.push((Chunk::of(&bytes), bytes));
    }
    cut
}

/// A registry that keeps chunks, and what it was told. Several servers may have one.
#[derive(Default, Clone)]
struct Registry(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    kept: HashMap<Bytes, Bytes>,
    /// How many chunks were looked for, each time.
    looked_for: Vec<usize>,
    batches: Vec<Sent>,
    /// How many chunks came that had come before.
    came_again: usize,
    commits: Vec<pb::CreateArtifactRequest>,
    /// What becomes of the next batches: so many chunks are kept, then it fails.
    failures: VecDeque<(usize, Code)>,
    /// What becomes of the next commits.
    refusals: VecDeque<(Code, ErrorReason)>,
}

impl Told {
    fn missing(&self, request: &pb::FindMissingChunksRequest) -> Vec<i32> {
        let lacks = |(_, blake3): &(i32, &Bytes)| !self.kept.contains_key(*blake3);
        (0..).zip(&request.blake3).filter(lacks).map(|(place, _)| place).collect()
    }

    fn take(&mut self, sent: Sent) -> Result<pb::UploadChunksResponse, Status> {
        // A batch without bytes only tells where chunks are.
        let failure = if sent.iter().all(|message| message.data.is_empty()) { None } else { self.failures.pop_front() };
        self.came_again +=
            sent.iter().filter(|message| !message.data.is_empty() && self.kept.contains_key(&message.blake3)).count();
        let kept = failure.map_or(usize::MAX, |(kept, _)| kept);
        for message in sent.iter().filter(|message| !message.data.is_empty()).take(kept) {
            assert_eq!(message.blake3, Chunk::of(&message.data).blake3[..]);
            self.kept.insert(message.blake3.clone(), message.data.clone());
        }
        self.batches.push(sent);
        failure.map_or(Ok(pb::UploadChunksResponse::default()), |(_, code)| Err(Status::new(code, "again")))
    }

    fn commit(&mut self, request: pb::CreateArtifactRequest) -> Result<pb::Artifact, Status> {
        let artifact = request.artifact.clone().unwrap();
        self.commits.push(request);
        self.refusals.pop_front().map_or(Ok(artifact), |(code, reason)| {
            let details = ErrorDetails::with_error_info(
                reason.as_str_name().trim_start_matches("ERROR_REASON_"),
                "modelregistry.dev",
                [],
            );
            Err(Status::with_error_details(code, "refused", details))
        })
    }

    /// The chunks that came with their bytes, in the order in which they came.
    fn sent(&self) -> Vec<Chunk> {
        let chunks = self.batches.iter().flatten().filter(|message| !message.data.is_empty());
        chunks.map(|message| Chunk::of(&message.data)).collect()
    }
}

impl Registry {
    fn fake(&self) -> Fake {
        let (looking, sending, committing) = (self.clone(), self.clone(), self.clone());
        Fake::default()
            .on(move |request: Request<pb::FindMissingChunksRequest>| {
                let request = request.into_inner();
                assert_eq!(request.parent, VERSION);
                let mut told = looking.0.lock().unwrap();
                told.looked_for.push(request.blake3.len());
                Ok(pb::FindMissingChunksResponse { missing: told.missing(&request) })
            })
            .on(move |request: Request<Sent>| sending.0.lock().unwrap().take(request.into_inner()))
            .on(move |request: Request<pb::CreateArtifactRequest>| {
                committing.0.lock().unwrap().commit(request.into_inner())
            })
    }

    async fn client(&self) -> RegistryClient {
        self.fake().client().await
    }

    /// How many batches and how many commits there were.
    fn counts(&self) -> (usize, usize) {
        let told = self.told();
        (told.batches.len(), told.commits.len())
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }
}

/// What an upload reports.
#[derive(Default, Clone)]
struct Reports(Arc<Mutex<Vec<Progress>>>);

impl Reports {
    fn of(&self, upload: Upload) -> Upload {
        let reports = Arc::clone(&self.0);
        upload.progress(move |progress| reports.lock().unwrap().push(progress))
    }

    /// The last: what is done, what of it was moved, and what there is.
    fn last(&self) -> (u64, u64, Option<u64>) {
        let reports = self.0.lock().unwrap();
        let last = reports.last().expect("something was reported");
        (last.done, last.moved, last.total)
    }
}

#[tokio::test]
async fn a_file_is_sent_in_chunks_and_then_made_an_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    let bytes = noise(1, 20 << 20);
    std::fs::write(&file, &bytes).unwrap();
    let (registry, reports) = (Registry::default(), Reports::default());
    reports.of(registry.client().await.upload(VERSION, "model.bin", file)).await.unwrap();

    let told = registry.told();
    let cut = cut(&bytes);
    let [commit] = told.commits.as_slice() else { panic!("{:?}", told.commits) };
    let artifact = pb::Artifact {
        path: "model.bin".to_owned(),
        r#type: "model".to_owned(),
        size_bytes: 20 << 20,
        ..Default::default()
    };
    let expected = pb::CreateArtifactRequest {
        parent: VERSION.to_owned(),
        artifact: Some(artifact),
        chunks: cut.iter().map(|(chunk, _)| chunk.to_message()).collect(),
        upload_id: commit.upload_id.clone(),
        request_id: commit.request_id.clone(),
        ..Default::default()
    };
    assert_eq!(*commit, expected);
    assert!(!commit.upload_id.is_empty() && !commit.request_id.is_empty());
    assert_eq!(told.looked_for.iter().sum::<usize>(), cut.len());
    for batch in &told.batches {
        assert!(batch.len() > 1 && batch[0].parent == VERSION && batch[0].upload_id == commit.upload_id);
        assert!(batch[1..].iter().all(|message| message.parent.is_empty() && message.upload_id.is_empty()));
    }
    let mut placed: Vec<_> = told.batches.iter().flat_map(|batch| &batch[1..]).collect();
    placed.sort_by_key(|message| message.position);
    assert!(
        placed
            .iter()
            .map(|message| (message.position as usize, &message.data))
            .eq(cut.iter().map(|(_, bytes)| bytes).enumerate())
    );
    assert_eq!(reports.last(), (20 << 20, 20 << 20, Some(20 << 20)));
}

#[tokio::test]
async fn what_the_registry_has_is_not_sent_again() {
    let (registry, reports) = (Registry::default(), Reports::default());
    let client = registry.client().await;
    let bytes = noise(2, 12 << 20);
    client.upload(VERSION, "model.bin", bytes.clone()).await.unwrap();
    let batches = registry.told().batches.len();
    reports.of(client.upload(VERSION, "copy.bin", bytes.clone())).await.unwrap();
    assert_eq!(registry.told().batches.len(), batches, "nothing is sent, nor told of");
    assert_eq!(reports.last(), (12 << 20, 0, Some(12 << 20)));

    // Something was put in: only what is around it is new.
    let mut changed = bytes.to_vec();
    changed.splice(6 << 20..6 << 20, *b"inserted");
    let changed = Bytes::from(changed);
    let all: HashSet<_> = cut(&bytes).into_iter().map(|(chunk, _)| chunk).collect();
    let new: Vec<_> = cut(&changed).into_iter().map(|(chunk, _)| chunk).filter(|chunk| !all.contains(chunk)).collect();
    assert!((1..=3).contains(&new.len()), "{}", new.len());
    reports.of(client.upload(VERSION, "changed.bin", changed.clone())).await.unwrap();
    let mut told = registry.told();
    let told_of = told.batches.split_off(batches);
    let placed = told_of.iter().map(|batch| batch.len() - 1).sum::<usize>();
    assert_eq!(placed, cut(&changed).len(), "the places of all");
    let moved = new.iter().map(|chunk| u64::from(chunk.size)).sum();
    let size = changed.len() as u64;
    assert_eq!(reports.last(), (size, moved, Some(size)));
    let sent = told_of.iter().flatten().filter(|message| !message.data.is_empty());
    let sent: Vec<_> = sent.map(|message| Chunk::of(&message.data)).collect();
    assert_eq!((sent.len(), HashSet::from_iter(sent)), (new.len(), HashSet::<Chunk>::from_iter(new)));
}

#[tokio::test]
async fn a_batch_goes_on_after_a_cut_as_long_as_something_arrives() {
    let (registry, reports) = (Registry::default(), Reports::default());
    let bytes = noise(3, 20 << 20);
    let cut = cut(&bytes);
    // One chunk arrives each time but the first two.
    let arriving = |arrives: usize| (arrives, Code::Unavailable);
    registry.told().failures = [0, 0].into_iter().chain([1; 12]).map(arriving).collect();
    reports.of(registry.client().await.upload(VERSION, "model.bin", bytes)).await.unwrap();
    let told = registry.told();
    assert!(told.failures.is_empty() && told.kept.len() == cut.len());
    assert_eq!(told.commits.len(), 1);
    let (done, moved, total) = reports.last();
    assert_eq!((done, total), (20 << 20, Some(20 << 20)));
    assert_eq!(moved, told.sent().iter().map(|chunk| u64::from(chunk.size)).sum::<u64>());
    assert_eq!(told.came_again, 0);
}

#[tokio::test]
async fn an_upload_of_which_nothing_arrives_is_given_up() {
    let registry = Registry::default();
    registry.told().failures = [(0, Code::Unavailable); 100].into();
    // One chunk, so that there is one call at a time.
    let bytes = noise(4, 1 << 19);
    let client = impatient([registry.fake().serve().await]).await;
    let error = client.upload(VERSION, "model.bin", bytes.clone()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert_eq!(registry.counts(), (1, 0));

    // What another attempt would not change is not tried again.
    registry.told().failures = [(0, Code::ResourceExhausted)].into();
    let error = registry.client().await.upload(VERSION, "model.bin", bytes).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::ResourceExhausted));
    assert_eq!(registry.counts(), (2, 0));
}

#[tokio::test]
async fn an_upload_goes_on_at_another_server() {
    // Two servers of one registry; whoever asks one of them again without the other would wait for an hour.
    let registry = Registry::default();
    registry.told().failures = [(2, Code::Unavailable)].into();
    registry.told().refusals = [(Code::Unavailable, ErrorReason::ServerDraining)].into();
    let client = client_of([registry.fake().serve().await, registry.fake().serve().await]);
    let bytes = noise(5, 6 << 20);
    client.upload(VERSION, "model.bin", bytes.clone()).await.unwrap();
    let told = registry.told();
    assert!(told.failures.is_empty() && told.refusals.is_empty());
    assert_eq!(told.kept.len(), cut(&bytes).len());
    // The commit was made again as it was: it happens once by its id.
    assert_eq!(told.commits.len(), 2);
    assert_eq!(told.commits[0], told.commits[1]);
}

#[tokio::test]
async fn few_bytes_are_sent_whole() {
    let registry = Registry::default();
    registry.told().refusals = [(Code::Unavailable, ErrorReason::ServerDraining)].into();
    let client = registry.client().await;
    let small = noise(6, chunks::INLINE);
    let sources = [
        Source::from(Bytes::new()),
        Source::from(small.clone()),
        Source::reader(io::Cursor::new(small.clone())),
        Source::from(noise(6, chunks::INLINE + 1)),
    ];
    for (number, source) in sources.into_iter().enumerate() {
        let upload = client.upload(VERSION, number.to_string(), source);
        upload.artifact_type("log").media_type("text/plain").await.unwrap();
    }
    let mut told = registry.told();
    assert_eq!(told.looked_for, [1], "only the last is cut");
    let refused = told.commits.remove(0);
    assert_eq!(refused, told.commits[0], "the same once more");
    let of = |commit: &pb::CreateArtifactRequest| commit.artifact.clone().unwrap();
    let committed = told.commits.iter().map(|commit| (commit.data.len(), commit.chunks.len(), of(commit).size_bytes));
    let inline = chunks::INLINE;
    let expected = [(0, 0, 0), (inline, 0, inline as i64), (inline, 0, inline as i64), (0, 1, inline as i64 + 1)];
    assert!(committed.eq(expected), "{:?}", told.commits);
    assert!(told.commits.iter().all(|commit| of(commit).r#type == "log" && of(commit).media_type == "text/plain"));
}

/// Gives bytes, then an error.
struct Broken(VecDeque<Bytes>);

impl AsyncRead for Broken {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut bytes) = self.0.pop_front() else { return Poll::Ready(Err(io::Error::other("broken"))) };
        buffer.put_slice(&bytes.split_to(bytes.len().min(buffer.remaining())));
        if !bytes.is_empty() {
            self.0.push_front(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_reader_that_breaks_off_is_not_taken_for_a_short_one() {
    let registry = Registry::default();
    let client = registry.client().await;
    for lengths in [vec![], vec![1000], vec![9 << 20, 7]] {
        let reader = Broken(lengths.iter().map(|length| noise(7, *length)).collect());
        let error = client.upload(VERSION, "model.bin", Source::reader(reader)).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{lengths:?}: {error:?}");
        assert!(registry.told().commits.is_empty(), "{lengths:?}");
    }
    let missing = client.upload(VERSION, "model.bin", std::path::Path::new("/nonexistent")).await.unwrap_err();
    assert!(matches!(&missing, Error::Io { path, .. } if path.ends_with("nonexistent")), "{missing:?}");
    assert!(registry.told().commits.is_empty());
}

#[tokio::test]
async fn a_reader_is_let_go_with_its_upload() {
    // Else its thread would wait for bytes that never come, and the runtime for the thread.
    let registry = Registry::default();
    let (mut bytes, reader) = tokio::io::duplex(1 << 10);
    let upload = registry.client().await.upload(VERSION, "model.bin", Source::reader(reader));
    let mut upload = Box::pin(upload.send());
    assert!(poll!(&mut upload).is_pending());
    bytes.write_all(&[7; 1 << 12]).await.unwrap();
    drop(upload);
    let let_go = tokio::time::timeout(Duration::from_secs(20), bytes.read_u8());
    let_go.await.expect("the reader is still read").unwrap_err();
}

#[tokio::test]
async fn chunks_that_were_removed_before_the_commit_are_sent_again() {
    let bytes = noise(9, 3 << 20);
    let missing = (Code::FailedPrecondition, ErrorReason::ChunksMissing);
    let (registry, reports) = (Registry::default(), Reports::default());
    registry.told().refusals = [missing].into();
    let client = registry.client().await;
    reports.of(client.upload(VERSION, "model.bin", bytes.clone())).await.unwrap();
    assert_eq!(registry.told().commits.len(), 2);
    assert_eq!(reports.last(), (3 << 20, 3 << 20, Some(3 << 20)));

    // Once is enough, and a reader can't be read again.
    registry.told().refusals = [missing; 2].into();
    let error = client.upload(VERSION, "model.bin", bytes.clone()).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ChunksMissing));
    assert_eq!(registry.told().commits.len(), 4);
    registry.told().refusals = [missing].into();
    let reader = Source::reader(io::Cursor::new(bytes));
    let error = client.upload(VERSION, "model.bin", reader).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ChunksMissing));
    assert_eq!(registry.told().commits.len(), 5);
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_error() {
    let beyond = |_: Request<pb::FindMissingChunksRequest>| Ok(pb::FindMissingChunksResponse { missing: vec![1] });
    let client = Fake::default().on(beyond).client().await;
    let error = client.upload(VERSION, "model.bin", noise(10, 1 << 17)).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
}
