//! Restores that break off or go wrong, and bytes that are not there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt as _};
use registry_client::pb::admin_service_client::AdminServiceClient;
use registry_client::pb::backup_response::Response;
use registry_client::pb::{Artifact, BackupRequest, ErrorReason, Stage, VerifyProblemType};
use registry_client::{Error, RegistryClient};
use registry_server::backup::container::ContainerError;
use registry_server::backup::restore::{RestoreError, Until};
use registry_server::backup::verify::verify;
use registry_server::config::Period;
use registry_server::stores::ServeError;
use registry_tests::restore::{assert_same, back_up, contents, damage, refusal, restore_into, stores, verified};
use registry_tests::{TestServer, chunks, model, model_with, noise, pending, soon};

const MODEL: &str = "models/fraud";
/// What stands before the frames of a backup, and before the payload of each.
const HEAD: usize = 12;
const FRAME_HEAD: usize = 36;

/// Enough for several frames of the log and of bytes.
async fn fill(client: &RegistryClient) {
    model(client, MODEL).await;
    let text = "x".repeat(60_000);
    let make = |_| async { drop(client.create_version(MODEL).description(&text).finalize(true).await.unwrap()) };
    soon(stream::iter(0..80).for_each_concurrent(16, make)).await;
    client.transition_stage(format!("{MODEL}/versions/7"), Stage::Production).await.unwrap();
    let version = pending(client, MODEL).await.name;
    for (path, size) in [("large", 4 * 1024 * 1024 + 1), ("small", 1), ("empty", 0)] {
        client.upload(&version, path, noise(size)).await.unwrap();
    }
    client.finalize_version(&version).await.unwrap();
}

/// Where the frames of a backup end; the last end is that of the file.
fn frame_ends(backup: &[u8]) -> Vec<usize> {
    let mut ends = vec![HEAD];
    while let Some(at) = ends.last().copied().filter(|at| *at < backup.len()) {
        let length = u32::from_be_bytes(backup[at..at + 4].try_into().unwrap());
        ends.push(at + FRAME_HEAD + length as usize);
    }
    assert_eq!(ends.last(), Some(&backup.len()));
    ends
}

/// A registry that is filled, and its backup.
async fn backed_up(folder: &Path) -> (TestServer, PathBuf, Vec<u8>) {
    let server = TestServer::start().await;
    fill(&server.client()).await;
    let file = folder.join("backup");
    back_up(&server.client(), &file).await;
    let bytes = std::fs::read(&file).unwrap();
    (server, file, bytes)
}

/// A restore of something that is no whole backup fails; whatever it left is no registry until the whole is restored into it.
async fn assert_is_taken_up(client: &RegistryClient, storage: &Path, cut: &Path, whole: &Path) -> ContainerError {
    let error = restore_into(storage, cut, Until::End).await.unwrap_err();
    let said = error.to_string();
    let RestoreError::Container { place, source } = error else { panic!("{said}") };
    assert_eq!((place.as_str(), said), (cut.to_str().unwrap(), format!("{} {source}", cut.display())));

    let begun = stores(storage).await.store.newest().await.unwrap() > 0;
    let refusal = refusal(storage).await;
    assert!(matches!(refusal, Some(ServeError::Unfinished)) == begun, "begun: {begun}, {refusal:?}");
    let expected = verified(client).await;
    let done = restore_into(storage, whole, Until::End).await.unwrap();
    assert_eq!((done.revision, done.lost), (expected.revision.cast_unsigned(), Vec::new()));
    // The state follows from the log, and the chain's head stands for all of it.
    let stores = stores(storage).await;
    assert!(stores.store.whole().await.unwrap());
    assert_eq!(verify(&*stores.store, &stores.chunks, None, false, |_| {}).await.unwrap(), expected);
    source
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_cut_anywhere_is_refused_and_can_be_taken_up() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let (server, whole, bytes) = backed_up(folder.path()).await;
    let ends = frame_ends(&bytes);
    assert!(ends.len() > 8, "{ends:?}: header, several of the log, several of bytes, end");
    let mut cuts = ends[..ends.len() - 1].to_vec();
    cuts.extend((0..6).map(|_| rand::random_range(HEAD..bytes.len())));
    cuts.push(bytes.len() - 1);
    for at in cuts {
        let (cut, storage) = (folder.path().join(format!("{at}.cut")), folder.path().join(at.to_string()));
        std::fs::write(&cut, &bytes[..at]).unwrap();
        let error = assert_is_taken_up(&server.client(), &storage, &cut, &whole).await;
        assert!(matches!(error, ContainerError::Cut), "{at}: {error}");
        std::fs::remove_dir_all(&storage).unwrap();
    }
    assert!(ContainerError::Cut.to_string().contains("is cut off"));

    // Once more all the way to the clients.
    let (cut, storage) = (folder.path().join("cut"), folder.path().join("storage"));
    std::fs::write(&cut, &bytes[..ends[ends.len() - 2]]).unwrap();
    assert_is_taken_up(&server.client(), &storage, &cut, &whole).await;
    let again = TestServer::on(&storage).await;
    assert_same(&server.client(), &again.client()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_with_a_changed_bit_is_refused_and_can_be_taken_up() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let (server, whole, bytes) = backed_up(folder.path()).await;
    let ends = frame_ends(&bytes);
    // In the log, in the bytes of artifacts, and in the end.
    let mut places = vec![ends[3] + FRAME_HEAD + 1, ends[ends.len() - 3] - 1, bytes.len() - 1];
    places.extend((0..8).map(|_| rand::random_range(0..bytes.len())));
    for at in places {
        let (bad, storage) = (folder.path().join(format!("{at}.bad")), folder.path().join(at.to_string()));
        let mut changed = bytes.clone();
        changed[at] ^= 1 << rand::random_range(0..8);
        std::fs::write(&bad, changed).unwrap();
        assert_is_taken_up(&server.client(), &storage, &bad, &whole).await;
        std::fs::remove_dir_all(&storage).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_never_mixes_registries_nor_overwrites_one() {
    let folder = tempfile::tempdir().unwrap();
    let (server, whole, bytes) = backed_up(folder.path()).await;
    let path = |name: &str| folder.path().join(name);
    let (half, storage) = (path("half"), path("storage"));
    std::fs::write(&half, &bytes[..frame_ends(&bytes)[3]]).unwrap();
    restore_into(&storage, &half, Until::End).await.unwrap_err();
    let there = stores(&storage).await.store.newest().await.unwrap();

    let other = TestServer::start().await;
    model_with(&other.client(), "models/other", 3).await;
    let version = pending(&other.client(), "models/other").await.name;
    let artifact = other.client().upload(&version, "a", noise(50_000)).await.unwrap();
    assert!(back_up(&other.client(), &path("shorter")).await.revision.cast_unsigned() < there);
    fill(&other.client()).await;
    assert!(back_up(&other.client(), &path("longer")).await.revision.cast_unsigned() > there);
    for from in ["shorter", "longer"] {
        let error = restore_into(&storage, &path(from), Until::End).await.unwrap_err();
        assert!(matches!(error, RestoreError::Other(revision) if revision == there), "{from}: {error}");
        assert!(error.to_string().contains("the beginning of another restore"), "{error}");
        let stores = stores(&storage).await;
        assert_eq!((stores.store.newest().await.unwrap(), stores.store.whole().await.unwrap()), (there, false));
        let of_other = chunks::files(&other.client(), &storage, &artifact.name).await;
        assert!(of_other.len() == 1 && !of_other[0].exists(), "{from}");
    }
    restore_into(&storage, &whole, Until::End).await.unwrap();
    for from in [&whole, &path("shorter"), &path("longer")] {
        let error = restore_into(&storage, from, Until::End).await.unwrap_err();
        assert!(matches!(error, RestoreError::NotEmpty(_)), "{error}");
        assert!(error.to_string().contains("the store is not empty"), "{error}");
    }
    let again = TestServer::on(&storage).await;
    assert_same(&server.client(), &again.client()).await;
}

/// Two versions that share bytes, and three artifacts that each are alone; all have chunks.
async fn with_artifacts(client: &RegistryClient) -> Vec<Artifact> {
    model(client, MODEL).await;
    let mut made = Vec::new();
    for (path, bytes) in [
        ("missing", noise(70_000)),
        ("flipped", noise(2_500_000)),
        ("shortened", noise(20_000)),
        ("whole", noise(30_000)),
    ] {
        let version = pending(client, MODEL).await.name;
        made.push(client.upload(&version, path, bytes).await.unwrap());
        client.finalize_version(version).await.unwrap();
    }
    // The bytes that will be missing belong to two versions.
    let version = pending(client, MODEL).await.name;
    made.push(client.upload(&version, "missing-as-well", noise(70_000)).await.unwrap());
    // What is deleted is nobody's loss.
    let gone = client.upload(&version, "gone", noise(40_000)).await.unwrap();
    client.delete_artifact(&gone.name).await.unwrap();
    made
}

async fn assert_is_lost(client: &RegistryClient, artifact: &Artifact) {
    let error: Error = client.download(&artifact.name).bytes().await.unwrap_err();
    assert!(error.is_data_loss(), "{}: {error:?}", artifact.name);
}

#[tokio::test]
async fn artifacts_that_were_left_out_are_named_and_can_be_mended() {
    let server = TestServer::start().await;
    let client = server.client();
    let artifacts = with_artifacts(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, storage) = (folder.path().join("backup"), folder.path().join("storage"));
    let out = tokio::fs::File::create(&file).await.unwrap();
    let completed = client.backup().skip_artifacts(true).write_to(out).await.unwrap();
    assert!(completed.lost_artifacts.is_empty(), "they were not asked for");
    assert!(completed.size_bytes < 50_000, "{completed:?}");

    let restored = restore_into(&storage, &file, Until::End).await.unwrap();
    let names: BTreeSet<_> = artifacts.iter().map(|artifact| artifact.name.clone()).collect();
    assert_eq!((restored.chunks, restored.lost.len()), (0, names.len()));
    assert_eq!(BTreeSet::from_iter(restored.lost), names);
    let again = TestServer::on(&storage).await;
    assert_eq!(contents(&again.client()).await, contents(&client).await);
    for artifact in &artifacts {
        assert_is_lost(&again.client(), artifact).await;
    }
    let skipped = again.client().verify().skip_artifacts(true).await.unwrap();
    assert_eq!((skipped.problem_count, skipped.artifacts), (0, 0));
    let report = again.client().verify().await.unwrap();
    assert_eq!(report.problem_count, names.len() as i64);
    assert!(report.problems.iter().all(|problem| problem.r#type() == VerifyProblemType::ArtifactMissing));

    // The bytes come back with the next upload of them, wherever it goes.
    let version = pending(&again.client(), MODEL).await.name;
    for bytes in [noise(70_000), noise(2_500_000), noise(20_000), noise(30_000)] {
        again.client().upload(&version, format!("{}.bin", bytes.len()), bytes).await.unwrap();
    }
    verified(&again.client()).await;
}

#[tokio::test]
async fn bytes_that_are_missing_or_damaged_are_named_by_backup_restore_and_verify() {
    registry_tests::store::artifacts_in_folder();
    let server = TestServer::start().await;
    let client = server.client();
    let artifacts = with_artifacts(&client).await;
    let [missing, flipped, shortened, whole, as_well] = artifacts.as_slice() else { panic!("{artifacts:?}") };
    let files_of = async |artifact: &Artifact| chunks::files(&client, &server.storage(), &artifact.name).await;
    std::fs::remove_file(&files_of(missing).await[0]).unwrap();
    let flipped_files = files_of(flipped).await;
    damage(&flipped_files[0]);
    std::fs::write(&files_of(shortened).await[0], noise(999)).unwrap();

    let report = client.verify().await.unwrap();
    let problems: BTreeSet<_> =
        report.problems.iter().map(|problem| (problem.name.as_str(), problem.r#type())).collect();
    let (gone, bad) = (VerifyProblemType::ArtifactMissing, VerifyProblemType::ArtifactDamaged);
    let expected = [(missing, gone), (as_well, gone), (flipped, bad), (shortened, bad)];
    assert_eq!(problems, expected.map(|(artifact, r#type)| (artifact.name.as_str(), r#type)).into());
    // Of the one that is whole, and of the other chunks of the one with a flipped byte.
    let intact = 30_000 + flipped.size_bytes + 1 - flipped_files[0].metadata().unwrap().len() as i64;
    assert_eq!((report.problem_count, report.artifacts, report.artifact_bytes), (4, 5, intact));
    assert!(report.problems.iter().all(|problem| !problem.detail.is_empty()));

    let folder = tempfile::tempdir().unwrap();
    let (file, storage) = (folder.path().join("backup"), folder.path().join("storage"));
    let lost = BTreeSet::from([missing, as_well, flipped, shortened].map(|artifact| artifact.name.clone()));
    let completed = back_up(&client, &file).await;
    assert_eq!(BTreeSet::from_iter(completed.lost_artifacts), lost);
    let restored = restore_into(&storage, &file, Until::End).await.unwrap();
    // Of the one that is whole, of the deleted one, which a restore to an earlier revision would want, and the rest of another.
    let (revision, chunks) = (completed.revision.cast_unsigned(), 2 + flipped_files.len() as u64 - 1);
    assert_eq!((restored.revision, restored.chunks), (revision, chunks));
    assert_eq!(BTreeSet::from_iter(restored.lost), lost);
    let again = TestServer::on(&storage).await;
    for artifact in [missing, flipped, shortened, as_well] {
        assert_is_lost(&again.client(), artifact).await;
        let lost = &chunks::files(&client, &storage, &artifact.name).await[0];
        assert!(!lost.exists(), "damaged bytes are not kept: {}", artifact.name);
    }
    assert!(again.client().download(&whole.name).bytes().await.unwrap() == noise(30_000));
}

#[tokio::test]
async fn a_backup_that_does_not_end_with_the_drain_ends_with_an_error() {
    let mut server = TestServer::with(|config| config.drain = Period::of_secs(0)).await;
    let client = server.client();
    model(&client, MODEL).await;
    let version = pending(&client, MODEL).await.name;
    // More than all the buffers between here and there hold.
    client.upload(&version, "large", noise(16 * 1024 * 1024)).await.unwrap();
    let mut service = AdminServiceClient::new(server.channel());
    let mut backup = service.backup(BackupRequest::default()).await.unwrap().into_inner();
    let first = backup.message().await.unwrap().unwrap().response;
    assert!(matches!(&first, Some(Response::Started(started)) if started.revision == 3), "{first:?}");
    let end = async {
        loop {
            match backup.message().await {
                Ok(Some(message)) => assert!(!matches!(message.response, Some(Response::Completed(_)))),
                Ok(None) => panic!("a backup that is not complete ends with a status"),
                Err(status) => return Error::from(status),
            }
        }
    };
    // The server is told to stop before another message is read.
    let ((), end) = soon(futures::future::join(server.stop(), end)).await;
    // The server may close the connection before the rest of it is read, and the status goes with it.
    assert!(end.is_unavailable(), "{end:?}");
    assert!(matches!(end.reason(), None | Some(ErrorReason::ServerDraining)), "{end:?}");
}
