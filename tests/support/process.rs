//! The real binaries, as processes of their own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::store;

/// The path of one of the workspace's binaries, as it is built from the sources that are there now: cargo says where it is.
///
/// # Panics
/// If the workspace can't be built, or has no such binary.
pub fn binary(name: &str) -> &'static Path {
    static BINARIES: OnceLock<Vec<(String, PathBuf)>> = OnceLock::new();
    one_of(BINARIES.get_or_init(|| build("--bins")), name)
}

/// The same of one of its examples. They are built apart, since they need what only tests do.
///
/// # Panics
/// As above.
pub fn example(name: &str) -> &'static Path {
    static EXAMPLES: OnceLock<Vec<(String, PathBuf)>> = OnceLock::new();
    one_of(EXAMPLES.get_or_init(|| build("--examples")), name)
}

fn one_of(built: &'static [(String, PathBuf)], name: &str) -> &'static Path {
    let found = built.iter().find(|(built, _)| built == name);
    &found.unwrap_or_else(|| panic!("the workspace has no {name}: {built:?}")).1
}

fn build(targets: &str) -> Vec<(String, PathBuf)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", targets, "--message-format=json-render-diagnostics"]);
    // What cargo has told the test of its own package; build scripts that look at it (ring's) would run again, and all above them.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = command.current_dir(workspace).stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(output.status.success(), "the binaries can't be built: {}", output.status);
    let messages = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    messages
        .filter_map(|message: Value| {
            let path = message["executable"].as_str()?;
            Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

/// A running `registry-server`. It is killed when this is dropped; if that is because a test fails, its log is printed.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    log: NamedTempFile,
}

impl ServerProcess {
    /// Starts a server on a folder and waits until it listens. Port 0 picks a free one.
    pub fn start(folder: &Path, listen: &str) -> Self {
        Self::start_with(folder, listen, &[])
    }

    /// The same with further arguments.
    pub fn start_with(folder: &Path, listen: &str, arguments: &[&str]) -> Self {
        let mut command = server_command(folder, listen);
        command.args(arguments);
        Self::spawn(command)
    }

    /// Runs a command that is, or runs, a server, and waits until it listens.
    ///
    /// # Panics
    /// If it ends before that.
    pub fn spawn(mut command: Command) -> Self {
        let log = NamedTempFile::new().expect("a file for the log");
        let stderr = log.reopen().expect("the file for the log");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("its output is text");
        let address = line.trim_end().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| {
            // Something else was said, or it has ended: don't leave it behind.
            let _ = child.kill();
            let status = child.wait();
            panic!("{command:?} said {line:?} and ended with {status:?}:\n{}", read(log.path()))
        });
        Self { child, address, log }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients find it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        read(self.log.path())
    }

    /// Ends it with SIGKILL, in the middle of whatever it is doing.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Stops it with SIGSTOP, until [`go_on`](Self::go_on).
    ///
    /// # Panics
    /// If it can't be signalled.
    pub fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).expect("it can be signalled");
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// If it can't be signalled.
    pub fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("it can be signalled");
    }

    /// Asks it to end with SIGTERM, and does not wait.
    pub fn begin_termination(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it can be signalled");
    }

    /// Asks it to end with SIGTERM, if it was not asked before, and waits until it has.
    pub fn terminate(self) -> ExitStatus {
        self.begin_termination();
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.ended()
    }

    /// The same, when its log is to be read behind it.
    ///
    /// # Panics
    /// Never: it is a child of this process.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the log of the server at {}:\n{}", self.address, self.log());
        }
    }
}

/// What a server says that has to refuse to start.
///
/// # Panics
/// If it starts.
pub fn refusal(mut command: Command) -> String {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut line, mut said) = (String::new(), String::new());
    // The output ends with the process, unless that has started to serve.
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("its output is text");
    if !line.is_empty() {
        let _ = child.kill();
    }
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("its output is text");
    let status = child.wait().expect("it ends");
    assert_eq!((line.as_str(), status.code()), ("", Some(1)), "{command:?}: {said}");
    said
}

/// The command that starts a server on a folder, and on the store that goes with it.
pub fn server_command(folder: &Path, listen: &str) -> Command {
    let mut command = sled_command(folder, listen);
    command.args(["--store", &String::from(store::choice(folder))]);
    match store::artifacts(folder) {
        Some(bucket) => {
            command.args(["--artifacts", &bucket.url]);
            bucket.given_to(command)
        }
        None => command,
    }
}

/// The same on the embedded store, whichever is under test.
pub fn sled_command(folder: &Path, listen: &str) -> Command {
    let mut command = Command::new(binary("registry-server"));
    without_settings(&mut command);
    command.args([OsStr::new("--listen"), OsStr::new(listen), OsStr::new("--storage-path"), folder.as_os_str()]);
    command
}

/// The command `registryctl`, for the registry at an endpoint.
pub fn registryctl(endpoint: &str) -> Command {
    let mut command = Command::new(binary("registryctl"));
    without_settings(&mut command);
    command.args(["--endpoint", endpoint]);
    command
}

/// Nothing that the caller's shell has set for its own registry and its own buckets reaches a test.
fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["MODEL_REGISTRY_", "AWS_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_else(|error| error.to_string())
}
