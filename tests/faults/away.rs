//! The command line while the registry is away for a while.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Stdio};

use registry_client::pb::VersionState;
use registry_tests::process::{ServerProcess, registryctl};
use registry_tests::{PATIENCE, chunks, noise, noise_of, until};
use rustix::process::{Pid, Signal, kill_process};

/// Clients come from 127.0.0.1. On another address of this machine, none of their ports can take the server's while it is away.
const LISTEN: &str = "127.0.0.4:0";

/// A command that is at work, and what it says beside its output.
struct Running {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn begin(endpoint: &str, arguments: &[&str]) -> Self {
        let mut command = registryctl(endpoint);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, said }
    }

    /// The next line that it says.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// Its exit code, its output, and what else it said.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut output, mut said) = (String::new(), String::new());
        self.said.read_to_string(&mut said).unwrap();
        self.child.stdout.take().expect("it is piped").read_to_string(&mut output).unwrap();
        (self.child.wait().unwrap().code(), output, said)
    }
}

#[test]
fn a_command_waits_for_the_registry_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), LISTEN);
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    assert!(server.terminate().success());
    let mut command = Running::begin(&endpoint, &["create", "fraud"]);
    let expected = format!("registryctl: {endpoint} is not available (Connection refused), trying for up to 30 s\n");
    assert_eq!(command.line(), expected);
    let _server = ServerProcess::start(folder.path(), &listen);
    let created = "created namespaces/default/models/fraud\n".to_owned();
    assert_eq!(command.end(), (Some(0), created, String::new()));
}

/// A folder that takes a while to publish, and what `publish` is called with.
fn large(folder: &Path) -> String {
    let out = folder.join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("model.bin"), noise(64 << 20)).unwrap();
    out.to_str().unwrap().to_owned()
}

/// Begins a publication, and interrupts it once some of its bytes are there.
async fn interrupted(storage: &Path, endpoint: &str, arguments: &[&str], signal: Signal) -> String {
    let before = chunks::all(storage).len();
    let command = Running::begin(endpoint, arguments);
    let pid = Pid::from_child(&command.child);
    until(PATIENCE, || async { (chunks::all(storage).len() > before).then_some(()) }).await;
    kill_process(pid, signal).unwrap();
    let (code, output, said) = command.end();
    assert_eq!((code, output.as_str()), (Some(130), ""), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_publish_says_how_to_go_on() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    let server = ServerProcess::start(&storage, LISTEN);
    let (endpoint, client) = (server.endpoint(), crate::impatient(&server.endpoint()));
    let out = large(folder.path());
    client.create_model("fraud").await.unwrap();
    let with_id = ["publish", &out, "fraud", "--version-id", "v9"];
    let said = interrupted(&storage, &endpoint, &with_id, Signal::INT).await;
    assert_eq!(said, "registryctl: interrupted: fraud/versions/1 stays pending: run the same command again to go on\n");
    let (code, output, said) = Running::begin(&endpoint, &with_id).end();
    assert_eq!(code, Some(0), "{said}");
    assert!(output.starts_with("published namespaces/default/models/fraud/versions/1: 1 file"), "{output}");

    // Whoever stops a job sends SIGTERM.
    let without = ["publish", &out, "fraud", "--description", "other"];
    std::fs::write(Path::new(&out).join("model.bin"), noise_of(1, 64 << 20)).unwrap();
    let said = interrupted(&storage, &endpoint, &without, Signal::TERM).await;
    let expected = "fraud/versions/2 is given up; with --version-id, the same command would go on with it";
    assert_eq!(said, format!("registryctl: interrupted: {expected}\n"));
    let version = client.get_version("fraud/versions/2").await.unwrap();
    assert_eq!((version.state(), version.failure_reason.as_str()), (VersionState::Failed, "interrupted"));
}
