//! The command line, against a server of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use registry_tests::noise_of;
use registry_tests::process::{ServerProcess, registryctl};
use serde_json::Value;

/// `registryctl` for one server.
pub(crate) struct Ctl {
    endpoint: String,
}

impl Ctl {
    pub(crate) fn new(server: &ServerProcess) -> Self {
        Self::at(server.endpoint())
    }

    pub(crate) fn at(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into() }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        registryctl(&self.endpoint).args(arguments).output().unwrap()
    }

    /// What it prints when all is well.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}: {complaint}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it prints with `--json`, line by line.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.ok(&[&["--json"], arguments].concat());
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Its exit code and its complaint.
    pub(crate) fn fails(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

pub(crate) fn server() -> (tempfile::TempDir, ServerProcess) {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(&folder.path().join("data"), "127.0.0.1:0");
    (folder, server)
}

/// A folder below another one with one file in it, and that file.
fn notes(folder: &Path) -> (String, String) {
    let out = folder.join("out");
    let file = out.join("notes.txt");
    fs::create_dir(&out).unwrap();
    fs::write(&file, "good").unwrap();
    (out.to_str().unwrap().to_owned(), file.to_str().unwrap().to_owned())
}

#[test]
fn exit_codes_tell_scripts_what_went_wrong() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud"]);
    for (arguments, code) in [
        (&["get", "missing"][..], 3),
        (&["get", "fraud/versions/1"], 3),
        (&["pull", "fraud@production", "--output", "/nonexistent"], 3),
        (&["pull", "fraud"], 2),
        (&["create", "not a name"], 4),
        (&["prune", "fraud", "--keep", "0"], 4),
        (&["create", "fraud"], 5),
        (&["rollback", "fraud"], 5),
        (&["promote", "fraud@latest", "live"], 2),
    ] {
        let (found, complaint) = ctl.fails(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {complaint}");
        assert!(!complaint.is_empty(), "{arguments:?}");
    }
    assert!(server.terminate().success());
    let (code, complaint) = ctl.fails(&["get", "fraud", "--wait", "0"]);
    assert_eq!(code, Some(6), "{complaint}");
}

#[test]
fn artifacts_go_through_pipes() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud"]);
    let (file, bytes) = (folder.path().join("bytes"), noise_of(1, 5 << 20));
    fs::write(&file, &bytes).unwrap();
    ctl.ok(&["publish", &notes(folder.path()).0, "fraud"]);
    let upload = ["upload", "fraud/versions/1", "-", "--path", "piped.log", "--type", "log"];
    let uploaded = registryctl(&server.endpoint()).args(upload).stdin(fs::File::open(&file).unwrap()).output().unwrap();
    assert!(uploaded.status.success(), "{uploaded:?}");
    let download = ["download", "fraud/versions/1/artifacts/piped.log", "--output", "-"];
    let downloaded = registryctl(&server.endpoint()).args(download).output().unwrap();
    assert!(downloaded.status.success() && downloaded.stdout == bytes);
    let again = ["upload", "fraud/versions/1", file.to_str().unwrap(), "--path", "again.log", "--type", "log"];
    let said = ctl.ok(&again);
    assert!(said.contains("again.log: 5.00 MiB (0 B sent), sha256 "), "{said}");
}

#[test]
fn a_model_goes_through_its_life_by_command() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let files = folder.path().join("out");
    fs::create_dir_all(files.join("plots")).unwrap();
    for (id, auc) in [("1.0.0", "0.75"), ("1.1.0", "0.875"), ("1.2.0", "0.5")] {
        fs::write(files.join("model.onnx"), format!("the model {id}")).unwrap();
        fs::write(files.join("plots/roc.png"), "a plot").unwrap();
        let metric = format!("validation.auc={auc}");
        let folder = files.to_str().unwrap();
        let arguments =
            ["publish", folder, "fraud", "--create", "--version-id", id, "--metric", &metric, "--param", "max_depth=6"];
        let said = ctl.ok(&arguments);
        assert!(said.starts_with("published namespaces/default/models/fraud/versions/"), "{said}");
    }
    let version = &ctl.json(&["get", "fraud/versions/1.1.0"])[0];
    assert_eq!((&version["number"], &version["state"]), (&"2".into(), &"VERSION_STATE_READY".into()));
    assert_eq!(version["metrics"]["validation"]["values"]["auc"], 0.875);
    assert_eq!(version["hyperparameters"]["max_depth"].as_f64(), Some(6.0));
    assert_eq!(ctl.json(&["list", "fraud"]).len(), 3);
    assert_eq!(ctl.json(&["list", "fraud/versions/1"]).len(), 2, "artifacts");

    ctl.ok(&["promote", "fraud/versions/1.0.0", "production", "-m", "the first"]);
    ctl.ok(&["promote", "fraud/versions/1.2.0", "production", "--dry-run"]);
    assert_eq!(live(&ctl), "1.0.0", "a dry run changes nothing");
    let moved = &ctl.json(&["promote", "fraud/versions/1.1.0", "production"])[0];
    assert_eq!(moved["displaced"][0]["versionId"], "1.0.0");
    assert_eq!(live(&ctl), "1.1.0");
    let said = ctl.ok(&["rollback", "fraud", "--comment", "worse"]);
    assert!(said.contains("is in production"), "{said}");
    assert_eq!(live(&ctl), "1.0.0");

    ctl.ok(&["alias", "set", "fraud", "champion", "1.1.0"]);
    assert_eq!(ctl.json(&["get", "fraud@champion"])[0]["versionId"], "1.1.0");
    let listed = ctl.ok(&["alias", "list", "fraud", "--no-headers"]);
    let aliases: Vec<_> = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(aliases, [vec!["production", "1", "yes"], vec!["latest", "3", "yes"], vec!["champion", "2"]]);
    let champion = &ctl.json(&["alias", "list", "fraud"])[2];
    let version = "namespaces/default/models/fraud/versions/2";
    assert_eq!(*champion, serde_json::json!({"alias": "champion", "version": version, "computed": false}));
    ctl.ok(&["alias", "delete", "fraud", "champion"]);
    assert_eq!(ctl.fails(&["get", "fraud@champion"]).0, Some(3));

    let compared = &ctl.json(&["compare", "fraud/versions/1", "fraud/versions/2", "fraud/versions/3"])[0];
    assert_eq!(compared["metrics"][0]["best"], serde_json::json!([1]));
    assert_eq!(compared["metrics"][0]["values"][1]["delta"], 0.125);
    assert!(ctl.ok(&["compare", "fraud/versions/1", "fraud/versions/2"]).contains("validation.auc"));

    let would = ctl.ok(&["prune", "fraud", "--keep", "1", "--dry-run"]);
    assert_eq!(would.trim(), "would delete fraud/versions/2");
    assert_eq!(ctl.json(&["list", "fraud"]).len(), 3);
    assert_eq!(ctl.ok(&["prune", "fraud", "--keep", "1"]).trim(), "deleted fraud/versions/2");
    let left: Vec<_> = ctl.json(&["list", "fraud"]).iter().map(|version| version["number"].clone()).collect();
    assert_eq!(left, ["3", "1"], "what is in production stays");

    let pulled = folder.path().join("pulled");
    ctl.ok(&["pull", "fraud@production", "--output", pulled.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(pulled.join("model.onnx")).unwrap(), "the model 1.0.0");
    assert_eq!(fs::read_to_string(pulled.join("plots/roc.png")).unwrap(), "a plot");
}

#[test]
fn a_comparison_of_more_metrics_than_a_page_holds_is_whole() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let (out, _) = notes(folder.path());
    let metrics: Vec<_> = (0..1200).map(|number| format!("--metric=test.m{number:04}={number}")).collect();
    let metrics: Vec<_> = metrics.iter().map(String::as_str).collect();
    for _ in 0..2 {
        ctl.ok(&[&["publish", &out, "fraud", "--create"], &metrics[..]].concat());
    }
    let compare = ["compare", "fraud/versions/1", "fraud@latest"];
    let compared = &ctl.json(&compare)[0];
    let expected = ["namespaces/default/models/fraud/versions/1", "namespaces/default/models/fraud/versions/2"];
    assert_eq!(compared["names"], serde_json::json!(expected));
    assert_eq!(compared["metrics"].as_array().map(Vec::len), Some(metrics.len()));
    let said = ctl.ok(&compare);
    let (head, rows) = said.split_once('\n').unwrap();
    assert!(head.contains("fraud/versions/1") && head.contains("fraud/versions/2"), "{head}");
    assert_eq!(rows.lines().count(), metrics.len());
}

fn live(ctl: &Ctl) -> String {
    ctl.json(&["get", "fraud@production"])[0]["versionId"].as_str().unwrap().to_owned()
}

#[test]
fn namespaces_are_made_listed_and_deleted() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let made = ctl.ok(&["namespace", "create", "risk", "--display-name", "Risk", "--tag", "floor=3"]);
    assert_eq!(made, "created namespaces/risk\n");
    ctl.ok(&["create", "fraud"]);
    let listed = ctl.ok(&["namespace", "list"]);
    let ids: Vec<_> = listed.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(ids, ["NAMESPACE", "default", "risk"]);
    let shown = &ctl.json(&["get", "namespaces/risk"])[0];
    assert_eq!((&shown["displayName"], &shown["tags"]["floor"]), (&"Risk".into(), &"3".into()));

    let (code, complaint) = ctl.fails(&["get", "risk"]);
    assert_eq!(code, Some(3), "{complaint}");
    assert!(complaint.contains("there is a namespace of that name: namespaces/risk"), "{complaint}");
    assert!(ctl.fails(&["list", "risk"]).1.contains("namespaces/risk"));
    assert!(!ctl.fails(&["get", "churn"]).1.contains("namespace of that name"));

    let (code, complaint) = ctl.fails(&["delete", "namespaces/default"]);
    assert_eq!(code, Some(5), "{complaint}");
    assert!(complaint.contains("namespaces/default: has models"), "{complaint}");
    assert_eq!(ctl.ok(&["delete", "namespaces/risk"]), "deleted namespaces/risk\n");
    assert_eq!(ctl.json(&["namespace", "list"]).len(), 1);
    assert_eq!(ctl.json(&["namespace", "list", "--deleted"]).len(), 2);
    assert_eq!(ctl.ok(&["undelete", "namespaces/risk"]), "undeleted namespaces/risk\n");
}

#[test]
fn what_a_namespace_says_of_itself_is_changed() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    assert_eq!(
        ctl.ok(&["namespace", "create", "namespaces/risk", "--tag", "a=1", "--tag", "b=2"]),
        "created namespaces/risk\n"
    );
    let update = |arguments: &[&str]| ctl.ok(&[&["namespace", "update"], arguments].concat());
    assert_eq!(update(&["risk", "--display-name", "Risk", "--description", "Ours"]), "updated namespaces/risk\n");
    update(&["namespaces/risk", "--tag", "a=3", "--tag", "c=4", "--remove-tag", "b", "--description", ""]);
    let risk = &ctl.json(&["get", "namespaces/risk"])[0];
    assert_eq!((&risk["displayName"], &risk["description"]), (&"Risk".into(), &"".into()));
    assert_eq!(risk["tags"], serde_json::json!({"a": "3", "c": "4"}));
    ctl.ok(&["namespace", "quota", "namespaces/risk", "1KiB"]);
    assert_eq!(ctl.fails(&["namespace", "update", "risk"]).0, Some(2));
    assert_eq!(ctl.fails(&["namespace", "update", "churn", "--tag", "a=1"]).0, Some(3));
}

#[test]
fn a_watch_prints_what_happens_as_it_happens() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud"]);
    let mut watch = registryctl(&server.endpoint())
        .args(["--json", "watch", "--after", "0", "--type", "model.*"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();

    let past = next();
    assert_eq!((&past["type"], &past["revision"]), (&"model.created".into(), &"1".into()));
    ctl.ok(&["--actor", "ana", "create", "churn"]);
    let happened = next();
    assert_eq!(happened["resourceName"], "namespaces/default/models/churn");
    assert_eq!(happened["actor"], "ana");
    watch.kill().unwrap();
    watch.wait().unwrap();

    let listed = ctl.json(&["events", "--type", "model.*"]);
    assert_eq!(listed, [happened, past], "the audit trail says the same, the newest first");
}

#[test]
fn events_are_listed_by_type_time_and_order() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let (out, _) = notes(folder.path());
    ctl.ok(&["publish", &out, "fraud", "--create"]);
    ctl.ok(&["promote", "fraud/versions/1", "production"]);
    let types = |arguments: &[&str]| {
        let events = ctl.json(&[&["events"], arguments].concat());
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = types(&[]);
    assert_eq!((all[0].as_str(), all[all.len() - 1].as_str()), ("version.stage_transitioned", "namespace.created"));
    let oldest_first: Vec<_> = all.iter().rev().cloned().collect();
    assert_eq!(types(&["--asc"]), oldest_first);
    assert_eq!(types(&["--limit", "1"]), ["version.stage_transitioned"]);
    let of_versions = ["version.stage_transitioned", "version.finalized", "version.created"];
    assert_eq!(types(&["--type", "version.*"]), of_versions);
    assert_eq!(types(&["--type", "model.created", "--type", "version.created"]), ["version.created", "model.created"]);
    assert_eq!(types(&["--since", "1h"]), all);
    assert_eq!(types(&["--until", "1h"]), [""; 0]);
    let promoted = &ctl.json(&["events", "--limit", "1"])[0]["createTime"];
    let promoted = promoted.as_str().unwrap();
    assert!(types(&["--since", promoted]).starts_with(&["version.stage_transitioned".to_owned()]));
    assert!(!types(&["--until", promoted]).contains(&"version.stage_transitioned".to_owned()));

    let (code, complaint) = ctl.fails(&["events", "--type", "version.promoted"]);
    assert_eq!(code, Some(4), "{complaint}");
    assert!(complaint.contains("version.promoted") && complaint.contains("version.created"), "{complaint}");
    assert_eq!(ctl.fails(&["events", "--since", "yesterday"]).0, Some(2));
}

#[test]
fn types_frameworks_and_tags_are_those_that_were_given() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let model = &ctl.json(&["create", "fraud", "--type", "Anomaly-Detection", "--tag", "region=eu"])[0];
    assert_eq!((&model["modelType"], &model["tags"]["region"]), (&"anomaly_detection".into(), &"eu".into()));
    assert_eq!(ctl.json(&["create", "routes", "--type", "graph"])[0]["modelType"], "graph");
    let (code, complaint) = ctl.fails(&["create", "other", "--type", "two words"]);
    assert_eq!(code, Some(4), "{complaint}");

    let (out, file) = notes(folder.path());
    let version = &ctl.json(&["publish", &out, "fraud", "--framework", "prophet", "--tag", "a=b"])[0];
    assert_eq!((&version["framework"], &version["tags"]["a"]), (&"prophet".into(), &"b".into()));
    let upload = ["upload", "fraud/versions/1", &file, "--path", "late.txt", "--tag", "run=7"];
    let late = &ctl.json(&[&upload[..], &["--type", "log"]].concat())[0];
    assert_eq!((&late["type"], &late["tags"]["run"]), (&"log".into(), &"7".into()));
    let based = &ctl.json(&["publish", &out, "fraud", "--base-version", "fraud@latest"])[0];
    assert_eq!(based["baseVersions"], serde_json::json!(["namespaces/default/models/fraud/versions/1"]));
    for (help, values) in
        [("create", "llm"), ("publish", "gguf"), ("upload", "confusion_matrix"), ("events", "alias.set")]
    {
        let said = ctl.ok(&[help, "--help"]);
        assert!(said.contains(values), "{said}");
    }
}
