//! Access by the command line, and what the log of a server that asks for tokens says.

use std::path::Path;

use registry_client::RegistryClient;
use registry_client::pb::Event;
use registry_tests::issuer::{AUDIENCE, Issuer, Key};
use registry_tests::process::{ServerProcess, registryctl, sled_command};
use registry_tests::{events, soon, store};

/// A server that asks for tokens, with its first one in a file.
fn server(folder: &Path) -> (ServerProcess, String) {
    let file = folder.join("first-token").to_str().unwrap().to_owned();
    let arguments = ["--access", "tokens", "--bootstrap-token-file", &file, "--log", "debug"];
    (ServerProcess::start_with(&folder.join("data"), "127.0.0.1:0", &arguments), file)
}

/// What a command prints with a token from a file or the environment, and whether it succeeded.
fn run(server: &ServerProcess, secret: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = registryctl(&server.endpoint());
    let output = command.env("MODEL_REGISTRY_TOKEN", secret).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn ok(server: &ServerProcess, secret: &str, arguments: &[&str]) -> String {
    let (succeeded, said) = run(server, secret, arguments);
    assert!(succeeded, "{arguments:?}: {said}");
    said
}

#[test]
fn the_command_line_gives_and_takes_access_and_no_log_has_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (server, file) = server(folder.path());
    let admin = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let by_file = registryctl(&server.endpoint()).args(["--token-file", &file, "whoami"]).output().unwrap();
    assert!(String::from_utf8(by_file.stdout).unwrap().contains("users/admin"));
    let (succeeded, said) = run(&server, "", &["list"]);
    assert!(!succeeded && said.contains("MODEL_REGISTRY_TOKEN"), "{said}");

    ok(&server, &admin, &["create", "fraud"]);
    let made = ok(&server, &admin, &["access", "token", "create", "users/ana", "--id", "ana", "--title", "laptop"]);
    let secret = made.lines().find_map(|line| line.strip_prefix("secret: ")).unwrap().to_owned();
    assert!(made.contains("created tokens/ana") && made.contains("it is not shown again"), "{made}");
    let (succeeded, said) = run(&server, &secret, &["get", "fraud"]);
    assert!(!succeeded && said.contains("models.get") && said.contains("or it might not exist"), "{said}");

    let can = ["can", "users/ana", "models.get", "fraud"];
    let (succeeded, said) = run(&server, &admin, &can);
    assert!(!succeeded && said.contains("users/ana may not models.get"), "{said}");
    ok(&server, &admin, &["access", "group", "create", "risk"]);
    ok(&server, &admin, &["access", "group", "add", "risk", "users/ana", "users/bob"]);
    let granted = ok(&server, &admin, &["grant", "groups/risk", "viewer", "fraud"]);
    assert!(granted.contains("bindings/viewer.default.fraud"), "{granted}");
    ok(&server, &admin, &["grant", "users/eve", "viewer", "fraud"]);
    let said = ok(&server, &admin, &can);
    assert!(said.contains("by bindings/viewer.default.fraud: roles/viewer for groups/risk"), "{said}");
    ok(&server, &secret, &["get", "fraud"]);
    let said = ok(&server, &secret, &["whoami"]);
    assert!(said.contains("users/ana") && said.contains("tokens/ana") && said.contains("groups/risk"), "{said}");

    ok(&server, &admin, &["revoke", "groups/risk", "viewer", "fraud"]);
    assert!(!run(&server, &secret, &["get", "fraud"]).0);
    let bindings = ok(&server, &admin, &["access", "binding", "list"]);
    assert!(bindings.contains("users/eve") && !bindings.contains("groups/risk"), "{bindings}");
    ok(&server, &admin, &["revoke", "users/eve", "viewer", "fraud"]);
    let bindings = ok(&server, &admin, &["access", "binding", "list"]);
    assert!(!bindings.contains("viewer.default.fraud"), "the last member takes the binding along: {bindings}");
    assert!(ok(&server, &admin, &["access", "role", "list"]).contains("publisher"));
    assert!(ok(&server, &admin, &["access", "token", "list"]).contains("laptop"));
    ok(&server, &admin, &["access", "token", "revoke", "ana"]);
    let (succeeded, said) = run(&server, &secret, &["whoami"]);
    assert!(!succeeded && said.contains("revoked"), "{said}");
    ok(&server, &admin, &["status"]);

    let log = server.log();
    assert!(log.contains("users/admin") && log.contains("TOKEN_REVOKED"), "{log}");
    for secret in [&admin, &secret] {
        let hidden = secret.rsplit('_').next().unwrap();
        assert!(!log.contains(hidden), "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_an_issuer_lets_the_command_line_in_and_no_log_has_it() {
    let (key, strange) = (Key::es256("one"), Key::es256("two"));
    let issuer = Issuer::start(&[&key]).await;
    let folder = tempfile::tempdir().unwrap();
    let url = issuer.url();
    let arguments = ["--access", "tokens", "--log", "debug", "--oidc-issuer", &url, "--oidc-audience", AUDIENCE];
    let server = ServerProcess::start_with(&folder.path().join("data"), "127.0.0.1:0", &arguments);
    let good = key.token(&issuer.claims("ana"));
    let said = ok(&server, &good, &["whoami"]);
    assert!(
        said.contains("users/ana") && said.contains(&format!("a token of {url}")) && said.contains("until"),
        "{said}"
    );
    let unknown = strange.token(&issuer.claims("ana"));
    let nobody = key.token(&issuer.claims("../root"));
    for (token, problem) in [(&unknown, "kid"), (&nobody, "name no principal")] {
        let (succeeded, said) = run(&server, token, &["whoami"]);
        assert!(!succeeded && said.contains(problem), "{said}");
    }
    let log = server.log();
    assert!(log.contains("TOKEN_KEY_UNKNOWN") && log.contains("TOKEN_CLAIMS_INVALID"), "{log}");
    for token in [good, unknown, nobody] {
        let hidden = token.rsplit('.').next().unwrap();
        assert!(!log.contains(hidden), "a token is in the log");
    }
}

/// A server on the database that goes with a folder.
fn beside(folder: &Path, file: &str) -> ServerProcess {
    let mut command = sled_command(folder, "127.0.0.1:0");
    command.args(["--store", &store::postgres(folder), "--access", "tokens", "--bootstrap-token-file", file]);
    ServerProcess::spawn(command)
}

fn client(server: &ServerProcess, secret: &str) -> RegistryClient {
    RegistryClient::builder(server.endpoint()).token(secret).connect_lazy().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_server_has_revoked_no_other_one_commits() {
    const ROUNDS: usize = 20;
    const FRAUD: &str = "namespaces/risk/models/fraud";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("first-token").to_str().unwrap().to_owned();
    let servers = [beside(folder.path(), &file), beside(folder.path(), &file)];
    let admin = client(&servers[0], &std::fs::read_to_string(&file).unwrap());
    admin.create_model(FRAUD).await.unwrap();
    let secret = admin.create_token("users/ana").await.unwrap().secret;
    // Made on the one, good on the other at once.
    let ana = client(&servers[1], &secret);
    soon(ana.who_am_i()).await.unwrap();
    for _ in 0..ROUNDS {
        admin.create_binding("ana", "publisher", ["users/ana"]).on("namespaces/risk").await.unwrap();
        let writer = ana.clone();
        let writing = tokio::spawn(async move {
            let mut written = 0;
            loop {
                match writer.create_version(FRAUD).await {
                    Ok(_) => written += 1,
                    // Before what lets her write is known there, and after.
                    Err(error) if error.is_permission_denied() && written == 0 => {}
                    Err(error) => return error,
                }
            }
        });
        // So that she is in the middle of it.
        let version = || async { admin.list_versions(FRAUD).order_by("number desc").page_size(1).await.unwrap() };
        let before = version().await.versions;
        while version().await.versions == before {}
        admin.delete_binding("ana").await.unwrap();
        let error = soon(writing).await.unwrap();
        assert!(error.is_permission_denied(), "{error:?}");
    }
    let mut may = false;
    for Event { r#type, resource_name, actor, revision, .. } in events(&admin).await {
        match (r#type.as_str(), resource_name.as_str()) {
            ("binding.created", "bindings/ana") => may = true,
            ("binding.deleted", "bindings/ana") => may = false,
            ("version.created", _) => assert!(may && actor == "users/ana", "{actor} in revision {revision}"),
            _ => {}
        }
    }
    assert!(!may);
}
