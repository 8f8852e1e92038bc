//! Backups, archives and artifacts in an object store: a real one, which may be killed, or not be what was configured.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::RegistryClient;
use registry_tests::bucket::{Bucket, Garage};
use registry_tests::line::Line;
use registry_tests::process::{ServerProcess, refusal, registryctl, sled_command};
use registry_tests::restore::{assert_same, verified};
use registry_tests::{PATIENCE, noise, noise_of, pending, soon, until};

use crate::archive::{MODEL, assert_has, ends_at, log_of, write_some};
use crate::patient;

const LISTEN: &str = "127.0.0.6:0";
/// More than goes into one request.
const LARGE: usize = 12 << 20;

/// A version whose bytes go to an object store in parts.
async fn write_large(client: &RegistryClient) {
    client.create_model("models/large").await.unwrap();
    let version = pending(client, "models/large").await.name;
    client.upload(&version, "model.bin", noise(LARGE)).await.unwrap();
    client.finalize_version(&version).await.unwrap();
}

fn archiving(storage: &Path, bucket: &Bucket, every: &str) -> Command {
    let mut command = sled_command(storage, LISTEN);
    command.args(["--archive", &bucket.url, "--archive-every", every]);
    bucket.given_to(command)
}

fn restore(storage: &Path, bucket: &Bucket, arguments: &[&str]) -> Output {
    let mut command = sled_command(storage, LISTEN);
    command.args(["restore", "--from", &bucket.url]).args(arguments);
    bucket.given_to(command).output().unwrap()
}

/// Restores, and serves what came of it.
fn restored(storage: &Path, bucket: &Bucket) -> ServerProcess {
    let output = restore(storage, bucket, &[]);
    assert!(output.status.success(), "{output:?}");
    ServerProcess::spawn(sled_command(storage, LISTEN))
}

fn back_up(server: &ServerProcess, bucket: &Bucket, arguments: &[&str]) -> Output {
    let mut command = registryctl(&server.endpoint());
    command.args(["backup", "--to", &bucket.url]).args(arguments);
    bucket.given_to(command).output().unwrap()
}

/// Waits until an archive holds everything up to a revision.
async fn holds(bucket: &Bucket, revision: i64) {
    let held = || async { bucket.objects().await.iter().any(|path| ends_at(path, revision)).then_some(()) };
    until(PATIENCE, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_to_an_object_store_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let server = ServerProcess::spawn(sled_command(&path("storage"), LISTEN));
    let client = patient(&server.endpoint());
    write_large(&client).await;
    let newest = write_some(&client, "small").await;
    let bucket = Bucket::folder();

    for _ in 0..2 {
        let output = back_up(&server, &bucket.under("whole"), &[]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(bucket.objects().await, ["whole"], "one replaces another");
    }
    let output = back_up(&server, &bucket.under("records"), &["--skip-artifacts"]);
    assert!(output.status.success(), "{output:?}");
    assert_same(&client, &patient(&restored(&path("copy"), &bucket.under("whole")).endpoint())).await;
    let output = restore(&path("records"), &bucket.under("records"), &["--revision", "2"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "restored revision 2 and 0 chunks of artifacts");

    let output = restore(&path("later"), &bucket.under("records"), &["--revision", &(newest + 1).to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("ends at revision {newest}, before revision {}", newest + 1)), "{said}");
    let output = restore(&path("nothing"), &bucket.under("typo"), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("has no backup and no archive"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_an_object_store_catches_up_when_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let garage = Garage::start();
    let archive = garage.bucket.under("archive");
    let server = ServerProcess::spawn(archiving(&path("storage"), &archive, "0s"));
    let client = patient(&server.endpoint());
    write_large(&client).await;
    holds(&archive, write_some(&client, "before").await).await;

    garage.kill();
    write_some(&client, "amid").await;
    until(PATIENCE, || async { server.log().contains("it can't be reached").then_some(()) }).await;
    let newest = write_some(&client, "still").await;
    garage.run();
    until(PATIENCE, || async { server.log().contains("the archive is up to date again").then_some(()) }).await;
    holds(&archive, newest).await;
    let log = log_of(&server).await;
    server.kill();

    let copy = restored(&path("copy"), &archive);
    assert_eq!(log_of(&copy).await, log);
    let client = patient(&copy.endpoint());
    for mark in ["before", "amid", "still"] {
        assert_has(&client, mark).await;
    }
    assert!(client.download("models/large/versions/1/artifacts/model.bin").bytes().await.unwrap() == noise(LARGE));
    verified(&client).await;
    assert!(copy.terminate().success());

    // It goes on with the archive when it is told to, and ships the last commit when it is stopped; others are refused.
    let mut claim = sled_command(&path("copy"), LISTEN);
    claim.args(["claim", "--archive", &archive.url]);
    let claimed = archive.given_to(claim).output().unwrap();
    assert!(claimed.status.success(), "{claimed:?}");
    let server = ServerProcess::spawn(archiving(&path("copy"), &archive, "1h"));
    let newest = write_some(&patient(&server.endpoint()), "last").await;
    assert!(server.terminate().success());
    holds(&archive, newest).await;
    let said = refusal(archiving(&path("another"), &archive, "1h"));
    assert!(said.contains("belongs to another registry"), "{said}");
    // The one that it was restored from is one of them: what it commits next is another past.
    let said = refusal(archiving(&path("storage"), &archive, "1h"));
    assert!(said.contains("belongs to another registry"), "{said}");
}

/// A server whose artifacts are behind a line that breaks and is slow, and the line.
async fn behind_a_line(storage: &Path) -> (ServerProcess, Arc<Line>) {
    let bucket = Bucket::folder();
    let garage = bucket.variable("AWS_ENDPOINT").trim_start_matches("http://").parse().expect("it is at an address");
    let line = Line::to(garage).await;
    let mut command = sled_command(storage, LISTEN);
    command.args(["--artifacts", &bucket.url]);
    let through = bucket.with("AWS_ENDPOINT", Some(&format!("http://{}", line.address)));
    (ServerProcess::spawn(through.given_to(command)), line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_cross_a_line_to_their_store_that_breaks_again_and_again_and_is_slow() {
    const ROUNDS: u64 = 8;
    const SIZE: usize = 16 << 20;
    let folder = tempfile::tempdir().unwrap();
    let (server, line) = behind_a_line(folder.path()).await;
    let client = patient(&server.endpoint());
    client.create_model(MODEL).await.unwrap();
    let version = pending(&client, MODEL).await.name;
    let mut random = StdRng::seed_from_u64(11);
    let mut gaps = |most: u64| (0..10).map(|_| random.random_range(1..most)).collect::<Vec<_>>();
    let (mut broke_up, mut broke_down) = (0, 0);
    for round in 0..ROUNDS {
        line.set_delay(Duration::from_millis(round % 2 * 4));
        let (content, before) = (noise_of(round, SIZE), line.broke());
        // Amid the chunks.
        line.break_after(gaps(3 << 20));
        let made = soon(client.upload(&version, format!("{round}.bin"), content.clone()).send()).await.unwrap();
        let between = line.broke();
        // Amid the answers to some requests.
        line.break_after(gaps(8 << 10));
        assert!(soon(client.download(&made.name).bytes()).await.unwrap() == content, "{round}");
        (broke_up, broke_down) = (broke_up + between - before, broke_down + line.broke() - between);
    }
    eprintln!("the line broke {broke_up} times on the way there, {broke_down} times on the way back");
    assert!(broke_up as u64 > ROUNDS && broke_down as u64 > ROUNDS, "{broke_up}, {broke_down}: little broke");
    line.set_delay(Duration::ZERO);
    line.break_after([]);
    client.finalize_version(&version).await.unwrap();
    client.collect_garbage().grace(Duration::ZERO).await.unwrap();
    let report = client.scrub().await.unwrap();
    assert_eq!((report.problem_count, report.artifacts), (0, ROUNDS as i64));
    verified(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_can_not_be_used_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::spawn(sled_command(&folder.path().join("storage"), LISTEN));
    patient(&server.endpoint()).create_model(MODEL).await.unwrap();
    let bucket = Bucket::folder();
    // Nobody listens there once it is dropped.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("http://127.0.0.1:{port}");
    let secret = bucket.variable("AWS_SECRET_ACCESS_KEY").to_owned();
    let with = |name: &str, value: Option<&str>| bucket.with(name, value);
    let at = |url: &str| bucket.at(url);
    let wrong = secret.replace(|digit: char| digit.is_ascii_digit(), "a");
    for (bucket, says) in [
        (with("AWS_SECRET_ACCESS_KEY", Some(&wrong)), "access is denied"),
        (with("AWS_ACCESS_KEY_ID", Some("GK000000000000000000000000")), "access is denied"),
        (with("AWS_ACCESS_KEY_ID", None), "Missing AccessKeyId"),
        (with("AWS_ENDPOINT", Some(&nobody)), "it can't be reached"),
        (with("AWS_ENDPOINT", Some(&nobody["http://".len()..])), "AWS_ENDPOINT is no URL"),
        (with("AWS_ENDPOINT", Some("http://")), "AWS_ENDPOINT is no URL"),
        (with("AWS_ALLOW_HTTP", None), "AWS_ALLOW_HTTP=true"),
        (with("AWS_REGION", Some("elsewhere")), "elsewhere"),
        (at("s3://no-such-bucket/archive"), "it does not exist"),
        (at("s3:///archive"), "expected"),
        (at("ftp://host/archive"), "expected"),
        (at("memory:///archive"), "expected"),
        (at(&format!("s3://key:{secret}@tests/archive")), "belong in the environment"),
        (at(&format!("s3://key:with/{secret}@tests/archive")), "invalid port"),
        (at(&format!("s3://tests/archive?secret={secret}")), "belong in the environment"),
    ] {
        let said = refusal(archiving(&folder.path().join("archiving"), &bucket, "1h"));
        assert!(said.contains(says), "{says}: {said}");
        let backup = back_up(&server, &bucket, &[]);
        let said_by_backup = String::from_utf8_lossy(&backup.stderr);
        assert_eq!(backup.status.code(), Some(1), "{says}: {said_by_backup}");
        for said in [&*said, &*said_by_backup] {
            assert!(!said.contains(&secret) && !said.contains(&wrong), "{said}");
        }
    }
    assert_eq!(bucket.objects().await, [""; 0]);
}
