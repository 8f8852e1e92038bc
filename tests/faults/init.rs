//! A registry that is reached over TLS from the first start on.

use std::path::Path;
use std::process::{Command, Output};

use registry_tests::process::{ServerProcess, binary, registryctl, server_command};

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

/// The text of the first block of this language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    text.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap()
}

#[test]
fn the_ten_commands_of_the_docs_let_two_people_promote() {
    let place = tempfile::tempdir().unwrap();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry-client/docs/policies.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let walk = docs.split("### Two people, over TLS").nth(1).unwrap();
    std::fs::write(place.path().join("two.yaml"), block(walk, "yaml")).unwrap();
    std::fs::create_dir(place.path().join("out")).unwrap();
    std::fs::write(place.path().join("out/model.txt"), "a model").unwrap();

    let registry = place.path().join("registry");
    let (made, text) = said(init(&registry, &[]));
    assert!(made, "{text}");
    let server = server(&registry, &[]);
    let run = |line: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(place.path());
        command.env("PATH", binary("registryctl").parent().unwrap());
        command.env("MODEL_REGISTRY_ENDPOINT", format!("https://localhost:{}", server.address().port()));
        command.env("MODEL_REGISTRY_CA_FILE", "registry/ca.pem");
        command.env("MODEL_REGISTRY_TOKEN", std::fs::read_to_string(registry.join("first-token")).unwrap().trim());
        let (worked, text) = said(command.output().unwrap());
        assert!(worked, "{line}: {text}");
        text
    };
    let mut lines = block(walk, "sh").lines().filter(|line| !line.starts_with("export "));
    // On another port, and on the store under test.
    assert_eq!(lines.next(), Some("registry-server init registry"));
    assert_eq!(lines.next(), Some("registry-server --config registry/registry.toml &"));
    let said: Vec<_> = lines.map(run).collect();
    assert_eq!(said.len(), 8);
    assert!(said[7].starts_with("fraud/versions/1 is in production"), "{said:?}");
    let history = run("registryctl history fraud");
    for who in ["approval.requested  ", "approval.approved  ", "by users/bob", "version.stage_transitioned"] {
        assert!(history.contains(who), "{history}");
    }
    let secret = std::fs::read_to_string(place.path().join("bob-token")).unwrap();
    assert!(secret.starts_with("mr_") && !said.concat().contains(secret.trim()), "{said:?}");
}
