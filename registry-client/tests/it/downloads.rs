use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use registry_client::{Error, Progress, pb};
use registry_common::chunks::{Chunk, ListDigest};
use tonic::{Request, Status};

use crate::fake::{Answers, Fake, Proxy, client, client_of};
use crate::receipts::sha256;
use crate::uploads::{cut, noise};

const NAME: &str = "namespaces/default/models/m/versions/1/artifacts/model.bin";
const RUN: usize = 16;

/// An artifact and its chunks.
#[derive(Clone)]
struct Manifest {
    artifact: pb::Artifact,
    chunks: Vec<pb::Chunk>,
}

/// The manifest of bytes in chunks of this many.
fn manifest(bytes: &Bytes, size: usize) -> Manifest {
    manifest_of(bytes.chunks(size).map(Chunk::of).collect())
}

fn manifest_of(chunks: Vec<Chunk>) -> Manifest {
    let artifact = pb::Artifact {
        name: NAME.to_owned(),
        path: "model.bin".to_owned(),
        size_bytes: chunks.iter().map(|chunk| i64::from(chunk.size)).sum(),
        chunks_blake3: ListDigest::of(&chunks).hex(),
        ..Default::default()
    };
    Manifest { artifact, chunks: chunks.into_iter().map(Chunk::to_message).collect() }
}

type Script = Vec<Result<Bytes, Status>>;
type Predicate = fn(&Error) -> bool;
/// The offsets and lengths that were asked for.
type Ranges = Arc<Mutex<Vec<(i64, i64)>>>;

/// Serves an artifact, and for each download a script made of its offset and length.
fn sender(manifest: Manifest, script: impl Fn(usize, usize) -> Script + Send + Sync + 'static) -> (Fake, Ranges) {
    let ranges = Ranges::default();
    let asked = Arc::clone(&ranges);
    let fake = knowing(manifest).on(move |request: Request<pb::DownloadArtifactRequest>| {
        let request = request.into_inner();
        assert_eq!(request.name, NAME);
        asked.lock().unwrap().push((request.offset, request.length));
        let script = script(request.offset as usize, request.length as usize).into_iter();
        let message = |data| pb::DownloadArtifactResponse { data };
        let answers: Answers<_> = stream::iter(script.map(move |step| step.map(message))).boxed();
        Ok(answers)
    });
    (fake, ranges)
}

/// Knows an artifact and its chunks.
fn knowing(manifest: Manifest) -> Fake {
    let Manifest { artifact, chunks } = manifest;
    Fake::default().on(move |_: Request<pb::GetArtifactRequest>| Ok(artifact.clone())).on(
        move |_: Request<pb::ListChunksRequest>| {
            Ok(pb::ListChunksResponse { chunks: chunks.clone(), ..Default::default() })
        },
    )
}

/// Serves what is asked for.
fn honest(manifest: Manifest, bytes: &Bytes) -> (Fake, Ranges) {
    let bytes = bytes.clone();
    sender(manifest, move |offset, length| vec![Ok(bytes.slice(offset..offset + length))])
}

/// Serves so many bytes for each call, then breaks off.
fn breaking(bytes: &Bytes, most: usize, how: fn(&'static str) -> Status) -> impl Fn(usize, usize) -> Script + use<> {
    let bytes = bytes.clone();
    move |offset, length| vec![Ok(bytes.slice(offset..offset + length.min(most))), Err(how("cut"))]
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut_off() {
    let bytes = noise(1, 1000);
    // 300 bytes for each call, then a cut: also one right behind the last byte.
    let (fake, ranges) = sender(manifest(&bytes, 100), breaking(&bytes, 300, Status::unavailable));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    let got = fake.client().await.download(NAME).to_file(&file).await.unwrap();
    assert_eq!(got, manifest(&bytes, 100).artifact);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(*ranges.lock().unwrap(), [(0, 1000), (300, 700), (600, 400), (900, 100)]);
    assert_eq!(names_in(folder.path()), ["model.bin"]);
}

#[tokio::test]
async fn a_long_download_comes_in_several_streams() {
    let bytes = noise(2, 40 * 100 + 1);
    let (fake, ranges) = honest(manifest(&bytes, 100), &bytes);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    let client = fake.client().await;
    client.download(NAME).to_file(&file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    let run = 100 * RUN as i64;
    let mut asked = ranges.lock().unwrap().clone();
    asked.sort_unstable();
    assert_eq!(asked, [(0, run), (run, run), (2 * run, 4001 - 2 * run)]);
    // In memory it comes in order.
    ranges.lock().unwrap().clear();
    assert_eq!(client.download(NAME).bytes().await.unwrap(), bytes);
    assert_eq!(*ranges.lock().unwrap(), [(0, 4001)]);
}

#[tokio::test]
async fn a_download_goes_on_at_another_server() {
    let bytes = noise(3, 1000);
    let server = || sender(manifest(&bytes, 100), breaking(&bytes, 300, Status::unavailable));
    let ((one, of_one), (two, of_two)) = (server(), server());
    let client = client_of([one.serve().await, two.serve().await]);
    assert_eq!(client.download(NAME).bytes().await.unwrap(), bytes);
    let (of_one, of_two) = (of_one.lock().unwrap(), of_two.lock().unwrap());
    // The first two calls, for the artifact and for its chunks, went to one each.
    assert_eq!(*of_one, [(0, 1000), (600, 400)]);
    assert_eq!(*of_two, [(300, 700), (900, 100)]);
}

#[tokio::test]
async fn a_download_survives_the_loss_of_its_connection() {
    let bytes = noise(4, 1000);
    let (served, known) = (bytes.clone(), manifest(&bytes, 200));
    let fake = knowing(known).on(move |request: Request<pb::DownloadArtifactRequest>| {
        let offset = request.into_inner().offset as usize;
        let end = if offset == 0 { 250 } else { 1000 };
        let first = stream::iter([Ok(pb::DownloadArtifactResponse { data: served.slice(offset..end) })]);
        let answers: Answers<_> = if offset == 0 { first.chain(stream::pending()).boxed() } else { first.boxed() };
        Ok(answers)
    });
    let proxy = Proxy::to(fake.serve().await).await;
    let mut download = client(proxy.address).await.download(NAME).stream().await.unwrap();
    assert_eq!(download.next().await.unwrap().unwrap(), bytes[..200]);
    proxy.cut();
    for begin in [200, 400, 600, 800] {
        assert_eq!(download.next().await.unwrap().unwrap(), bytes[begin..begin + 200]);
    }
    assert!(download.next().await.is_none());
}

#[tokio::test]
async fn another_download_to_the_same_place_goes_on_where_one_ended() {
    let bytes = noise(5, 1000);
    let known = manifest(&bytes, 100);
    let digest = known.artifact.chunks_blake3.clone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    std::fs::write(&file, "what was there before").unwrap();
    let (fake, _) = sender(known.clone(), breaking(&bytes, 450, Status::internal));
    fake.client().await.download(NAME).to_file(&file).await.unwrap_err();
    let part = folder.path().join(names_in(folder.path()).remove(0));
    assert!(part.to_str().unwrap().starts_with(part_stem(&file, &digest).to_str().unwrap()), "{part:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"what was there before");
    assert_eq!(std::fs::read(&part).unwrap()[..400], bytes[..400]);

    // As another process would find it, with one chunk that the disk has changed.
    let mut damaged = std::fs::read(&part).unwrap();
    damaged[250] ^= 1;
    std::fs::write(&part, damaged).unwrap();
    let (fake, ranges) = honest(known, &bytes);
    let reports = Arc::new(Mutex::new(Vec::new()));
    let reported = Arc::clone(&reports);
    let report = move |progress: Progress| reported.lock().unwrap().push((progress.done, progress.moved));
    fake.client().await.download(NAME).progress(report).to_file(&file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    let mut asked = ranges.lock().unwrap().clone();
    asked.sort_unstable();
    assert_eq!(asked, [(200, 100), (400, 600)]);
    let reports = reports.lock().unwrap();
    assert_eq!((reports[0], reports[reports.len() - 1]), ((300, 0), (1000, 700)));
    assert_eq!(names_in(folder.path()), ["model.bin"]);
}

/// What the name of a partial file begins with.
fn part_stem(file: &Path, digest: &str) -> std::path::PathBuf {
    let id = sha256(format!("{digest} {}", file.file_name().unwrap().to_str().unwrap()));
    file.with_file_name(format!(".model-registry.part-{}-", &id[..16]))
}

#[tokio::test]
async fn a_part_of_something_else_is_of_no_use() {
    let bytes = noise(6, 1000);
    let known = manifest(&bytes, 100);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    let mut part = part_stem(&file, &known.artifact.chunks_blake3).into_os_string();
    part.push("0123");
    for length in [0, 1, 999, 1000, 5000] {
        std::fs::write(&part, noise(7, length)).unwrap();
        let (fake, ranges) = honest(known.clone(), &bytes);
        fake.client().await.download(NAME).to_file(&file).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{length}");
        assert_eq!(*ranges.lock().unwrap(), [(0, 1000)], "{length}");
        assert_eq!(names_in(folder.path()), ["model.bin"], "{length}");
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn what_a_file_has_already_is_not_downloaded() {
    let old = noise(8, 8 << 20);
    let mut changed = old.to_vec();
    changed.splice(4 << 20..4 << 20, *b"inserted");
    let new = Bytes::from(changed);
    let there: Vec<_> = cut(&old).into_iter().map(|(chunk, _)| chunk).collect();
    let chunks: Vec<_> = cut(&new).into_iter().map(|(chunk, _)| chunk).collect();
    let lacking: i64 = chunks.iter().filter(|chunk| !there.contains(chunk)).map(|chunk| i64::from(chunk.size)).sum();
    assert!(lacking > 0 && lacking < 5 << 20, "{lacking}");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (destination, reused) in [("old", None), ("new", Some("kept"))] {
        std::fs::write(path(reused.unwrap_or(destination)), &old).unwrap();
        let (fake, ranges) = honest(manifest_of(chunks.clone()), &new);
        let mut download = fake.client().await.download(NAME).reuse(path("there-is-none"));
        if let Some(reused) = reused {
            download = download.reuse(path(reused));
        }
        download.to_file(path(destination)).await.unwrap();
        assert!(std::fs::read(path(destination)).unwrap() == new);
        assert_eq!(ranges.lock().unwrap().iter().map(|(_, length)| length).sum::<i64>(), lacking);
    }
    // All of it, the second time.
    let (fake, ranges) = honest(manifest_of(chunks), &new);
    fake.client().await.download(NAME).to_file(path("new")).await.unwrap();
    assert_eq!(*ranges.lock().unwrap(), []);
    assert_eq!(names_in(folder.path()), ["kept", "new", "old"]);
}

#[tokio::test]
async fn two_downloads_to_one_place_do_not_disturb_each_other() {
    let bytes = noise(9, 100_000);
    let (fake, _) = honest(manifest(&bytes, 1000), &bytes);
    let client = fake.client().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    let downloads = (0..8).map(|_| client.download(NAME).to_file(&file));
    futures::future::try_join_all(downloads).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    assert_eq!(names_in(folder.path()), ["model.bin"]);
}

#[tokio::test]
async fn no_bytes_are_a_file_too() {
    let (fake, ranges) = honest(manifest(&Bytes::new(), 1), &Bytes::new());
    let folder = tempfile::tempdir().unwrap();
    let client = fake.client().await;
    client.download(NAME).to_file(folder.path().join("empty")).await.unwrap();
    assert_eq!(
        (names_in(folder.path()), client.download(NAME).bytes().await.unwrap()),
        (vec!["empty".into()], Bytes::new())
    );
    assert_eq!(*ranges.lock().unwrap(), []);
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_is_written_through_and_a_link_is_followed() {
    let bytes = noise(13, 100_000);
    let (fake, _) = honest(manifest(&bytes, 1000), &bytes);
    let client = fake.client().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);

    crate::receipts::pipe(&path("pipe"));
    let reader = std::thread::spawn({
        let pipe = path("pipe");
        move || std::fs::read(pipe).unwrap()
    });
    client.download(NAME).to_file(path("pipe")).await.unwrap();
    assert!(reader.join().unwrap() == bytes);
    assert!(!path("pipe").symlink_metadata().unwrap().is_file());

    for target in ["there", "not-yet"] {
        std::fs::write(path("there"), "old").unwrap();
        std::os::unix::fs::symlink(target, path("link")).unwrap();
        client.download(NAME).to_file(path("link")).await.unwrap();
        assert!(path("link").symlink_metadata().unwrap().is_symlink());
        assert!(std::fs::read(path(target)).unwrap() == bytes);
        std::fs::remove_file(path("link")).unwrap();
    }
    assert_eq!(names_in(folder.path()), ["not-yet", "pipe", "there"]);
    let error = client.download(NAME).to_file(folder.path()).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_of_the_longest_name_is_downloaded() {
    let bytes = noise(14, 1000);
    let (fake, _) = honest(manifest(&bytes, 100), &bytes);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("n".repeat(255));
    fake.client().await.download(NAME).to_file(&file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn bytes_that_are_not_the_stored_ones_never_get_the_name() {
    let known = noise(10, 1000);
    let mut damaged = known.to_vec();
    damaged[500] ^= 1;
    let rows: [(&str, Script, Predicate); 5] = [
        ("damaged", vec![Ok(damaged.into())], |error| matches!(error, Error::DigestMismatch { .. })),
        ("short", vec![Ok(known.slice(..999))], |error| matches!(error, Error::SizeMismatch { actual: 999, .. })),
        ("nothing", vec![], |error| matches!(error, Error::SizeMismatch { actual: 0, .. })),
        ("long", vec![Ok(known.slice(..500)), Ok(known.clone())], |error| matches!(error, Error::Protocol(_))),
        ("refused", vec![Ok(known.slice(..550)), Err(Status::data_loss("damaged"))], Error::is_data_loss),
    ];
    for (what, script, expected) in rows {
        for size in [100, 1000] {
            let script = script.clone();
            let (fake, _) = sender(manifest(&known, size), move |_, _| script.clone());
            let client = fake.client().await;
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("model.bin");
            std::fs::write(&file, "what was there before").unwrap();

            let error = client.download(NAME).to_file(&file).await.unwrap_err();
            assert!(expected(&error), "{what}: {error:?}");
            assert_eq!(std::fs::read(&file).unwrap(), b"what was there before", "{what}");
            // Without a whole chunk there is nothing to go on with.
            let left = names_in(folder.path()).len() - 1;
            assert_eq!(left, usize::from(size == 100 && what != "nothing"), "{what}");
            let error = client.download(NAME).bytes().await.unwrap_err();
            assert!(expected(&error), "{what}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_list_of_chunks_that_is_not_the_artifacts_is_refused() {
    type Lie = fn(&mut Manifest);
    let bytes = noise(11, 1000);
    let rows: [(&str, Lie, Predicate); 5] = [
        ("other order", |lie| lie.chunks.swap(0, 1), |error| matches!(error, Error::DigestMismatch { .. })),
        ("one less", |lie| drop(lie.chunks.pop()), |error| matches!(error, Error::DigestMismatch { .. })),
        ("other size", |lie| lie.chunks[0].size_bytes += 1, |error| matches!(error, Error::DigestMismatch { .. })),
        (
            "other sum",
            |lie| lie.artifact.size_bytes += 1,
            |error| matches!(error, Error::SizeMismatch { expected: 1001, actual: 1000, .. }),
        ),
        ("no digest", |lie| lie.chunks[0].blake3.clear(), |error| matches!(error, Error::Protocol(_))),
    ];
    for (what, lie, expected) in rows {
        let mut known = manifest(&bytes, 100);
        lie(&mut known);
        let fake = knowing(known);
        let client = fake.client().await;
        let folder = tempfile::tempdir().unwrap();
        let error = client.download(NAME).to_file(folder.path().join("model.bin")).await.unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
        assert_eq!(names_in(folder.path()), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn ranges_are_asked_for_as_offset_and_length() {
    let bytes = noise(12, 1000);
    let served = bytes.clone();
    let (fake, ranges) =
        sender(manifest(&bytes, 100), move |offset, length| match served.get(offset..offset + length) {
            Some(part) => vec![Ok(Bytes::copy_from_slice(part))],
            None => vec![Err(Status::out_of_range("behind the end"))],
        });
    let client = fake.client().await;
    let range = |range| client.download(NAME).range(range).bytes();
    assert_eq!(range(100..250).await.unwrap(), bytes[100..250]);
    assert_eq!(range(900..u64::MAX).await.unwrap(), bytes[900..]);
    assert_eq!(range(5..5).await.unwrap(), Bytes::new());
    assert_eq!(range(1000..2000).await.unwrap(), Bytes::new());
    assert_eq!(*ranges.lock().unwrap(), [(100, 150), (900, 100)]);
    assert!(range(1001..2000).await.unwrap_err().is_out_of_range());
}
