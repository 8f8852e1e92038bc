//! What options mean, and what of them is refused or hinted at.

use crate::cli::{Ctl, server};

/// What a command says on standard error when all is well.
fn says(ctl: &Ctl, command: &[&str]) -> String {
    let output = ctl.run(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

fn filled(ctl: &Ctl) {
    ctl.ok(&["create", "fraud", "--tag", "cost=7"]);
    for auc in ["0.9", "0.975"] {
        let metric = format!("validation.auc={auc}");
        ctl.ok(&["create-version", "fraud", "--metric", &metric]);
    }
    ctl.ok(&["finalize", "fraud/versions/1"]);
    ctl.ok(&["finalize", "fraud/versions/2"]);
}

#[test]
fn a_metric_that_nothing_has_is_said_and_the_nearest_is_named() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);
    let says = |command: &[&str]| says(&ctl, command);
    let hint = "has metrics.validation.aux; did you mean metrics.validation.auc?";
    for command in [
        &["list", "fraud", "--order-by", "metrics.validation.aux desc"][..],
        &["list", "--order-by", "metrics[\"validation\"].aux"],
        &["trend", "fraud", "validation.aux"],
        &["count", "fraud", "--by", "metrics.validation.aux"],
        &["count", "--by", "metrics.validation.aux"],
    ] {
        assert!(says(command).contains(hint), "{command:?}: {}", says(command));
    }
    assert!(
        says(&["list", "--order-by", "tags.cosst"])
            .contains("none of these models has tags.cosst; did you mean tags.cost?")
    );
    for command in [
        &["list", "fraud", "--order-by", "metrics.validation.auc desc"][..],
        &["list", "--order-by", "tags.cost"],
        &["trend", "fraud", "validation.auc"],
    ] {
        assert_eq!(says(command), "", "{command:?}");
    }
}

#[test]
fn options_without_a_value_and_limits_of_nothing_are_refused() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);
    for command in [
        &["list", "--limit", "0"][..],
        &["search", "x", "--limit", "0"],
        &["count", "--by", "team", "--limit", "0"],
        &["trend", "fraud", "validation.auc", "--limit", "0"],
        &["events", "--limit", "0"],
        &["history", "fraud", "--limit", "0"],
        &["list", "--team", ""],
        &["list", "--owner", ""],
        &["list", "--framework", ""],
        &["list", "--type", ""],
        &["list", "--filter", ""],
        &["list", "--tag", "=x"],
        &["list", "--order-by", ""],
        &["count", "--by", ""],
        &["count", "--by", "team", "-o", "name"],
        &["trend", "fraud", "validation."],
        &["list", "--where", "auc = 0.9"],
        &["list", "--where", ".auc > 0.9"],
        &["events", "--by", ""],
    ] {
        let (code, complaint) = ctl.fails(command);
        assert_eq!(code, Some(2), "{command:?}: {complaint}");
    }
    let names = ctl.ok(&["trend", "fraud", "validation.auc", "-o", "name"]);
    let version = |number: u8| format!("namespaces/default/models/fraud/versions/{number}");
    assert_eq!(names.lines().collect::<Vec<_>>(), [version(1), version(2)]);
}

#[test]
fn what_is_withdrawn_is_no_longer_ready() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);
    ctl.ok(&["withdraw", "fraud/versions/2", "-m", "leaks"]);
    for (state, number) in [("ready", "1"), ("withdrawn", "2")] {
        let names = ctl.ok(&["list", "fraud", "--state", state, "-o", "name"]);
        assert_eq!(names.trim(), format!("namespaces/default/models/fraud/versions/{number}"), "{state}");
    }
    assert!(ctl.ok(&["trend", "fraud", "validation.auc"]).contains("best      0.9 "));
}

#[test]
fn events_are_chosen_by_whose_they_are() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);
    ctl.ok(&["promote", "fraud/versions/1", "staging", "--actor", "e\"ve"]);
    let types = |command: &[&str]| -> Vec<String> {
        ctl.json(command).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(types(&["events", "--by", "e\"ve"]), ["version.stage_transitioned"]);
    let both = ["events", "--by", "e\"ve", "--filter", "event.type == 'model.created' || event.revision > 0 // all"];
    assert_eq!(types(&both), ["version.stage_transitioned"]);
    assert!(types(&["events", "--by", "nobody"]).is_empty());
    let (code, complaint) = ctl.fails(&["events", "--by", "ana", "--filter", "event.x == 1"]);
    assert!(code == Some(4) && complaint.contains("column 7: Event has no field \"x\""), "{complaint}");
    assert!(says(&ctl, &["events", "--actor", "ana"]).contains("whose changes are shown is said by --by"));
}

#[test]
fn what_is_in_a_stage_stays_there_without_a_change() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    filled(&ctl);
    let promote = ["promote", "fraud/versions/1", "production"];
    ctl.ok(&promote);
    assert_eq!(ctl.ok(&promote), "fraud/versions/1 is in production already\n");
    let transitions = || ctl.json(&["events", "--type", "version.stage_transitioned"]).len();
    assert_eq!(transitions(), 1);
    let explained = ctl.ok(&[&promote[..], &["-m", "still the best"]].concat());
    assert!(
        explained.starts_with("fraud/versions/1 is in production already, and that it stays is logged"),
        "{explained}"
    );
    assert_eq!(transitions(), 2);
}
