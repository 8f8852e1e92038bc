//! Browsers: gRPC-Web, pages of other sites, and the pages of the server's own.

use prost::Message as _;
use registry_client::pb;
use registry_tests::http::{request, send};
use registry_tests::{TestServer, model};

const PATH: &str = "/modelregistry.v1.ModelService/GetModel";

fn framed(message: &impl prost::Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

#[tokio::test]
async fn grpc_web_is_answered() {
    let server = TestServer::start().await;
    let made = model(&server.client(), "models/fraud").await;
    let headers = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
    let get = |name: &str| framed(&pb::GetModelRequest { name: name.to_owned(), ..Default::default() });
    let answer = send(server.address(), request("POST", PATH, &headers, get("models/fraud"))).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc-web+proto"));
    let length = u32::from_be_bytes(answer.body[1..5].try_into().unwrap()) as usize;
    let (message, trailers) = answer.body[5..].split_at(length);
    assert_eq!(pb::Model::decode(message).unwrap().name, made.name);
    assert_eq!(trailers[0], 0x80);
    assert!(String::from_utf8_lossy(&trailers[5..]).contains("grpc-status:0"), "{trailers:?}");

    let missing = send(server.address(), request("POST", PATH, &headers, get("models/nope"))).await;
    assert_eq!(missing.header("grpc-status"), "5");
    let foreign = [headers[0], ("origin", "https://evil.com")];
    assert_eq!(send(server.address(), request("POST", PATH, &foreign, get("models/fraud"))).await.status, 403);
}

#[tokio::test]
async fn pages_of_sites_that_are_named_may_call() {
    let server = TestServer::with(|config| config.http_origins = vec!["https://ui.example.com".parse().unwrap()]).await;
    let origin = ("origin", "https://ui.example.com");
    let asks = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
        origin,
    ];
    let may = send(server.address(), request("OPTIONS", "/v1/namespaces", &asks, "")).await;
    assert_eq!((may.status, may.header("access-control-allow-origin")), (200, origin.1));
    assert!(may.header("access-control-allow-methods").contains("PATCH"), "{may:?}");
    assert_eq!(may.header("access-control-allow-headers"), "authorization,content-type");
    let got = send(server.address(), request("GET", "/v1/namespaces", &[origin], "")).await;
    assert_eq!(got.header("access-control-allow-origin"), origin.1);
    assert!(got.header("access-control-expose-headers").contains("grpc-status-details-bin"), "{got:?}");
    // Another site does not learn that it could.
    let other = [asks[0], ("origin", "https://evil.com")];
    let other = send(server.address(), request("OPTIONS", "/v1/namespaces", &other, "")).await;
    assert_eq!(other.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn the_server_says_how_it_is() {
    // A server that is full is well.
    let server = TestServer::with(|config| config.max_calls = 0).await;
    for path in ["/healthz", "/readyz"] {
        let answer = send(server.address(), request("GET", path, &[], "")).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok\n"[..]), "{path}");
        assert_eq!(send(server.address(), request("POST", path, &[], "")).await.status, 405, "{path}");
    }
}

#[tokio::test]
async fn the_contract_is_there_to_be_read() {
    let server = TestServer::start().await;
    let root = send(server.address(), request("GET", "/", &[], "")).await;
    assert_eq!((root.status, root.header("location")), (308, "/docs/"));
    for (path, of, begin) in [
        ("/docs/", "text/html; charset=utf-8", &b"<!doctype html>"[..]),
        ("/docs/reference", "text/html; charset=utf-8", b"<!doctype html>"),
        ("/docs/start.js", "text/javascript; charset=utf-8", b"\"use strict\""),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8", b"."),
        ("/openapi.json", "application/json", b"{"),
    ] {
        let page = send(server.address(), request("GET", path, &[], "")).await;
        assert_eq!((page.status, page.header("content-type")), (200, of), "{path}");
        assert!(page.body.starts_with(begin), "{path}");
        assert!(page.header("content-security-policy").contains("script-src 'self';"), "{path}");
        let again = send(server.address(), request("GET", path, &[("if-none-match", page.header("etag"))], "")).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    assert_eq!(send(server.address(), request("POST", "/docs/", &[], "")).await.status, 405);
}
