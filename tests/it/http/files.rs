//! The bytes of artifacts as files.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use registry_client::pb::{Artifact, ErrorReason};
use registry_tests::http::{Answer, raw, request, send};
use registry_tests::{TestServer, model, noise, pending};
use sha2::{Digest as _, Sha256};

const FILES: &str = "/v1/namespaces/default/models/fraud/versions/1/files";

async fn prepared() -> TestServer {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, "models/fraud").await;
    pending(&client, "models/fraud").await;
    server
}

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(bytes)))
}

async fn put(server: &TestServer, path: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> Answer {
    send(server.address(), request("PUT", &format!("{FILES}/{path}"), headers, bytes)).await
}

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(server.address(), request("GET", &format!("{FILES}/{path}"), headers, "")).await
}

async fn artifact(server: &TestServer, path: &str) -> Option<Artifact> {
    let found = server.client().get_artifact(format!("models/fraud/versions/1/artifacts/{path}")).await;
    match found {
        Ok(artifact) => Some(artifact),
        Err(error) if error.is_not_found() => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_sent() {
    let server = prepared().await;
    let bytes = noise(3_000_000);
    let headers = [("repr-digest", &*digest(&bytes)), ("content-type", "application/x-onnx")];
    let put = put(&server, "a%20b/m%C3%B6del.onnx?type=model&executable=true", &headers, bytes.to_vec()).await;
    assert_eq!(put.status, 200, "{put:?}");
    let kept = artifact(&server, "a b/mödel.onnx").await.unwrap();
    assert_eq!((&*kept.media_type, kept.executable, kept.size_bytes), ("application/x-onnx", true, 3_000_000));
    assert_eq!(put.json()["sha256"], kept.sha256);

    let got = get(&server, "a%20b/m%C3%B6del.onnx", &[]).await;
    assert_eq!((got.status, &got.body[..]), (200, &bytes[..]));
    assert_eq!(got.header("etag"), format!("\"{}\"", kept.sha256));
    assert_eq!(got.header("repr-digest"), digest(&bytes));
    assert_eq!(got.header("content-type"), "application/x-onnx");
    assert_eq!(got.header("content-disposition"), "attachment; filename*=UTF-8''m%C3%B6del.onnx");
    // Whatever is in it, it is no page of this server.
    assert_eq!(got.header("content-security-policy"), "default-src 'none'; sandbox");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    // A slash may be written in another way here, as some clients do.
    assert_eq!(get(&server, "a%20b%2Fm%C3%B6del.onnx", &[]).await.body, bytes);
}

#[tokio::test]
async fn ranges_and_conditions_are_those_of_http() {
    let server = prepared().await;
    let bytes = noise(2_000_000);
    put(&server, "m.bin?type=model", &[], bytes.to_vec()).await;
    let etag = get(&server, "m.bin", &[]).await.header("etag").to_owned();
    for (headers, status, part) in [
        (&[("range", "bytes=0-0")][..], 206, &bytes[..1]),
        (&[("range", "bytes=999999-1500000")], 206, &bytes[999_999..=1_500_000]),
        (&[("range", "bytes=1999999-")], 206, &bytes[1_999_999..]),
        (&[("range", "bytes=-7")], 206, &bytes[1_999_993..]),
        (&[("range", "bytes=0-1,2-3")], 200, &bytes[..]),
        (&[("range", "bytes=0-9"), ("if-range", "\"other\"")], 200, &bytes[..]),
        (&[("if-none-match", &*etag)], 304, &[]),
        (&[("if-match", &*etag)], 200, &bytes[..]),
    ] {
        let got = get(&server, "m.bin", headers).await;
        assert_eq!((got.status, got.body.len()), (status, part.len()), "{headers:?}");
        assert!(got.body == *part && got.header("etag") == etag, "{headers:?}");
    }
    let part = get(&server, "m.bin", &[("range", "bytes=10-19")]).await;
    assert_eq!((part.header("content-range"), part.header("content-length")), ("bytes 10-19/2000000", "10"));
    let beyond = get(&server, "m.bin", &[("range", "bytes=2000000-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */2000000"));
    assert_eq!(get(&server, "m.bin", &[("if-match", "\"other\"")]).await.status, 412);
    let head = send(server.address(), request("HEAD", &format!("{FILES}/m.bin"), &[("range", "bytes=0-9")], "")).await;
    // A range is for GET alone.
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "2000000", 0));
    let missing = get(&server, "nope", &[]).await;
    assert_eq!((missing.status, missing.reason().as_str()), (404, "RESOURCE_NOT_FOUND"));
    let posted = send(server.address(), request("POST", &format!("{FILES}/m.bin"), &[], "")).await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD, PUT"));
}

#[tokio::test]
async fn an_upload_is_what_it_announces_or_nothing() {
    let server = prepared().await;
    let bytes = b"some bytes".to_vec();
    let other = digest(b"others");
    for (query, headers, status, reason) in [
        ("", &[][..], 400, "FIELD_REQUIRED"),
        ("?type=model&nope=1", &[], 400, "FIELD_INVALID"),
        ("?type=model", &[("repr-digest", &*other)], 400, "DIGEST_MISMATCH"),
        ("?type=model", &[("repr-digest", "md5=:AA==:")], 400, "FIELD_INVALID"),
        ("?type=model&type=plot", &[], 400, "FIELD_INVALID"),
        ("?type=model", &[("repr-digest", &*digest(&bytes)), ("content-digest", &*other)], 400, "FIELD_INVALID"),
        ("?type=model", &[("if-none-match", "*")], 400, "FIELD_INVALID"),
        ("?type=model", &[("grpc-timeout", "1n")], 400, "FIELD_INVALID"),
        ("?type=model", &[("content-range", "bytes 0-9/10")], 400, "FIELD_INVALID"),
        ("?type=model", &[("content-encoding", "gzip")], 415, "MEDIA_TYPE_UNSUPPORTED"),
        ("?type=model", &[("content-type", "multipart/form-data; boundary=x")], 415, "MEDIA_TYPE_UNSUPPORTED"),
        ("?type=model", &[("x-server-timeout", "soon")], 400, "FIELD_INVALID"),
    ] {
        let answer = put(&server, &format!("m.bin{query}"), headers, bytes.clone()).await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{query} {headers:?}");
        assert!(artifact(&server, "m.bin").await.is_none());
    }
    assert_eq!(put(&server, "empty?type=model", &[], Vec::new()).await.status, 200);
    assert_eq!(get(&server, "empty", &[]).await.body.len(), 0);
    let part = get(&server, "empty", &[("range", "bytes=0-")]).await;
    assert_eq!((part.status, part.header("content-range")), (416, "bytes */0"));
    // The same bytes again are the same artifact; others are not.
    let first = put(&server, "m.bin?type=model", &[], bytes.clone()).await;
    assert_eq!(put(&server, "m.bin?type=model", &[], bytes).await.body, first.body);
    let others = put(&server, "m.bin?type=model", &[], b"others".to_vec()).await;
    assert_eq!((others.status, others.reason().as_str()), (409, "RESOURCE_ALREADY_EXISTS"));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let server = prepared().await;
    let path = format!("{FILES}/m.bin?type=model");
    let begin = format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    let sha256 = digest(b"hello");
    for rest in [
        "content-length: 10\r\n\r\nhello".to_owned(),
        // As much as is announced comes in chunks, but not their end.
        format!("transfer-encoding: chunked\r\nrepr-digest: {sha256}\r\n\r\n5\r\nhello\r\n"),
        "transfer-encoding: chunked\r\n\r\n5\r\nhel".to_owned(),
        format!("transfer-encoding: chunked\r\nrepr-digest: {sha256}\r\n\r\nzz\r\nhello\r\n"),
    ] {
        // The half that is written is closed, and the answer read.
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, format!("{begin}{rest}").as_bytes()).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let mut answer = Vec::new();
        let _ = registry_tests::soon(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer)).await;
        assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"), "{rest}");
        assert!(artifact(&server, "m.bin").await.is_none(), "{rest}");
    }
    let whole = format!("{begin}transfer-encoding: chunked\r\nrepr-digest: {sha256}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert!(raw(server.address(), whole).await.starts_with("HTTP/1.1 200"));
    assert_eq!(artifact(&server, "m.bin").await.unwrap().size_bytes, 5);
    // Nothing was put there in the meantime.
    let late = server.client().delete_artifact("models/fraud/versions/1/artifacts/other").await.unwrap_err();
    assert_eq!(late.reason(), Some(ErrorReason::ResourceNotFound));
}
