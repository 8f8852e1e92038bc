//! The server as a program: its settings, its log, and what it leaves behind when it refuses to start.

use registry_tests::process::{ServerProcess, refusal, sled_command};

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
        let server = ServerProcess::spawn(sled_command(folder.path(), listen));
        let ctl = Ctl::at(format!("http://127.0.0.1:{}", server.address().port()));
        assert_eq!(ctl.ok(&["create", "fraud"]), "created namespaces/default/models/fraud\n", "{listen}");
    }
    let folder = tempfile::tempdir().unwrap();
    let wrong = sled_command(folder.path(), "localhost").output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("--listen") && said.contains("such as 127.0.0.1:50051"), "{said}");
}

