//! How the command line is asked: namespaces, stages, formats, help and completions.

use std::fs;
use std::path::Path;

use registry_tests::process::registryctl;
use serde_json::Value;

use crate::cli::{Ctl, server};

fn files(folder: &Path) -> String {
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.onnx"), "a model").unwrap();
    out.to_str().unwrap().to_owned()
}

fn names(ctl: &Ctl, arguments: &[&str]) -> Vec<String> {
    ctl.ok(&[arguments, &["-o", "name"]].concat()).lines().map(str::to_owned).collect()
}

#[test]
fn short_names_are_in_the_namespace_that_is_asked_for() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = files(folder.path());
    ctl.ok(&["create", "fraud", "-n", "risk"]);
    ctl.ok(&["create", "churn"]);
    assert!(ctl.ok(&["-n", "risk", "publish", &out, "fraud"]).contains("namespaces/risk/models/fraud/versions/1"));
    assert_eq!(names(&ctl, &["list", "-n", "risk"]), ["namespaces/risk/models/fraud"]);
    assert_eq!(names(&ctl, &["list", "models"]), ["namespaces/default/models/churn"]);
    ctl.ok(&["promote", "fraud/versions/1", "production", "--namespace", "namespaces/risk"]);
    ctl.ok(&["alias", "set", "fraud", "champion", "1", "-n", "risk"]);
    let events = ctl.json(&["events", "-n", "risk", "--type", "version.*"]);
    assert_eq!(events.len(), 3, "{events:?}");
    let mut by_variable = registryctl(&server.endpoint());
    by_variable.args(["get", "fraud@champion", "-o", "name"]).env("MODEL_REGISTRY_NAMESPACE", "risk");
    let shown = by_variable.output().unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), "namespaces/risk/models/fraud/versions/1\n");
    assert_eq!(ctl.fails(&["get", "fraud"]).0, Some(3), "it is in another namespace");

    for list in [&["list", "namespaces"][..], &["namespace", "list"]] {
        assert_eq!(names(&ctl, list), ["namespaces/default", "namespaces/risk"], "{list:?}");
    }
}

#[test]
fn versions_are_listed_by_their_stage() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = files(folder.path());
    for model in ["fraud", "fraud", "fraud", "churn"] {
        ctl.ok(&["publish", &out, model, "--create"]);
    }
    ctl.ok(&["create", "idle"]);
    let version = |model: &str, number: u32| format!("namespaces/default/models/{model}/versions/{number}");
    for promoted in ["fraud/versions/1", "fraud/versions/2", "churn/versions/1"] {
        ctl.ok(&["promote", promoted, "production"]);
    }
    ctl.ok(&["promote", "fraud/versions/3", "staging"]);
    let in_production = [version("churn", 1), version("fraud", 2)];
    assert_eq!(names(&ctl, &["list", "--stage", "production"]), in_production);
    assert!(ctl.ok(&["list", "--stage", "Production"]).contains("fraud/versions/2 "));
    for (stage, number) in [("production", 2), ("staging", 3), ("archived", 1)] {
        assert_eq!(names(&ctl, &["list", "fraud", "--stage", stage]), [version("fraud", number)], "{stage}");
    }
    assert_eq!(names(&ctl, &["list", "fraud", "--stage", "development"]), [""; 0]);
    assert_eq!(names(&ctl, &["list", "idle", "--stage", "production"]), [""; 0]);
    ctl.ok(&["promote", "fraud/versions/1", "staging"]);
    assert_eq!(names(&ctl, &["list", "fraud", "--stage", "staging"]), [version("fraud", 3), version("fraud", 1)]);
    let cut = ctl.run(&["list", "fraud", "--stage", "staging", "--limit", "1"]);
    assert!(String::from_utf8_lossy(&cut.stderr).contains("newest 1"), "{cut:?}");
    assert_eq!(ctl.fails(&["list", "missing", "--stage", "staging"]).0, Some(3));
    assert_eq!(names(&ctl, &["list", "--stage", "development"]), [""; 0]);
}

#[test]
fn lists_are_narrowed_by_conditions() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = files(folder.path());
    ctl.ok(&["create", "fraud", "--type", "classification", "--team", "risk"]);
    ctl.ok(&["create", "churn", "--type", "ranking", "--tag", "pci=yes"]);
    let publish = |model, framework, auc: f64, tag| {
        let metric = format!("validation.auc={auc}");
        ctl.ok(&["publish", &out, model, "--framework", framework, "--metric", &metric, "--tag", tag]);
    };
    publish("fraud", "onnx", 0.97, "region=eu");
    publish("fraud", "sklearn", 0.98, "region=us");
    publish("fraud", "onnx", 0.8, "region=eu");
    publish("churn", "onnx", 0.95, "region=eu");
    let model = |name: &str| format!("namespaces/default/models/{name}");
    let version = |name: &str, number: u32| format!("{}/versions/{number}", model(name));

    // The newest of a model first, and of all models by their names.
    let onnx = ["list", "fraud", "--framework", "onnx"];
    assert_eq!(names(&ctl, &onnx), [version("fraud", 3), version("fraud", 1)]);
    let good = ["list", "--where", "validation.auc > 0.9", "--tag", "region=eu"];
    assert_eq!(names(&ctl, &good), [version("churn", 1), version("fraud", 1)]);
    let condition = "version.framework == 'onnx' || version.number == 2";
    assert_eq!(
        names(&ctl, &["list", "fraud", "--filter", condition, "--where", "validation.auc>0.97"]),
        [version("fraud", 2)]
    );
    ctl.ok(&["promote", "fraud/versions/1", "production"]);
    assert_eq!(names(&ctl, &["list", "--stage", "production", "--framework", "onnx"]), [version("fraud", 1)]);
    assert_eq!(names(&ctl, &["list", "fraud", "--stage", "production", "--framework", "sklearn"]), [""; 0]);
    assert_eq!(names(&ctl, &["list", "--stage", "development"]).len(), 3);

    assert_eq!(names(&ctl, &["list", "--team", "risk"]), [model("fraud")]);
    assert_eq!(names(&ctl, &["list", "--tag", "pci", "--type", "ranking", "--since", "1h"]), [model("churn")]);
    let artifacts = |condition| names(&ctl, &["list", "fraud/versions/1", "--filter", condition]);
    assert_eq!(artifacts("artifact.path.endsWith('.onnx')").len(), 1);
    assert_eq!(artifacts("artifact.size_bytes > 1000000"), [""; 0]);
    let namespaces = ["list", "namespaces", "--filter", "resource.name.endsWith('/default')"];
    assert_eq!(names(&ctl, &namespaces), ["namespaces/default"]);

    let of_that_name = "resource.name.endsWith('/none')";
    assert_eq!(names(&ctl, &["namespace", "list", "--filter", of_that_name]), [""; 0]);

    // Where it was written, whatever else is asked for.
    let misspelt = ["--filter", "version.framewrk == 'onnx'"];
    for others in [
        &["list", "fraud"][..],
        &["list", "fraud", "--stage", "production"],
        &["list", "--stage", "production", "--where", "validation.auc>0.97"],
        &["list", "namespaces/default", "--framework", "onnx", "--tag", "pci"],
    ] {
        let (code, said) = ctl.fails(&[others, &misspelt].concat());
        assert!(said.contains("column 9:") && said.contains("did you mean \"framework\""), "{said}");
        assert_eq!(code, Some(4));
    }
    for (list, filter) in [
        (&["list"][..], "model.tem == ''"),
        (&["list", "namespaces"], "resource.tgs == ''"),
        (&["list", "fraud/versions/1"], "artifact.pth == ''"),
    ] {
        let at = format!("column {}:", filter.find('.').unwrap() + 2);
        let (_, said) = ctl.fails(&[list, &["--tag", "pci", "--filter", filter]].concat());
        assert!(said.contains(&at), "{said}");
    }
    let (code, said) = ctl.fails(&["list", "fraud", "--team", "risk"]);
    assert!(code == Some(2) && said.contains("--team selects models"), "{code:?}: {said}");
}

#[test]
fn what_is_deleted_is_marked() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "kept"]);
    ctl.ok(&["create", "gone"]);
    assert!(!ctl.ok(&["list"]).contains("DELETED"));
    ctl.ok(&["delete", "gone"]);
    assert_eq!(ctl.ok(&["list", "--no-headers"]).lines().count(), 1);
    let all = ctl.ok(&["list", "--deleted"]);
    assert!(all.lines().next().unwrap().contains("DELETED"), "{all}");
    let time = |model: &str| {
        let line = all.lines().find(|line| line.starts_with(model)).unwrap();
        line.split_whitespace().nth(1).unwrap_or_default().starts_with("20")
    };
    assert!(time("gone") && !time("kept"), "{all}");
}

#[test]
fn a_format_is_one_of_those_there_are() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud", "--description", "two\nlines: \u{202e}"]);
    let yaml = ctl.ok(&["get", "fraud", "-o", "yaml"]);
    assert!(yaml.starts_with("name: namespaces/default/models/fraud\n"), "{yaml}");
    assert!(yaml.contains("\ndescription: \"two\\nlines: \\u202e\"\n") && yaml.contains("\ntags: {}\n"), "{yaml}");
    ctl.ok(&["create", "churn"]);
    assert_eq!(ctl.ok(&["list", "-o", "yaml"]).lines().filter(|line| *line == "---").count(), 1);
    assert_eq!(ctl.ok(&["list", "-o", "json"]), ctl.ok(&["--json", "list"]));
    let zero = &ctl.json(&["get", "churn"])[0];
    assert_eq!((&zero["versionCount"], &zero["description"]), (&"0".into(), &"".into()));
    for wrong in [&["list", "-o", "xml"][..], &["list", "-o", "yaml", "--json"]] {
        assert_eq!(ctl.fails(wrong).0, Some(2), "{wrong:?}");
    }
}

#[test]
fn help_says_what_there_is_and_nothing_else() {
    let ctl = Ctl::at("http://127.0.0.1:1");
    let bare = std::process::Command::new(registry_tests::process::binary("registryctl")).output().unwrap();
    let help = String::from_utf8(bare.stderr).unwrap();
    assert_eq!(bare.status.code(), Some(2));
    assert!(help.contains("Usage:") && help.contains("publish"), "{help}");
    assert!(help.contains("Global options:") && !help.contains("floor-server"), "{help}");
    for command in ["create", "publish", "list", "events", "namespace create", "namespace update", "upload", "import"] {
        let help = ctl.ok(&[&["help"], &command.split(' ').collect::<Vec<_>>()[..]].concat());
        let bare = |line: &&str| line.trim_start().starts_with("--") && !line.contains("  ") && line.ends_with('>');
        let mut lines = help.lines().peekable();
        while let Some(line) = lines.next() {
            if bare(&line.trim_start()) {
                assert!(lines.peek().is_some_and(|next| !next.trim().is_empty()), "{command}: {line} in {help}");
            }
        }
    }
}

#[test]
fn completions_know_the_values() {
    let ctl = Ctl::at("http://127.0.0.1:1");
    for shell in ["bash", "zsh", "fish"] {
        let completions = ctl.ok(&["completions", shell]);
        for value in
            ["production", "to_staging", "anomaly_detection", "lightgbm", "confusion_matrix", "alias.set", "yaml"]
        {
            assert!(completions.contains(value), "{shell}: {value}");
        }
        assert!(!completions.contains("floor-server"), "{shell}");
    }
}

#[test]
fn an_import_says_what_it_needs() {
    let ctl = Ctl::at("http://127.0.0.1:1");
    let (code, complaint) = ctl.fails(&["import"]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("--oci"), "{complaint}");
    let usage: Value = serde_json::from_str(&ctl.fails(&["import", "--json"]).1).unwrap();
    assert_eq!(usage["error"]["exitCode"], 2);
}

#[test]
fn what_would_surprise_is_said() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.bin"), "weights").unwrap();
    let (file, out) = (out.join("model.bin"), out.to_str().unwrap());
    ctl.ok(&["publish", out, "fraud", "--create"]);
    ctl.ok(&["promote", "fraud@latest", "production"]);
    let refused = ctl.fails(&["withdraw", "fraud@latest"]);
    assert!(refused.0 == Some(5) && refused.1.contains("--force withdraws it all the same"), "{refused:?}");
    let said = ctl.ok(&["promote", "fraud@latest", "staging", "--dry-run"]);
    assert!(said.ends_with("fraud/versions/1 would leave production\n"), "{said}");
    let said = ctl.ok(&["promote", "fraud@latest", "staging"]);
    assert!(said.ends_with("fraud/versions/1 has left production\n"), "{said}");
    let refused = ctl.fails(&["publish", file.to_str().unwrap(), "fraud"]);
    assert!(refused.0 == Some(2) && refused.1.contains("is a file, and a folder is published"), "{refused:?}");
    assert_eq!(ctl.fails(&["alias", "set", "fraud", "5", "1"]).0, Some(4));
    assert_eq!(ctl.fails(&["delete", "fraud/versions/1", "--if-match", ""]).0, Some(2));

    // An import brings back nothing that somebody has deleted, and goes on.
    let tree = concat!(env!("CARGO_MANIFEST_DIR"), "/data/legacy-registry");
    ctl.ok(&["import", tree]);
    ctl.ok(&["delete", "breast-cancer/versions/1"]);
    let again = ctl.run(&["import", tree]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.success() && said.contains("left out: breast-cancer/versions/1: it is deleted"), "{said}");
}
