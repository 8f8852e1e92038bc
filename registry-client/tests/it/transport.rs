//! What stands between a client and its servers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use registry_client::{Error, RegistryClient, WatchItem, pb};
use tonic::{Request, Status};
use tower::util::MapRequestLayer;

use crate::fake::{Answers, Fake};

/// Answers each question for a model with the values of one header, as its description.
fn echo(header: &'static str) -> Fake {
    Fake::default().on(move |request: Request<pb::GetModelRequest>| {
        let values = request.metadata().get_all(header).iter().map(|value| value.to_str().unwrap());
        Ok(pb::Model { description: values.collect::<Vec<_>>().join(" "), ..Default::default() })
    })
}

#[tokio::test]
async fn a_header_and_what_an_interceptor_adds_are_sent_with_every_attempt() {
    let endpoint = format!("http://{}", echo("authorization").serve().await);
    let client = RegistryClient::builder(&endpoint).header("authorization", "Bearer one").connect().await.unwrap();
    assert_eq!(client.get_model("fraud").await.unwrap().description, "Bearer one");

    let calls = Arc::new(AtomicUsize::new(0));
    let token = move |mut request: Request<()>| {
        let token = format!("Bearer {}", calls.fetch_add(1, Ordering::Relaxed));
        request.metadata_mut().insert("authorization", token.parse().unwrap());
        Ok(request)
    };
    let client = RegistryClient::builder(endpoint).interceptor(token).connect().await.unwrap();
    for expected in ["Bearer 0", "Bearer 1"] {
        assert_eq!(client.get_model("fraud").await.unwrap().description, expected);
    }
}

#[tokio::test]
async fn an_interceptor_may_refuse() {
    let refuse = |_: Request<()>| Err(Status::unauthenticated("no token"));
    let endpoint = format!("http://{}", Fake::default().serve().await);
    let client = RegistryClient::builder(endpoint).interceptor(refuse).connect().await.unwrap();
    let error = client.get_model("fraud").await.unwrap_err();
    assert!(error.is_unauthenticated() && !error.is_outcome_unknown(), "{error:?}");
}

#[tokio::test]
async fn the_layer_that_was_added_first_sees_a_request_first() {
    let add = |value: &'static str| {
        MapRequestLayer::new(move |mut request: http::Request<_>| {
            request.headers_mut().append("x-seen", value.parse().unwrap());
            request
        })
    };
    let endpoint = format!("http://{}", echo("x-seen").serve().await);
    let client = RegistryClient::builder(endpoint).layer(add("first")).layer(add("second")).connect().await.unwrap();
    assert_eq!(client.get_model("fraud").await.unwrap().description, "first second");
}

#[tokio::test]
async fn a_service_of_the_program_stands_for_a_connection() {
    let watched = Arc::new(Mutex::new(Vec::new()));
    let parents = Arc::clone(&watched);
    let fake = echo("x-registry-actor").on(move |request: Request<pb::WatchEventsRequest>| {
        parents.lock().unwrap().push(request.into_inner().parent);
        let created =
            pb::watch_events_response::Response::Created(pb::WatchCreated { revision: 3, ..Default::default() });
        let answer = pb::WatchEventsResponse { response: Some(created) };
        let answers: Answers<_> = Box::pin(futures::stream::iter([Ok(answer)]));
        Ok(answers)
    });
    let client = RegistryClient::with_service(fake.routes()).actor("tester").connect().await.unwrap();
    assert_eq!(client.get_model("fraud").await.unwrap().description, "tester");
    let item = client.watch().parent("fraud").stream().try_next().await.unwrap();
    assert_eq!(item, Some(WatchItem::Created { revision: 3, hash: Default::default() }));
    assert_eq!(*watched.lock().unwrap(), ["models/fraud"]);
}

#[tokio::test]
async fn a_name_that_a_header_can_not_carry_as_text_is_sent_as_bytes() {
    let names = Fake::default().on(move |request: Request<pb::GetModelRequest>| {
        let headers = request.metadata();
        let text = headers.get("x-registry-actor").map(|value| value.to_str().unwrap().to_owned());
        let bytes = headers.get_bin("x-registry-actor-bin").map(|value| value.to_bytes().unwrap().to_vec());
        let name = text.map(|text| format!("text {text}"));
        let name = name.or(bytes.map(|bytes| format!("bytes {}", String::from_utf8(bytes).unwrap())));
        Ok(pb::Model { description: name.unwrap_or_default(), ..Default::default() })
    });
    let endpoint = format!("http://{}", names.serve().await);
    for (actor, expected) in [
        ("ana", "text ana"),
        ("Zoë", "bytes Zoë"),
        ("模型", "bytes 模型"),
        (" ana ", "bytes  ana "),
        ("a b", "text a b"),
    ] {
        let client = RegistryClient::builder(&endpoint).actor(actor).connect_lazy().unwrap();
        assert_eq!(client.get_model("fraud").await.unwrap().description, expected);
    }
}

#[tokio::test]
async fn headers_that_can_not_be_sent_are_refused() {
    for (name, value) in [("two words", "x"), ("x-bin", "x"), ("authorization", "line\nline")] {
        let made = RegistryClient::builder("http://127.0.0.1:1").header(name, value).connect_lazy();
        let error = made.unwrap_err();
        assert!(matches!(&error, Error::InvalidOption { option: "header", .. }), "{error:?}");
        assert!(!error.to_string().contains(value) || value == "x", "{error}");
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn https_without_the_feature_says_what_is_missing() {
    let error = RegistryClient::builder("https://127.0.0.1:1").connect_lazy().unwrap_err();
    assert!(error.to_string().ends_with("https needs the feature `tls` of the crate registry-client"), "{error}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn an_endpoint_of_https_is_encrypted_and_its_certificate_checked() {
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};

    // tonic's server takes the one that there is, and another crate of the workspace may have brought a second one. In a process
    // that runs other tests too, it may be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (certificate, key) = of_localhost();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let identity = Identity::from_pem(&certificate, key);
    let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    let server = server.add_routes(echo("x-registry-actor").routes());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let once = RegistryClient::builder(&endpoint).retry_for(std::time::Duration::ZERO);
    let error = once.connect().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    let trusted = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificate));
    let client = RegistryClient::builder(endpoint).tls(trusted).actor("tester").connect().await.unwrap();
    assert_eq!(client.get_model("fraud").await.unwrap().description, "tester");
}

/// A certificate of `localhost` that is its own authority, and its key.
#[cfg(feature = "tls")]
fn of_localhost() -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let settings = "[req]\ndistinguished_name=name\nx509_extensions=more\nprompt=no\n[name]\nCN=localhost\n[more]\n\
                    subjectAltName=DNS:localhost\n";
    std::fs::write(path("settings"), settings).unwrap();
    let made = std::process::Command::new("openssl")
        .args("req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -config".split(' '))
        .arg(path("settings"))
        .arg("-keyout")
        .arg(path("key"))
        .arg("-out")
        .arg(path("certificate"))
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let read = |name| std::fs::read_to_string(path(name)).unwrap();
    (read("certificate"), read("key"))
}
