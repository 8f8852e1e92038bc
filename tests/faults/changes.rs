//! What is said of a model or version, changed by command; and versions that are filled file by file.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use registry_tests::process::registryctl;
use serde_json::{Value, json};

use crate::cli::{Ctl, server};

/// Runs a command that reads `input`, and answers what it prints as JSON and what it says beside that.
fn piped(endpoint: &str, arguments: &[&str], input: &str) -> (Value, String) {
    let mut command = registryctl(endpoint);
    command.arg("--json").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

#[test]
fn what_a_version_says_is_changed_by_command() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud", "--annotation", "tool=x", "--owner", "ana"]);
    let made = ["create-version", "fraud", "--version-id", "1.0", "--metric", "test.auc=0.5", "--tag", "a=1"];
    assert_eq!(
        ctl.ok(&made),
        "created namespaces/default/models/fraud/versions/1, pending: upload its files, then finalize it\n"
    );
    let version = || ctl.json(&["get", "fraud/versions/1.0"])[0].clone();

    let set = ["set", "fraud/versions/1.0", "--description", "first", "--metric", "test.f1=0.25", "--param", "depth=6"];
    assert_eq!(ctl.ok(&set), "changed fraud/versions/1\n");
    ctl.ok(&["set", "fraud/versions/1", "--param", "lr=0.1", "--framework", "XGBoost", "--tag", "b=2"]);
    let there = version();
    assert_eq!(there["metrics"]["test"]["values"], json!({"auc": 0.5, "f1": 0.25}), "others stay");
    assert_eq!(there["hyperparameters"], json!({"depth": 6, "lr": 0.1}));
    assert_eq!((&there["tags"], &there["framework"]), (&json!({"a": "1", "b": "2"}), &json!("xgboost")));

    let would = ctl.ok(&["set", "fraud/versions/1", "--clear", "description", "--dry-run"]);
    assert!(would.contains("xgboost") && !would.contains("first"), "{would}");
    assert_eq!(version(), there, "a dry run changes nothing");
    ctl.ok(&["set", "fraud/versions/1", "--clear", "description", "--clear", "tags.a", "--clear", "hyperparameters"]);
    let cleared = version();
    assert_eq!((&cleared["description"], cleared.get("hyperparameters")), (&"".into(), None));
    assert_eq!(cleared["tags"], json!({"b": "2"}));

    // What changes nothing is no change.
    ctl.ok(&["set", "fraud/versions/1", "--framework", "xgboost"]);
    assert_eq!(version()["etag"], cleared["etag"]);

    ctl.ok(&["set", "fraud", "--owner", "ben", "--display-name", "Fraud", "--annotation", "run=7"]);
    let model = &ctl.json(&["get", "fraud"])[0];
    assert_eq!((&model["owner"], &model["displayName"]), (&"ben".into(), &"Fraud".into()));
    assert_eq!(model["annotations"], json!({"tool": "x", "run": "7"}));
    for (wrong, code) in [
        (&["set", "fraud", "--framework", "onnx"][..], 2),
        (&["set", "fraud/versions/1", "--owner", "ana"], 2),
        (&["set", "fraud/versions/1", "--clear", "stage"], 2),
        (&["set", "fraud"], 2),
        (&["set", "fraud/versions/9", "--description", "x"], 3),
        (&["tag", "fraud/versions/1/artifacts/a", "a=1"], 2),
    ] {
        let (found, complaint) = ctl.fails(wrong);
        assert_eq!(found, Some(code), "{wrong:?}: {complaint}");
    }
}

#[test]
fn tags_are_set_and_removed_and_nobody_elses_are_lost() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud", "--tag", "old=1", "--tag", "keep=2"]);
    assert_eq!(ctl.ok(&["tag", "fraud", "region=eu", "old-"]), "fraud has the tags keep=2, region=eu\n");
    assert_eq!(ctl.ok(&["tag", "fraud", "region-", "keep-", "never-"]), "fraud has no tags\n");
    let etag = ctl.json(&["get", "fraud"])[0]["etag"].as_str().unwrap().to_owned();
    ctl.ok(&["tag", "fraud", "a=1", "--if-match", &etag]);
    let (code, complaint) = ctl.fails(&["tag", "fraud", "a=1", "--if-match", &etag]);
    assert_eq!(code, Some(5), "{complaint}");

    let many: Vec<_> = (0..8).map(|number| format!("t{number}=x")).collect();
    let started: Vec<_> = many
        .iter()
        .map(|tag| registryctl(&server.endpoint()).args(["tag", "fraud", tag]).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(ctl.json(&["get", "fraud"])[0]["tags"].as_object().map(serde_json::Map::len), Some(9));
}

#[test]
fn a_version_is_filled_file_by_file() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let file = folder.path().join("model.onnx");
    fs::write(&file, "the model").unwrap();
    let file = file.to_str().unwrap();
    ctl.ok(&["create", "fraud"]);
    ctl.ok(&["create-version", "fraud"]);
    let said = ctl.ok(&["upload", "fraud/versions/1", file]);
    assert!(said.starts_with("uploaded fraud/versions/1/artifacts/model.onnx: 9 B"), "{said}");
    let said = ctl.ok(&["upload", "fraud/versions/1", file]);
    assert!(said.starts_with("fraud/versions/1/artifacts/model.onnx is there already: 9 B"), "{said}");
    let etag = ctl.json(&["get", "fraud/versions/1"])[0]["etag"].as_str().unwrap().to_owned();
    let said = ctl.ok(&["finalize", "fraud/versions/1", "--if-match", &etag]);
    assert!(said.starts_with("finalized namespaces/default/models/fraud/versions/1: 1 file, 9 B, manifest "), "{said}");
    assert_eq!(ctl.fails(&["finalize", "fraud/versions/1"]).0, Some(5));
    let (code, complaint) = ctl.fails(&["upload", "fraud/versions/1", file, "--path", "late.onnx"]);
    assert_eq!(code, Some(5), "{complaint}");
    assert!(complaint.contains("make a version anew, by publish or create-version"), "{complaint}");

    ctl.ok(&["create-version", "fraud"]);
    let given_up = ctl.ok(&["finalize", "fraud/versions/2", "--failed", "diverged"]);
    assert_eq!(given_up, "fraud/versions/2 is given up: diverged\n");
    let elsewhere = ctl.ok(&["create-version", "fraud", "--source-uri", "s3://bucket/model.onnx"]);
    assert!(elsewhere.ends_with("versions/3, ready, its content at s3://bucket/model.onnx\n"), "{elsewhere}");
    ctl.ok(&["create-version", "fraud", "--dry-run"]);
    assert_eq!(ctl.json(&["list", "fraud"]).len(), 3);
}

#[test]
fn what_get_prints_makes_another_version() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let file = folder.path().join("about.yaml");
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry-client/docs/guide.md");
    let guide = fs::read_to_string(guide).unwrap();
    let about = guide.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    fs::write(&file, about).unwrap();
    let file = file.to_str().unwrap();
    ctl.ok(&["create", "fraud"]);
    ctl.ok(&["create-version", "fraud", "--metadata", file, "--framework", "onnx", "--version-id", "1.0"]);
    let made = &ctl.json(&["get", "fraud/versions/1"])[0];
    assert_eq!((&made["framework"], &made["datasets"][0]["rows"]), (&"onnx".into(), &"40000".into()));

    let printed = ctl.ok(&["--json", "get", "fraud/versions/1"]);
    let (copy, said) = piped(&server.endpoint(), &["create-version", "fraud", "--metadata", "-"], &printed);
    assert!(said.contains("standard input: what only the registry writes is left out: createTime, "), "{said}");
    let fields = ["framework", "signature", "environment", "datasets", "metrics", "hyperparameters", "trainingTime"];
    for field in fields {
        assert!(!made[field].is_null(), "{field}");
        assert_eq!(copy[field], made[field], "{field}");
    }
    assert_eq!(copy["number"], "2");

    ctl.ok(&["tag", "fraud/versions/2", "a=b"]);
    let (changed, _) = piped(
        &server.endpoint(),
        &["set", "fraud/versions/2", "--metadata", "-"],
        r#"{"tags": {}, "framework": "onnx"}"#,
    );
    assert_eq!(
        (&changed["tags"], &changed["metrics"]),
        (&json!({}), &made["metrics"]),
        "what the file has is replaced"
    );

    fs::write(file, "frame: xgboost\nmetrics: {test: {auc: 1}}\n").unwrap();
    let (_, complaint) = ctl.fails(&["set", "fraud/versions/2", "--metadata", file]);
    assert!(
        complaint.contains("frame: there is no such field") && complaint.contains("metrics.test.auc"),
        "{complaint}"
    );
}

#[test]
fn what_mlflow_wrote_is_taken_unless_told_otherwise() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let mlflow = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mlflow");
    let folder = mlflow.join("sklearn");
    let publish = ["publish", folder.to_str().unwrap(), "fraud", "--create"];
    let output = ctl.run(&publish);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let taken = "what MLmodel says is taken: sklearn 1.9.0, the signature, the environment, the time";
    assert!(said.contains(taken), "{said}");
    let version = &ctl.json(&["get", "fraud@latest"])[0];
    assert_eq!(version["signature"]["inputs"][2]["dtype"], "array<string>");
    assert_eq!(version["trainingTime"], "2026-08-04T11:00:46.002863Z");
    assert_eq!(version["additionalMetadata"]["mlflow"]["mlflow_version"], "3.15.1");
    ctl.ok(&[&publish[..], &["--framework-version", "1.9.1", "--param", "depth=6"]].concat());
    let version = &ctl.json(&["get", "fraud@latest"])[0];
    assert_eq!((&version["frameworkVersion"], &version["framework"]), (&"1.9.1".into(), &"sklearn".into()));
    ctl.ok(&[&publish[..], &["--no-mlmodel"]].concat());
    assert_eq!(ctl.json(&["get", "fraud@latest"])[0]["framework"], "");
}

#[test]
fn what_is_no_part_of_a_model_is_left_out_and_told() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    for (path, text) in [
        ("model.onnx", "the model"),
        (".git/config", "history"),
        (".env", "SECRET=1"),
        ("__pycache__/a.pyc", ""),
        ("logs/a.log", "log"),
        ("notes.txt", "notes"),
        (".registryignore", "*.log\n"),
    ] {
        let file = out.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let out = out.to_str().unwrap();
    let dry = ["publish", out, "fraud", "--create", "--dry-run", "--exclude", "notes.*"];
    let expected = "\
PATH        TYPE   SIZE
model.onnx  model  9 B
left out: .env (default: .env)
left out: .git/ (default: .git)
left out: .registryignore (default: /.registryignore)
left out: __pycache__/ (default: __pycache__/)
left out: logs/a.log (.registryignore: *.log)
left out: notes.txt (--exclude: notes.*)
would publish the first version of a new model: 1 file, 9 B
";
    assert_eq!(ctl.ok(&dry), expected);
    assert!(ctl.json(&["events"]).is_empty(), "nothing was changed");
    let planned = &ctl.json(&dry)[0];
    assert_eq!((&planned["sizeBytes"], &planned["files"][0]["path"]), (&9.into(), &"model.onnx".into()));

    let output = ctl.run(&["publish", out, "fraud", "--create", "--version-id", "1.0"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let note =
        "left out: .env, .git/, .registryignore, __pycache__/, logs/a.log (--no-ignore takes all, --dry-run says why)";
    assert!(output.status.success() && said.contains(note), "{said}");
    let paths = |version: &str| {
        let artifacts = ctl.json(&["list", version]);
        artifacts.iter().map(|artifact| artifact["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths("fraud/versions/1"), ["model.onnx", "notes.txt"]);
    let (code, complaint) = ctl.fails(&[&dry[..], &["--version-id", "1.0"]].concat());
    assert_eq!(code, Some(5), "{complaint}");
    assert!(ctl.ok(&dry).ends_with("would publish fraud/versions/2: 1 file, 9 B\n"));
    ctl.ok(&["publish", out, "fraud", "--no-ignore", "--exclude", ".git"]);
    assert_eq!(
        paths("fraud/versions/2"),
        [".env", ".registryignore", "__pycache__/a.pyc", "logs/a.log", "model.onnx", "notes.txt"]
    );
}

#[test]
fn what_has_changed_since_it_was_read_is_left_alone() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.onnx"), "the model").unwrap();
    ctl.ok(&["publish", out.to_str().unwrap(), "fraud", "--create"]);
    let etag = |name: &str| ctl.json(&["get", name])[0]["etag"].as_str().unwrap().to_owned();
    let (model, version) = (etag("fraud"), etag("fraud/versions/1"));
    for command in [
        &["promote", "fraud/versions/1", "staging"][..],
        &["rollback", "fraud"],
        &["set", "fraud/versions/1", "--description", "x"],
        &["set", "fraud", "--owner", "x"],
        &["tag", "fraud", "a=1"],
        &["alias", "set", "fraud", "champion", "1"],
        &["delete", "fraud/versions/1"],
        &["delete", "fraud"],
        &["finalize", "fraud/versions/1"],
        &["namespace", "update", "default", "--description", "x"],
    ] {
        let (code, complaint) = ctl.fails(&[command, &["--if-match", "another"]].concat());
        assert!(code == Some(5) && complaint.contains("etag"), "{command:?}: {complaint}");
    }
    assert_eq!((etag("fraud"), etag("fraud/versions/1")), (model.clone(), version.clone()));
    ctl.ok(&["alias", "set", "fraud", "champion", "1", "--if-match", &model]);
    let (code, complaint) = ctl.fails(&["delete", "fraud/versions/1"]);
    assert!(code == Some(5) && complaint.contains("--force deletes it all the same"), "{complaint}");
    ctl.ok(&["promote", "fraud/versions/1", "production", "--if-match", &version]);
}

#[test]
fn a_file_that_was_not_named_is_not_replaced() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.onnx"), "the model").unwrap();
    ctl.ok(&["publish", out.to_str().unwrap(), "fraud", "--create"]);
    let here = folder.path().join("here");
    fs::create_dir(&here).unwrap();
    let download = |arguments: &[&str]| {
        let mut command = registryctl(&server.endpoint());
        command.args(["download", "fraud@latest/artifacts/model.onnx"]).args(arguments).current_dir(&here);
        command.output().unwrap()
    };
    assert!(download(&[]).status.success());
    assert!(download(&[]).status.success(), "it is there already");
    fs::write(here.join("model.onnx"), "mine").unwrap();
    let refused = download(&[]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(5) && said.contains("replace it with -o model.onnx"), "{said}");
    assert_eq!(fs::read_to_string(here.join("model.onnx")).unwrap(), "mine");
    assert!(download(&["-o", "model.onnx"]).status.success());
    assert_eq!(fs::read_to_string(here.join("model.onnx")).unwrap(), "the model");
}

#[test]
fn how_long_to_wait_is_said() {
    let nobody = Ctl::at("http://127.0.0.1:1");
    let (code, complaint) = nobody.fails(&["get", "fraud", "--wait", "0"]);
    assert_eq!(code, Some(6), "{complaint}");
    let (code, complaint) = nobody.fails(&["get", "fraud", "--timeout", "10ms"]);
    assert!(matches!(code, Some(1 | 6)), "{complaint}");
    assert_eq!(nobody.fails(&["get", "fraud", "--wait", "30"]).0, Some(2));
}
