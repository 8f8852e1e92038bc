//! The server as a program: its settings, its log, and what it leaves behind when it refuses to start.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use registry_tests::process::{ServerProcess, refusal, registryctl, sled_command};
use serde_json::Value;

use crate::cli::Ctl;

const LISTEN: &str = "127.0.0.1:0";

#[test]
fn variables_that_are_no_settings_keep_no_server_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sled_command(folder.path(), LISTEN);
    command.env("MODEL_REGISTRY_LISEN", "\u{1b}[2K");
    // What Kubernetes gives the pods of a Service called `model-registry`.
    for (name, value) in [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "50051"),
        ("SERVICE_PORT_GRPC", "50051"),
        ("PORT", "tcp://10.0.0.1:50051"),
        ("PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("PORT_50051_TCP_ADDR", "10.0.0.1"),
    ] {
        command.env(format!("MODEL_REGISTRY_{name}"), value);
    }
    let server = ServerProcess::spawn(command);
    let log = server.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("MODEL_REGISTRY_")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    let warning = "MODEL_REGISTRY_LISEN is not a setting, and is ignored: did you mean MODEL_REGISTRY_LISTEN?";
    assert!(warnings[0].contains("WARN") && warnings[0].ends_with(warning), "{log}");
    assert!(server.terminate().success());

    let mut wrong = sled_command(folder.path(), LISTEN);
    wrong.env("MODEL_REGISTRY_GC_EVERY", "60");
    let said = "registry-server: MODEL_REGISTRY_GC_EVERY: 60 has no unit: write 60ms, 60s, 60m, 60h or 60days\n";
    assert_eq!(refusal(wrong), said);
}

#[test]
fn a_name_and_a_port_alone_are_listened_on() {
    for listen in ["localhost:0", ":0", "0", "[::]:0"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = sled_command(folder.path(), listen);
        command.arg("--insecure");
        let server = ServerProcess::spawn(command);
        let ctl = Ctl::at(format!("http://127.0.0.1:{}", server.address().port()));
        assert_eq!(ctl.ok(&["create", "fraud"]), "created namespaces/default/models/fraud\n", "{listen}");
    }
    let folder = tempfile::tempdir().unwrap();
    let wrong = sled_command(folder.path(), "localhost").output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("--listen") && said.contains("such as 127.0.0.1:50051"), "{said}");
}

#[test]
fn other_machines_are_not_listened_to_without_tls_and_access() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    for (flags, remedy) in [
        (&[][..], "give --tls-cert, --tls-key and --access tokens, "),
        (&["--access", "tokens"][..], "give --tls-cert and --tls-key, "),
        (&["--insecure=false"][..], "give --tls-cert, --tls-key and --access tokens, "),
    ] {
        let mut command = sled_command(&storage, "0.0.0.0:0");
        command.args(flags);
        let said = refusal(command);
        assert!(said.contains("is reached by other machines") && said.contains(remedy), "{said}");
        assert!(said.contains("--insecure") && !storage.exists(), "{said}");
    }
}

#[test]
fn a_start_that_is_refused_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusal(sled_command(&storage, &address));
    assert!(
        said.contains(&format!("can't listen on {address}, which --listen says: Address already in use")),
        "{said}"
    );
    drop(taken);
    let mut command = sled_command(&storage, &address);
    command.args(["--metrics-listen", &address]);
    let said = refusal(command);
    assert!(said.contains("--metrics-listen and --listen say the same address") && !storage.exists(), "{said}");
    for flags in [
        &["--encryption-key-file", "missing.key"][..],
        &["--artifacts", "s3://bucket/artifacts"],
        &["--archive", "s3://bucket/archive"],
        &["--store", "postgres://127.0.0.1:1/registry"],
    ] {
        let mut command = sled_command(&storage, LISTEN);
        // Not https: no object store can be there.
        command.env("AWS_ENDPOINT", "http://127.0.0.1:1").args(flags);
        let said = refusal(command);
        assert!(!storage.exists(), "{flags:?}: {said}");
    }
}

#[test]
fn the_log_says_what_the_server_is_and_tells_of_each_change_and_failure() {
    let folder = tempfile::tempdir().unwrap();
    let start = |flags: &[&str]| {
        let mut command = sled_command(folder.path(), LISTEN);
        command.args(flags);
        ServerProcess::spawn(command)
    };
    let server = start(&["--max-calls", "100", "--gc-grace", "0s", "--cache", "65MiB"]);
    let started = server.log();
    let store = folder.path().join("store");
    for part in [
        "registry-server is ready version=\"0.1.0\"",
        &format!("store={store:?}"),
        "encrypted=false cache=65MiB revision=0 address=127.0.0.1:",
        "settings: listen=\"127.0.0.1:0\" ",
        "gc_grace=\"0s\" max_calls=100",
        "WARN registry_server: --gc-grace: uploads that take longer than 0s lose chunks",
    ] {
        assert!(started.contains(part), "{part}: {started}");
    }
    let ctl = Ctl::new(&server);
    ctl.ok(&["--actor", "ana revision=9", "create", "fraud"]);
    ctl.fails(&["--actor", "bob", "get", "fraud/versions/99"]);
    let log = server.log();
    // The index is made beside the calls.
    let of_calls = |line: &&str| !line.contains("registry_server::search");
    let said: Vec<_> = log[started.len()..].lines().filter(of_calls).collect();
    assert_eq!(said.len(), 2, "{log}");
    let line = |line: &str, parts: &[&str]| {
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
    };
    let resource = "resource=\"namespaces/default/models/fraud\"";
    line(said[0], &[" INFO ", ": changed rpc=\"CreateModel\" type=\"model.created\"", resource]);
    line(said[0], &["actor=\"ana revision=9\" revision=1", "events=2", "request_id=", " ms="]);
    line(said[1], &[" INFO ", ": failed rpc=\"GetVersion\" code=\"NOT_FOUND\" reason=\"RESOURCE_NOT_FOUND\""]);
    line(said[1], &["error=\"namespaces/default/models/fraud/versions/99", "actor=\"bob\" ms="]);
    assert!(log.chars().all(|c| c == '\n' || registry_common::shown::is_plain(c)), "{log}");
    assert!(!log.contains("sled::"), "{log}");
    assert!(server.terminate().success());

    // For programs the same is in fields, and a level is for the registry's own lines.
    let server = start(&["--log-format", "json", "--log", "debug"]);
    let ctl = Ctl::new(&server);
    ctl.ok(&["--actor", "cy", "create", "churn"]);
    ctl.ok(&["--actor", "cy", "get", "churn"]);
    let lines: Vec<Value> = server.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |message: &str, rpc: &str| {
        let is = |line: &&Value| line["fields"]["message"] == message && line["fields"]["rpc"] == rpc;
        lines.iter().find(is).unwrap_or_else(|| panic!("{message} {rpc}: {lines:#?}"))["fields"].clone()
    };
    let changed = of("changed", "CreateModel");
    assert_eq!((&changed["revision"], &changed["actor"]), (&Value::from(2), &Value::from("cy")));
    assert!(changed["ms"].is_f64() && changed["request_id"].is_string() && changed["events"].is_null(), "{changed}");
    assert_eq!(of("answered", "GetModel")["actor"], "cy");
    let targets = lines.iter().map(|line| line["target"].as_str().unwrap());
    assert!(targets.clone().all(|target| target.starts_with("registry_server")), "{:?}", targets.collect::<Vec<_>>());
}

/// `registry-server` with these arguments, in a folder.
fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(sled_command(folder, LISTEN).get_program());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MODEL_REGISTRY_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn the_settings_in_force_are_printed_as_a_file_with_settings() {
    let folder = tempfile::tempdir().unwrap();
    let print = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = run(folder.path(), &[&["config"], arguments].concat(), variables);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let variables = [("MODEL_REGISTRY_DRAIN", "3s"), ("MODEL_REGISTRY_ENCRYPTION_KEY", "secret")];
    let printed = print(&["--max-calls", "7"], &variables);
    for line in [
        "max_calls = 7  # from --max-calls",
        "drain = \"3s\"  # from MODEL_REGISTRY_DRAIN",
        "log = \"info\"  # default",
    ] {
        assert!(printed.lines().any(|said| said == line), "{line}: {printed}");
    }
    assert!(!printed.contains("secret\""), "{printed}");
    fs::write(folder.path().join("registry.toml"), &printed).unwrap();
    let json = |arguments: &[&str], variables: &[(&str, &str)]| -> Value {
        serde_json::from_str(&print(&[arguments, &["--json"]].concat(), variables)).unwrap()
    };
    let (given, read) = (json(&["--max-calls", "7"], &variables[..1]), json(&["--config", "registry.toml"], &[]));
    for (key, setting) in given.as_object().unwrap() {
        assert_eq!(setting["value"], read[key]["value"], "{key}");
    }
    assert_eq!(read["max_calls"]["from"], "registry.toml");
    let output = run(folder.path(), &["config"], &[("MODEL_REGISTRY_LISEN", "x")]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("did you mean MODEL_REGISTRY_LISTEN?"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "it opens nothing");
}

#[test]
fn the_status_says_what_each_server_is_and_which_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::spawn(sled_command(folder.path(), LISTEN));
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud"]);
    let said = ctl.ok(&["status"]);
    let fields: Vec<_> = said.lines().map(|line| line.split_once("  ").unwrap()).collect();
    let field = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.trim());
    assert_eq!(field("endpoint"), Some(server.endpoint().as_str()), "{said}");
    assert_eq!(
        (field("server"), field("serving"), field("store")),
        (Some("0.1.0"), Some("yes"), Some("sled")),
        "{said}"
    );
    assert_eq!((field("revision"), field("artifacts"), field("archive")), (Some("1"), Some("folder"), None), "{said}");
    let json = &ctl.json(&["status"])[0];
    assert_eq!((&json["endpoint"], &json["status"]["revision"]), (&server.endpoint().into(), &"1".into()), "{json}");

    // Nobody listens there.
    let down = "http://127.0.0.1:1";
    let (code, complaint) = Ctl::at(down).fails(&["status"]);
    assert_eq!(code, Some(6), "{complaint}");
    assert!(complaint.starts_with(&format!("registryctl: {down} does not answer: ")), "{complaint}");
    let output = registryctl(&format!("{},{down}", server.endpoint())).arg("status").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(
        said.contains("revision   1\n") && said.contains(&format!("\n\nendpoint  {down}\nserver    does not answer: ")),
        "{said}"
    );
    let json = registryctl(&format!("{},{down}", server.endpoint())).args(["--json", "status"]).output().unwrap();
    let lines: Vec<Value> =
        json.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!((json.status.code(), lines.len(), lines[1]["error"].is_string()), (Some(6), 2, true), "{lines:?}");
}
