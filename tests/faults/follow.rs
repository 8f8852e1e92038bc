//! `registryctl follow`: the folder of what is served, and the commands that are run for it.

use std::fs;
use std::path::PathBuf;

use registry_client::RegistryClient;
use registry_client::pb::Version;
use registry_tests::printing::Printing;
use registry_tests::process::{ServerProcess, registryctl};
use registry_tests::{PATIENCE, until};
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Ctl, server};
use crate::impatient;

const MODEL: &str = "namespaces/default/models/fraud";

/// A registry, and a folder beside it.
struct Ground {
    folder: TempDir,
    server: ServerProcess,
    client: RegistryClient,
}

impl Ground {
    fn new() -> Self {
        let (folder, server) = server();
        let client = impatient(&server.endpoint());
        Self { folder, server, client }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new version in production, whose only file says this.
    async fn release(&self, text: &str) -> Version {
        let made = self.client.create_model(MODEL).await;
        assert!(made.is_ok() || made.is_err_and(|error| error.is_already_exists()));
        let out = self.path("out");
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("model.txt"), text).unwrap();
        let version = self.client.publish(&out, MODEL).await.unwrap();
        self.client.promote(&version.name).await.unwrap().version.unwrap()
    }

    /// Follows what is in production.
    fn follow(&self, options: &[&str], exec: &[&str]) -> Printing {
        let mut command = registryctl(&self.server.endpoint());
        command.args(options).args(["follow", "fraud@production", "--cache"]).arg(self.path("cache"));
        if let [mode @ .., script] = exec {
            command.args(mode).args(["--exec", "sh", "-c", script]);
        }
        Printing::start(command.current_dir(self.folder.path()))
    }
}

fn status(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// Waits until it serves a version, or fails to.
async fn becomes(follower: &mut Printing, state: &str, desired: &Version) -> Value {
    let is = |line: &String| status(line)["state"] == state && status(line)["desired"] == json!([desired.name]);
    let lines = follower.until(|lines| lines.last().is_some_and(is)).await;
    status(lines.last().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_run_at_every_swap_and_the_last_good_version_kept() {
    let ground = Ground::new();
    let first = ground.release("one").await;
    // What the command is told, and what the link leads to.
    let script = r#"
        echo "$MODEL_REGISTRY_VERSION $MODEL_REGISTRY_NAME $MODEL_REGISTRY_REVISION" >> told
        cat "$MODEL_REGISTRY_FOLDER/model.txt" served/model.txt >> told; echo >> told
        echo aside; ! grep -q bad served/model.txt"#;
    let mut follower = ground.follow(&["--json"], &["--output", "served", script]);
    let served = || fs::read_to_string(ground.path("served/model.txt")).unwrap();
    let now = becomes(&mut follower, "SERVING", &first).await;
    assert_eq!(now["folders"], json!([fs::read_link(ground.path("served")).unwrap()]));
    assert_eq!((&now["serving"], &now["stale"], served()), (&json!([first.name]), &json!(false), "one".to_owned()));
    let second = ground.release("two").await;
    becomes(&mut follower, "SERVING", &second).await;
    assert_eq!(served(), "two");
    let bad = ground.release("bad").await;
    let now = becomes(&mut follower, "FAILED", &bad).await;
    assert!(now["error"].as_str().unwrap().ends_with("sh: exit status: 1"), "{now}");
    assert_eq!((&now["serving"], served()), (&json!([second.name]), "two".to_owned()));
    ground.client.rollback(MODEL).await.unwrap();
    becomes(&mut follower, "SERVING", &second).await;
    follower.signal(Signal::TERM);
    let (ended, lines) = follower.end().await;
    assert!(ended.success(), "{ended}");
    // Standard output is JSON only.
    assert!(lines.iter().all(|line| status(line)["names"] == json!(["models/fraud@production"])));
    assert_eq!(served(), "two");
    let told = fs::read_to_string(ground.path("told")).unwrap();
    let first = format!("{} models/fraud@production {}\noneone\n", first.name, first.revision);
    assert!(told.starts_with(&first), "{told}");
    assert!(told.contains("\ntwotwo\n") && told.contains("\nbadbad\n"), "{told}");
}

/// A server that says what it does, and goes on until it is told to end.
const SERVER: &str = r#"
    model=$(cat "$MODEL_REGISTRY_FOLDER/model.txt")
    case $model in crash) exit 3 ;; esac
    trap 'echo "hup $model"' HUP
    trap 'echo "bye $model"; exit 0' TERM
    case $model in deaf) trap '' TERM ;; esac
    echo "up $model $$"
    while :; do sleep 1000 & wait $!; done"#;

fn runs(pid: &str) -> bool {
    test_kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap()).is_ok()
}

fn position(lines: &[String], line: &str) -> usize {
    lines.iter().position(|printed| printed.starts_with(line)).unwrap_or_else(|| panic!("no {line}: {lines:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_replaced_when_the_next_one_is_up() {
    let ground = Ground::new();
    ground.release("one").await;
    let mut follower = ground.follow(&[], &["--restart", "--up-after", "200ms", SERVER]);
    let first = follower.line("up one ").await;
    follower.line("serving fraud/versions/1 in ").await;
    follower.signal(Signal::HUP);
    follower.line("hup one").await;
    // One that does not come up takes nobody's place.
    ground.release("crash").await;
    ground.release("two").await;
    let second = follower.line("up two ").await;
    let lines = follower.until(|lines| lines.iter().any(|line| line == "bye one")).await;
    assert!(position(&lines, "up two") < position(&lines, "bye one"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("serving fraud/versions/2")), "{lines:?}");
    until(PATIENCE, async || (!runs(&first)).then_some(())).await;
    assert!(runs(&second));
    follower.signal(Signal::TERM);
    let (ended, lines) = follower.end().await;
    assert_eq!(ended.code(), Some(0), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "bye two");
    assert!(!runs(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_room_for_one_it_is_stopped_first() {
    let ground = Ground::new();
    ground.release("deaf").await;
    let mode = ["--restart", "--stop-first", "--up-after", "200ms", "--stop-timeout", "100ms", SERVER];
    let mut follower = ground.follow(&[], &mode);
    let deaf = follower.line("up deaf ").await;
    follower.line("serving fraud/versions/1 in ").await;
    ground.release("two").await;
    follower.line("up two ").await;
    // It does not hear SIGTERM, and was killed before the next one came.
    assert!(!runs(&deaf));
    follower.line("serving fraud/versions/2 in ").await;
    ground.release("three").await;
    follower.line("up three ").await;
    let lines = follower.printed();
    assert!(position(&lines, "bye two") < position(&lines, "up three"), "{lines:?}");
    // If the next one does not come up, the one before is started again.
    follower.line("serving fraud/versions/3 in ").await;
    ground.release("crash").await;
    // It is served again when all of it is there: what a signal comes to amid its start may not hear it, and holds the output open.
    let served = |line: &&String| line.starts_with("serving fraud/versions/3 in ");
    follower.until(|lines| lines.iter().filter(served).count() == 2).await;
    follower.signal(Signal::TERM);
    assert!(follower.end().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_as_its_server_does() {
    let ground = Ground::new();
    ground.release("one").await;
    let (gate, mode) = (ground.path("gate"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut follower = ground.follow(&[], &["--restart", "--up-after", "1ms", "read code < gate; exit $code"]);
    follower.line("serving fraud/versions/1 in ").await;
    fs::write(gate, "7\n").unwrap();
    assert_eq!(follower.end().await.0.code(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_what_will_come_and_refuses_what_will_not() {
    let ground = Ground::new();
    let ctl = Ctl::new(&ground.server);
    fs::create_dir(ground.path("taken")).unwrap();
    let taken = ground.path("taken");
    for (arguments, code) in [
        (&["follow", "fraud@production"][..], 3),
        (&["follow", "fraud"], 2),
        (&["follow", "fraud@production", "--restart"], 2),
        (&["follow", "fraud@production", "--output", taken.to_str().unwrap()], 5),
        (&["follow", "fraud@production", "rules@production", "--output", "served"], 2),
        (&["follow", "fraud@production", "--stop-timeout", "11s", "--restart", "--stop-first", "--exec", "true"], 2),
    ] {
        assert_eq!(ctl.fails(arguments).0, Some(code), "{arguments:?}");
    }
    ground.client.create_model(MODEL).await.unwrap();
    let mut follower = ground.follow(&[], &["true"]);
    ground.release("one").await;
    follower.line("serving fraud/versions/1 in ").await;
    follower.signal(Signal::INT);
    assert!(follower.end().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_names_are_told_line_by_line() {
    let ground = Ground::new();
    ground.release("one").await;
    ground.client.create_model("rules").await.unwrap();
    let rules = ground.client.create_version("rules").finalize(true).await.unwrap();
    ground.client.promote(&rules.name).await.unwrap();
    let mut command = registryctl(&ground.server.endpoint());
    command.args(["follow", "fraud@production", "rules@production", "--cache"]).arg(ground.path("cache"));
    command.args([
        "--exec",
        "sh",
        "-c",
        r#"echo "$MODEL_REGISTRY_NAME,$MODEL_REGISTRY_VERSION"; wc -l > lines <<E
$MODEL_REGISTRY_FOLDER
$MODEL_REGISTRY_REVISION
E"#,
    ]);
    let mut follower = Printing::start(command.current_dir(ground.folder.path()));
    follower.line("serving fraud/versions/1 in ").await;
    let expected = format!("models/fraud@production\nmodels/rules@production,{MODEL}/versions/1\n{}", rules.name);
    assert_eq!(follower.printed()[..3].join("\n"), expected);
    assert_eq!(fs::read_to_string(ground.path("lines")).unwrap().trim(), "4");
    follower.signal(Signal::TERM);
    assert!(follower.end().await.0.success());
}
