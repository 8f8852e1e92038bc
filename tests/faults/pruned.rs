//! `prune --backup-to`: what goes is kept, and comes back.

use std::fs;

use serde_json::{Value, json};

use crate::cli::{Ctl, server};

/// Four versions of a model; the second is in production, and the third has failed.
fn four(ctl: &Ctl, folder: &std::path::Path) {
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    for number in 1..=4 {
        fs::write(out.join("model.bin"), format!("model {number}")).unwrap();
        let metric = format!("test.auc=0.{number}");
        if number == 3 {
            ctl.ok(&["create-version", "fraud"]);
            ctl.ok(&["finalize", "fraud/versions/3", "--failed", "diverged"]);
        } else {
            ctl.ok(&["publish", out.to_str().unwrap(), "fraud", "--create", "--metric", &metric]);
        }
    }
    ctl.ok(&["promote", "fraud/versions/2", "production"]);
}

fn numbers(ctl: &Ctl) -> Vec<Value> {
    ctl.json(&["list", "fraud"]).iter().map(|version| version["number"].clone()).collect()
}

#[test]
fn what_is_pruned_comes_back_from_where_it_was_kept() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    four(&ctl, folder.path());
    let before = ctl.json(&["get", "fraud/versions/1"]).remove(0);
    let layout = folder.path().join("layout");
    let dir = layout.to_str().unwrap();
    let prune = ["prune", "fraud", "--keep", "1", "--backup-to", dir];
    let would = ctl.ok(&[&prune[..], &["--dry-run"]].concat());
    assert_eq!(would, "would delete fraud/versions/1\nwould delete fraud/versions/3\n");
    assert!(!layout.exists());
    let said = ctl.ok(&prune);
    let failed = "deleted fraud/versions/3, which has failed: nothing of it is kept";
    assert_eq!(said, format!("deleted fraud/versions/1, kept in {dir} as fraud-1\n{failed}\n"));
    assert_eq!(numbers(&ctl), ["4", "2"]);
    assert_eq!(ctl.ok(&prune), "nothing to delete\n");

    let back = ctl.json(&["import", "--oci", dir, "--ref", "fraud-1", "--model", "fraud"]).remove(0);
    assert_eq!((&back["number"], &back["metrics"]), (&"5".into(), &json!({"test": {"values": {"auc": 0.1}}})));
    assert_eq!(back["manifestSha256"], before["manifestSha256"]);
}

#[test]
fn what_is_pruned_comes_back_from_an_object_store() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    four(&ctl, folder.path());
    let before = ctl.json(&["get", "fraud/versions/1"]).remove(0);
    let bucket = folder.path().join("bucket");
    fs::create_dir(&bucket).unwrap();
    let url = format!("file://{}/pruned", bucket.display());
    let said = ctl.ok(&["prune", "fraud", "--keep", "1", "--backup-to", &url]);
    let object = format!("{url}/fraud-1.tar");
    assert!(said.starts_with(&format!("deleted fraud/versions/1, kept in {object}\n")), "{said}");
    let back = ctl.json(&["import", "--oci", &object, "--model", "fraud"]).remove(0);
    assert_eq!((&back["metrics"], &back["manifestSha256"]), (&before["metrics"], &before["manifestSha256"]));
    let file = bucket.join("pruned/fraud-1.tar");
    ctl.ok(&["import", "--oci", file.to_str().unwrap(), "--model", "fraud"]);
    fs::write(&file, "no archive").unwrap();
    let (code, complaint) = ctl.fails(&["import", "--oci", &object, "--model", "fraud"]);
    assert!(code == Some(1) && complaint.contains("can't be unpacked"), "{complaint}");
}

#[test]
fn what_can_not_be_kept_stays() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    four(&ctl, folder.path());
    let all = numbers(&ctl);
    // Something else is where the first would go.
    let bucket = folder.path().join("bucket");
    fs::create_dir(&bucket).unwrap();
    fs::write(bucket.join("fraud-1.tar"), "theirs").unwrap();
    let occupied = format!("file://{}", bucket.display());
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "").unwrap();
    for (place, problem) in [
        (occupied.as_str(), "is there already, and is something else: it is not replaced"),
        (other.to_str().unwrap(), "oci-layout: is missing"),
    ] {
        let (code, complaint) = ctl.fails(&["prune", "fraud", "--keep", "1", "--backup-to", place]);
        assert!(code != Some(0) && complaint.contains(problem), "{complaint}");
        assert!(complaint.contains("fraud/versions/1 can't be kept, and stays; so do the others"), "{complaint}");
        assert_eq!(numbers(&ctl), all);
    }
    assert_eq!(fs::read_to_string(bucket.join("fraud-1.tar")).unwrap(), "theirs");
    ctl.ok(&["create-version", "fraud", "--source-uri", "s3://bucket/model.bin"]);
    let dir = folder.path().join("layout");
    ctl.ok(&["prune", "fraud", "--keep", "2", "--backup-to", dir.to_str().unwrap()]);
    ctl.ok(&["create-version", "fraud", "--source-uri", "s3://bucket/model.bin"]);
    let (_, complaint) = ctl.fails(&["prune", "fraud", "--keep", "1", "--backup-to", dir.to_str().unwrap()]);
    assert!(complaint.contains("has its content at s3://bucket/model.bin, not in the registry"), "{complaint}");
}
