//! Folders and image layouts by command: what `pull` leaves is what `verify` checks, what `export` writes is what `import` reads.

use std::fs;
use std::path::Path;

use registry_tests::{files, sha256};
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
    ctl.ok(&[&["publish", out, "fraud", "--create", "--version-id", "1.4.0"], &known[..]].concat());
    let plot = folder.join("late.png");
    fs::write(&plot, "a plot").unwrap();
    ctl.ok(&["upload", "fraud/versions/1", plot.to_str().unwrap()]);
    ctl.json(&["get", "fraud/versions/1"]).remove(0)
}

fn artifacts(ctl: &Ctl, version: &str) -> Vec<Value> {
    let mut artifacts = ctl.json(&["list", version]);
    for artifact in &mut artifacts {
        let artifact = artifact.as_object_mut().unwrap();
        for field in ["name", "uid", "etag", "revision", "creator", "createTime", "updateTime"] {
            artifact.remove(field);
        }
    }
    artifacts
}

/// What is known of a version, and not of its place in the registry.
fn known(mut version: Value) -> Value {
    let fields = version.as_object_mut().unwrap();
    for field in [
        "name",
        "uid",
        "etag",
        "revision",
        "creator",
        "createTime",
        "updateTime",
        "number",
        "stageTime",
        "stageRevision",
    ] {
        fields.remove(field);
    }
    version
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let path = |file: &Path| file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    let mut contents: Vec<_> = files(folder).iter().map(|file| (path(file), fs::read(file).unwrap())).collect();
    contents.sort();
    contents
}

fn index(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
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
    assert_eq!((&report["manifestSha256"], &report["problems"]), (&version["manifestSha256"], &json!([])));

    fs::write(pulled.join("model.onnx"), "The model").unwrap();
    fs::remove_file(pulled.join("late.png")).unwrap();
    let output = nowhere.run(&["verify", dir]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(lines[0], ("late.png", "is missing"));
    let digests = format!("the SHA-256 is {}, not {}", sha256(b"The model"), sha256(b"the model"));
    assert_eq!((lines[1], lines.len()), (("model.onnx", digests.as_str()), 2));

    let (code, complaint) = ctl.fails(&["pull", "fraud@latest", "-o", dir]);
    assert_eq!(code, Some(5), "{complaint}");
    assert!(complaint.contains("or were changed since:\n  model.onnx\n"), "{complaint}");
    assert!(complaint.contains("replace them with --force"), "{complaint}");
    assert_eq!(fs::read_to_string(pulled.join("model.onnx")).unwrap(), "The model");
    ctl.ok(&["pull", "fraud@latest", "-o", dir, "--force"]);
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
fn a_part_of_a_version_says_that_it_is_one() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let version = publish(&ctl, folder.path());
    let manifest = version["manifestSha256"].as_str().unwrap();
    let pulled = folder.path().join("pulled");
    let dir = pulled.to_str().unwrap();
    let said = ctl.ok(&["pull", "fraud@latest", "-o", dir, "--file", "/*.onnx", "--file", "*.yaml"]);
    assert_eq!(said, format!("pulled fraud/versions/1: 2 of 5 files, 13 B, verified, to {dir}\n"));
    assert_eq!(files(&pulled).len(), 3);
    let said = ctl.ok(&["verify", dir]);
    assert_eq!(said, format!("verified fraud/versions/1: 2 of 5 files, 13 B, manifest {manifest}\n"));
    // What is there of the same version stays.
    ctl.ok(&["pull", "fraud@latest", "-o", dir, "--file", "plots/"]);
    assert_eq!(ctl.json(&["verify", dir])[0]["leftOut"], 2);
    let said = ctl.ok(&["pull", "fraud@latest", "-o", dir]);
    assert_eq!(said, format!("pulled fraud/versions/1: 5 files, 28 B (6 B fetched), verified, to {dir}\n"));
    let (code, complaint) = ctl.fails(&["pull", "fraud@latest", "-o", dir, "--file", "*.pt"]);
    assert_eq!(code, Some(4), "{complaint}");
    assert!(complaint.contains("\"*.pt\": matches no artifact of the version"), "{complaint}");
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

#[test]
fn what_is_exported_comes_back_by_import() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let version = publish(&ctl, folder.path());
    let layout = folder.path().join("layout");
    let dir = layout.to_str().unwrap();
    let exported = &ctl.json(&["export", "fraud@latest", "--oci", dir])[0];
    assert_eq!((&exported["version"], &exported["reference"]), (&version["name"], &"fraud-1".into()));
    let first = contents(&layout);
    ctl.ok(&["export", "fraud/versions/1.4.0", "--oci", dir]);
    assert!(contents(&layout) == first, "the same version, other bytes");
    let blobs = first.iter().filter_map(|(path, bytes)| Some((path.strip_prefix("blobs/sha256/")?, bytes)));
    let blobs: Vec<_> = blobs.inspect(|(name, bytes)| assert_eq!(**name, sha256(bytes))).collect();
    assert_eq!(blobs.len(), 6, "config, manifest, and four artifacts, one of them under two paths");

    let other = ["import", "--oci", dir, "--model", "churn", "--create"];
    let imported = ctl.json(&other).remove(0);
    assert_eq!(artifacts(&ctl, "churn/versions/1"), artifacts(&ctl, "fraud/versions/1"));
    assert_eq!(known(imported), known(version));
    let (code, complaint) = ctl.fails(&other);
    assert_eq!(code, Some(5), "the version id is taken: {complaint}");
    let said = ctl.ok(&[&other[..], &["--ref", "fraud-1", "--version-id", "1.4.1"]].concat());
    assert!(said.starts_with("imported namespaces/default/models/churn/versions/2: 5 files"), "{said}");
}

#[test]
fn a_layout_takes_many_models() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    publish(&ctl, folder.path());
    let layout = folder.path().join("layout");
    let dir = layout.to_str().unwrap();
    ctl.ok(&["export", "fraud@latest", "--oci", dir]);
    // As another tool would have left it.
    let mut there = index(&layout);
    there["annotations"] = json!({ "org.example.note": "mine" });
    fs::write(layout.join("index.json"), there.to_string()).unwrap();
    ctl.ok(&["export", "fraud@latest", "--oci", dir, "--ref", "best"]);
    ctl.ok(&["publish", folder.path().join("out").to_str().unwrap(), "fraud"]);
    ctl.ok(&["export", "fraud/versions/2", "--oci", dir, "--ref", "best"]);
    let there = index(&layout);
    let names: Vec<_> = there["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| manifest["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap())
        .collect();
    assert_eq!((names, &there["annotations"]["org.example.note"]), (vec!["fraud-1", "best"], &"mine".into()));

    let import = ["import", "--oci", dir, "--model", "churn", "--create"];
    for wrong in [&[][..], &["--ref", "worst"]] {
        let (code, complaint) = ctl.fails(&[&import[..], wrong].concat());
        assert_eq!(code, Some(4), "{complaint}");
        assert!(complaint.contains("fraud-1, best"), "{complaint}");
    }
    let by_digest = there["manifests"][1]["digest"].as_str().unwrap();
    for (i, reference) in ["fraud-1", "best", by_digest].into_iter().enumerate() {
        ctl.ok(&[&import[..], &["--ref", reference]].concat());
        let size = ctl.json(&["get", "churn@latest"])[0]["artifactCount"].clone();
        assert_eq!(size, if i == 0 { "5" } else { "4" });
    }
}

#[test]
fn what_cannot_be_exported_writes_nothing() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    publish(&ctl, folder.path());
    fs::write(folder.path().join("bad.log"), "").unwrap();
    let target = folder.path().join("layout");
    let dir = target.to_str().unwrap();
    let out = folder.path().join("out");
    for (arguments, complaint) in [
        (&["export", "fraud/versions/1", "--oci", dir, "--ref", "-"][..], "reference \"-\""),
        (&["export", "fraud/versions/1", "--oci", out.to_str().unwrap()], "oci-layout: is missing"),
        (&["export", "fraud/versions/9", "--oci", dir], "not"),
    ] {
        let before = contents(&out);
        let (_, said) = ctl.fails(arguments);
        assert!(said.contains(complaint), "{said}");
        assert!(!target.exists() && contents(&out) == before, "{arguments:?}");
    }
}

/// A layout of one model as another tool writes it, with changes.
fn foreign(folder: &Path, change: impl FnOnce(&mut Value, &Path)) -> String {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        fs::write(blobs.join(sha256(bytes)), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len() })
    };
    let layer = |kind: &str, path: &str, bytes: &[u8]| {
        let mut layer = put(&format!("application/vnd.cncf.model.{kind}.v1.raw"), bytes);
        layer["annotations"] =
            json!({ "org.cncf.model.filepath": path, "org.cncf.model.file.mediatype.untested": "true" });
        layer
    };
    let config = json!({
        "descriptor": { "name": "xyz", "version": "3.1", "createdAt": "2025-01-01T00:00:00Z" },
        "config": { "format": "pytorch", "paramSize": "8b" },
        "modelfs": { "type": "layers", "diffIds": [] },
    });
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": put("application/vnd.cncf.model.config.v1+json", config.to_string().as_bytes()),
        "layers": [layer("weight", "model.safetensors", b"weights"), layer("doc", "docs/README.md", b"read me")],
    });
    change(&mut manifest, &blobs);
    let entry = put("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string()).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_model_of_another_tool_is_imported() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let layout = foreign(&folder.path().join("layout"), |_, _| {});
    let version = ctl.json(&["import", "--oci", &layout, "--model", "xyz", "--create"]).remove(0);
    assert_eq!((&version["versionId"], &version["framework"]), (&"3.1".into(), &"pytorch".into()));
    assert_eq!(version["additionalMetadata"]["modelpack"]["config"]["paramSize"], "8b");
    let types: Vec<_> = artifacts(&ctl, "xyz/versions/1").iter().map(|artifact| artifact["type"].clone()).collect();
    assert_eq!(types, ["other", "model"]);
}

#[test]
fn a_layout_that_lies_changes_nothing() {
    type Lie = fn(&mut Value, &Path);
    let lies: [(Lie, &str, i32); 15] = [
        (
            |m, _| m["layers"][1]["annotations"]["org.cncf.model.filepath"] = "../evil".into(),
            "layers[1].annotations",
            1,
        ),
        (
            |m, _| m["layers"][1]["annotations"]["org.cncf.model.filepath"] = "/etc/evil".into(),
            "layers[1].annotations",
            1,
        ),
        (|m, _| m["layers"][1]["annotations"] = json!({}), "layers[1].annotations", 1),
        (|m, _| m["layers"][1]["mediaType"] = "application/vnd.cncf.model.doc.v1.tar".into(), "archive", 1),
        (|m, _| m["layers"][1]["digest"] = "sha256:../../../../etc/passwd".into(), "is no SHA-256", 1),
        (|m, _| m["layers"][1]["digest"] = "md5:d41d8cd98f00b204e9800998ecf8427e".into(), "is no SHA-256", 1),
        (|m, _| m["layers"][1]["size"] = 8.into(), "7 bytes instead of 8", 7),
        (|_, blobs| fs::write(blobs.join(sha256(b"read me")), "READ ME").unwrap(), "the SHA-256 is", 7),
        (|_, blobs| fs::remove_file(blobs.join(sha256(b"weights"))).unwrap(), "No such file", 1),
        (
            |_, blobs| {
                fs::remove_file(blobs.join(sha256(b"weights"))).unwrap();
                fs::create_dir(blobs.join(sha256(b"weights"))).unwrap();
            },
            "is not a file",
            1,
        ),
        (|m, _| m["config"]["size"] = 1.into(), "instead of 1", 7),
        (|m, _| m["artifactType"] = "application/spdx+json".into(), "artifactType", 1),
        (|m, _| m["layers"] = "none".into(), "json", 1),
        (
            |m, _| (0..2).for_each(|i| m["layers"][i]["size"] = u64::MAX.into()),
            "bytes instead of 18446744073709551615",
            7,
        ),
        (|m, _| m["layers"][1]["size"] = (-7).into(), "json", 1),
    ];
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    for (i, (lie, complaint, code)) in lies.into_iter().enumerate() {
        let layout = foreign(&folder.path().join(i.to_string()), lie);
        let (found, said) = ctl.fails(&["import", "--oci", &layout, "--model", "xyz", "--create"]);
        assert!(found == Some(code) && said.contains(complaint), "{i}: {found:?}: {said}");
    }
    assert!(ctl.json(&["events"]).is_empty());
}
