//! The command line while the registry is away for a while.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use registry_tests::process::{ServerProcess, registryctl};

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
