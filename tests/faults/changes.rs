//! What is said of a model or version, changed by command; and versions that are filled file by file.

use std::fs;

use crate::cli::{Ctl, server};

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
