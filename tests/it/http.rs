//! JSON over HTTP: what is there beside the calls, which the contract's tests compare with those over gRPC.

mod files;
mod hostile;
mod mlflow;
mod streams;
mod web;

use std::net::SocketAddr;

use registry_tests::http::{Answer, json, request, send};
use registry_tests::{TestServer, model};
use serde_json::json;

async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, request("GET", path, &[], "")).await
}

#[tokio::test]
async fn a_model_is_made_read_changed_and_deleted() {
    let server = TestServer::start().await;
    let address = server.address();
    let models = "/v1/namespaces/default/models";
    let tags: serde_json::Map<_, _> = (0..20).map(|at| (format!("t{at:02}"), json!("x"))).collect();
    let body = json!({ "description": "finds fraud", "tags": tags });
    let made = send(address, json("POST", &format!("{models}?model_id=fraud"), &body)).await;
    assert_eq!((made.status, made.json()["name"].as_str()), (200, Some("namespaces/default/models/fraud")));
    let fraud = format!("{models}/fraud");
    let read = get(address, &fraud).await;
    // To the byte, also the order of the tags.
    assert_eq!((read.status, &read.body), (200, &made.body));
    assert_eq!((read.header("content-type"), read.header("cache-control")), ("application/json", "no-store"));

    // Without a mask, what is in the body is what is changed.
    let change = json!({ "description": "", "owner": "ana", "etag": read.json()["etag"] });
    let masked = send(address, json("PATCH", &format!("{fraud}?updateMask=owner"), &change)).await;
    assert_eq!(
        (masked.json()["owner"].as_str(), masked.json()["description"].as_str()),
        (Some("ana"), Some("finds fraud"))
    );
    let stale = send(address, json("PATCH", &fraud, &change)).await;
    assert_eq!((stale.status, stale.reason().as_str()), (409, "ETAG_MISMATCH"));
    assert_eq!(stale.json()["error"]["status"], "ABORTED");
    let changed = send(address, json("PATCH", &fraud, &json!({ "team": "risk" }))).await;
    assert_eq!((changed.json()["team"].as_str(), changed.json()["owner"].as_str()), (Some("risk"), Some("ana")));

    let listed = get(address, &format!("{models}?filter=model.team%20%3D%3D%20%22risk%22&pageSize=1")).await;
    assert_eq!(listed.json()["models"].as_array().map(Vec::len), Some(1));
    let version = send(address, json("POST", &format!("{fraud}/versions"), &json!({}))).await;
    assert_eq!(version.json()["number"], "1");
    assert_eq!(get(address, &format!("{fraud}/versions/@latest")).await.status, 404);
    assert_eq!(get(address, &format!("{fraud}/versions/1")).await.body, version.body);
    let deleted = send(address, request("DELETE", &format!("{fraud}?force"), &[], "")).await;
    assert!(deleted.json()["deleteTime"].is_string(), "{deleted:?}");
    let undeleted = send(address, request("POST", &format!("{fraud}:undelete"), &[], "")).await;
    assert_eq!((undeleted.status, undeleted.json()["deleteTime"].as_str()), (200, None));
}

#[tokio::test]
async fn what_is_no_call_is_refused_with_what_would_be_one() {
    let server = TestServer::start().await;
    let address = server.address();
    model(&server.client(), "models/fraud").await;
    let created = |headers: &[(&str, &str)], body: &str| {
        request("POST", "/v1/namespaces/default/models?modelId=x", headers, body.to_owned())
    };
    let json = ("content-type", "application/json");
    for (asked, status, reason, field) in [
        (request("GET", "/v2/namespaces", &[], ""), 404, "PATH_UNKNOWN", ""),
        (request("DELETE", "/v1/namespaces", &[], ""), 405, "METHOD_UNKNOWN", ""),
        (created(&[("content-type", "text/plain")], "{}"), 415, "MEDIA_TYPE_UNSUPPORTED", ""),
        (created(&[json, ("content-encoding", "gzip")], "{}"), 415, "MEDIA_TYPE_UNSUPPORTED", ""),
        (created(&[json], "{"), 400, "FIELD_INVALID", "model"),
        (created(&[json], "{} {}"), 400, "FIELD_INVALID", "model"),
        (created(&[json], "{\"owner\":\"\u{7}\"}"), 400, "FIELD_INVALID", "model.owner"),
        (created(&[json], r#"{"tags":{"a":"1","a":"2"}}"#), 400, "FIELD_INVALID", "model.tags.a"),
        (created(&[json], r#"{"displayName":"a","display_name":"b"}"#), 400, "FIELD_INVALID", "model.display_name"),
        (created(&[json], r#"{"tags":{"a":1}}"#), 400, "FIELD_INVALID", "model.tags.a"),
        (created(&[json], r#"{"nope":1}"#), 400, "FIELD_INVALID", "model.nope"),
        (request("GET", "/v1/namespaces/default/models?pageSize=x", &[], ""), 400, "FIELD_INVALID", "pageSize"),
        (
            request("GET", "/v1/namespaces/default/models?page_size=1&page_size=2", &[], ""),
            400,
            "FIELD_INVALID",
            "page_size",
        ),
        (
            request("GET", "/v1/namespaces/default/models?page_size=1&pageSize=2", &[], ""),
            400,
            "FIELD_INVALID",
            "pageSize",
        ),
        (request("GET", "/v1/namespaces/default/models?nope=1", &[], ""), 400, "FIELD_INVALID", "nope"),
        (request("GET", "/v1/namespaces/default/models?filter=%FF", &[], ""), 400, "FIELD_INVALID", "query"),
        (
            request("GET", "/v1/namespaces/default/models/fraud?name=models/other", &[], ""),
            400,
            "FIELD_INVALID",
            "name",
        ),
        (request("GET", "/v1/namespaces/default/models/fraud", &[json], "{}"), 400, "FIELD_INVALID", "body"),
        (request("POST", "/v1/namespaces/default/models?model.owner=x", &[], ""), 400, "FIELD_INVALID", "model.owner"),
        (request("POST", "/v1/namespaces/default/models/fraud:undelete?etag=x", &[], ""), 400, "FIELD_INVALID", "etag"),
        (request("GET", "/v1/events:watch?now&afterRevision=1", &[], ""), 400, "FIELD_INVALID", "afterRevision"),
        (request("GET", "/v1/namespaces/a%2Fb", &[], ""), 400, "FIELD_INVALID", "name"),
    ] {
        let what = format!("{asked:?}");
        let answer = send(address, asked).await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{what}: {answer:?}");
        if !field.is_empty() {
            let details = answer.json()["error"]["details"].clone();
            let violated =
                details.as_array().unwrap().iter().find_map(|detail| detail["fieldViolations"][0]["field"].as_str());
            assert_eq!(violated, Some(field), "{what}: {answer:?}");
        }
    }
    let allowed = send(address, request("DELETE", "/v1/namespaces", &[], "")).await;
    assert_eq!(allowed.header("allow"), "GET, POST");
}

#[tokio::test]
async fn who_asks_for_the_head_gets_no_body() {
    let server = TestServer::start().await;
    model(&server.client(), "models/fraud").await;
    for path in ["/v1/namespaces/default/models/fraud", "/v1/namespaces/nope", "/docs/", "/openapi.json"] {
        let whole = get(server.address(), path).await;
        let head = send(server.address(), request("HEAD", path, &[], "")).await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (whole.status, whole.header("content-length")),
            "{path}"
        );
        assert!(head.body.is_empty() && !whole.body.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_change_that_is_repeated_happens_once() {
    let server = TestServer::start().await;
    let id = "0191f3a0-0000-7000-8000-000000000001";
    let headers = [("content-type", "application/json"), ("x-registry-request-id", id), ("x-registry-actor", "ana")];
    let made = || request("POST", "/v1/namespaces/default/models?modelId=fraud", &headers, r#"{"owner":"ana"}"#);
    let first = send(server.address(), made()).await;
    assert_eq!(first.json()["creator"], "ana");
    assert_eq!(send(server.address(), made()).await.body, first.body);
    let other = request("POST", "/v1/namespaces/default/models?modelId=other", &headers, "");
    assert_eq!(send(server.address(), other).await.reason(), "REQUEST_ID_REUSED");
}
