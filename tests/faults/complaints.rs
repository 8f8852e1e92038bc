//! What the command line says when something is wrong: to people, and to programs.

use std::fs;
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use crate::cli::{Ctl, server};

/// The error that a command prints with `--json`, and its exit code.
fn error(ctl: &Ctl, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, complaint) = ctl.fails(&[&["--json"], arguments].concat());
    let last = complaint.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {complaint}"));
    (code, error["error"].clone())
}

#[test]
fn an_endpoint_that_can_not_be_reached_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let expected = format!("http://{address}: Connection refused (os error 111)");
    // Both wait for the registry to come back.
    thread::scope(|scope| {
        let json = scope.spawn(|| error(&Ctl::at(address.to_string()), &["get", "fraud"]));
        let (code, complaint) = Ctl::at(format!("http://{address}")).fails(&["list"]);
        assert_eq!(
            (code, complaint.lines().last()),
            (Some(6), Some(&*format!("registryctl: {expected}"))),
            "{complaint}"
        );
        let (code, error) = json.join().unwrap();
        assert_eq!((code, &error["exitCode"], &error["code"]), (Some(6), &6.into(), &"UNAVAILABLE".into()));
        assert_eq!(error["message"], expected);
    });
}

#[test]
fn a_host_and_a_port_are_an_endpoint() {
    let (_folder, server) = server();
    let ctl = Ctl::at(server.endpoint().trim_start_matches("http://"));
    assert!(ctl.ok(&["create", "fraud"]).starts_with("created "));
}

#[test]
fn errors_are_json_where_answers_are() {
    let (_folder, server) = server();
    let ctl = Ctl::new(&server);
    let missing = error(&ctl, &["get", "fraud"]);
    let expected = json!({
        "code": "NOT_FOUND",
        "reason": "RESOURCE_NOT_FOUND",
        "message": "namespaces/default/models/fraud does not exist",
        "violations": [],
        "exitCode": 3,
    });
    assert_eq!(missing, (Some(3), expected));
    let (code, invalid) = error(&ctl, &["create", "not a name"]);
    assert_eq!((code, &invalid["reason"]), (Some(4), &"NAME_INVALID".into()), "{invalid}");
    assert_eq!(invalid["violations"][0]["field"], "model_id", "{invalid}");
    let (code, usage) = error(&ctl, &["promote", "fraud@latest", "live"]);
    assert_eq!((code, &usage["exitCode"], &usage["code"]), (Some(2), &2.into(), &Value::Null), "{usage}");
    assert!(usage["message"].as_str().unwrap().contains("live"), "{usage}");
    let (_, complaint) = ctl.fails(&["get", "fraud", "-o", "json"]);
    assert!(complaint.starts_with("{\"error\":{\"code\":\"NOT_FOUND\","), "{complaint}");
}

#[test]
fn words_are_those_of_people() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.onnx"), "a model").unwrap();
    ctl.ok(&["publish", out.to_str().unwrap(), "fraud", "--create"]);
    let model = out.join("model.onnx");
    for (arguments, expected) in [
        (&["rollback", "fraud"][..], "no earlier version can take production back"),
        (&["rollback", "fraud", "--stage", "archived"], "must be production or staging"),
        (
            &["upload", "fraud@latest", model.to_str().unwrap(), "--path", "b.onnx"],
            r#"is ready and takes no file of type "model""#,
        ),
        (&["delete", "fraud@latest/artifacts/model.onnx"], "is sealed: its version is ready"),
    ] {
        let (_, complaint) = ctl.fails(arguments);
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
        let is_wire_name = |word: &str| word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        assert!(!complaint.split_whitespace().any(is_wire_name), "{complaint}");
    }
}

#[test]
fn a_layout_of_several_models_asks_for_one() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.onnx"), "a model").unwrap();
    let layout = folder.path().join("layout");
    let layout = layout.to_str().unwrap();
    for number in ["1", "2"] {
        fs::write(out.join("model.onnx"), number).unwrap();
        ctl.ok(&["publish", out.to_str().unwrap(), "fraud", "--create"]);
        ctl.ok(&["export", &format!("fraud/versions/{number}"), "--oci", layout]);
    }
    let (code, complaint) = ctl.fails(&["import", "--oci", layout, "--model", "copy", "--create"]);
    assert_eq!(code, Some(4), "{complaint}");
    assert!(complaint.contains("say which one (`--ref`): fraud-1, fraud-2"), "{complaint}");
    let (_, complaint) = ctl.fails(&["import", "--oci", layout, "--model", "copy", "--create", "--ref", "fraud-3"]);
    assert!(complaint.contains("\"fraud-3\": names none of the manifests, which are: fraud-1, fraud-2"), "{complaint}");
}
