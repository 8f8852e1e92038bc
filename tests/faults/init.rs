//! A registry that is reached over TLS from the first start on.

use std::path::Path;
use std::process::{Command, Output};

use registry_tests::process::{ServerProcess, registryctl, server_command};

fn init(folder: &Path, arguments: &[&str]) -> Output {
    server_command(folder, "127.0.0.1:0").arg("init").arg(folder).args(arguments).output().unwrap()
}

/// The server that the settings describe, on another port and on the store under test.
fn server(folder: &Path, arguments: &[&str]) -> ServerProcess {
    let mut command = server_command(folder, "127.0.0.1:0");
    command.arg("--config").arg(folder.join("registry.toml")).args(arguments);
    ServerProcess::spawn(command)
}

/// `registryctl` as the output of `init` says, with further arguments.
fn ctl(server: &ServerProcess, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = registryctl(&format!("https://localhost:{}", server.address().port()));
    command.env("MODEL_REGISTRY_CA_FILE", folder.join("ca.pem")).args(arguments);
    command.arg("--token-file").arg(folder.join("first-token"));
    command
}

fn said(output: Output) -> (bool, String) {
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn what_init_makes_starts_and_is_called_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (made, text) = said(init(folder.path(), &["--name", "127.0.0.1"]));
    let place = folder.path().canonicalize().unwrap();
    assert!(made && text.contains(&format!("registry-server --config {}/registry.toml", place.display())), "{text}");
    assert!(text.contains("MODEL_REGISTRY_ENDPOINT=https://127.0.0.1:50051"), "{text}");
    let (made, text) = said(init(folder.path(), &[]));
    assert!(!made && text.contains("nothing is overwritten"), "{text}");

    let first = server(folder.path(), &[]);
    let (worked, text) = said(ctl(&first, folder.path(), &["whoami"]).output().unwrap());
    assert!(worked && text.contains("users/admin"), "{text}");
    let (worked, text) = said(ctl(&first, folder.path(), &["status"]).output().unwrap());
    assert!(worked, "{text}");
    drop(first);

    // Every client needs the certificate.
    let authority = folder.path().join("ca.pem");
    let second = server(folder.path(), &["--tls-client-ca", authority.to_str().unwrap()]);
    let (worked, text) = said(ctl(&second, folder.path(), &["whoami", "--wait", "0s"]).output().unwrap());
    assert!(!worked && text.contains("asks for a client's certificate"), "{text}");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("client.pem"), path("client-key.pem"));
    let shown = ["--client-cert", &certificate, "--client-key", &key];
    let (worked, text) = said(ctl(&second, folder.path(), &shown).arg("whoami").output().unwrap());
    assert!(worked && text.contains("users/admin"), "{text}");
    let (worked, text) =
        said(ctl(&second, folder.path(), &["whoami", "--client-cert", &certificate]).output().unwrap());
    assert!(!worked && text.contains("--client-cert needs --client-key"), "{text}");
}
