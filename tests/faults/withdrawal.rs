//! `withdraw` and `reinstate`, and who is told.

use std::fs;

use registry_tests::process::registryctl;

use crate::cli::{Ctl, server};

#[test]
fn whoever_comes_by_a_withdrawn_version_is_told_why() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("out")).unwrap();
    fs::write(folder.path().join("out/notes.txt"), "good").unwrap();
    for _ in 0..2 {
        ctl.ok(&["publish", &path("out"), "fraud", "--create"]);
    }
    ctl.ok(&["promote", "fraud/versions/2", "staging"]);
    let (code, complaint) = ctl.fails(&["withdraw", "fraud/versions/2"]);
    assert!(code == Some(5) && complaint.contains("is in staging"), "{complaint}");
    let withdrawn = ctl.ok(&["withdraw", "fraud/versions/2", "-m", "trained on the test split", "--force"]);
    assert_eq!(withdrawn, "withdrawn fraud/versions/2\n");
    assert_eq!(ctl.json(&["get", "fraud@latest"])[0]["number"], "1");
    assert!(ctl.ok(&["list", "fraud"]).contains("withdrawn"));
    assert!(ctl.ok(&["events", "fraud"]).contains("version.withdrawn"));
    let (code, complaint) = ctl.fails(&["promote", "fraud/versions/2", "production"]);
    assert!(code == Some(5) && complaint.contains("withdrawn"), "{complaint}");
    let shown = ctl.ok(&["get", "fraud/versions/2"]);
    assert!(shown.contains("withdrawn") && shown.contains("trained on the test split"), "{shown}");

    let (serving, layout) = (path("serving"), path("layout"));
    for command in [
        &["get", "fraud/versions/2"][..],
        &["pull", "fraud/versions/2", "-o", &serving],
        &["export", "fraud/versions/2", "--oci", &layout],
    ] {
        let warned = |command: &[&str]| {
            let output = registryctl(&server.endpoint()).args(command).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{command:?}: {said}");
            said.contains("fraud/versions/2 is withdrawn: trained on the test split")
        };
        assert!(warned(command), "{command:?}");
    }
    assert_eq!(ctl.ok(&["reinstate", "fraud/versions/2"]), "reinstated fraud/versions/2\n");
    assert_eq!(ctl.json(&["get", "fraud@latest"])[0]["number"], "2");
    assert_eq!(ctl.fails(&["reinstate", "fraud/versions/2"]).0, Some(5));
}
