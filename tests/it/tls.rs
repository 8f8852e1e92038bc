//! Connections behind TLS: who is served, what is said of those who are not, and certificates that are replaced.

use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use registry_client::{Builder, Error, RegistryClient};
use registry_tests::certificates::{Authority, Files, Pair};
use registry_tests::{TestServer, soon, until};

/// How long a replaced certificate may take to be seen.
const SEEN: Duration = Duration::from_secs(20);

async fn server(files: &Files) -> TestServer {
    TestServer::with(|config| files.serve(config)).await
}

fn builder(server: &TestServer) -> Builder {
    RegistryClient::builder(format!("https://{}", server.address())).retry_for(Duration::ZERO)
}

/// A client that makes a connection of its own.
fn client(server: &TestServer, files: &Files) -> RegistryClient {
    files.connect(builder(server).connections(1)).connect_lazy().unwrap()
}

async fn call(client: &RegistryClient) -> Result<(), Error> {
    soon(client.list_models().send()).await.map(drop)
}

/// What is said of a call that comes to nothing.
async fn refusal(client: &RegistryClient) -> String {
    call(client).await.expect_err("it is served").to_string()
}

#[tokio::test]
async fn calls_come_over_tls_and_no_other_way() {
    let authority = Authority::new();
    let server = server(&Files::of(&authority.sign())).await;
    let trusting = Files::trusting(&authority);
    call(&client(&server, &trusting)).await.unwrap();
    let plain = RegistryClient::builder(server.endpoint()).retry_for(Duration::ZERO).connect_lazy().unwrap();
    let said = refusal(&plain).await;
    assert!(said.contains("https://"), "{said}");
    call(&client(&server, &trusting)).await.expect("that changed nothing");
}

#[tokio::test]
async fn a_client_says_why_it_does_not_trust_a_server() {
    let authority = Authority::named("tests");
    let expired = authority.sign_with(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let early = authority.sign_with(|params| params.not_before = date_time_ymd(3000, 1, 1));
    let other = authority.sign_with(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("registry.example".try_into().unwrap())];
    });
    for (pair, expected) in [
        (Authority::named("tests").sign(), "is signed by an authority that is not trusted here: ca_file"),
        (Authority::new().sign(), "is signed by an authority that is not trusted here: ca_file"),
        (expired, "has expired"),
        (early, "is not valid yet"),
        (other, "registry.example"),
    ] {
        let said = refusal(&client(&server(&Files::of(&pair)).await, &Files::trusting(&authority))).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let plain = TestServer::start().await;
    let said = refusal(&client(&plain, &Files::trusting(&authority))).await;
    assert!(said.contains("does not speak TLS"), "{said}");
    // One whose authorities are the system's does not know it either.
    let server = server(&Files::of(&authority.sign())).await;
    let said = refusal(&builder(&server).connect_lazy().unwrap()).await;
    assert!(said.contains("not trusted here"), "{said}");
}

#[tokio::test]
async fn a_client_needs_a_certificate_that_is_valid_where_there_are_authorities() {
    let (authority, clients) = (Authority::new(), Authority::named("clients"));
    let files = Files::of(&authority.sign());
    files.trust(&[&clients]);
    let server = server(&files).await;
    let with = |pair: Pair| {
        let files = Files::of(&pair);
        files.trust(&[&authority]);
        files
    };
    let expired = clients.sign_with(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let of_server = clients.sign_with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    for (files, expected) in [
        (Files::trusting(&authority), "asks for a client's certificate"),
        (with(authority.sign()), "does not know the authority"),
        (with(Authority::named("clients").sign()), "does not know the authority"),
        (with(expired), "certificate has expired"),
        (with(of_server), "the server ended TLS"),
    ] {
        let said = refusal(&client(&server, &files)).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    call(&client(&server, &with(clients.sign()))).await.unwrap();
}

#[tokio::test]
async fn new_connections_get_the_new_certificate_and_open_ones_go_on() {
    let (before, after) = (Authority::new(), Authority::new());
    let files = Files::of(&before.sign());
    let server = server(&files).await;
    let open = client(&server, &Files::trusting(&before));
    call(&open).await.unwrap();
    files.put(&after.sign());
    until(SEEN, async || call(&client(&server, &Files::trusting(&after))).await.ok()).await;
    refusal(&client(&server, &Files::trusting(&before))).await;
    // It could not connect again.
    call(&open).await.expect("it is open");
}

#[tokio::test]
async fn a_client_reads_its_files_again_when_it_connects_again() {
    let (before, after, clients) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&before.sign());
    files.trust(&[&clients]);
    let mut server = server(&files).await;
    let of_client = Files::of(&clients.sign());
    of_client.trust(&[&before]);
    let client = client(&server, &of_client);
    call(&client).await.unwrap();

    // Both sides get certificates of other authorities.
    let others = Authority::new();
    files.put(&after.sign());
    files.trust(&[&others]);
    server.restart().await;
    refusal(&client).await;
    of_client.trust(&[&after]);
    let said = until(SEEN, async || Some(refusal(&client).await).filter(|said| said.contains("does not know"))).await;
    assert!(said.contains("authority of this client"), "{said}");
    // Half of a new pair leaves the old one.
    std::fs::write(of_client.key(), "").unwrap();
    refusal(&client).await;
    of_client.put(&others.sign());
    until(SEEN, async || call(&client).await.ok()).await;
}

#[tokio::test]
async fn files_that_can_not_be_used_are_refused_with_their_option() {
    let authority = Authority::new();
    let files = Files::of(&authority.sign());
    files.trust(&[&authority]);
    let missing = files.key().with_extension("missing");
    let at = |endpoint: &str| RegistryClient::builder(endpoint);
    let https = || at("https://registry.example");
    for (builder, said) in [
        (https().ca_file(&missing), "ca_file"),
        (https().ca_file(files.key()), "ca_file"),
        (https().identity(&missing, files.key()), "client certificate"),
        (https().identity(files.certificate(), &missing), "client key"),
        (https().identity(files.certificate(), files.certificate()), "client key"),
        (https().identity(files.authorities(), files.key()), "can't be used with the key"),
        (at("http://registry.example").ca_file(files.authorities()), "TLS is configured, and needs https"),
        (at("registry.example:1").identity(files.certificate(), files.key()), "TLS is configured, and needs https"),
        (https().ca_file(files.authorities()).tls(Default::default()), "can't be used together with ca_file"),
    ] {
        let error = builder.connect_lazy().expect_err(said);
        assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
}
