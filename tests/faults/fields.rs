//! `--fields`, and the columns of what a list is ordered by.

use serde_json::json;

use crate::cli::{Ctl, server};

/// The words of each line of a table.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

fn filled(ctl: &Ctl) {
    ctl.ok(&["create", "fraud", "--team", "risk", "--tag", "cost=7"]);
    for (id, auc) in [("1.0", "0.9"), ("1.1", "0.975"), ("1.2", "0.5")] {
        let metric = format!("validation.auc={auc}");
        ctl.ok(&["create-version", "fraud", "--version-id", id, "--metric", &metric, "--tag", "region=eu"]);
        ctl.ok(&["finalize", &format!("fraud/versions/{id}")]);
    }
}

#[test]
fn fields_are_columns_and_keys() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);

    let fields = "version_id,state,metrics.validation.auc,tags.region,delete_time";
    let table = ctl.ok(&["list", "fraud", "--fields", fields]);
    let heads = ["VERSION_ID", "STATE", "METRICS.VALIDATION.AUC", "TAGS.REGION", "DELETE_TIME"];
    let [first, second] = [["1.2", "ready", "0.5", "eu"], ["1.1", "ready", "0.975", "eu"]];
    assert_eq!(rows(&table)[..3], [&heads[..], &first, &second]);
    let listed = ctl.json(&["list", "fraud", "--limit", "1", "--fields", "number,metrics.validation,tags.none"]);
    assert_eq!(listed, [json!({"number": "3", "tags": {}, "metrics": {"validation": {"values": {"auc": 0.5}}}})]);
    assert_eq!(
        ctl.ok(&["list", "fraud", "--limit", "1", "--fields", "state", "-o", "name"]).trim().rsplit('/').next(),
        Some("3")
    );

    assert_eq!(rows(&ctl.ok(&["list", "--fields", "team,tags.cost"]))[1], ["risk", "7"]);
    assert_eq!(
        rows(&ctl.ok(&["get", "fraud", "--fields", "team,version_count"])),
        [["team", "risk"], ["version_count", "3"]]
    );
    assert_eq!(ctl.json(&["get", "fraud/versions/1.1", "--fields", "number"]), [json!({"number": "2"})]);
}

#[test]
fn a_field_that_does_not_exist_is_refused() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);
    for (command, code, says) in [
        (&["list", "fraud", "--fields", "stge"][..], 4, "\"stge\" is no field of a version; did you mean \"stage\"?"),
        (&["list", "--stage", "production", "--fields", "stge"], 4, "\"stge\" is no field of a version"),
        (&["get", "fraud", "--fields", "team.x"], 4, "\"team.x\" is no field"),
        (&["list", "fraud", "--fields", "name,"], 2, "--fields"),
        (&["list", "namespaces", "--fields", "name"], 2, "--fields are of models, versions and artifacts"),
        (&["get", "namespaces/default", "--fields", "name"], 2, "--fields are of models, versions and artifacts"),
    ] {
        let (status, complaint) = ctl.fails(command);
        assert!(status == Some(code) && complaint.contains(says), "{command:?}: {status:?} {complaint}");
    }
}

#[test]
fn versions_are_chosen_by_their_models() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);
    ctl.ok(&["create", "churn", "--team", "growth"]);
    ctl.ok(&["create-version", "churn", "--metric", "validation.auc=0.99"]);
    let names =
        |options: &[&str]| ctl.ok(&[&["list", "--where", "validation.auc > 0.8", "-o", "name"], options].concat());
    assert_eq!(names(&["--team", "risk"]).lines().count(), 2);
    assert_eq!(names(&["--team", "growth"]).trim(), "namespaces/default/models/churn/versions/1");
    assert_eq!(names(&["--team", "risk", "--limit", "1"]).trim(), "namespaces/default/models/fraud/versions/1");
    assert_eq!(names(&["--team", "none"]), "");
    for (command, says) in [
        (&["list", "fraud", "--team", "risk"][..], "--team selects models, and what is listed are versions"),
        (&["list", "--team", "risk", "--order-by", "number"], "listed by model, without --order-by"),
    ] {
        let (code, complaint) = ctl.fails(command);
        assert!(code == Some(2) && complaint.contains(says), "{complaint}");
    }
}

#[test]
fn a_list_shows_what_it_is_ordered_by() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);
    let table = ctl.ok(&["list", "fraud", "--order-by", "metrics.validation.auc desc, number"]);
    assert_eq!(rows(&table)[0][..3], ["VERSION", "VALIDATION.AUC", "VERSION_ID"]);
    let column: Vec<_> = rows(&table)[1..].iter().map(|row| row[1].to_owned()).collect();
    assert_eq!(column, ["0.975", "0.9", "0.5"]);
    let table = ctl.ok(&["list", "--order-by", "tags.cost"]);
    assert_eq!((rows(&table)[0][1], rows(&table)[1][1]), ("TAGS.COST", "7"));
}
