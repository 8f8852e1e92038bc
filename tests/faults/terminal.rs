//! What the command line prints on a terminal of some width, into a pipe, and where nobody reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use registry_tests::process::{ServerProcess, registryctl};
use registry_tests::terminal::{Streams, on_terminal};
use unicode_width::UnicodeWidthStr as _;

use crate::cli::{Ctl, server};

const WIDTHS: [u16; 3] = [60, 80, 132];
/// Begins a colour, or moves the cursor.
const ESCAPE: char = '\u{1b}';
/// A name that has no room beside anything else.
const LONG: &str = "a-model-with-a-name-that-somebody-wanted-to-say-it-all-in-2026";
const DESCRIPTION: &str =
    "Shallow forest, worse on the newest month than the one before, kept for the comparison in the report; 模型も同じ.";

/// What shows tables, fields and lines, with how much of it a narrow terminal may leave out.
const SHOW: [(&[&str], Narrow); 11] = [
    (&["list"], Narrow::LeavesColumnsOut),
    (&["list", "breast-cancer"], Narrow::LeavesColumnsOut),
    (&["list", LONG], Narrow::LeavesColumnsOut),
    (&["list", "breast-cancer@production"], Narrow::LeavesColumnsOut),
    (&["namespace", "list"], Narrow::LeavesColumnsOut),
    (&["usage"], Narrow::LeavesColumnsOut),
    (&["get", "breast-cancer"], Narrow::ShowsAll),
    (&["get", "breast-cancer@production"], Narrow::ShowsAll),
    (&["get", "a-model-with-a-name-that-somebody-wanted-to-say-it-all-in-2026@latest"], Narrow::ShowsAll),
    (&["events"], Narrow::ShowsAll),
    (&["compare", "breast-cancer@production", "breast-cancer/versions/3", "breast-cancer@latest"], Narrow::ShowsAll),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Narrow {
    LeavesColumnsOut,
    ShowsAll,
}

/// A registry with real models, and one whose names and texts are long.
fn registry() -> (tempfile::TempDir, ServerProcess) {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let legacy = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/legacy-registry");
    ctl.ok(&["import", legacy.to_str().unwrap()]);
    let out = files(folder.path());
    let owner = "the team that answers for everything that has no other owner";
    ctl.ok(&["create", LONG, "--type", "classification", "--owner", owner, "--description", DESCRIPTION]);
    let publish = ["publish", out.to_str().unwrap(), LONG, "--version-id", "20261126_103000.rc-1"];
    ctl.ok(&[&publish[..], &["--description", DESCRIPTION, "--framework", "sklearn"]].concat());
    ctl.ok(&["promote", &format!("{LONG}@latest"), "production", "-m", DESCRIPTION]);
    (folder, server)
}

fn files(folder: &Path) -> PathBuf {
    let out = folder.join("files");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.onnx"), "a model").unwrap();
    out
}

/// The command line, as a shell on a terminal starts it.
fn command(server: &ServerProcess, arguments: &[&str], terminal: &str) -> Command {
    let mut command = registryctl(&server.endpoint());
    // `CI` as well: where it is set, the help is coloured even on a dumb terminal.
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "CI"] {
        command.env_remove(variable);
    }
    command.args(arguments).env("TERM", terminal);
    command
}

fn on(server: &ServerProcess, arguments: &[&str], columns: u16) -> String {
    let shown = on_terminal(command(server, arguments, "xterm-256color"), columns, Streams::Output);
    assert!(shown.status.success() && shown.stderr.is_empty(), "{arguments:?}: {shown:?}");
    shown.text
}

fn words(text: &str) -> BTreeSet<&str> {
    // Below each other, compared versions need no head.
    let words = text.split_whitespace().filter(|word| !["METRIC", "BETTER", "DIFFERS"].contains(word));
    words.map(|word| word.trim_matches(['(', ')'])).collect()
}

#[test]
fn every_command_fits_the_terminal_and_breaks_no_word() {
    let (_folder, server) = registry();
    let ctl = Ctl::new(&server);
    for (arguments, narrow) in SHOW {
        let whole = ctl.ok(arguments);
        assert!(!whole.contains(['…', ESCAPE]), "{arguments:?}: {whole}");
        for columns in WIDTHS {
            let shown = on(&server, arguments, columns);
            assert!(!shown.contains(ESCAPE), "{arguments:?} at {columns}: {shown}");
            for line in shown.lines() {
                // A name that is longer than the line, with what says whose it is.
                let is_name = line.split_whitespace().count() <= 2;
                assert!(line.width() <= columns.into() || is_name, "{arguments:?} at {columns}: {line}");
            }
            let (there, all) = (words(&shown), words(&whole));
            let strange: Vec<_> = there.difference(&all).filter(|word| !word.ends_with('…')).collect();
            assert!(strange.is_empty(), "{arguments:?} at {columns}: {strange:?} in {shown}");
            if narrow == Narrow::ShowsAll {
                assert_eq!(there, all, "{arguments:?} at {columns}: {shown}");
            }
        }
    }
}

#[test]
fn help_fits_the_terminal() {
    let (_folder, server) = server();
    for arguments in
        [&["--help"][..], &["help", "publish"], &["help", "list"], &["import", "--help"], &["events", "-h"]]
    {
        for columns in WIDTHS {
            let mut plain = command(&server, arguments, "xterm");
            plain.env("NO_COLOR", "1");
            let shown = on_terminal(plain, columns, Streams::Output);
            assert!(shown.status.success(), "{arguments:?}: {shown:?}");
            for line in shown.text.lines().filter(|line| !line.starts_with("Usage: ")) {
                assert!(line.width() <= columns.into(), "{arguments:?} at {columns}: {line}");
            }
        }
    }
}

#[test]
fn names_can_be_copied_at_any_width() {
    let (_folder, server) = registry();
    let ctl = Ctl::new(&server);
    for columns in [20, 60, 80, 132] {
        let listed = on(&server, &["list"], columns);
        assert_eq!(listed.lines().filter(|line| line.starts_with(LONG)).count(), 1, "{listed}");
        let versions = on(&server, &["list", "breast-cancer"], columns);
        let numbers: Vec<_> = versions.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
        assert_eq!(numbers, ["4", "3", "2", "1"], "{versions}");
        let head = versions.lines().next().unwrap();
        // What is left out can be known of.
        assert_eq!(head.contains("DESCRIPTION"), columns == 132, "{head}");
        assert_eq!(head.ends_with('…'), columns < 132, "{head}");
        let wide = on(&server, &["list", "breast-cancer", "-o", "wide"], columns);
        assert!(wide.lines().next().unwrap().contains("CREATOR") && wide.contains("DESCRIPTION"), "{wide}");
    }
    assert!(ctl.ok(&["list", "breast-cancer"]).contains("DESCRIPTION"));
    let names = on(&server, &["list", LONG, "-o", "name"], 60);
    assert_eq!(names.trim(), format!("namespaces/default/models/{LONG}/versions/1"));
    let without_head = ctl.ok(&["list", "breast-cancer", "--no-headers"]);
    assert!(without_head.starts_with('4') && without_head.lines().count() == 4, "{without_head}");
}

#[test]
fn colours_are_on_terminals_only_and_can_be_turned_off() {
    let (_folder, server) = server();
    let help = |change: &dyn Fn(&mut Command)| {
        let mut command = command(&server, &["--help"], "xterm-256color");
        change(&mut command);
        on_terminal(command, 80, Streams::Output).text
    };
    assert!(help(&|_| {}).contains(ESCAPE));
    for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = help(&|command| {
            command.env(variable, value);
        });
        assert!(text.contains("Usage:") && !text.contains(ESCAPE), "{variable}: {text}");
    }
    let piped = command(&server, &["--help"], "xterm-256color").output().unwrap();
    assert!(piped.status.success() && !piped.stdout.contains(&0x1b), "{piped:?}");
}

#[test]
fn progress_is_on_terminals_only() {
    let (folder, server) = server();
    let out = files(folder.path());
    let publish = ["publish", out.to_str().unwrap(), "fraud", "--create"];
    let shown = on_terminal(command(&server, &publish, "xterm"), 80, Streams::Error);
    assert!(shown.status.success() && shown.text.contains(ESCAPE), "{shown:?}");
    let shown = on_terminal(command(&server, &publish, "dumb"), 80, Streams::Error);
    assert!(shown.status.success() && shown.text.is_empty(), "{shown:?}");
    let piped = command(&server, &publish, "xterm").output().unwrap();
    assert!(piped.status.success() && piped.stderr.is_empty(), "{piped:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error_of_any_command() {
    let (_folder, server) = registry();
    let artifact = "breast-cancer@production/artifacts/model.onnx";
    let rest: [&[&str]; 6] = [
        &["--help"],
        &["completions", "bash"],
        &["--json", "list"],
        &["list", "-o", "yaml"],
        &["alias", "list", "breast-cancer"],
        &["download", artifact, "-o", "-"],
    ];
    for arguments in SHOW.iter().map(|(arguments, _)| *arguments).chain(rest) {
        let mut command = command(&server, arguments, "xterm");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {}: {said}", output.status);
    }
}
