//! Encryption by command: making a key, giving it, and what is said without it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use registry_tests::process::{ServerProcess, refusal, server_command};
use registry_tests::{noise, pending};

use crate::patient;

const LISTEN: &str = "127.0.0.1:0";

fn new_key(file: &Path) -> Output {
    server_command(file.parent().unwrap(), LISTEN).arg("new-key").arg(file).output().unwrap()
}

/// Makes a key, and answers the id that was told.
fn made(file: &Path) -> String {
    let output = new_key(file);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let id = said.trim().strip_prefix("made master key ").and_then(|said| said.split_once(" in "));
    id.unwrap_or_else(|| panic!("{said}")).0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let [storage, file] = ["storage", "key"].map(|name| folder.path().join(name));
    made(&file);
    for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let flag = ["--encryption-key-file", file.to_str().unwrap()];
        let server = ServerProcess::start_with(&storage, LISTEN, &flag);
        assert_eq!(server.log().contains("chmod 600"), warned, "{mode:o}: {}", server.log());
        assert!(server.terminate().success());
    }
    // Also one whose name a terminal does not show, in a log for programs.
    let hidden = folder.path().join("k\u{200b}ey");
    std::fs::copy(&file, &hidden).unwrap();
    for (format, shown) in [("human", "k\\u{200b}ey"), ("json", "k\u{200b}ey")] {
        let flags = ["--encryption-key-file", hidden.to_str().unwrap(), "--log-format", format];
        let server = ServerProcess::start_with(&storage, LISTEN, &flags);
        let log = server.log();
        assert!(log.contains(shown), "{log}");
        if format == "json" {
            log.lines().for_each(|line| drop(serde_json::from_str::<serde_json::Value>(line).unwrap()));
        }
        assert!(server.terminate().success());
    }
    // The same key in the file with settings.
    let settings = folder.path().join("registry.toml");
    let key = std::fs::read_to_string(&file).unwrap();
    for (text, mode, warned) in [
        (format!("encryption_key = \"{}\"", key.trim()), 0o644, true),
        (format!("encryption_key = \"{}\"", key.trim()), 0o600, false),
        ("log = \"info\"".to_owned(), 0o644, false),
    ] {
        std::fs::write(&settings, text).unwrap();
        std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(mode)).unwrap();
        let flag = ["--config", settings.to_str().unwrap()];
        let server = ServerProcess::start_with(&folder.path().join("other"), LISTEN, &flag);
        assert_eq!(server.log().contains("chmod 600"), warned, "{mode:o}: {}", server.log());
        assert!(server.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_given_and_asked_for_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let [storage, file, other] = ["storage", "key", "other"].map(|name| folder.path().join(name));
    let (id, other_id) = (made(&file), made(&other));
    let output = new_key(&file);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains(file.to_str().unwrap()), "{said}");
    let piped =
        server_command(folder.path(), LISTEN).current_dir(folder.path()).args(["new-key", "-"]).output().unwrap();
    assert!(piped.stdout.len() == 45 && !folder.path().join("-").exists(), "{piped:?}");
    let flag = ["--encryption-key-file", file.to_str().unwrap()];
    let server = ServerProcess::start_with(&storage, LISTEN, &flag);
    let client = patient(&server.endpoint());
    client.create_model("models/fraud").await.unwrap();
    let version = pending(&client, "models/fraud").await.name;
    client.upload(&version, "a.bin", noise(100_000)).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!server.log().contains(text.trim()), "the key is logged");
    assert!(server.terminate().success());

    let said = refusal(server_command(&storage, LISTEN));
    for part in [&id, "namespaces/default", "no key was given", "--encryption-key-file"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let mut wrong = server_command(&storage, LISTEN);
    wrong.env("MODEL_REGISTRY_ENCRYPTION_KEY", std::fs::read_to_string(&other).unwrap());
    let said = refusal(wrong);
    assert!(said.contains(&id) && said.contains(&other_id), "{said}");

    let mut right = server_command(&storage, LISTEN);
    right.env("MODEL_REGISTRY_ENCRYPTION_KEY", &text);
    let server = ServerProcess::spawn(right);
    let client = patient(&server.endpoint());
    let name = format!("{version}/artifacts/a.bin");
    assert_eq!(client.download(&name).bytes().await.unwrap(), noise(100_000));
    assert!(server.terminate().success());

    // The other one takes its place.
    let flags = ["--encryption-key-file", other.to_str().unwrap(), "--encryption-old-key-file", file.to_str().unwrap()];
    assert!(ServerProcess::start_with(&storage, LISTEN, &flags).terminate().success());
    let server = ServerProcess::start_with(&storage, LISTEN, &flags[..2]);
    assert_eq!(patient(&server.endpoint()).download(&name).bytes().await.unwrap(), noise(100_000));
}
