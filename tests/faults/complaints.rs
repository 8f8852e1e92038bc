//! What the command line says when something is wrong: to people, and to programs.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::cli::{Ctl, server};

/// The error that a command prints with `--json`, and its exit code.
fn error(ctl: &Ctl, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, complaint) = ctl.fails(&[&["--json"], arguments].concat());
    let error: Value = serde_json::from_str(&complaint).unwrap_or_else(|error| panic!("{error}: {complaint}"));
    (code, error["error"].clone())
}

#[test]
fn an_endpoint_that_can_not_be_reached_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (code, complaint) = Ctl::at(format!("http://{address}")).fails(&["list"]);
    assert_eq!(code, Some(6));
    assert_eq!(complaint, format!("registryctl: http://{address}: Connection refused (os error 111)\n"));
    let (code, error) = error(&Ctl::at(address.to_string()), &["get", "fraud"]);
    assert_eq!((code, &error["exitCode"], &error["code"]), (Some(6), &6.into(), &"UNAVAILABLE".into()));
    assert_eq!(error["message"], format!("http://{address}: Connection refused (os error 111)"));
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
