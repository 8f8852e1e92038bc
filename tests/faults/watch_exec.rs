//! `registryctl watch --exec`: a command for each event.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use registry_tests::printing::Printing;
use registry_tests::process::{ServerProcess, registryctl};
use registry_tests::{PATIENCE, events, until};
use rustix::process::Signal;
use serde_json::Value;

use crate::cli::{Ctl, server};
use crate::impatient;

/// Keeps what it is given, and then does something with it.
fn watch(server: &ServerProcess, folder: &Path, after: i64, options: &[&str], then: &str) -> Command {
    let mut command = registryctl(&server.endpoint());
    let script = format!(
        r#"cat >> told; echo "$MODEL_REGISTRY_EVENT $MODEL_REGISTRY_EVENT_TYPE $MODEL_REGISTRY_EVENT_RESOURCE $MODEL_REGISTRY_EVENT_ACTOR $MODEL_REGISTRY_REVISION" >> variables; {then}"#
    );
    command.args(["watch", "--after", &after.to_string()]).args(options).args(["--exec", "sh", "-c", &script]);
    command.current_dir(folder);
    command
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The revision that a command which has ended says to go on behind.
fn after(said: &[u8]) -> i64 {
    let said = String::from_utf8_lossy(said);
    let revision = said.trim_end().rsplit("go on with --after ").next().and_then(|revision| revision.parse().ok());
    revision.unwrap_or_else(|| panic!("it does not say how to go on: {said}"))
}

/// Some events, of which some share a revision.
fn fill(server: &ServerProcess) {
    let ctl = Ctl::new(server);
    ctl.ok(&["create", "fraud"]);
    for _ in 0..3 {
        ctl.ok(&["create-version", "fraud"]);
    }
    ctl.ok(&["delete", "fraud/versions/2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_handled_in_order_and_the_end_says_how_to_go_on() {
    let (folder, server) = server();
    fill(&server);
    let (told, said) = (folder.path().join("told"), folder.path().join("said"));
    let mut command = watch(&server, folder.path(), 0, &[], "echo done");
    let watcher = Printing::start(command.stderr(fs::File::create(&said).unwrap()));
    let log = events(&impatient(&server.endpoint())).await;
    until(PATIENCE, async || (watcher.printed().len() == log.len()).then_some(())).await;
    watcher.signal(Signal::INT);
    let (ended, printed) = watcher.end().await;
    assert!(ended.success() && printed.iter().all(|line| line == "done"), "{ended}: {printed:?}");
    assert_eq!(after(&fs::read(said).unwrap()), log.last().unwrap().revision);
    let names = lines(&told).into_iter().map(|line| {
        let event: Value = serde_json::from_str(&line).unwrap();
        event["name"].as_str().unwrap().to_owned()
    });
    assert!(names.eq(log.iter().map(|event| event.name.clone())));
    let variables = log.iter().map(|event| {
        format!("{} {} {} {} {}", event.name, event.r#type, event.resource_name, event.actor, event.revision)
    });
    assert!(lines(&folder.path().join("variables")).into_iter().eq(variables));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_ends_the_watch_unless_that_is_wanted() {
    let (folder, server) = server();
    fill(&server);
    let log = events(&impatient(&server.endpoint())).await;
    let variables = folder.path().join("variables");
    let (third, revision) = (&log[2].name, log[2].revision);
    // It fails at the third event, once.
    let fails = format!(r#"[ "$MODEL_REGISTRY_EVENT" != {third} ] || [ -e failed ] || {{ touch failed; exit 9; }}"#);
    let Output { status, stdout: _, stderr } = watch(&server, folder.path(), 0, &[], &fails).output().unwrap();
    let complaint = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{complaint}");
    assert!(complaint.starts_with(&format!("registryctl: {third}: sh: exit status: 9\n")), "{complaint}");
    let from = after(&stderr);
    assert!(from < revision);

    // Going on there, nothing is left out, and only what had begun in that revision comes again.
    let seen = lines(&variables).len();
    assert_eq!(seen, 3);
    let watcher = Printing::start(&mut watch(&server, folder.path(), from, &[], &fails));
    let rest = log.iter().filter(|event| event.revision > from).map(|event| event.name.clone()).collect::<Vec<_>>();
    until(PATIENCE, async || (lines(&variables).len() >= seen + rest.len()).then_some(())).await;
    let again = lines(&variables).split_off(seen);
    assert!(again.iter().zip(&rest).all(|(line, name)| line.starts_with(&format!("{name} "))), "{again:?}");
    watcher.signal(Signal::TERM);
    assert!(watcher.end().await.0.success());

    fs::remove_file(&variables).unwrap();
    let options = ["--keep-going"];
    let watcher = Printing::start(&mut watch(&server, folder.path(), 0, &options, "exit 9"));
    until(PATIENCE, async || (lines(&variables).len() == log.len()).then_some(())).await;
    watcher.signal(Signal::TERM);
    assert!(watcher.end().await.0.success());
}
