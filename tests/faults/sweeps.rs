//! Sweeps whose deletions are late, are refused, or get no answer, on servers that share an object store or a folder.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use registry_client::RegistryClient;
use registry_client::known::event_type;
use registry_client::pb::{CollectGarbageReport, ErrorReason};
use registry_tests::accidents::{Accidents, Damage, Plan};
use registry_tests::bucket::Bucket;
use registry_tests::process::{ServerProcess, sled_command};
use registry_tests::restore::verified;
use registry_tests::{chunks, events, model, noise, pending, soon, store};
use tempfile::TempDir;
use tonic::Code;

use crate::impatient;

const LISTEN: &str = "127.0.0.8:0";
const MODEL: &str = "models/fraud";
/// How many chunks are garbage.
const GARBAGE: i64 = 20;

/// Bytes that are one chunk.
fn content(number: i64) -> Vec<u8> {
    let mut bytes = noise(20_000);
    bytes[0] = number as u8;
    bytes
}

/// A server on the database that goes with a folder, with its artifacts in a bucket.
fn server(folder: &Path, bucket: &Bucket) -> ServerProcess {
    let mut command = sled_command(folder, LISTEN);
    command.args(["--store", &store::postgres(folder), "--artifacts", &bucket.url, "--gc-every", "0s"]);
    // As short as a test has patience for.
    ServerProcess::spawn(bucket.with("AWS_READ_TIMEOUT", Some("1s")).given_to(command))
}

/// A version, and stored chunks that no artifact lists.
async fn garbage(client: &RegistryClient) -> String {
    model(client, MODEL).await;
    let version = pending(client, MODEL).await.name;
    for number in 0..GARBAGE {
        let made = client.upload(&version, format!("{number}.bin"), content(number)).await.unwrap();
        client.delete_artifact(made.name).await.unwrap();
    }
    version
}

async fn collect(client: &RegistryClient) -> Result<CollectGarbageReport, registry_client::Error> {
    soon(client.collect_garbage().grace(Duration::ZERO).into_future()).await
}

/// What has become of sweeps.
async fn sweeps(client: &RegistryClient) -> Vec<String> {
    let types = events(client).await.into_iter().map(|event| event.r#type);
    types.filter(|r#type| r#type.starts_with("sweep.")).collect()
}

/// A server whose object store meets with accidents.
struct Setting {
    bucket: Bucket,
    accidents: Arc<Accidents>,
    server: ServerProcess,
    client: RegistryClient,
    _folder: TempDir,
}

impl Setting {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::folder();
        let accidents = Accidents::before(&bucket).await;
        let server = server(folder.path(), &accidents.of(&bucket));
        let client = impatient(&server.endpoint());
        Self { bucket, accidents, server, client, _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_carried_out_late_harms_no_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::folder();
    let accidents = Accidents::before(&bucket).await;
    let sweeper = server(folder.path(), &accidents.of(&bucket));
    let other = server(folder.path(), &bucket);
    let (client, others) = (impatient(&sweeper.endpoint()), impatient(&other.endpoint()));
    let version = garbage(&client).await;

    accidents.plan(Plan::Hold);
    let error = collect(&client).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::StoreUnavailable), "{error}");
    assert_eq!(sweeps(&others).await, [event_type::SWEEP_STARTED, event_type::SWEEP_GIVEN_UP]);
    // Nobody has to wait: the same bytes are sent again, and relied on.
    let made = others.upload(&version, "again.bin", content(3)).await.unwrap();
    others.finalize_version(&version).await.unwrap();

    accidents.let_go(1).await;
    let stored = bucket.under("chunks").objects().await;
    assert!(stored.len() == 1 && stored[0].ends_with(".1"), "it was not carried out: {stored:?}");
    for client in [&client, &others] {
        assert!(client.download(&made.name).bytes().await.unwrap() == content(3));
        assert_eq!(client.scrub().await.unwrap().problem_count, 0);
        verified(client).await;
    }
    // So does a copy.
    let backup = folder.path().join("backup");
    others.backup().write_to(tokio::fs::File::create(&backup).await.unwrap()).await.unwrap();
    let copy = folder.path().join("copy");
    let mut restore = sled_command(&copy, LISTEN);
    let output = restore.args(["restore", "--from"]).arg(&backup).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let restored = ServerProcess::spawn(sled_command(&copy, LISTEN));
    let copied = impatient(&restored.endpoint());
    assert_eq!(collect(&copied).await.unwrap().removed_chunks, 0);
    assert!(copied.download(&made.name).bytes().await.unwrap() == content(3));
    let one_more = pending(&copied, MODEL).await.name;
    copied.upload(&one_more, "more.bin", content(3)).await.unwrap();
    let stored = chunks::all(&copy);
    assert!(stored.len() == 1 && stored[0].extension().is_some_and(|end| end == "1"), "{stored:?}");
    // Collections go on as well, and remove it by its new name.
    others.delete_version(&version).await.unwrap();
    others.purge_version(&version).await.unwrap();
    assert_eq!(collect(&client).await.unwrap().removed_chunks, 1);
    assert_eq!(bucket.under("chunks").objects().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_too_much_to_do_is_asked_again() {
    let setting = Setting::new().await;
    let Setting { accidents, client, .. } = &setting;
    garbage(client).await;
    accidents.plan(Plan::Refuse(503, "SlowDown"));
    // More often than object_store asks by itself in its few seconds.
    let asked = accidents.asked(24);
    let passes = async {
        soon(asked).await;
        accidents.plan(Plan::Pass);
    };
    let (report, ()) = tokio::join!(collect(client), passes);
    let report = report.unwrap();
    assert_eq!((report.removed_chunks, report.refused_chunks), (GARBAGE, 0));
    assert_eq!(sweeps(client).await, [event_type::SWEEP_STARTED, event_type::SWEEP_ENDED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_to_delete_holds_nobody_up() {
    let setting = Setting::new().await;
    let Setting { bucket, accidents, server, client, .. } = &setting;
    let version = garbage(client).await;
    let ended = [event_type::SWEEP_STARTED, event_type::SWEEP_ENDED];
    for (turn, (plan, refused)) in
        [(Plan::Refuse(403, "AccessDenied"), GARBAGE), (Plan::RefuseEven("AccessDenied"), GARBAGE / 2)]
            .into_iter()
            .enumerate()
    {
        accidents.plan(plan);
        let report = collect(client).await.unwrap();
        assert_eq!((report.removed_chunks, report.refused_chunks), (GARBAGE - refused, refused), "{plan:?}");
        assert_eq!(sweeps(client).await, ended.repeat(turn + 1), "{plan:?}");
        // It is still there: nobody has to send it, or to wait.
        let again = client.upload(&version, format!("again {turn}.bin"), content(3)).await.unwrap();
        client.delete_artifact(again.name).await.unwrap();
    }
    assert_eq!(server.log().matches("refuses to remove chunks").count(), 1, "{}", server.log());
    accidents.plan(Plan::Pass);
    assert_eq!(collect(client).await.unwrap().removed_chunks, GARBAGE);
    assert!(server.log().contains("chunks are removed again"));
    assert_eq!(bucket.under("chunks").objects().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_leaves_open_what_happened_gives_the_sweep_up_at_once() {
    let setting = Setting::new().await;
    let Setting { accidents, client, .. } = &setting;
    let version = garbage(client).await;
    let given_up = [event_type::SWEEP_STARTED, event_type::SWEEP_GIVEN_UP];
    for (turn, plan) in [Plan::Refuse(504, ""), Plan::RefuseEven("InternalError")].into_iter().enumerate() {
        accidents.plan(plan);
        let error = collect(client).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable), "{plan:?}: {error}");
        assert_eq!(sweeps(client).await, given_up.repeat(turn + 1), "{plan:?}");
        // Sent again, under a new name.
        client.upload(&version, format!("again {turn}.bin"), content(turn as i64)).await.unwrap();
    }
    accidents.plan(Plan::Pass);
    let report = collect(client).await.unwrap();
    // Of what is listed all stays that there is.
    assert_eq!(report.removed_chunks, GARBAGE - 2);
    for turn in 0..2 {
        let name = format!("{version}/artifacts/again {turn}.bin");
        assert!(client.download(name).bytes().await.unwrap() == content(turn));
    }
    verified(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_damaged_on_its_way_once_is_read_again_before_it_is_lost() {
    let setting = Setting::new().await;
    let Setting { accidents, client, .. } = &setting;
    model(client, MODEL).await;
    let version = pending(client, MODEL).await.name;
    let made = client.upload(&version, "model.bin", content(1)).await.unwrap();
    let logged = events(client).await.len();
    for damage in [Damage::Flip, Damage::Empty, Damage::Missing] {
        accidents.damage([damage]);
        assert!(client.download(&made.name).bytes().await.unwrap() == content(1), "{damage:?}");
        accidents.damage([damage]);
        assert_eq!(client.scrub().quarantine(true).await.unwrap().problem_count, 0, "{damage:?}");
        assert_eq!((accidents.left(), events(client).await.len()), (0, logged), "{damage:?}");
    }
    // Twice may be the store's doing. What is damaged is put aside, if it still is.
    accidents.damage([Damage::Flip; 2]);
    assert!(client.download(&made.name).bytes().await.unwrap_err().is_data_loss());
    assert_eq!(sweeps(client).await, [event_type::SWEEP_STARTED, event_type::SWEEP_ENDED]);
    assert!(client.download(&made.name).bytes().await.unwrap() == content(1));
}

/// The sweeper stands still just behind its sweep's commit, until others have given that up.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes, which is how long others wait: tests/full.sh runs it"]
async fn a_server_that_was_stopped_in_a_sweep_harms_no_artifact_when_it_goes_on() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = sled_command(folder.path(), LISTEN);
        command.args(["--store", &store::postgres(folder.path()), "--gc-every", "0s"]);
        ServerProcess::spawn(command)
    };
    let (sweeper, other) = (start(), start());
    let (client, others) = (impatient(&sweeper.endpoint()), impatient(&other.endpoint()));
    let version = garbage(&client).await;
    let before = chunks::all(folder.path()).len();

    let mut watch = others.watch().types([event_type::SWEEP_STARTED]).stream();
    assert!(futures::TryStreamExt::try_next(&mut watch).await.unwrap().is_some());
    let collecting = tokio::spawn(async move { collect(&client).await });
    while !matches!(
        soon(futures::TryStreamExt::try_next(&mut watch)).await.unwrap(),
        Some(registry_client::WatchItem::Events { .. })
    ) {}
    sweeper.pause();
    eprintln!("stopped with {} of {before} chunks left", chunks::all(folder.path()).len());

    let mut made = Vec::new();
    for number in 0..GARBAGE {
        loop {
            // It waits ten seconds each time.
            match others.upload(&version, format!("{number}.bin"), content(number)).await {
                Err(error) if error.reason() == Some(ErrorReason::ChunksCollected) => {}
                uploaded => break made.push(uploaded.unwrap().name),
            }
        }
    }
    others.finalize_version(&version).await.unwrap();
    sweeper.go_on();
    // Whatever it says.
    let _ = collecting.await.unwrap();
    for (number, name) in (0..).zip(&made) {
        assert!(others.download(name).bytes().await.unwrap() == content(number), "{name}");
    }
    assert_eq!(others.scrub().await.unwrap().problem_count, 0);
    verified(&others).await;
}
