//! Folders by command: what `pull` leaves is what `verify` checks.

use std::fs;
use std::path::Path;

use registry_tests::sha256;
use serde_json::{Value, json};

use crate::cli::{Ctl, server};

/// A version with files in folders, metrics, and a plot that was added after it was sealed.
fn publish(ctl: &Ctl, folder: &Path) -> Value {
    let files = folder.join("out");
    fs::create_dir_all(files.join("plots")).unwrap();
    for (path, bytes) in
        [("model.onnx", "the model"), ("config.yaml", "a: 1"), ("plots/copy.onnx", "the model"), ("empty", "")]
    {
        fs::write(files.join(path), bytes).unwrap();
    }
    let out = files.to_str().unwrap();
    let known =
        ["--metric", "validation.auc=0.1", "--param", "depth=[1, 2.5]", "--tag", "team=risk", "--framework", "onnx"];
    ctl.ok(&[&["publish", out, "fraud", "--create", "--label", "1.4.0"], &known[..]].concat());
    let plot = folder.join("late.png");
    fs::write(&plot, "a plot").unwrap();
    ctl.ok(&["upload", "fraud/versions/1", plot.to_str().unwrap()]);
    ctl.json(&["get", "fraud/versions/1"]).remove(0)
}

#[test]
fn a_pulled_folder_is_verified_without_a_registry() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let version = publish(&ctl, folder.path());
    let pulled = folder.path().join("pulled");
    let dir = pulled.to_str().unwrap();
    ctl.ok(&["pull", "fraud@latest", "-o", dir]);

    let nowhere = Ctl::at("http://registry.invalid");
    let said = nowhere.ok(&["verify", dir]);
    let manifest = version["manifestSha256"].as_str().unwrap();
    assert_eq!(said.trim(), format!("verified fraud/versions/1: 5 files, 28 B, manifest {manifest}"));
    let report = &nowhere.json(&["verify", dir])[0];
    assert_eq!((&report["manifest_sha256"], &report["problems"]), (&version["manifestSha256"], &json!([])));

    fs::write(pulled.join("model.onnx"), "The model").unwrap();
    fs::remove_file(pulled.join("late.png")).unwrap();
    let output = nowhere.run(&["verify", dir]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(lines[0], ("late.png", "is missing"));
    let digests = format!("the SHA-256 is {}, not {}", sha256(b"The model"), sha256(b"the model"));
    assert_eq!((lines[1], lines.len()), (("model.onnx", digests.as_str()), 2));

    ctl.ok(&["pull", "fraud@latest", "-o", dir]);
    nowhere.ok(&["verify", dir]);
    // Trained on, and published again: what it held before is no part of that.
    fs::write(pulled.join("model.onnx"), "a better model").unwrap();
    ctl.ok(&["publish", dir, "fraud"]);
    assert_eq!(ctl.json(&["list", "fraud/versions/2"]).len(), 5);

    let (code, complaint) = nowhere.fails(&["verify", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains(".model-registry.json: No such file"), "{complaint}");
}

#[test]
fn a_version_has_a_folder_of_its_own_by_default() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    publish(&ctl, folder.path());
    let output = registry_tests::process::registryctl(&server.endpoint())
        .args(["pull", "fraud@latest"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(folder.path().join("fraud-1/plots/copy.onnx").exists());
}
