//! Trees that were not made by the book.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

/// An empty tree beside which there is room for more.
fn tree() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    (folder, tree)
}

/// Writes a version, and answers its folder.
fn version(model: &Path, id: &str, metadata: &str) -> PathBuf {
    let folder = model.join(id);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(METADATA), metadata).unwrap();
    fs::write(folder.join("model.bin"), "bytes").unwrap();
    folder
}

/// What is said of which path below the tree.
fn said(tree: &Path, about: &[About]) -> Vec<String> {
    about.iter().map(|about| format!("{}: {}", about.path.strip_prefix(tree).unwrap().display(), about.what)).collect()
}

fn ids(tree: &Tree) -> Vec<String> {
    let ids = |model: &LegacyModel| {
        model.versions.iter().map(|version| format!("{}/{}", model.id, version.version_id)).collect::<Vec<_>>()
    };
    tree.models.iter().flat_map(ids).collect()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn stamps() {
    assert!(is_stamp("20260126_103000"));
    for other in ["production", "20260126-103000", "20260126_1030000", "2026012_0103000", ""] {
        assert!(!is_stamp(other), "{other}");
    }
}

#[test]
fn links_within_the_tree_are_followed_and_what_is_not_taken_is_said() {
    let (_folder, tree) = tree();
    let fraud = tree.join("fraud");
    let first = version(&fraud, "20260101_000000", "{}");
    symlink(&first, fraud.join("20260102_000000")).unwrap();
    symlink("fraud", tree.join("scam")).unwrap();
    for other in ["fraud/20260103-000000", "fraud/v4", "empty/notes"] {
        fs::create_dir_all(tree.join(other)).unwrap();
    }
    for file in ["README.md", "fraud/notes.txt"] {
        fs::write(tree.join(file), "").unwrap();
    }
    symlink("model.bin", first.join("same.bin")).unwrap();
    let read = read(&tree).unwrap();
    let expected = ["fraud/20260101_000000", "fraud/20260102_000000", "scam/20260101_000000", "scam/20260102_000000"];
    assert_eq!(ids(&read), expected);
    assert_eq!(read.models[0].versions[1].files, [METADATA, "model.bin", "same.bin"]);
    assert_eq!(said(&tree, &read.bad), [""; 0]);
    let not_taken = said(&tree, &read.not_taken);
    let expected = [
        "README.md: is no folder of a model",
        "empty: is no model: there is no folder YYYYMMDD_HHMMSS in it",
        "fraud/20260103-000000: is not named as versions are: YYYYMMDD_HHMMSS",
        "fraud/notes.txt: is no folder of a version",
        "fraud/v4: is not named as versions are: YYYYMMDD_HHMMSS",
    ];
    assert_eq!(not_taken[..expected.len()], expected);
}

#[test]
fn nothing_outside_of_the_tree_is_read_and_no_pipe_waited_for() {
    let (folder, tree) = tree();
    let secret = folder.path().join("secret.json");
    fs::write(&secret, r#"{"description": "secret"}"#).unwrap();
    version(&folder.path().join("elsewhere"), "20260101_000000", "{}");
    let fraud = tree.join("fraud");
    let good = version(&fraud, "20260101_000000", "{}");
    for (id, file) in [("20260102_000000", METADATA), ("20260103_000000", "model.bin")] {
        let folder = version(&fraud, id, "{}");
        fs::remove_file(folder.join(file)).unwrap();
        symlink(&secret, folder.join(file)).unwrap();
    }
    for (id, file) in [("20260104_000000", METADATA), ("20260105_000000", "pipe")] {
        let folder = version(&fraud, id, "{}");
        drop(fs::remove_file(folder.join(file)));
        pipe(&folder.join(file));
    }
    fs::create_dir(version(&fraud, "20260106_000000", "{}").join("plots")).unwrap();
    symlink("nowhere", version(&fraud, "20260107_000000", "{}").join("dangling")).unwrap();
    fs::remove_file(version(&fraud, "20260108_000000", "{}").join(METADATA)).unwrap();
    symlink(folder.path().join("elsewhere/20260101_000000"), fraud.join("20260109_000000")).unwrap();
    symlink(folder.path().join("elsewhere"), tree.join("linked")).unwrap();
    fs::create_dir(fraud.join("production")).unwrap();
    pipe(&fraud.join("production/latest"));
    let read = read(&tree).unwrap();
    assert_eq!(ids(&read), ["fraud/20260101_000000"]);
    assert_eq!(read.models[0].versions[0].folder, good);
    let bad = said(&tree, &read.bad);
    let leads_nowhere = "fraud/20260107_000000: dangling: is a link that leads nowhere";
    assert!(bad[5].starts_with(leads_nowhere), "{bad:?}");
    let expected = [
        "fraud/20260102_000000: metadata.json: is a link that leads out of the tree",
        "fraud/20260103_000000: model.bin: is a link that leads out of the tree",
        "fraud/20260104_000000: metadata.json: is no file",
        "fraud/20260105_000000: pipe: is no file",
        "fraud/20260106_000000: plots: is no file",
        bad[5].as_str(),
        "fraud/20260108_000000: metadata.json: is missing",
        "fraud/20260109_000000: is a link that leads out of the tree",
        "fraud/production/latest: is neither a link nor a file",
        "linked: is a link that leads out of the tree",
    ];
    assert_eq!(bad, expected);
}

#[test]
fn all_bad_versions_are_named_with_their_file_and_field() {
    let (_folder, tree) = tree();
    let fraud = tree.join("fraud");
    version(&fraud, "20260101_000000", r#"{"description": 1, "dataset": 2}"#);
    version(
        &fraud,
        "20260102_000000",
        r#"{"training_date": "2026-01-02T00:00:00", "metrics": {"test": {"auc": NaN}}}"#,
    );
    version(&fraud, "20260103_000000", "{");
    fs::create_dir(fraud.join("production")).unwrap();
    fs::write(fraud.join("production/latest"), "../20260103_000000\n").unwrap();
    let read = read(&tree).unwrap();
    assert_eq!(ids(&read), ["fraud/20260102_000000"]);
    assert_eq!(read.models[0].production, None, "what is in production is bad");
    let bad = said(&tree, &read.bad);
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert!(bad[0].starts_with("fraud/20260101_000000: metadata.json: description: invalid type"), "{bad:?}");
    assert!(bad[1].starts_with("fraud/20260101_000000: metadata.json: dataset: invalid type"), "{bad:?}");
    assert!(bad[2].starts_with("fraud/20260103_000000: metadata.json: EOF"), "{bad:?}");
    let notes = said(&tree, &read.notes);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("fraud/20260102_000000/metadata.json: training_date: 2026-01-02"), "{notes:?}");
}

#[test]
fn production_is_a_link_or_a_file() {
    let (_folder, tree) = tree();
    let fraud = tree.join("fraud");
    for id in ["20260126_103000", "20260127_103000"] {
        version(&fraud, id, "{}");
    }
    let production = || read(&tree).map(|read| (read.models[0].production.clone(), said(&tree, &read.bad))).unwrap();
    assert_eq!(production(), (None, Vec::new()));
    fs::create_dir(fraud.join("production")).unwrap();
    assert_eq!(production(), (None, Vec::new()));
    let latest = fraud.join("production/latest");
    fs::write(&latest, "../20260126_103000\n").unwrap();
    assert_eq!(production(), (Some("20260126_103000".to_owned()), Vec::new()));
    fs::write(&latest, "20260101_000000").unwrap();
    let missing = "fraud/production/latest: names 20260101_000000, which is not there".to_owned();
    assert_eq!(production(), (None, vec![missing]));
    fs::write(&latest, "").unwrap();
    assert_eq!(production(), (None, vec!["fraud/production/latest: names nothing".to_owned()]));
    fs::remove_file(&latest).unwrap();
    symlink("../20260127_103000", &latest).unwrap();
    assert_eq!(production(), (Some("20260127_103000".to_owned()), Vec::new()));
}
