use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use registry_client::{Error, Progress, Source, pb};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, ReadBuf};
use tonic::{Request, Status};

use crate::fake::{Answers, Fake, Proxy, Uploaded, client, client_of};

const NAME: &str = "namespaces/default/models/m/versions/1/artifacts/model.bin";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn artifact(bytes: &[u8]) -> pb::Artifact {
    pb::Artifact {
        name: NAME.to_owned(),
        path: "model.bin".to_owned(),
        size_bytes: bytes.len() as i64,
        sha256: sha256(bytes),
        ..Default::default()
    }
}

/// Bytes that differ from place to place.
fn some_bytes(length: usize) -> Bytes {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// Keeps what is uploaded, after so many failures.
fn receiver(mut failures: u32) -> (Fake, Arc<Mutex<Vec<Uploaded>>>) {
    let uploads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&uploads);
    failures += 1;
    let fake = Fake::default().on(move |request: Request<Uploaded>| {
        let uploaded = request.into_inner();
        let answer = artifact(&uploaded.bytes);
        let mut kept = kept.lock().unwrap();
        kept.push(uploaded);
        if kept.len() < failures as usize { Err(Status::unavailable("again")) } else { Ok(answer) }
    });
    (fake, uploads)
}

#[tokio::test]
async fn a_file_is_announced_and_sent_and_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    let bytes = some_bytes(2_000_000);
    std::fs::write(&file, &bytes).unwrap();
    let (fake, uploads) = receiver(1);
    let reports = Arc::new(Mutex::new(Vec::new()));
    let reported = Arc::clone(&reports);
    let report = move |progress: Progress| reported.lock().unwrap().push(progress);
    let upload = fake.client().await.upload("models/m/versions/1", "model.bin", file).progress(report);
    assert_eq!(upload.await.unwrap(), artifact(&bytes));

    let uploads = uploads.lock().unwrap();
    assert_eq!(uploads.len(), 2);
    for uploaded in uploads.iter() {
        assert!(uploaded.bytes == bytes);
        let metadata = pb::UploadMetadata {
            parent: "models/m/versions/1".to_owned(),
            path: "model.bin".to_owned(),
            r#type: pb::ArtifactType::Model.into(),
            media_type: String::new(),
            size_bytes: Some(2_000_000),
            sha256: sha256(&bytes),
            request_id: uploads[0].metadata.request_id.clone(),
        };
        assert_eq!(uploaded.metadata, metadata);
    }
    let last = reports.lock().unwrap().pop().unwrap();
    assert_eq!((&*last.path, last.done, last.total), ("model.bin", 2_000_000, Some(2_000_000)));
}

#[tokio::test]
async fn an_upload_starts_again_at_another_server() {
    let ((one, refused), (two, kept)) = (receiver(1), receiver(0));
    let bytes = some_bytes(2_000_000);
    let client = client_of([one.serve().await, two.serve().await]);
    client.upload("models/m/versions/1", "model.bin", bytes.clone()).await.unwrap();
    let (refused, kept) = (refused.lock().unwrap(), kept.lock().unwrap());
    assert_eq!((refused.len(), kept.len()), (1, 1));
    assert!(kept[0].bytes == bytes);
    assert_eq!(kept[0].metadata, refused[0].metadata);
}

#[tokio::test]
async fn empty_bytes_are_a_file_too() {
    let (fake, uploads) = receiver(0);
    let upload = fake.client().await.upload("models/m/versions/1", "empty", Bytes::new());
    upload.artifact_type(pb::ArtifactType::Log).media_type("text/plain").await.unwrap();
    let metadata = &uploads.lock().unwrap()[0].metadata;
    assert_eq!((metadata.r#type(), metadata.media_type.as_str()), (pb::ArtifactType::Log, "text/plain"));
    assert_eq!((metadata.size_bytes, metadata.sha256.clone()), (Some(0), sha256(b"")));
}

/// Gives a few bytes, then an error.
struct Broken(VecDeque<Vec<u8>>);

impl AsyncRead for Broken {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(bytes) = self.0.pop_front() else { return Poll::Ready(Err(io::Error::other("broken"))) };
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_reader_that_breaks_off_is_not_taken_for_a_short_one() {
    let (fake, uploads) = receiver(0);
    let client = fake.client().await;
    let reader = Broken([vec![7; 1000], vec![8; 1000]].into());
    let error = client.upload("models/m/versions/1", "model.bin", Source::reader(reader)).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");

    // The same connection, in order: had the first upload ended well, it would be there by now.
    client.upload("models/m/versions/1", "model.bin", Source::reader(&b"whole"[..])).await.unwrap();
    let uploads = uploads.lock().unwrap();
    assert_eq!(uploads.iter().map(|upload| &upload.bytes[..]).collect::<Vec<_>>(), [b"whole"]);
}

#[tokio::test]
async fn a_reader_is_checked_after_it() {
    let fake = Fake::default().on(|_: Request<Uploaded>| Ok(artifact(b"other")));
    let reader = Source::reader(&b"bytes"[..]);
    let error = fake.client().await.upload("models/m/versions/1", "model.bin", reader).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
}

type Script = Vec<Result<Bytes, Status>>;
type Predicate = fn(&Error) -> bool;
/// The offsets and lengths that were asked for.
type Ranges = Arc<Mutex<Vec<(i64, i64)>>>;

/// Serves `known` as the artifact, and for each download a script made of its offset and length.
fn sender(known: &[u8], script: impl Fn(usize, usize) -> Script + Send + Sync + 'static) -> (Fake, Ranges) {
    let ranges = Ranges::default();
    let asked = Arc::clone(&ranges);
    let known = artifact(known);
    let fake = Fake::default().on(move |_: Request<pb::GetArtifactRequest>| Ok(known.clone())).on(
        move |request: Request<pb::DownloadArtifactRequest>| {
            let request = request.into_inner();
            assert_eq!(request.name, NAME);
            asked.lock().unwrap().push((request.offset, request.length));
            let script = script(request.offset as usize, request.length as usize).into_iter();
            let message = |data| pb::DownloadArtifactResponse { data };
            let answers: Answers<_> = stream::iter(script.map(move |step| step.map(message))).boxed();
            Ok(answers)
        },
    );
    (fake, ranges)
}

fn names_in(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut_off() {
    let bytes = some_bytes(1000);
    let served = bytes.clone();
    // 300 bytes for each call, then a cut: also one right behind the last byte.
    let (fake, ranges) = sender(&bytes, move |offset, _| {
        let end = (offset + 300).min(1000);
        vec![Ok(served.slice(offset..end)), Err(Status::unavailable("draining"))]
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    let got = fake.client().await.download(NAME).to_file(&file).await.unwrap();
    assert_eq!(got, artifact(&bytes));
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(*ranges.lock().unwrap(), [(0, 1000), (300, 700), (600, 400), (900, 100)]);
    assert_eq!(names_in(folder.path()), ["model.bin"]);
}

#[tokio::test]
async fn a_download_goes_on_at_another_server() {
    let bytes = some_bytes(1000);
    let script = |served: Bytes| {
        move |offset: usize, _| {
            let end = (offset + 300).min(1000);
            vec![Ok(served.slice(offset..end)), Err(Status::unavailable("draining"))]
        }
    };
    let ((one, of_one), (two, of_two)) = (sender(&bytes, script(bytes.clone())), sender(&bytes, script(bytes.clone())));
    let client = client_of([one.serve().await, two.serve().await]);
    assert_eq!(client.download(NAME).bytes().await.unwrap(), bytes);
    let (of_one, of_two) = (of_one.lock().unwrap(), of_two.lock().unwrap());
    // The first call, for the artifact itself, went to the first.
    assert_eq!(*of_two, [(0, 1000), (600, 400)]);
    assert_eq!(*of_one, [(300, 700), (900, 100)]);
}

#[tokio::test]
async fn a_download_survives_the_loss_of_its_connection() {
    let bytes = some_bytes(1000);
    let served = bytes.clone();
    let known = artifact(&bytes);
    let fake = Fake::default().on(move |_: Request<pb::GetArtifactRequest>| Ok(known.clone())).on(
        move |request: Request<pb::DownloadArtifactRequest>| {
            let offset = request.into_inner().offset as usize;
            let end = if offset == 0 { 400 } else { 1000 };
            let first = stream::iter([Ok(pb::DownloadArtifactResponse { data: served.slice(offset..end) })]);
            let answers: Answers<_> = if offset == 0 { first.chain(stream::pending()).boxed() } else { first.boxed() };
            Ok(answers)
        },
    );
    let proxy = Proxy::to(fake.serve().await).await;
    let mut download = client(proxy.address).await.download(NAME).stream().await.unwrap();
    assert_eq!(download.next().await.unwrap().unwrap(), bytes[..400]);
    proxy.cut();
    assert_eq!(download.next().await.unwrap().unwrap(), bytes[400..]);
    assert!(download.next().await.is_none());
}

#[tokio::test]
async fn bytes_that_are_not_the_stored_ones_never_get_the_name() {
    let known = some_bytes(1000);
    let mut damaged = known.to_vec();
    damaged[500] ^= 1;
    let damaged = Bytes::from(damaged);
    let rows: [(&str, Script, Predicate); 4] = [
        ("damaged", vec![Ok(damaged)], |error| matches!(error, Error::DigestMismatch { .. })),
        ("short", vec![Ok(known.slice(..999))], |error| matches!(error, Error::SizeMismatch { actual: 999, .. })),
        ("long", vec![Ok(known.clone()), Ok(known.clone())], |error| matches!(error, Error::Protocol(_))),
        ("refused", vec![Ok(known.slice(..500)), Err(Status::data_loss("damaged"))], Error::is_data_loss),
    ];
    for (what, script, expected) in rows {
        let (fake, _) = sender(&known, move |_, _| script.clone());
        let client = fake.client().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.bin");
        std::fs::write(&file, "what was there before").unwrap();

        let error = client.download(NAME).to_file(&file).await.unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
        assert_eq!(std::fs::read(&file).unwrap(), b"what was there before", "{what}");
        assert_eq!(names_in(folder.path()), ["model.bin"], "{what}");
        let error = client.download(NAME).bytes().await.unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn ranges_are_asked_for_as_offset_and_length() {
    let bytes = some_bytes(1000);
    let served = bytes.clone();
    let (fake, ranges) = sender(&bytes, move |offset, length| match served.get(offset..offset + length) {
        Some(part) => vec![Ok(Bytes::copy_from_slice(part))],
        None => vec![Err(Status::out_of_range("behind the end"))],
    });
    let client = fake.client().await;
    let range = |range| client.download(NAME).range(range).bytes();
    assert_eq!(range(100..200).await.unwrap(), bytes[100..200]);
    assert_eq!(range(900..u64::MAX).await.unwrap(), bytes[900..]);
    assert_eq!(range(5..5).await.unwrap(), Bytes::new());
    assert_eq!(range(1000..2000).await.unwrap(), Bytes::new());
    assert_eq!(*ranges.lock().unwrap(), [(100, 100), (900, 100)]);
    assert!(range(1001..2000).await.unwrap_err().is_out_of_range());
}
