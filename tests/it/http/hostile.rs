//! What no proper client sends.

use prost::Message as _;
use registry_client::pb;
use registry_server::config::AccessChoice;
use registry_tests::http::{json, raw, request, send};
use registry_tests::wire::Wire;
use registry_tests::{TestServer, model, pending, soon};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::yield_now;

/// The status that some bytes are answered with; none if the connection is closed without an answer.
async fn status(server: &TestServer, bytes: impl AsRef<[u8]>) -> Option<u16> {
    raw(server.address(), bytes).await.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[tokio::test]
async fn bytes_that_two_parsers_read_differently_are_one_request_or_none() {
    let server = TestServer::start().await;
    let post = "POST /v1/namespaces?namespaceId=a HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let smuggled = "GET /v1/namespaces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for (what, bytes) in [
        ("two lengths", format!("{post}content-length: 2\r\ncontent-length: 40\r\n\r\n{{}}{smuggled}")),
        ("lengths in one header", format!("{post}content-length: 2, 40\r\n\r\n{{}}{smuggled}")),
        ("no length", format!("{post}content-length: x\r\n\r\n{{}}{smuggled}")),
        ("a signed length", format!("{post}content-length: +2\r\n\r\n{{}}{smuggled}")),
        ("chunked, and then something", format!("{post}transfer-encoding: chunked, identity\r\n\r\n{smuggled}")),
        ("no chunk", format!("{post}transfer-encoding: chunked\r\n\r\nxyz\r\n{{}}\r\n0\r\n\r\n{smuggled}")),
        ("a chunk that is too long", format!("{post}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{{}}\r\n")),
        ("a blank before the colon", format!("{post}content-length : 2\r\n\r\n{{}}{smuggled}")),
        ("a folded header", format!("{post}x-a: b\r\n c\r\ncontent-length: 2\r\n\r\n{{}}")),
        ("a header with a NUL", format!("{post}x-a: b\0c\r\ncontent-length: 2\r\n\r\n{{}}")),
        ("no version", "GET /v1/namespaces\r\n\r\n".to_owned()),
        (
            "two hosts",
            "GET /v1/namespaces HTTP/1.1\r\nhost: localhost\r\nhost: evil.com\r\nconnection: close\r\n\r\n".to_owned(),
        ),
        ("no host", "GET /v1/namespaces HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned()),
        (
            "a host with a user",
            "GET /v1/namespaces HTTP/1.1\r\nhost: a@localhost\r\nconnection: close\r\n\r\n".to_owned(),
        ),
    ] {
        let answer = raw(server.address(), &bytes).await;
        assert!(answer.matches("HTTP/1.1 200").count() == 0, "{what}: {answer}");
        assert!(answer.matches("HTTP/1.1").count() <= 1, "{what}: {answer}");
    }
    assert!(server.client().get_namespace("namespaces/a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let server = TestServer::with(|config| config.max_message_size = "1MiB".parse().unwrap()).await;
    let header = format!("GET /v1/namespaces HTTP/1.1\r\nhost: localhost\r\nx-a: {}\r\n\r\n", "a".repeat(1 << 20));
    assert_eq!(status(&server, header).await, Some(431));
    let headers: String = (0..1000).map(|at| format!("x-{at}: a\r\n")).collect();
    assert_eq!(
        status(&server, format!("GET /v1/namespaces HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await,
        Some(431)
    );
    let body = json!({ "description": "a".repeat(1 << 20) });
    let large = send(server.address(), json("POST", "/v1/namespaces?namespaceId=a", &body)).await;
    assert_eq!((large.status, large.reason().as_str()), (413, "MESSAGE_TOO_LARGE"));
    let path = "/v1/namespaces/default/models/fraud/versions?version_id=a";
    server.client().create_model("fraud").await.unwrap();
    for depth in [120, 10_000] {
        let deep = format!("{{\"hyperparameters\":{}1{}}}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let deep = request("POST", path, &[("content-type", "application/json")], deep);
        assert_eq!(send(server.address(), deep).await.status, 400, "{depth}");
    }
    let long = "a".repeat(60_000);
    assert!(
        status(&server, format!("GET /v1/{long} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
            >= Some(400)
    );
}

#[tokio::test]
async fn numbers_and_texts_are_what_json_says_or_refused() {
    let server = TestServer::start().await;
    server.client().create_model("fraud").await.unwrap();
    let make = |body: &[u8]| {
        let path = "/v1/namespaces/default/models/fraud/versions?validateOnly=true";
        request("POST", path, &[("content-type", "application/json; charset=utf-8")], body.to_vec())
    };
    for (body, status) in [
        (&br#"{"metrics":{"val":{"values":{"rmse":0.5}}}}"#[..], 200),
        (br#"{"metrics":{"val":{"values":{"rmse":NaN}}}}"#, 400),
        (br#"{"metrics":{"val":{"values":{"rmse":1e400}}}}"#, 400),
        (br#"{"hyperparameters":{"a":1e400}}"#, 400),
        (br#"{"description":"\ud800"}"#, 400),
        (b"{\"description\":\"\xff\"}", 400),
        (b"\xef\xbb\xbf{}", 400),
        (br#"{"description":"a"} x"#, 400),
        (br#"[{"description":"a"}]"#, 400),
        (br#"{"description":"a",}"#, 400),
        (br#"{"description":null}"#, 200),
    ] {
        let answer = send(server.address(), make(body)).await;
        assert_eq!(answer.status, status, "{}: {answer:?}", String::from_utf8_lossy(body));
    }
    for (revision, status) in
        [("1", 200), ("9223372036854775807", 400), ("9223372036854775808", 400), ("1.5", 400), ("x", 400)]
    {
        let path = format!("/v1/namespaces/default/models/fraud?revision={revision}");
        assert_eq!(send(server.address(), request("GET", &path, &[], "")).await.status, status, "{revision}");
    }
}

#[tokio::test]
async fn a_name_or_a_page_of_somebody_else_gets_nothing() {
    let server = TestServer::with(|config| {
        config.http_hosts = vec!["models.example.com".parse().unwrap()];
        config.http_origins = vec!["https://ui.example.com".parse().unwrap()];
    })
    .await;
    let asked = |headers: &[(&str, &str)]| request("GET", "/v1/namespaces", headers, "");
    for (headers, status) in [
        (&[("host", "localhost:50051")][..], 200),
        (&[("host", "models.example.com")], 200),
        (&[("host", "evil.com")], 421),
        (&[("host", "localhost"), ("origin", "http://localhost")], 200),
        (&[("host", "localhost"), ("origin", "https://ui.example.com")], 200),
        (&[("host", "localhost"), ("origin", "https://evil.com")], 403),
        (&[("host", "localhost"), ("origin", "null")], 403),
    ] {
        assert_eq!(send(server.address(), asked(headers)).await.status, status, "{headers:?}");
    }
    // With the files and the pages it is the same.
    for path in ["/v1/namespaces/default/models/a/versions/1/files/b", "/docs/", "/openapi.json", "/nope"] {
        let headers = [("host", "evil.com")];
        assert_eq!(send(server.address(), request("GET", path, &headers, "")).await.status, 421, "{path}");
    }
}

#[tokio::test]
async fn who_may_not_call_is_told_before_the_body_is_read() {
    let server = TestServer::with(|config| config.access = AccessChoice::Tokens).await;
    let post = "POST /v1/namespaces?namespaceId=a HTTP/1.1\r\nhost: evil.com\r\ncontent-type: application/json\r\n";
    // The rest of it never comes.
    let answer = raw(server.address(), format!("{post}connection: close\r\ncontent-length: 1000000\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("TOKEN_MISSING"), "{answer}");
    assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
    for headers in
        [&[("authorization", "Bearer mr_x")][..], &[("x-registry-actor", "users/admin")], &[("cookie", "token=mr_x")]]
    {
        let answer = send(server.address(), request("GET", "/v1/namespaces", headers, "")).await;
        assert_eq!(answer.status, 401, "{headers:?}");
    }
}

#[tokio::test]
async fn a_page_can_not_call_over_grpc_either() {
    let server = TestServer::start().await;
    let message = pb::CreateNamespaceRequest { namespace_id: "a".to_owned(), ..Default::default() }.encode_to_vec();
    let frame = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
    for (of, status) in [
        ("application/grpc", 415),
        ("application/grpc+proto", 415),
        ("application/grpcx", 404),
        ("Application/GRPC-WEB", 421),
    ] {
        let headers = [("content-type", of), ("host", if status == 421 { "evil.com" } else { "localhost" })];
        let path = "/modelregistry.v1.NamespaceService/CreateNamespace";
        assert_eq!(send(server.address(), request("POST", path, &headers, frame.clone())).await.status, status, "{of}");
    }
    assert!(server.client().get_namespace("namespaces/a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_call_that_is_broken_off_in_http_2_is_none() {
    let server = TestServer::start().await;
    for (at, body) in [&b""[..], b"{}"].into_iter().enumerate() {
        let mut wire = Wire::to(server.address()).await;
        let path = format!("/v1/namespaces?namespaceId=broken-{at}");
        let stream = wire.begin_json(&path, body);
        // As hyper has it, this is the end of a body.
        wire.reset(stream, 0);
        wire.settled().await;
        let name = format!("namespaces/broken-{at}");
        assert!(server.client().get_namespace(&name).await.unwrap_err().is_not_found(), "{at}");
    }
}

#[tokio::test]
async fn an_odd_end_of_a_path_is_no_other_path() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, "models/fraud").await;
    let version = pending(&client, "models/fraud").await.name;
    client.upload(&version, "ab", b"plain".to_vec()).await.unwrap();
    let path = format!("/v1/{version}/artifacts/ab:");
    assert_eq!(send(server.address(), request("DELETE", &path, &[], "")).await.status, 404);
    client.get_artifact(format!("{version}/artifacts/ab")).await.unwrap();
    let path = "/v1/namespaces/default/models/fraud:purge";
    let other = json("POST", path, &json!({ "name": "namespaces/default/models/other" }));
    let answer = send(server.address(), other).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "FIELD_INVALID"));
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable_or_says_that_it_ends() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // The body comes behind the head, as many clients send it.
    for _ in 0..20 {
        stream.write_all(b"POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        yield_now().await;
        stream.write_all(b"{}").await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("http/1.1 404") && !answer.contains("connection: close"), "{answer}");
    }
    for (length, expects) in [("9", ""), ("6000000", ""), ("2", "expect: 100-continue\r\n")] {
        let head = format!("POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{expects}\r\n");
        let answer = raw(server.address(), head).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 404") && answer.contains("connection: close"), "{length} {answer}");
    }
}

/// Reads the head of an answer and its body, and returns the head.
async fn head(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let head = loop {
        answer.push(soon(stream.read_u8()).await.unwrap());
        if answer.ends_with(b"\r\n\r\n") {
            break String::from_utf8(answer).unwrap().to_ascii_lowercase();
        }
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    soon(stream.read_exact(&mut body)).await.unwrap();
    head
}
