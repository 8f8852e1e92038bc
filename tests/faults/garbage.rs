//! Collecting garbage from the command line, and servers that are killed while they do.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

use registry_client::known::event_type;
use registry_client::{RegistryClient, WatchItem};
use registry_common::hex;
use registry_tests::process::{ServerProcess, registryctl, sled_command};
use registry_tests::restore::damage;
use registry_tests::{chunks, model, noise, pending, soon};
use serde_json::Value;

use crate::impatient;

const MODEL: &str = "models/fraud";
const ROUNDS: u8 = 5;
/// How many chunks are garbage in each of them.
const GARBAGE: usize = 100;

/// One chunk.
fn content(round: u8, number: usize) -> Vec<u8> {
    let mut bytes = noise(20_000);
    bytes[0] = round;
    bytes[1] = number as u8;
    bytes
}

async fn chunk_of(client: &RegistryClient, artifact: &str) -> String {
    format!("default/{}", hex(&client.list_chunks(artifact).await.unwrap().chunks[0].blake3))
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_removes_chunks_goes_on_with_it() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let mut listed = BTreeSet::new();
    for round in 0..ROUNDS {
        // On PostgreSQL nobody can tell that the server is dead before some minutes have passed.
        let server = ServerProcess::spawn(sled_command(folder.path(), "127.0.0.1:0"));
        let client = impatient(&server.endpoint());
        if round == 0 {
            model(&client, MODEL).await;
        }
        let version = pending(&client, MODEL).await.name;
        for number in 0..=GARBAGE {
            client.upload(&version, number.to_string(), content(round, number)).await.unwrap();
        }
        for number in 1..=GARBAGE {
            client.delete_artifact(format!("{version}/artifacts/{number}")).await.unwrap();
        }
        listed.insert(chunk_of(&client, &format!("{version}/artifacts/0")).await);

        let mut watch = client.watch().types([event_type::SWEEP_STARTED]).stream();
        assert!(matches!(soon(watch.try_next()).await.unwrap(), Some(WatchItem::Created { .. })));
        let collecting = tokio::spawn(client.collect_garbage().grace(Duration::ZERO).into_future());
        while !matches!(soon(watch.try_next()).await.unwrap(), Some(WatchItem::Events { .. })) {}
        server.kill();
        // It may have been done.
        let _ = collecting.await.unwrap();
        assert!(chunks::stored(folder.path()).await.is_superset(&listed), "a live chunk is gone");
    }
    let server = ServerProcess::spawn(sled_command(folder.path(), "127.0.0.1:0"));
    let client = impatient(&server.endpoint());
    client.collect_garbage().grace(Duration::ZERO).await.unwrap();
    assert_eq!(chunks::stored(folder.path()).await, listed);
    assert_eq!(client.scrub().await.unwrap().problem_count, 0);
    assert_eq!(client.verify().await.unwrap().problem_count, 0);
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_purges_collects_and_scrubs() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start_with(folder.path(), "127.0.0.1:0", &["--gc-every", "0s", "--gc-grace", "1h"]);
    let client = impatient(&server.endpoint());
    model(&client, MODEL).await;
    for number in 1..=2 {
        let version = pending(&client, MODEL).await.name;
        client.upload(&version, "model.bin", content(0, number)).await.unwrap();
        client.finalize_version(&version).await.unwrap();
    }
    let ctl = |arguments: &[&str]| run(registryctl(&server.endpoint()).args(arguments));
    let (code, _, said) = ctl(&["purge", "fraud/versions/1"]);
    assert_eq!(code, Some(5), "{said}");
    client.delete_version("models/fraud/versions/1").await.unwrap();
    assert_eq!(ctl(&["purge", "fraud/versions/1"]).1, "purged fraud/versions/1\n");
    let (code, printed, said) = ctl(&["--json", "gc", "--dry-run", "--grace", "0s"]);
    assert_eq!(code, Some(0), "{said}");
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&report["removedChunks"], &report["storedChunks"]), (&"1".into(), &"2".into()));
    assert!(
        ctl(&["gc"]).1.starts_with("purged 0 versions and 0 models, removed 0 of 2 chunks"),
        "the server's own grace time"
    );
    let printed = ctl(&["gc", "--grace", "0s"]).1;
    assert!(printed.starts_with("purged 0 versions and 0 models, removed 1 of 2 chunks (19.53 KiB)"), "{printed}");

    let (code, printed, said) = ctl(&["scrub"]);
    assert_eq!((code, printed.as_str()), (Some(0), "read 1 artifact: 1 chunk (19.53 KiB) is well\n"), "{said}");
    damage(&chunks::all(folder.path())[0]);
    let (code, printed, said) = ctl(&["scrub", "--quarantine"]);
    assert_eq!(code, Some(7), "{said}");
    assert!(
        printed.contains("is damaged") && printed.contains("  fraud/versions/2/artifacts/model.bin\n"),
        "{printed}"
    );
    assert!(printed.ends_with("0 chunks (0 B), 1 put aside\n"), "{printed}");
    assert!(ctl(&["scrub"]).1.contains("is missing"));
}
