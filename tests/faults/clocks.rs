//! Servers whose clock is wrong.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use registry_client::pb;
use registry_tests::process::{ServerProcess, sled_command};
use registry_tests::{PATIENCE, events, model, noise, pending, store, until};

use crate::impatient;

const MODEL: &str = "models/fraud";
/// Longer than what is deleted stays.
const AHEAD: &str = "+31d";

fn command(folder: &Path) -> Command {
    let mut command = sled_command(folder, "127.0.0.1:0");
    command.args(["--store", &store::postgres(folder), "--gc-every", "100ms", "--gc-grace", "0s"]);
    command
}

/// The same by another clock. The library is preloaded without its wrapper, which fails when a killed process that had
/// the same number has left a semaphore.
fn shifted(mut command: Command, by: &str) -> Command {
    command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1").env("FAKETIME", by);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_clock_of_its_own_purges_nothing_and_dates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = tokio::task::block_in_place(|| {
        let right = command(folder.path());
        let wrong = ServerProcess::spawn(shifted(command(folder.path()), AHEAD));
        (ServerProcess::spawn(right), wrong)
    });
    let (client, ahead) = (impatient(&right.endpoint()), impatient(&wrong.endpoint()));
    model(&client, MODEL).await;
    let version = pending(&client, MODEL).await.name;
    let bytes = noise(100_000);
    client.upload(&version, "model.bin", bytes.clone()).await.unwrap();
    client.finalize_version(&version).await.unwrap();
    client.delete_version(&version).await.unwrap();

    let said = "the clocks of this server and of its database differ";
    until(PATIENCE, || async { wrong.log().contains(said).then_some(()) }).await;
    client.undelete_version(&version).await.unwrap();
    assert!(client.download(format!("{version}/artifacts/model.bin")).bytes().await.unwrap() == bytes);

    // What it writes has the time of the database, and what it deletes goes when that has come.
    let made = ahead.create_version(MODEL).finalize(true).await.unwrap();
    let deleted: pb::Version = ahead.delete_version(&made.name).await.unwrap();
    let report = ahead.collect_garbage().grace(Duration::ZERO).await.unwrap();
    assert_eq!(report.purged_versions, 0, "asked to, it purges by the database's clock");
    client.undelete_version(&made.name).await.unwrap();
    let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    let times = events(&client).await.into_iter().filter_map(|event| event.create_time).chain(deleted.delete_time);
    assert!(times.into_iter().all(|time| SystemTime::try_from(time).unwrap() < tomorrow));
}
