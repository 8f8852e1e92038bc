//! `registryctl bench`: what it says of each figure.

use registry_tests::process::ServerProcess;
use serde_json::Value;

use crate::cli::{Ctl, server};

/// As little as there can be of each.
const LITTLE: &[&str] = &["--clients", "4", "--rounds", "1", "--seconds", "0.1"];

/// The figures of a short run, which leaves no model behind.
fn figures(server: &ServerProcess, scratch: &std::path::Path, what: &[&str]) -> Vec<Value> {
    let ctl = Ctl::new(server);
    let scratch = ["--scratch", scratch.to_str().unwrap()];
    let said = ctl.json(&[&["bench"], what, LITTLE, &scratch].concat());
    assert!(ctl.json(&["list"]).is_empty(), "its models are gone");
    match said.as_slice() {
        [Value::Array(figures)] => figures.clone(),
        other => panic!("{other:?}"),
    }
}

/// The names, when each has a floor and a ratio to it, and was measured in time.
fn names(figures: &[Value]) -> Vec<&str> {
    let sound = |figure: &Value| {
        let number = |field: &str| figure[field].as_f64().unwrap_or_else(|| panic!("{field} of {figure}"));
        assert!(number("value") > 0.0 && number("floor") > 0.0, "{figure}");
        assert!((number("ratio") - number("value") / number("floor")).abs() < 1e-9, "{figure}");
    };
    figures.iter().for_each(sound);
    figures.iter().map(|figure| figure["name"].as_str().unwrap()).collect()
}

#[test]
fn calls_are_measured() {
    let (folder, server) = server();
    let figures = figures(&server, folder.path(), &["promote", "create", "list", "get"]);
    let expected = [
        "get-version, 4 clients",
        "list-versions, 100 of 1000, 4 clients",
        "create-version, 1 client",
        "create-version, 4 clients",
        "create-version, one model of 4 clients",
        "promote, 4 clients",
    ];
    assert_eq!(names(&figures), expected);
    for figure in figures {
        assert_eq!(figure["unit"], "calls/s");
        assert!(figure["p50_micros"].as_f64() <= figure["p99_micros"].as_f64(), "{figure}");
    }
}

#[test]
fn watchers_are_measured() {
    let (folder, server) = server();
    let figures = figures(&server, folder.path(), &["watch", "fan-out", "--watchers", "2,70", "--events", "20"]);
    let expected = [
        "told of a commit, 2 watchers",
        "told of a commit, 70 watchers",
        "fan-out to 2 watchers",
        "fan-out to 70 watchers",
    ];
    assert_eq!(names(&figures), expected);
    assert_eq!(figures[2]["unit"], "events/s");
}
