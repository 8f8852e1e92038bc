//! Names on the command line: those that something deleted has, and how they become free.

use std::fs;

use crate::cli::{Ctl, server};

#[test]
fn a_name_that_something_deleted_has_is_free_once_that_is_purged() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "good").unwrap();
    let publish = ["publish", out.to_str().unwrap(), "typo", "--create", "--version-id", "1.4.0"];
    ctl.ok(&publish);
    ctl.ok(&["promote", "typo/versions/1", "production"]);
    assert_eq!(ctl.fails(&["purge", "typo"]).0, Some(5), "it is not deleted");
    ctl.ok(&["delete", "typo", "--force"]);
    let told: Vec<_> =
        ctl.json(&["events", "typo", "--limit", "2"]).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(told, ["model.deleted", "version.stage_transitioned"]);
    for command in [&["create", "typo"][..], &publish] {
        let (code, complaint) = ctl.fails(command);
        assert_eq!(code, Some(5), "{complaint}");
        for hint in ["it is deleted", "`registryctl undelete typo`", "`registryctl purge typo`"] {
            assert!(complaint.contains(hint), "{command:?}: {complaint}");
        }
    }
    assert_eq!(ctl.ok(&["purge", "typo"]), "purged typo: its name is free\n");
    assert!(ctl.ok(&["get", "typo"]).contains("\npurged "), "what it was is known");
    assert_eq!(ctl.fails(&["undelete", "typo"]).0, Some(5));
    ctl.ok(&publish);
    let made = &ctl.json(&["get", "typo/versions/1.4.0"])[0];
    assert_eq!((&made["number"], &made["state"]), (&"2".into(), &"VERSION_STATE_READY".into()));
    assert_eq!(ctl.fails(&["purge", "typo/versions/2/artifacts/notes.txt"]).0, Some(1));
}

#[test]
fn an_import_says_of_what_is_deleted_that_it_is_and_takes_over_what_is_purged() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let tree = concat!(env!("CARGO_MANIFEST_DIR"), "/data/legacy-registry");
    ctl.ok(&["import", tree]);
    ctl.ok(&["delete", "diabetes-progression/versions/20260115_090000", "--force"]);
    let (code, complaint) = ctl.fails(&["import", tree]);
    assert!(complaint.contains("`registryctl purge diabetes-progression/versions/1`"), "{code:?}: {complaint}");
    ctl.ok(&["delete", "diabetes-progression", "--force"]);
    let (code, complaint) = ctl.fails(&["import", tree]);
    assert_eq!(code, Some(5), "{complaint}");
    assert!(complaint.contains("`registryctl purge diabetes-progression`"), "{complaint}");
    ctl.ok(&["purge", "diabetes-progression"]);
    ctl.ok(&["import", tree]);
    let model = &ctl.json(&["get", "diabetes-progression"])[0];
    assert_eq!(
        (&model["versionCount"], &model["latestVersion"]),
        (&"3".into(), &"namespaces/default/models/diabetes-progression/versions/6".into())
    );
}
