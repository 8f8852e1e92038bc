//! The walks of the documentation, done as they are written: every command of a section in its order, on an empty registry, and what it
//! prints compared with what stands there. Sizes, times and digests may be others.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use regex::Regex;
use registry_tests::PATIENCE;
use registry_tests::process::{ServerProcess, registryctl};
use tempfile::TempDir;

use crate::cli::server;
use crate::grpcurl::{GRPCURL, grpcurl};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Whatever else is printed.
const REST: &str = "...";
/// Where the server is in the documentation.
const DEFAULT: &str = "127.0.0.1:50051";
/// A command that does not end.
const WATCH: &str = "registryctl watch";

#[test]
fn the_readme_walks() {
    walk("README.md", &["## Run it"]);
}

#[test]
fn the_guide_walks() {
    walk("registry-client/docs/guide.md", &["## Step by step, on real models", "## OCI image layouts"]);
}

#[test]
fn the_filters_walk() {
    walk("registry-client/docs/filters.md", &["## Examples", "## Ten questions"]);
}

#[test]
fn the_policies_walk() {
    walk("registry-client/docs/policies.md", &["## Step by step"]);
}

#[test]
fn the_audit_walks() {
    walk("registry-client/docs/audit.md", &["## Step by step"]);
}

#[test]
fn http_walks() {
    walk("registry-client/docs/http.md", &["## Step by step"]);
}

/// A command and the lines below it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    prints: Vec<String>,
}

fn walk(document: &str, sections: &[&str]) {
    let text = fs::read_to_string(Path::new(WORKSPACE).join(document)).unwrap();
    let (_folder, server) = server();
    let checkout = checkout();
    let prints = |name: &str| {
        let path = checkout.path().join(name);
        (File::create(&path).unwrap(), path)
    };
    let mut watches = Vec::new();
    for section in sections {
        let steps = steps(&text, section);
        assert!(!steps.is_empty(), "{document} has no commands in {section}");
        for step in steps {
            if step.command.starts_with(WATCH) {
                let (file, path) = prints(&format!(".watch-{}", watches.len()));
                // From the beginning, so that the next command need not wait until it stands.
                let command = format!("exec {} --after 0", step.command);
                watches.push((Watching(shell(&server, &checkout, &command, &file).spawn().unwrap()), step, path));
                continue;
            }
            if step.command.starts_with(GRPCURL) {
                let printed = grpcurl(&server, &step.command);
                assert!(step.is(&printed), "{document}: {step:#?}\nprinted:\n{printed}");
                continue;
            }
            let (file, path) = prints(".prints");
            let status = shell(&server, &checkout, &step.command, &file).status().unwrap();
            let printed = fs::read_to_string(&path).unwrap();
            assert!(status.success() && step.is(&printed), "{document}: {step:#?}\nprinted, with {status}:\n{printed}");
        }
    }
    for (_watching, step, path) in watches {
        let end = Instant::now() + PATIENCE;
        let printed = || fs::read_to_string(&path).unwrap();
        while !step.is(&printed()) {
            assert!(Instant::now() < end, "{document}: {step:#?}\nprinted:\n{}", printed());
            std::thread::yield_now();
        }
    }
}

/// A command as a user gives it whose shell is in the checkout, who has installed the programs, and whose registry is where it is by
/// default.
fn shell(server: &ServerProcess, checkout: &TempDir, command: &str, prints: &File) -> Command {
    let registryctl = registryctl(&server.endpoint());
    let installed = Path::new(registryctl.get_program()).parent().unwrap();
    let others = std::env::var_os("PATH").unwrap();
    let path = std::iter::once(installed.to_owned()).chain(std::env::split_paths(&others));
    let mut shell = Command::new("sh");
    let command = command.replace(DEFAULT, server.endpoint().trim_start_matches("http://"));
    shell.args(["-c", &command]).current_dir(checkout).stdin(Stdio::null());
    shell.stdout(prints.try_clone().unwrap()).stderr(prints.try_clone().unwrap());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MODEL_REGISTRY_")) {
        shell.env_remove(name);
    }
    shell.env("PATH", std::env::join_paths(path).unwrap());
    shell.envs([("MODEL_REGISTRY_ENDPOINT", server.endpoint()), ("USER", "ana".to_owned())]);
    shell
}

/// Ends with what it is a part of.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with what the commands expect of the checkout.
fn checkout() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("tests/data");
    fs::create_dir_all(&data).unwrap();
    let copied =
        Command::new("cp").arg("-r").arg(Path::new(WORKSPACE).join("tests/data/legacy-registry")).arg(&data).status();
    assert!(copied.unwrap().success());
    folder
}

/// The commands in the fenced blocks of a section.
fn steps(text: &str, heading: &str) -> Vec<Step> {
    let lines = text.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let (mut steps, mut open, mut fenced, mut continued) = (Vec::<Step>::new(), false, false, false);
    for line in lines {
        if line.starts_with("```") {
            open = !open;
            // Others are in a language. In a chapter of the crate's documentation, one without any would be taken for Rust.
            (fenced, continued) = (open && matches!(line, "```" | "```console"), false);
            continue;
        }
        let (command, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match (command.strip_prefix("$ "), steps.last_mut()) {
            _ if !fenced || line.is_empty() => {}
            (Some(command), _) => steps.push(Step { command: command.to_owned(), prints: Vec::new() }),
            (None, Some(step)) if continued => step.command.push_str(command.trim_start()),
            (None, Some(step)) => step.prints.push(line.to_owned()),
            // It stands above all commands.
            (None, None) => {}
        }
        continued = fenced && goes_on;
    }
    steps
}

impl Step {
    /// Whether this is what the command should print.
    fn is(&self, printed: &str) -> bool {
        let printed: Vec<_> = printed.lines().map(masked).collect();
        let expected: Vec<_> = self.prints.iter().map(|line| masked(line)).collect();
        match expected.split_last() {
            Some((rest, first)) if rest == REST => printed.starts_with(first),
            _ => printed == expected,
        }
    }
}

/// A line without what is another each time it is printed.
fn masked(line: &str) -> String {
    let mut line = line.to_owned();
    for (varies, mask) in [
        (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+\d\d:\d\d)?", "TIME"),
        (r"\b\d+(\.\d+)? ([KMGT]i)?B\b", "SIZE"),
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
        (r"\b[0-9a-f]{8,64}\b(\.\.\.)?", "DIGEST"),
        (r" +", " "),
    ] {
        line = Regex::new(varies).unwrap().replace_all(&line, mask).into_owned();
    }
    line.trim().to_owned()
}

#[test]
fn steps_are_read() {
    let text = "## A\n```\n$ not of it\n```\n## B\nText\n```rust\nno.command();\n```\n```\n$ one \\\n    more\nprints 1 B\n\n$ two\n...\n```\n## C\n```\n$ nor this\n```\n";
    let step = |command: &str, prints: &[&str]| Step {
        command: command.to_owned(),
        prints: prints.iter().map(ToString::to_string).collect(),
    };
    let steps = steps(text, "## B");
    assert_eq!(steps, [step("one more", &["prints 1 B"]), step("two", &["..."])]);
    assert!(steps[0].is("prints 23.5 MiB\n") && steps[1].is("anything\nat all\n"));
    assert!(!steps[0].is("prints\n") && !steps[0].is("prints 1 B\nand more\n"));
}
