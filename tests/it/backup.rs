//! Backups while others write, and restores to every point of the past.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost_types::Timestamp;
use registry_client::RegistryClient;
use registry_client::pb::{Artifact, Event, Model, Stage, Version};
use registry_server::backup::restore::{RestoreError, Until};
use registry_server::stores::ServeError;
use registry_tests::restore::{Contents, assert_same, back_up, contents, refusal, restore_into, verified};
use registry_tests::{PATIENCE, TestServer, events, model, model_with, noise, pending, ready, sha256, until};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

const MODEL: &str = "models/fraud";
const WRITERS: usize = 8;
/// More than a frame of a backup holds.
const LARGE: usize = 3 * 1024 * 1024 + 7;

/// Some of everything. Answers the name of a version with a large and an empty artifact.
async fn furnish(client: &RegistryClient) -> String {
    for name in [MODEL, "models/churn", "namespaces/other/models/fraud"] {
        model_with(client, name, 4).await;
        for number in [1, 2, 3] {
            client
                .transition_stage(format!("{name}/versions/{number}"), Stage::Production)
                .comment("why")
                .await
                .unwrap();
        }
        client.rollback(name).comment("worse").await.unwrap();
        client.transition_stage(format!("{name}/versions/4"), Stage::Staging).await.unwrap();
        client.set_alias(name, "champion", "2").await.unwrap();
        client.set_alias(name, "gone", "1").await.unwrap();
        client.delete_alias(name, "gone").await.unwrap();
        client.delete_version(format!("{name}/versions/1")).await.unwrap();
        let version = pending(client, name).await.name;
        for (path, bytes) in [("large.bin", noise(LARGE)), ("shared.bin", b"shared".to_vec()), ("empty", Vec::new())] {
            client.upload(&version, path, bytes).await.unwrap();
        }
        let gone = client.upload(&version, "gone", format!("gone from {name}").into_bytes()).await.unwrap();
        client.delete_artifact(gone.name).await.unwrap();
        client.finalize_version(&version).await.unwrap();
    }
    client.delete_model("models/churn").force(true).await.unwrap();
    format!("{MODEL}/versions/5")
}

/// Writes what changes every kind of record, until it is told to stop, and counts its writes.
async fn write(client: RegistryClient, writer: usize, done: Arc<AtomicU64>, stop: watch::Receiver<bool>) {
    let name = format!("models/writer{writer}");
    model(&client, &name).await;
    for round in 1_u64.. {
        let version = pending(&client, &name).await.name;
        client.upload(&version, "model.onnx", format!("of {writer} and {}", round % 4).into_bytes()).await.unwrap();
        client.finalize_version(&version).await.unwrap();
        client.transition_stage(&version, Stage::Production).await.unwrap();
        client.set_alias(&name, "newest", round.to_string()).await.unwrap();
        if round > 1 {
            client.delete_version(format!("{name}/versions/{}", round - 1)).await.unwrap();
        }
        done.fetch_add(1, Ordering::Relaxed);
        if *stop.borrow() {
            return;
        }
    }
}

/// Waits until the writers have done this much more.
async fn more(done: &AtomicU64, rounds: u64) {
    let enough = done.load(Ordering::Relaxed) + rounds;
    until(PATIENCE, || async { (done.load(Ordering::Relaxed) >= enough).then_some(()) }).await;
}

/// A server on a storage folder that was filled before; it ends when it is dropped.
async fn serve(storage: &Path) -> (RegistryClient, TestServer) {
    let server = TestServer::on(storage).await;
    (server.client(), server)
}

async fn assert_same_bytes(artifacts: &[Artifact], one: &RegistryClient, other: &RegistryClient) {
    for artifact in artifacts {
        let expected = one.download(&artifact.name).bytes().await.unwrap();
        assert!(other.download(&artifact.name).bytes().await.unwrap() == expected, "{}", artifact.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_while_others_write_is_the_registry_of_one_revision() {
    let server = TestServer::start().await;
    let client = server.client();
    let large = furnish(&client).await;
    let request = Uuid::new_v4();
    let requested = client.create_version(MODEL).request_id(request).await.unwrap();
    let (stop, stopping) = watch::channel(false);
    let (done, mut writers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for writer in 0..WRITERS {
        writers.spawn(write(client.clone(), writer, Arc::clone(&done), stopping.clone()));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    more(&done, 8).await;
    let completed = back_up(&client, &path("amid")).await;
    more(&done, 8).await;
    stop.send_replace(true);
    writers.join_all().await;
    let last = back_up(&client, &path("last")).await;
    assert!(completed.revision < last.revision, "they wrote behind it");
    for (completed, file) in [(&completed, "amid"), (&last, "last")] {
        let bytes = std::fs::read(path(file)).unwrap();
        assert_eq!((completed.size_bytes, &completed.sha256), (bytes.len() as i64, &sha256(&bytes)));
        assert!(completed.lost_artifacts.is_empty(), "{completed:?}");
    }

    let mut restored = Vec::new();
    for (name, from, until) in [
        ("amid-again", "amid", Until::End),
        ("last-until", "last", Until::Revision(completed.revision.cast_unsigned())),
        ("last-again", "last", Until::End),
    ] {
        let done = restore_into(&path(name), &path(from), until).await.unwrap();
        let revision = if name == "last-again" { last.revision } else { completed.revision };
        assert_eq!((done.revision.cast_signed(), done.lost), (revision, Vec::new()), "{name}");
        restored.push(serve(&path(name)).await);
    }
    let [(amid, _amid), (until, _until), (again, _again)] = restored.try_into().unwrap();
    let log = events(&client).await;
    let of_then: Vec<_> = log.iter().filter(|event| event.revision <= completed.revision).collect();
    assert!(events(&amid).await.iter().eq(of_then), "other events");
    assert_same(&amid, &until).await;
    assert_same(&client, &again).await;
    assert_same_bytes(&contents(&client).await.artifacts, &client, &again).await;
    assert_same_bytes(&contents(&amid).await.artifacts, &client, &amid).await;
    let bytes = async |path: &str| again.download(format!("{large}/artifacts/{path}")).bytes().await.unwrap();
    assert!(bytes("large.bin").await == noise(LARGE));
    assert!(bytes("shared.bin").await == b"shared"[..] && bytes("empty").await.is_empty());

    // It goes on as the original would: requests that were carried out are known, numbers and revisions follow.
    let repeated = again.create_version(MODEL).request_id(request).await.unwrap();
    assert_eq!(repeated.uid, requested.uid);
    assert_eq!(ready(&again, MODEL).await.number, requested.number + 1);
    assert_eq!(events(&again).await.last().unwrap().revision, last.revision + 1);
    verified(&again).await;
}

/// One commit after the other, each of another kind.
async fn step(client: &RegistryClient, number: usize) -> bool {
    let (first, second) = ("models/fraud/versions/1", "models/fraud/versions/2");
    let other = "namespaces/other/models/fraud";
    match number {
        0 => drop(client.create_model(MODEL).owner("ada").await.unwrap()),
        1 => drop(client.create_model(other).await.unwrap()),
        2 => drop(client.create_version(MODEL).version_id("1.0.0").finalize(true).await.unwrap()),
        3 => drop(pending(client, MODEL).await),
        4 => drop(client.upload(second, "a", b"bytes".to_vec()).await.unwrap()),
        5 => drop(client.upload(second, "b", b"bytes".to_vec()).await.unwrap()),
        6 => drop(client.upload(second, "c", b"others".to_vec()).await.unwrap()),
        7 => drop(client.delete_artifact(format!("{second}/artifacts/b")).await.unwrap()),
        8 => drop(client.finalize_version(second).await.unwrap()),
        9 => drop(client.transition_stage(first, Stage::Production).await.unwrap()),
        10 => drop(client.transition_stage(second, Stage::Production).await.unwrap()),
        11 => drop(client.rollback(MODEL).await.unwrap()),
        12 => drop(client.set_alias(MODEL, "champion", "2").await.unwrap()),
        13 => drop(client.set_alias(MODEL, "champion", "1").await.unwrap()),
        14 => drop(client.delete_alias(MODEL, "champion").await.unwrap()),
        15 => drop(client.delete_version(second).await.unwrap()),
        16 => drop(client.undelete_version(second).await.unwrap()),
        17 => {
            let described = Version { name: first.to_owned(), description: "x".repeat(60_000), ..Default::default() };
            client.update_version(described).await.unwrap();
        }
        18 => drop(ready(client, other).await),
        19 => drop(client.delete_model(other).await.unwrap()),
        20 => drop(client.undelete_model(other).await.unwrap()),
        21 => {
            let owned = Model { name: MODEL.to_owned(), owner: "bob".to_owned(), ..Default::default() };
            client.update_model(owned).await.unwrap();
        }
        22 => drop(ready(client, MODEL).await),
        23 => drop(client.prune_versions(MODEL, 1).await.unwrap()),
        24 => drop(client.delete_model(other).await.unwrap()),
        25 => drop(client.purge_version(format!("{other}/versions/1")).await.unwrap()),
        26 => drop(client.purge_model(other).await.unwrap()),
        27 => drop(client.create_model(other).await.unwrap()),
        28 => drop(ready(client, other).await),
        _ => return false,
    }
    true
}

/// What there was at each revision, from 0.
async fn a_short_history(client: &RegistryClient) -> Vec<Contents> {
    let mut past = vec![contents(client).await];
    while step(client, past.len() - 1).await {
        past.push(contents(client).await);
        assert_ne!(past[past.len() - 2], past[past.len() - 1]);
    }
    past
}

#[tokio::test]
async fn every_revision_can_be_restored_as_it_was() {
    let server = TestServer::start().await;
    let client = server.client();
    let past = a_short_history(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    assert_eq!(back_up(&client, &backup).await.revision, past.len() as i64 - 1);
    let log = events(&client).await;
    for (revision, then) in (0..).zip(&past) {
        let storage = folder.path().join(revision.to_string());
        let until = Until::Revision(revision as u64);
        if revision == 0 {
            let nothing = restore_into(&storage, &backup, until).await.unwrap_err();
            assert!(matches!(nothing, RestoreError::TooEarly(_)), "{nothing}");
            continue;
        }
        let restored = restore_into(&storage, &backup, until).await.unwrap();
        assert_eq!((restored.revision, restored.lost), (revision as u64, Vec::new()));
        let restored = serve(&storage).await;
        let up_to: Vec<_> = log.iter().filter(|event| event.revision <= revision).cloned().collect();
        assert_eq!(events(&restored.0).await, up_to, "{revision}");
        assert_eq!(&contents(&restored.0).await, then, "{revision}");
        assert_eq!(verified(&restored.0).await.revision, revision);
        for artifact in &then.artifacts {
            let bytes = restored.0.download(&artifact.name).bytes().await.unwrap();
            assert_eq!(sha256(&bytes), artifact.sha256, "{revision}: {}", artifact.name);
        }
    }
}

/// In nanoseconds.
fn time_of(event: &Event) -> i128 {
    let time = event.create_time.unwrap();
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

fn at(nanos: i128) -> Until {
    let (seconds, nanos) = (nanos.div_euclid(1_000_000_000) as i64, nanos.rem_euclid(1_000_000_000) as i32);
    Until::Time(Timestamp { seconds, nanos })
}

#[tokio::test]
async fn every_moment_can_be_restored_as_it_was() {
    let server = TestServer::start().await;
    let client = server.client();
    let past = a_short_history(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    back_up(&client, &backup).await;
    // All events of a revision have its time.
    let mut times: Vec<_> = events(&client).await.iter().map(|event| (event.revision, time_of(event))).collect();
    times.dedup();
    assert_eq!(times.len(), past.len() - 1);
    for early in [times[0].1 - 1, 0] {
        let nothing = restore_into(&folder.path().join("early"), &backup, at(early)).await.unwrap_err();
        assert!(matches!(nothing, RestoreError::TooEarly(_)), "{nothing}");
    }
    let mut moments = vec![(times.len() as i64, times[times.len() - 1].1 << 1)];
    for (revision, time) in &times {
        moments.push((*revision, *time));
    }
    for pair in times.windows(2) {
        assert!(pair[0].1 + 1 < pair[1].1, "there is a moment between two commits");
        moments.push((pair[0].0, (pair[0].1 + pair[1].1) / 2));
    }
    for (number, (revision, moment)) in moments.into_iter().enumerate() {
        let storage = folder.path().join(number.to_string());
        let restored = restore_into(&storage, &backup, at(moment)).await.unwrap();
        assert_eq!((restored.revision.cast_signed(), restored.lost), (revision, Vec::new()), "{moment}");
        // What a revision holds is the other test's business: a few will do.
        if number % 9 == 0 {
            let (restored, _server) = serve(&storage).await;
            assert_eq!(contents(&restored).await, past[revision as usize], "{moment}");
        }
    }
}

/// What a server says that finds a store in the middle of a restore.
async fn assert_is_refused(storage: &Path) {
    let refusal = refusal(storage).await;
    assert!(matches!(refusal, Some(ServeError::Unfinished)), "{refusal:?}");
}

#[tokio::test]
async fn what_is_not_in_a_backup_is_refused_and_nothing_is_a_registry_too() {
    let server = TestServer::start().await;
    let client = server.client();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    assert_eq!(back_up(&client, &path("empty")).await.revision, 0);
    a_short_history(&client).await;
    let newest = back_up(&client, &path("backup")).await.revision.cast_unsigned();

    // A store that holds nothing is a registry in which nothing has happened yet.
    let nothing = restore_into(&path("nothing"), &path("empty"), Until::End).await.unwrap();
    assert_eq!((nothing.revision, nothing.chunks), (0, 0));
    let (restored, server) = serve(&path("nothing")).await;
    assert_eq!(contents(&restored).await, Contents::default());
    model(&restored, MODEL).await;
    assert_eq!(events(&restored).await[0].revision, 1);
    verified(&restored).await;
    drop(server);

    let short = restore_into(&path("short"), &path("backup"), Until::Revision(newest + 1)).await.unwrap_err();
    assert!(matches!(&short, RestoreError::TooShort { last, wanted, .. } if (*last, *wanted) == (newest, newest + 1)));
    assert_eq!(
        short.to_string(),
        format!("{} ends at revision {newest}, before revision {}", path("backup").display(), newest + 1)
    );
    assert_is_refused(&path("short")).await;
    // It has more than this already, and a registry does not lose revisions.
    for less in [Until::Revision(newest - 1), Until::Revision(0), at(0)] {
        let error = restore_into(&path("short"), &path("backup"), less).await.unwrap_err();
        assert!(matches!(error, RestoreError::Other(there) if there == newest), "{less:?}: {error}");
        assert_is_refused(&path("short")).await;
    }
    assert_eq!(restore_into(&path("short"), &path("backup"), Until::End).await.unwrap().revision, newest);
    assert_same(&client, &serve(&path("short")).await.0).await;

    for from in ["missing", "folder"] {
        std::fs::create_dir_all(path("folder")).unwrap();
        let error = restore_into(&path("none"), &path(from), Until::End).await.unwrap_err();
        assert!(error.to_string().contains(path(from).to_str().unwrap()), "{error}");
    }
    std::fs::write(path("text"), "this is something else").unwrap();
    let error = restore_into(&path("none"), &path("text"), Until::End).await.unwrap_err();
    assert!(error.to_string().ends_with("is not a backup of Model Registry"), "{error}");
}
