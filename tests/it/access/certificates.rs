//! Certificates of clients: who has connected with a good one is whom it names, and one that could be somebody else's is nobody's.

use std::time::Duration;

use rcgen::{CertificateParams, DnType, SanType};
use registry_client::pb::{ErrorReason, Event, WhoAmIResponse};
use registry_client::{Error, RegistryClient};
use registry_tests::certificates::{Authority, Files, Pair};
use registry_tests::{TestServer, events, soon, until};

use super::{SECOND, denied, first_token, secure, unauthenticated};

const TRAINER: &str = "spiffe://corp.example/ns/risk/sa/trainer";

/// A server that takes certificates of this authority for principals, and the files of itself.
async fn server(authority: &Authority) -> (TestServer, Files) {
    let files = Files::of(&authority.sign());
    files.trust(&[authority]);
    let server = TestServer::with(|config| {
        secure(config);
        files.serve(config);
        config.tls_principals = ["spiffe://corp.example/ns/risk/sa/{id}=services/{id}", "CN={id}=users/{id}"]
            .map(|rule| rule.parse().unwrap())
            .into();
    })
    .await;
    (server, files)
}

fn admin(server: &TestServer, authority: &Authority) -> RegistryClient {
    let token = std::fs::read_to_string(first_token(&server.storage())).unwrap();
    let trusting = Files::trusting(authority);
    trusting
        .connect(RegistryClient::builder(format!("https://{}", server.address())).token(token))
        .connect_lazy()
        .unwrap()
}

fn named(params: &mut CertificateParams, uris: &[&str], common_name: &str) {
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
}

/// A client that shows a certificate of this authority, and says that it is somebody else.
fn client(server: &TestServer, authority: &Authority, pair: &Pair) -> RegistryClient {
    let files = Files::of(pair);
    files.trust(&[authority]);
    let builder = RegistryClient::builder(format!("https://{}", server.address())).actor("users/admin").connections(1);
    files.connect(builder.retry_for(Duration::ZERO)).connect_lazy().unwrap()
}

async fn whoami(client: &RegistryClient) -> Result<WhoAmIResponse, Error> {
    soon(client.who_am_i().send()).await
}

#[tokio::test]
async fn a_certificate_is_whom_its_one_name_says() {
    let authority = Authority::new();
    let (server, _files) = server(&authority).await;
    let admin = admin(&server, &authority);
    let of = |uris: &[&str], name: &str| {
        let pair = authority.sign_with(|params| named(params, uris, name));
        client(&server, &authority, &pair)
    };
    let trainer = of(&[TRAINER], "ana");
    let caller = whoami(&trainer).await.unwrap();
    assert_eq!((caller.principal.as_str(), caller.certificate.as_str()), ("services/trainer", TRAINER));
    assert!(caller.authenticated && caller.token.is_empty() && caller.expire_time.is_some());
    denied(trainer.create_model("namespaces/risk/models/fraud").await);
    admin.create_binding("trainer", "publisher", ["services/trainer"]).on("namespaces/risk").await.unwrap();
    let made = || async { trainer.create_model("namespaces/risk/models/fraud").await.ok() };
    assert_eq!(until(SECOND, made).await.creator, "services/trainer");
    let by_certificate = |event: &Event| event.caller.as_ref().is_some_and(|caller| caller.certificate == TRAINER);
    assert!(
        events(&admin).await.iter().any(|event| event.r#type == "model.created" && by_certificate(event)),
        "the log tells by what it was proven who called"
    );
    assert_eq!(whoami(&of(&[], "ana@example.com")).await.unwrap().principal, "users/ana@example.com");

    for (uris, name) in [
        (&[TRAINER, "spiffe://corp.example/ns/risk/sa/admin"][..], "ana"),
        (&[TRAINER, TRAINER], "ana"),
        (&[TRAINER, "https://corp.example/trainer"], "ana"),
        (&["spiffe://other.example/ns/risk/sa/trainer"], "ana"),
        (&["spiffe://corp.example/ns/risk/sa/../../admin"], "ana"),
        (&[], "a/b"),
    ] {
        unauthenticated(whoami(&of(uris, name)).await, ErrorReason::CertificateUnknown);
    }
    // A token says more.
    let token = std::fs::read_to_string(first_token(&server.storage())).unwrap();
    let files = Files::of(&authority.sign_with(|params| named(params, &[TRAINER], "ana")));
    files.trust(&[&authority]);
    let both = files
        .connect(RegistryClient::builder(format!("https://{}", server.address())).token(token))
        .connect_lazy()
        .unwrap();
    assert_eq!(whoami(&both).await.unwrap().principal, "users/admin");
}

#[tokio::test]
async fn who_shows_none_needs_a_token_and_who_shows_another_authoritys_is_not_served() {
    let (authority, other) = (Authority::named("ours"), Authority::named("ours"));
    let (server, _files) = server(&authority).await;
    let trusting = Files::trusting(&authority);
    let nobody =
        trusting.connect(RegistryClient::builder(format!("https://{}", server.address()))).connect_lazy().unwrap();
    unauthenticated(whoami(&nobody).await, ErrorReason::TokenMissing);
    assert_eq!(whoami(&admin(&server, &authority)).await.unwrap().principal, "users/admin");
    let expired = |params: &mut CertificateParams| {
        named(params, &[TRAINER], "ana");
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    for pair in [other.sign_with(|params| named(params, &[TRAINER], "ana")), authority.sign_with(expired)] {
        let error = whoami(&client(&server, &authority, &pair)).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_ends_while_its_connection_lasts_lets_nobody_in() {
    let authority = Authority::new();
    let (server, _files) = server(&authority).await;
    let soon_over = authority.sign_with(|params| {
        named(params, &[TRAINER], "ana");
        params.not_after = (std::time::SystemTime::now() + Duration::from_secs(3)).into();
    });
    let client = client(&server, &authority, &soon_over);
    assert_eq!(whoami(&client).await.unwrap().principal, "services/trainer");
    let refused = until(SECOND, async || whoami(&client).await.err()).await;
    unauthenticated::<()>(Err(refused), ErrorReason::CertificateExpired);
}
