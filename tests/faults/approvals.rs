//! Approvals by the command line.

use std::path::Path;

use registry_tests::process::{ServerProcess, registryctl};

const POLICY: &str = "\
stages:
- stage: STAGE_PRODUCTION
  exclusive: true
  approvals: {count: 1, group: groups/risk}
aliases:
- alias: champion
  approvals: {count: 1, group: groups/risk}
";

/// What a command of somebody prints, and its exit code.
fn run(server: &ServerProcess, actor: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = registryctl(&server.endpoint()).args(["--actor", actor]).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn ok(server: &ServerProcess, actor: &str, arguments: &[&str]) -> String {
    let (code, said) = run(server, actor, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

fn prepared(folder: &Path) -> ServerProcess {
    let server = ServerProcess::start_with(&folder.join("data"), "127.0.0.1:0", &[]);
    let file = folder.join("eyes.yaml");
    std::fs::write(&file, POLICY).unwrap();
    let ana = |arguments: &[&str]| ok(&server, "users/ana", arguments);
    ana(&["access", "group", "create", "risk"]);
    ana(&["access", "group", "add", "risk", "users/bob"]);
    ana(&["policy", "create", "eyes", file.to_str().unwrap()]);
    ana(&["create", "fraud", "--policy", "eyes"]);
    ana(&["create-version", "fraud"]);
    ana(&["finalize", "fraud/versions/1"]);
    server
}

#[test]
fn two_people_promote_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let server = prepared(folder.path());
    let (code, said) = run(&server, "users/ana", &["promote", "fraud/versions/1", "production"]);
    let hint = "`registryctl approval request fraud/versions/1 --stage production`";
    assert!(code != Some(0) && said.contains("1 of groups/risk") && said.contains(hint), "{said}");
    let (code, said) = run(&server, "users/ana", &["alias", "set", "fraud", "champion", "1"]);
    assert!(code != Some(0) && said.contains("approval request fraud/versions/1 --alias champion`"), "{said}");
    let (code, said) = run(&server, "users/ana", &["promote", "fraud/versions/1", "production", "--check"]);
    assert!(code == Some(5) && said.contains("approvals, 1 of groups/risk"), "{said}");

    let said = ok(&server, "users/ana", &["--json", "approval", "request", "fraud/versions/1", "-m", "better"]);
    let approval: serde_json::Value = serde_json::from_str(&said).unwrap();
    let name = approval["name"].as_str().unwrap();
    let (code, said) = run(&server, "users/ana", &["approval", "approve", name]);
    assert!(code != Some(0) && said.contains("what they asked for themselves"), "{said}");
    let waits = ok(&server, "users/bob", &["approval", "list", "--approver", "users/bob"]);
    assert!(waits.contains("0 of 1") && waits.contains("better"), "{waits}");
    assert!(ok(&server, "users/bob", &["approval", "approve", name, "-m", "fine"]).contains("1 of 1"));
    let shown = ok(&server, "users/bob", &["approval", "show", name]);
    assert!(shown.contains("users/bob") && shown.contains("fine"), "{shown}");
    assert_eq!(ok(&server, "users/bob", &["get", name]), shown);
    let said = ok(&server, "users/ana", &["approval", "commit", name]);
    assert!(said.contains("fraud/versions/1 is in production"), "{said}");
    let listed = ok(&server, "users/ana", &["approval", "list", "fraud", "--state", "committed"]);
    assert!(listed.contains("committed"), "{listed}");
}
