//! People who log in by a browser, with the command line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use registry_tests::issuer::{AUDIENCE, Issuer, Key, from_now};
use registry_tests::process::{ServerProcess, registryctl};
use serde_json::{Value, json};

/// Somebody at a terminal, whose settings are in this folder.
struct Person<'a> {
    endpoint: String,
    folder: &'a Path,
}

impl Person<'_> {
    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = registryctl(&self.endpoint);
        command.env_remove("MODEL_REGISTRY_TOKEN").env("XDG_CONFIG_HOME", self.folder).args(arguments);
        // The issuer has to answer meanwhile.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    async fn log_in(&self, issuer: &Issuer, more: &[&str]) -> (bool, String) {
        let url = issuer.url();
        self.run(&[&["login", "--issuer", &url, "--client-id", "cli"], more].concat()).await
    }
}

/// What an issuer answers with this ID token.
fn given(id_token: &str, refresh_token: Value) -> (u16, Value) {
    let given = json!({
        "access_token": "opaque", "token_type": "Bearer", "id_token": id_token, "refresh_token": refresh_token
    });
    (200, given)
}

async fn start(folder: &Path) -> (Issuer, Key, ServerProcess) {
    let key = Key::es256("a");
    let issuer = Issuer::start(&[&key]).await;
    let url = issuer.url();
    let arguments = ["--access", "tokens", "--oidc-issuer", &url, "--oidc-audience", AUDIENCE];
    let server = ServerProcess::start_with(&folder.join("data"), "127.0.0.1:0", &arguments);
    (issuer, key, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_kept_for_its_endpoint_until_its_owner_logs_out() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, key, server) = start(folder.path()).await;
    let ana = Person { endpoint: server.endpoint(), folder: folder.path() };
    let (succeeded, said) = ana.run(&["login"]).await;
    assert!(!succeeded && said.contains("--issuer"), "{said}");

    let token = key.token(&issuer.claims("ana"));
    issuer.give([(400, json!({"error": "authorization_pending"})), given(&token, Value::Null)]);
    let (succeeded, said) = ana.log_in(&issuer, &["--scope", "groups"]).await;
    assert!(succeeded && said.contains("ABCD-EFGH") && said.contains("as users/ana"), "{said}");
    let forms = issuer.forms();
    assert!(forms[0].contains("client_id=cli") && forms[0].contains("scope=openid+groups"), "{forms:?}");
    let (_, said) = ana.run(&["whoami"]).await;
    assert!(said.contains("users/ana") && said.contains(&issuer.url()), "{said}");

    let logins: Vec<_> = std::fs::read_dir(folder.path().join("model-registry/logins")).unwrap().collect();
    let [Ok(login)] = &logins[..] else { panic!("{logins:?}") };
    assert_eq!(login.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // It is shown to no other registry, also if that is the same.
    let other = Person { endpoint: ana.endpoint.replace("127.0.0.1", "localhost"), ..ana };
    let (succeeded, said) = other.run(&["whoami"]).await;
    assert!(!succeeded && said.contains("registryctl login"), "{said}");

    // The issuer is remembered; who is refused stays who they were.
    issuer.give([(400, json!({"error": "access_denied"}))]);
    let (succeeded, said) = ana.run(&["login"]).await;
    assert!(!succeeded && said.contains("access_denied"), "{said}");
    let (succeeded, said) = ana.run(&["whoami"]).await;
    assert!(succeeded, "{said}");
    let (_, said) = ana.run(&["logout"]).await;
    assert!(said.contains("logged out"), "{said}");
    let (succeeded, said) = ana.run(&["whoami"]).await;
    assert!(!succeeded, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, key, server) = start(folder.path()).await;
    let ana = Person { endpoint: server.endpoint(), folder: folder.path() };
    // Over, and taken by the server for another minute: clocks may differ.
    let mut claims = issuer.claims("ana");
    claims["exp"] = from_now(-5).into();
    let old = key.token(&claims);
    issuer.give([given(&old, json!("first"))]);
    let (succeeded, said) = ana.log_in(&issuer, &[]).await;
    assert!(succeeded && said.contains("is renewed"), "{said}");

    issuer.forms();
    issuer.give([given(&key.token(&issuer.claims("ana")), json!("second"))]);
    for _ in 0..2 {
        let (succeeded, said) = ana.run(&["whoami"]).await;
        assert!(succeeded && said.contains("users/ana"), "{said}");
    }
    let forms = issuer.forms();
    assert_eq!(forms.len(), 1, "once: {forms:?}");
    assert!(forms[0].contains("grant_type=refresh_token&refresh_token=first"), "{forms:?}");

    // Where that fails, the registry says what is the matter.
    issuer.give([given(&old, json!("third"))]);
    ana.log_in(&issuer, &[]).await;
    let (succeeded, said) = ana.run(&["whoami"]).await;
    assert!(succeeded && said.contains("could not be renewed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_does_not_take_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, key, server) = start(folder.path()).await;
    let ana = Person { endpoint: server.endpoint(), folder: folder.path() };
    let mut claims = issuer.claims("ana");
    claims["aud"] = "cli".into();
    issuer.give([given(&key.token(&claims), Value::Null)]);
    let (succeeded, said) = ana.log_in(&issuer, &[]).await;
    assert!(!succeeded && said.contains("for others"), "{said}");
    assert!(!folder.path().join("model-registry").exists());
}
