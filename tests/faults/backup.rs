//! Backup, restore and verify by command, and what becomes of them when a process dies in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use registry_client::pb::Artifact;
use registry_common::hex;
use registry_tests::process::{ServerProcess, refusal, registryctl, sled_command};
use registry_tests::restore::{assert_same, damage, damage_log, replace, tamper, verified};
use registry_tests::{PATIENCE, chunks, files, noise_of, pending, ready, sha256, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cli::Ctl;
use crate::patient;

const LISTEN: &str = "127.0.0.5:0";
const MODEL: &str = "models/fraud";

/// A registry with a version and some artifacts of this size, each with other bytes.
async fn registry(storage: &Path, artifacts: usize, size: usize) -> (ServerProcess, Vec<Artifact>) {
    let server = ServerProcess::spawn(sled_command(storage, LISTEN));
    let client = patient(&server.endpoint());
    client.create_model(MODEL).owner("the-owner-of-it").await.unwrap();
    let version = pending(&client, MODEL).await.name;
    let mut made = Vec::new();
    for number in 0..artifacts {
        let bytes = noise_of(number as u64, size);
        made.push(client.upload(&version, format!("{number}.bin"), bytes).await.unwrap());
    }
    client.finalize_version(&version).await.unwrap();
    (server, made)
}

/// `registry-server` with a command, on a folder.
fn offline(storage: &Path, arguments: &[&str]) -> Output {
    sled_command(storage, LISTEN).args(arguments).output().unwrap()
}

/// What it prints when all is well.
fn offline_ok(storage: &Path, arguments: &[&str]) -> String {
    let output = offline(storage, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_by_command_becomes_a_registry_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (server, _) = registry(&path("storage"), 3, 100_000).await;
    let (ctl, client) = (Ctl::new(&server), patient(&server.endpoint()));
    let (out, copy) = (path("out"), path("copy"));
    fs::create_dir(&out).unwrap();
    let file = out.join("backup");
    fs::write(&file, "an older backup, and a longer one at that".repeat(100_000)).unwrap();

    let to = file.to_str().unwrap();
    let said: Value = serde_json::from_str(&ctl.ok(&["--json", "backup", "--to", to])).unwrap();
    let bytes = fs::read(&file).unwrap();
    assert_eq!(said["revision"], "6");
    assert_eq!((&said["sizeBytes"], &said["sha256"]), (&bytes.len().to_string().into(), &sha256(&bytes).into()));
    assert_eq!(said["lostArtifacts"], Value::Array(Vec::new()));
    assert_eq!(names(&out), ["backup"], "nothing else is left");
    let said = ctl.ok(&["backup", "--to", to]);
    assert!(said.contains("revision 6") && said.contains(&sha256(&fs::read(&file).unwrap())), "{said}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "the same registry is the same backup");

    let said = offline_ok(&copy, &["restore", "--from", to]);
    assert_eq!(said.trim(), "restored revision 6 and 3 chunks of artifacts");
    let again = offline(&copy, &["restore", "--from", to]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(1), 0));
    assert!(text(&again.stderr).contains("the store is not empty: it is at revision 6"), "{again:?}");
    let restored = ServerProcess::spawn(sled_command(&copy, LISTEN));
    assert_same(&client, &patient(&restored.endpoint())).await;

    // The same over a URL.
    let url = format!("file://{}/by-url", out.display());
    assert!(ctl.ok(&["backup", "--to", &url]).contains(&url));
    assert_eq!(fs::read(out.join("by-url")).unwrap(), bytes);
    let said = offline_ok(&path("by-url"), &["restore", "--from", &url, "--revision", "2"]);
    assert_eq!(said.trim(), "restored revision 2 and 0 chunks of artifacts");
    let early = offline(&path("by-time"), &["restore", "--from", to, "--time", "2020-01-01T00:00:00Z"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(text(&early.stderr).contains("has no revision that early: nothing would be restored"), "{early:?}");
    let nothing = offline(&path("nothing"), &["restore", "--from", &format!("{url}-typo")]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("has no backup and no archive"), "{nothing:?}");

    let skipped = out.join("skipped");
    ctl.ok(&["backup", "--skip-artifacts", "--to", skipped.to_str().unwrap()]);
    assert!(fs::metadata(&skipped).unwrap().len() < 100_000);
    let nowhere = ctl.run(&["backup", "--to", "/nonexistent/backup"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("/nonexistent/backup"), "{nowhere:?}");
}

/// A command that is killed when a test fails.
struct Running(Child);

impl Running {
    fn spawn(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Its exit code and its complaint.
    fn end(mut self) -> (Option<i32>, String) {
        let mut complaint = String::new();
        std::io::Read::read_to_string(self.0.stderr.as_mut().unwrap(), &mut complaint).unwrap();
        (self.0.wait().unwrap().code(), complaint)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_server_dies_leaves_nothing_and_an_older_one_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("backup"), "an older backup").unwrap();
    let url = format!("file://{}/other", out.display());
    for to in [out.join("backup").to_str().unwrap(), &url] {
        let storage = folder.path().join("storage");
        let _ = fs::remove_dir_all(&storage);
        let (server, _) = registry(&storage, 16, 4 << 20).await;
        let backup = Running::spawn(registryctl(&server.endpoint()).args(["backup", "--to", to]));
        let part = || files(&out).into_iter().find(|path| path.to_str().is_some_and(|path| !path.ends_with("/backup")));
        let begun = || part().is_some_and(|part| part.metadata().is_ok_and(|part| part.len() > 0));
        until(PATIENCE, || async { begun().then_some(()) }).await;
        // So that it is not done before the server is gone.
        backup.signal(Signal::STOP);
        assert!(part().is_some(), "it was stopped in the middle");
        server.kill();
        backup.signal(Signal::CONT);
        let (code, complaint) = backup.end();
        assert_eq!(code, Some(6), "{complaint}");
        assert_eq!(names(&out), ["backup"], "{to}");
        assert_eq!(fs::read_to_string(out.join("backup")).unwrap(), "an older backup");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_is_not_served_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (server, _) = registry(&path("storage"), 16, 4 << 20).await;
    let in_all = chunks::all(&path("storage")).len();
    let (backup, copy) = (path("backup"), path("copy"));
    let arguments = ["restore", "--from", backup.to_str().unwrap()];
    Ctl::new(&server).ok(&["backup", "--to", backup.to_str().unwrap()]);

    let restore = Running::spawn(sled_command(&copy, LISTEN).args(arguments));
    let restored = || chunks::all(&copy).len();
    until(PATIENCE, || async { (restored() > 0).then_some(()) }).await;
    restore.signal(Signal::KILL);
    assert_eq!(restore.end().0, None, "it was killed");
    assert!(restored() < in_all, "it was killed in the middle");
    let said = refusal(sled_command(&copy, LISTEN));
    assert!(said.contains("the store is in the middle of a restore: run `registry-server restore` again"), "{said}");

    let said = offline_ok(&copy, &arguments);
    assert_eq!(said.trim(), format!("restored revision 19 and {in_all} chunks of artifacts"));
    let restored = ServerProcess::spawn(sled_command(&copy, LISTEN));
    assert_same(&patient(&server.endpoint()), &patient(&restored.endpoint())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_named_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (server, artifacts) = registry(&path("storage"), 3, 20_000).await;
    let (ctl, client) = (Ctl::new(&server), patient(&server.endpoint()));
    fs::remove_file(&chunks::files(&client, &path("storage"), &artifacts[0].name).await[0]).unwrap();
    damage(&chunks::files(&client, &path("storage"), &artifacts[1].name).await[0]);
    let file = path("backup");
    let to = file.to_str().unwrap();

    let output = ctl.run(&["--json", "backup", "--to", to]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lost: Vec<_> = artifacts[..2].iter().map(|artifact| artifact.name.clone()).collect();
    assert_eq!((output.status.code(), &said["lostArtifacts"]), (Some(7), &lost.clone().into()));
    assert!(lost.iter().all(|name| text(&output.stderr).contains(name)), "{output:?}");
    let said = offline_ok(&path("copy"), &["restore", "--from", to]);
    let expected = lost.iter().map(|name| format!("not there, or damaged: the bytes of {name}"));
    let expected: Vec<_> =
        std::iter::once("restored revision 6 and 1 chunks of artifacts".to_owned()).chain(expected).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);

    let output = ctl.run(&["--json", "verify"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said["problemCount"]), (Some(7), &"2".into()));
    let types: Vec<_> = (0..2).map(|number| said["problems"][number]["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["VERIFY_PROBLEM_TYPE_ARTIFACT_MISSING", "VERIFY_PROBLEM_TYPE_ARTIFACT_DAMAGED"]);
    let output = ctl.run(&["verify"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(lost.iter().all(|name| text(&output.stdout).contains(name)), "{output:?}");
    assert!(text(&output.stderr).contains("2 problems were found"), "{output:?}");
    ctl.ok(&["verify", "--skip-artifacts"]);
    assert!(server.terminate().success());
    let output = offline(&path("storage"), &["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(lost.iter().all(|name| text(&output.stdout).contains(name)), "{output:?}");
    offline_ok(&path("storage"), &["verify", "--skip-artifacts"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_by_command_says_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    let (server, _) = registry(&storage, 2, 10).await;
    let client = patient(&server.endpoint());
    ready(&client, MODEL).await;
    let report = verified(&client).await;
    let ctl = Ctl::new(&server);
    let said = ctl.ok(&["verify"]);
    assert!(said.contains("verified revision 6") && said.contains(&hex(&report.chain_head)), "{said}");
    let said: Value = serde_json::from_str(&ctl.ok(&["--json", "verify"])).unwrap();
    let events = report.events.to_string();
    assert_eq!((&said["revision"], &said["events"]), (&"6".into(), &events.into()));
    assert_eq!((&said["artifacts"], &said["artifactBytes"]), (&"2".into(), &"20".into()));
    assert_eq!(said["records"], report.records.to_string());
    assert_eq!(said["problems"], Value::Array(Vec::new()));

    let running = offline(&storage, &["verify"]);
    assert_eq!((running.status.code(), running.stdout.len()), (Some(1), 0));
    assert!(text(&running.stderr).contains("another server is running"), "{running:?}");
    let backup: PathBuf = folder.path().join("backup");
    ctl.ok(&["backup", "--to", backup.to_str().unwrap()]);
    let running = offline(&storage, &["restore", "--from", backup.to_str().unwrap()]);
    assert!(text(&running.stderr).contains("another server is running"), "{running:?}");

    assert!(server.terminate().success());
    let nowhere = folder.path().join("nowhere");
    let output = offline(&nowhere, &["verify"]);
    assert!(text(&output.stderr).contains("there is no store in"), "{output:?}");
    assert!(!nowhere.exists(), "it was only looked at");
    let said = offline_ok(&storage, &["verify"]);
    let (events, records) = (report.events, report.records);
    let expected = format!("revision 6: {events} events, {records} records, 2 artifacts (20 bytes): all is well");
    assert_eq!(said.trim(), expected);
    let found = |expected: &str| {
        let output = offline(&storage, &["verify"]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().any(|line| line.starts_with(expected)), "{said}");
        assert!(said.trim().ends_with("problems") || said.trim().ends_with("problem"), "{said}");
    };
    tamper(&storage, |state| replace(state, b"R\x01", "the-owner", "no-owners")).await;
    found("models default\\x00fraud: is not what the log says");
    damage_log(&storage, 2);
    let refused = offline(&storage, &["verify"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    for part in ["0001.log: at byte ", "a group of revisions is not what was written", "Restore a backup"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_help_tells_of_all_this() {
    let storage = tempfile::tempdir().unwrap();
    let help = |arguments: &[&str]| offline_ok(storage.path(), arguments);
    let said = help(&["--help"]);
    for part in ["serve", "restore", "verify", "--archive <FOLDER|URL>", "--archive-every <TIME>", "[default: 5s]"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = help(&["restore", "--help"]);
    for part in ["--from <FILE|FOLDER|URL>", "--revision <N>", "--time <TIME>", "run again after a break"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(help(&["verify", "--help"]).contains("--skip-artifacts"));
    let ctl = |arguments: &[&str]| text(&registryctl("http://127.0.0.1:1").args(arguments).output().unwrap().stdout);
    assert!(ctl(&["--help"]).contains("backup") && ctl(&["backup", "--help"]).contains("--to <FILE|URL>"));
    for wrong in [&["restore"][..], &["restore", "--from", "x", "--revision", "1", "--time", "2026-01-01T00:00:00Z"]] {
        assert_eq!(offline(storage.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}
