//! What was, by command: `--as-of` and `history`.

use std::fs;

use serde_json::Value;

use crate::cli::{Ctl, server};

/// The names of what a command lists.
fn names(ctl: &Ctl, command: &[&str]) -> String {
    ctl.ok(&[command, &["-o", "name"]].concat()).replace("namespaces/default/models/", "").trim().replace('\n', " ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn what_was_is_shown_and_who_changed_it() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "good").unwrap();
    let publish = ["publish", out.to_str().unwrap(), "fraud", "--create"];
    ctl.ok(&publish);
    ctl.ok(&["promote", "fraud/versions/1", "production", "-m", "goes live", "--actor", "ana"]);
    ctl.ok(&["alias", "set", "fraud", "champion", "1"]);
    let then = ctl.json(&["get", "fraud"])[0].clone();
    let (revision, time) = (text(&then["revision"]), text(&then["updateTime"]));

    ctl.ok(&publish);
    ctl.ok(&["promote", "fraud/versions/2", "production", "-m", "better", "--actor", "ben"]);
    ctl.ok(&["set", "fraud/versions/2", "--description", "new", "--tag", "region=eu"]);
    ctl.ok(&["set", "fraud/versions/2", "--description", "newer", "--actor", "eve"]);
    ctl.ok(&["delete", "fraud/versions/1", "--force"]);
    ctl.ok(&["purge", "fraud/versions/1"]);

    for when in [revision.as_str(), time.as_str()] {
        let get = |name: &str| ctl.json(&["get", name, "--as-of", when])[0].clone();
        assert_eq!(get("fraud"), then);
        assert_eq!(text(&get("fraud@production")["number"]), "1");
        assert_eq!(text(&get("fraud@champion/artifacts/notes.txt")["sizeBytes"]), "4");
        assert_eq!(names(&ctl, &["list", "--as-of", when]), "fraud");
        assert_eq!(names(&ctl, &["list", "fraud", "--as-of", when]), "fraud/versions/1");
        assert_eq!(names(&ctl, &["list", "--stage", "production", "--as-of", when]), "fraud/versions/1");
        assert_eq!(names(&ctl, &["list", "fraud", "--stage", "production", "--as-of", when]), "fraud/versions/1");
        let artifact = "fraud/versions/1/artifacts/notes.txt";
        assert_eq!(names(&ctl, &["list", "fraud/versions/1", "--as-of", when]), artifact);
    }
    assert_eq!(names(&ctl, &["list", "fraud", "--stage", "production"]), "fraud/versions/2");
    // A time as it is printed, without its fraction, shows what it was printed with.
    let newest = ctl.ok(&["events", "--limit", "1"]);
    let printed = newest.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ");
    let now = ctl.json(&["get", "fraud/versions/1"]);
    assert_eq!(ctl.json(&["get", "fraud/versions/1", "--as-of", &printed]), now, "{printed}");

    for (wrong, code, says) in [
        (&["get", "fraud", "--as-of", "4711"][..], 3, "revision 4711 has not come yet"),
        (&["get", "fraud", "--as-of", "2999-01-01"], 3, "has not come yet"),
        (&["get", "fraud/versions/2", "--as-of", &revision], 3, "fraud/versions/2 did not exist at revision"),
        (&["get", "fraud", "--as-of", "1 BC"], 2, "or a revision"),
        (&["get", "namespaces/default", "--as-of", "1"], 2, "--as-of is of models, versions and artifacts"),
        (&["list", "namespaces", "--as-of", "1"], 2, "--as-of is of models, versions and artifacts"),
        (&["history", "fraud@latest"], 2, "@latest is the newest version that is ready"),
        (
            &["history", "fraud/versions/2/artifacts/notes.txt"],
            2,
            "only namespaces, models and versions have a history",
        ),
        (&["history", "missing@production"], 3, "missing does not exist"),
    ] {
        let (found, complaint) = ctl.fails(wrong);
        assert_eq!(found, Some(code), "{wrong:?}: {complaint}");
        assert!(complaint.contains(says), "{wrong:?}: {complaint}");
    }

    let held = ctl.json(&["history", "fraud@production"]);
    let told = |term: &Value| ["version", "actor", "comment"].map(|field| text(&term[field]));
    let version = |number: i64| format!("namespaces/default/models/fraud/versions/{number}");
    assert_eq!(told(&held[0]), [version(2), "ben".to_owned(), "better".to_owned()]);
    assert_eq!(told(&held[1]), [version(1), "ana".to_owned(), "goes live".to_owned()]);
    assert_eq!((held[0].get("endTime"), &held[1]["endTime"]), (None, &held[0]["startTime"]));
    assert!(held[0]["revision"].as_str().is_some_and(|revision| revision.parse::<i64>().is_ok()), "{held:?}");
    assert_eq!(names(&ctl, &["history", "fraud@production", "--asc", "--limit", "1"]), "fraud/versions/1");
    // It went with its version.
    let champion = ctl.json(&["history", "fraud@champion"]);
    assert!(champion.len() == 1 && champion[0]["endTime"].is_string(), "{champion:?}");

    let said = ctl.ok(&["history", "fraud/versions/2", "--limit", "3"]);
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    assert!(lines[0].contains("version.updated") && lines[0].ends_with("by eve"), "{said}");
    assert_eq!(lines[1], "description: new -> newer");
    assert_eq!(lines[3..5], ["+ tags.region: eu", "+ description: new"]);
    assert!(lines[5].contains("production  by ben  \"better\""), "{said}");
    assert_eq!(lines.len(), 6, "{said}");
    // By any of its names, and with what is below it.
    let types = |name: &str| -> Vec<String> {
        ctl.json(&["history", name, "--asc"]).iter().map(|event| text(&event["type"])).collect()
    };
    assert_eq!(types("fraud/versions/2")[..3], ["version.created", "artifact.created", "version.finalized"]);
    let of_model = types("fraud");
    assert_eq!(of_model[..3], ["model.created", "version.stage_transitioned", "alias.set"]);
    assert!(of_model.contains(&"alias.deleted".to_owned()) && !of_model.contains(&"version.updated".to_owned()));
    assert_eq!(types("namespaces/default"), ["namespace.created"]);
}
