//! MLflow's registry over ours: what its own client, which `tests/mlflow.sh` runs, does not do by itself.

mod webhooks;

use std::net::SocketAddr;

use futures::future::join_all;
use registry_client::{RegistryClient, pb};
use registry_server::config::AccessChoice;
use registry_tests::http::{Answer, json, raw, request, send};
use registry_tests::{TestServer, model};
use serde_json::{Value, json};

const FILES: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// Makes a call of MLflow's.
async fn call(address: SocketAddr, method: &str, path: &str, args: Value) -> Answer {
    let path = format!("/api/2.0/mlflow/{path}");
    if method != "GET" {
        return send(address, json(method, &path, &args)).await;
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in args.as_object().unwrap() {
        query.append_pair(name, value.as_str().unwrap());
    }
    send(address, request("GET", &format!("{path}?{}", query.finish()), &[], "")).await
}

/// The same, which has to go well.
async fn done(address: SocketAddr, method: &str, path: &str, args: Value) -> Value {
    let answer = call(address, method, path, args).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// What it is refused with.
async fn refused(address: SocketAddr, method: &str, path: &str, args: Value) -> (u16, String, String) {
    let answer = call(address, method, path, args).await;
    let error = answer.json();
    let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{path}: {error}")).to_owned();
    (answer.status, text("error_code"), text("message"))
}

/// Registers a version that lies elsewhere.
async fn register(address: SocketAddr, name: &str) -> String {
    let version = done(address, "POST", "model-versions/create", json!({ "name": name, "source": "s3://b/m" })).await;
    version["model_version"]["version"].as_str().unwrap().to_owned()
}

/// A version with a file, which is not finalized yet.
async fn pending(client: &RegistryClient, name: &str) -> pb::Version {
    model(client, name).await;
    let version = client.create_version(name).await.unwrap();
    client.upload(&version.name, "MLmodel", "flavors: {}".as_bytes().to_vec()).send().await.unwrap();
    version
}

#[tokio::test]
async fn every_call_of_mlflows_registry_is_there_and_others_are_told_apart() {
    let server = TestServer::start().await;
    let address = server.address();
    for (method, path) in [
        ("POST", "registered-models/create"),
        ("POST", "registered-models/rename"),
        ("PATCH", "registered-models/update"),
        ("DELETE", "registered-models/delete"),
        ("GET", "registered-models/get"),
        ("POST", "registered-models/get-latest-versions"),
        ("GET", "registered-models/get-latest-versions"),
        ("POST", "registered-models/set-tag"),
        ("DELETE", "registered-models/delete-tag"),
        ("POST", "registered-models/alias"),
        ("DELETE", "registered-models/alias"),
        ("GET", "registered-models/alias"),
        ("POST", "model-versions/create"),
        ("PATCH", "model-versions/update"),
        ("POST", "model-versions/transition-stage"),
        ("DELETE", "model-versions/delete"),
        ("GET", "model-versions/get"),
        ("GET", "model-versions/get-download-uri"),
        ("POST", "model-versions/set-tag"),
        ("DELETE", "model-versions/delete-tag"),
    ] {
        let (status, code, message) = refused(address, method, path, json!({})).await;
        assert_eq!((status, &*code), (400, "INVALID_PARAMETER_VALUE"), "{method} {path}: {message}");
        assert!(message.starts_with("Missing value for required parameter 'name'."), "{method} {path}: {message}");
    }
    assert_eq!(done(address, "GET", "registered-models/search", json!({})).await["registered_models"], json!([]));
    assert_eq!(done(address, "GET", "model-versions/search", json!({})).await["model_versions"], json!([]));
    let (status, code, message) = refused(address, "GET", "runs/get", json!({ "run_id": "x" })).await;
    assert_eq!((status, &*code), (404, "ENDPOINT_NOT_FOUND"));
    assert!(message.contains("set the tracking URI to an MLflow server"), "{message}");
    for path in ["/namespace/risk/api/2.0/mlflow/registered-models/search", "/api/3.0/mlflow/x"] {
        let answer = send(address, request("GET", path, &[], "")).await;
        assert_eq!((answer.status, answer.json()["error_code"].as_str()), (404, Some("ENDPOINT_NOT_FOUND")), "{path}");
    }
    for (path, expected) in [("/health", "OK"), ("/version", "3.17.2"), ("/namespaces/risk/health", "OK")] {
        assert_eq!(send(address, request("GET", path, &[], "")).await.body, expected, "{path}");
    }
    let info = send(address, request("GET", "/api/3.0/mlflow/server-info", &[], "")).await;
    assert_eq!(info.json()["multipart_uploads_enabled"], false);
}

#[tokio::test]
async fn a_file_is_sent_in_parts_and_had_in_ranges_with_the_callers_own_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let server = TestServer::with(|config| {
        config.access = AccessChoice::Tokens;
        config.bootstrap_token_file = Some(file.clone());
    })
    .await;
    let (address, token) = (server.address(), std::fs::read_to_string(&file).unwrap());
    let authorization = format!("Bearer {}", token.trim());
    let own = [("authorization", &*authorization), ("content-type", "application/json")];
    let client = RegistryClient::builder(format!("http://{address}")).token(token.trim()).connect_lazy().unwrap();
    model(&client, "models/fraud").await;
    client.create_version("models/fraud").await.unwrap();
    let asked = async |what: &str, args: Value| {
        let path = format!("/api/2.0/mlflow-artifacts/mpu/{what}/fraud/1/weights");
        send(address, request("POST", &path, &own, args.to_string())).await
    };
    let created = asked("create", json!({ "path": "/home/me/a b.bin", "num_parts": 2 })).await.json();
    let credentials = created["credentials"].as_array().unwrap();
    let mut parts = Vec::new();
    for (credential, bytes) in credentials.iter().zip(["first, ", "second"]) {
        assert_eq!(credential["headers"]["Authorization"], authorization);
        let path = credential["url"].as_str().unwrap().strip_prefix(&format!("http://{address}")).unwrap();
        let answer = send(address, request("PUT", path, &own, bytes)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        parts.push(json!({ "part_number": credential["part_number"], "etag": answer.header("etag"), "url": path }));
    }
    let complete =
        |parts: &[Value]| json!({ "path": "/home/me/a b.bin", "upload_id": created["upload_id"], "parts": parts });
    let mut other = parts.clone();
    other[1]["etag"] = parts[0]["etag"].clone();
    for bad in [&parts[1..], &[], &other] {
        assert_eq!(asked("complete", complete(bad)).await.status, 400, "{bad:?}");
    }
    for bad in [
        json!({ "path": "x", "num_parts": 0 }),
        json!({ "path": "/", "num_parts": 1 }),
        json!({ "path": "..", "num_parts": 1 }),
    ] {
        assert_eq!(asked("create", bad.clone()).await.status, 400, "{bad}");
    }
    assert_eq!(asked("complete", complete(&parts)).await.json(), json!({}));
    assert_eq!(asked("abort", complete(&[])).await.json(), json!({}));
    // It is not sent in vain.
    let again = asked("create", json!({ "path": "a b.bin", "num_parts": 2 })).await;
    assert_eq!((again.status, again.json()["error_code"].as_str()), (400, Some("RESOURCE_ALREADY_EXISTS")));
    let long = format!("Bearer {}", "x".repeat(6000));
    let headers = [("authorization", &*long), ("content-type", "application/json")];
    let path = "/api/2.0/mlflow-artifacts/mpu/create/fraud/1";
    let open = TestServer::start().await;
    model(&open.client(), "models/fraud").await;
    open.client().create_version("models/fraud").await.unwrap();
    let create = json!({ "path": "x", "num_parts": 1000 }).to_string();
    let amplified = send(open.address(), request("POST", path, &headers, create)).await;
    assert!(amplified.json()["message"].as_str().unwrap().contains("CHUNK_SIZE"), "{}", amplified.status);

    let presigned = "/api/2.0/mlflow-artifacts/presigned/fraud/1/weights/a%20b.bin";
    let presigned = send(address, request("GET", presigned, &own, "")).await.json();
    assert_eq!((&presigned["file_size"], &presigned["headers"]["Authorization"]), (&json!(13), &json!(authorization)));
    let path = presigned["url"].as_str().unwrap().strip_prefix(&format!("http://{address}")).unwrap();
    let headers = [own[0], ("range", "bytes=7-12")];
    let range = send(address, request("GET", path, &headers, "")).await;
    assert_eq!((range.status, &range.body[..]), (206, &b"second"[..]));
}

#[tokio::test]
async fn no_source_makes_a_client_send_its_token_elsewhere() {
    let server = TestServer::start().await;
    let (address, client) = (server.address(), server.client());
    model(&client, "models/trap").await;
    for source in ["mlflow-artifacts://evil/1", "http://evil/api/2.0/mlflow-artifacts/artifacts/1", "models://evil/m/1"]
    {
        let args = json!({ "name": "trap", "source": source });
        let (status, _, message) = refused(address, "POST", "model-versions/create", args).await;
        assert_eq!(status, 400);
        assert!(message.contains("addresses a host other than this registry"), "{message}");
    }
    // Nor one that did not come through MLflow's calls.
    let version = pb::Version { source_uri: "mlflow-artifacts://evil/1".to_owned(), ..Default::default() };
    client.create_version("models/trap").version(version).await.unwrap();
    let args = json!({ "name": "trap", "version": "1" });
    let (status, _, message) = refused(address, "GET", "model-versions/get-download-uri", args).await;
    assert_eq!((status, message.contains("addresses a host")), (400, true), "{message}");
}

#[tokio::test]
async fn only_what_may_be_used_is_copied() {
    let server = TestServer::start().await;
    let (address, client) = (server.address(), server.client());
    let version = pending(&client, "models/fraud").await;
    model(&client, "models/copy").await;
    let copy = json!({ "name": "copy", "source": "models:/fraud/1" });
    let (_, _, message) = refused(address, "POST", "model-versions/create", copy.clone()).await;
    assert!(message.ends_with("That version is not ready."), "{message}");
    client.finalize_version(&version.name).await.unwrap();
    client.withdraw_version(&version.name).await.unwrap();
    let (_, _, message) = refused(address, "POST", "model-versions/create", copy.clone()).await;
    assert!(message.ends_with("That version is withdrawn."), "{message}");
    client.reinstate_version(&version.name).await.unwrap();
    client.set_alias("models/fraud", "champion", &version.name).await.unwrap();
    let by_alias = json!({ "name": "copy", "source": "models:/fraud@champion" });
    let copied = done(address, "POST", "model-versions/create", by_alias).await;
    // The alias may move on.
    assert_eq!(copied["model_version"]["source"], "models:/fraud/1");
    let copied = client.get_version("models/copy/versions/1").await.unwrap();
    let fraud = client.get_version(&version.name).await.unwrap();
    assert_eq!((copied.manifest_sha256, copied.base_versions), (fraud.manifest_sha256, vec![version.name]));
    let (_, _, message) =
        refused(address, "POST", "model-versions/create", json!({ "name": "copy", "source": "models:/fraud@nope" }))
            .await;
    assert_eq!(message, "Registered model alias nope not found.");
}

#[tokio::test]
async fn files_are_listed_stored_loaded_and_removed() {
    let server = TestServer::start().await;
    let (address, client) = (server.address(), server.client());
    let version = pending(&client, "models/fraud").await;
    let put = |path: &str, bytes: &str| request("PUT", &format!("{FILES}/fraud/1/{path}"), &[], bytes.to_owned());
    for (path, bytes) in [("model/model.pkl", "pickled"), ("model/a b.txt", "text")] {
        assert_eq!(send(address, put(&path.replace(' ', "%20"), bytes)).await.status, 200, "{path}");
    }
    // As Python's requests sends a file without bytes.
    let empty = format!(
        "PUT {FILES}/fraud/1/code/__init__.py HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    assert!(raw(address, empty).await.starts_with("HTTP/1.1 200"));
    let list = async |path: &str| {
        let answer = send(address, request("GET", &format!("{FILES}?path={path}"), &[], "")).await;
        (answer.status, answer.json()["files"].clone())
    };
    let folders = json!([
        { "path": "MLmodel", "is_dir": false, "file_size": 11 },
        { "path": "code", "is_dir": true },
        { "path": "model", "is_dir": true },
    ]);
    assert_eq!(list("fraud/1").await, (200, folders));
    let files = json!([
        { "path": "a b.txt", "is_dir": false, "file_size": 4 },
        { "path": "model.pkl", "is_dir": false, "file_size": 7 },
    ]);
    assert_eq!(list("fraud/1/model").await, (200, files));
    // A file has nothing in it.
    assert_eq!(list("fraud/1/MLmodel").await, (200, json!([])));
    let get = |path: &str| request("GET", &format!("{FILES}/fraud/1/{path}"), &[], "");
    assert_eq!(send(address, get("model/a%20b.txt")).await.body, "text");
    for path in ["../../../models/fraud/versions/1/artifacts/MLmodel", "%2e%2e/MLmodel", "model/%00", "nope"] {
        let status = send(address, get(path)).await.status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    let delete = request("DELETE", &format!("{FILES}/fraud/1/model"), &[], "");
    assert_eq!(send(address, delete).await.status, 200);
    assert_eq!(send(address, get("model/model.pkl")).await.status, 404);
    client.finalize_version(&version.name).await.unwrap();
    let late = send(address, put("late.txt", "x")).await;
    assert_eq!((late.status, late.json()["error_code"].as_str()), (400, Some("BAD_REQUEST")));
    done(address, "DELETE", "model-versions/delete", json!({ "name": "fraud", "version": "1" })).await;
    assert_eq!(send(address, get("MLmodel")).await.status, 404);
    assert_eq!(list("fraud/1").await.0, 404);
}

#[tokio::test]
async fn a_deleted_name_is_had_again_by_all_who_want_it_at_once() {
    let server = TestServer::start().await;
    let address = server.address();
    done(address, "POST", "registered-models/create", json!({ "name": "My model" })).await;
    assert_eq!(register(address, "My model").await, "1");
    for round in 0..3 {
        done(address, "DELETE", "registered-models/delete", json!({ "name": "My model" })).await;
        let create = || call(address, "POST", "registered-models/create", json!({ "name": "My model" }));
        let answers = join_all((0..6).map(|_| create())).await;
        let made = answers.iter().filter(|answer| answer.status == 200).count();
        let there = answers.iter().filter(|answer| {
            answer.status == 400 && answer.json()["message"] == "Registered Model (name=My model) already exists."
        });
        assert_eq!((made, there.count()), (1, 5), "{round}: {answers:?}");
    }
    assert_eq!(register(address, "My model").await, "2");
}

#[tokio::test]
async fn tags_that_are_set_at_once_are_all_set() {
    let server = TestServer::start().await;
    let address = server.address();
    done(address, "POST", "registered-models/create", json!({ "name": "fraud" })).await;
    register(address, "fraud").await;
    let long = "x".repeat(3000);
    let tag = |at: usize| {
        let value = if at.is_multiple_of(2) { "short" } else { &long };
        (format!("t{at}"), value.to_owned())
    };
    join_all((0..20).map(async |at| {
        let (key, value) = tag(at);
        let args = json!({ "name": "fraud", "key": key, "value": value });
        done(address, "POST", "registered-models/set-tag", args).await;
        let args = json!({ "name": "fraud", "version": "1", "key": key, "value": value });
        done(address, "POST", "model-versions/set-tag", args).await;
    }))
    .await;
    let mut expected: Vec<_> = (0..20).map(tag).collect();
    expected.sort();
    let expected: Value = expected.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let model = done(address, "GET", "registered-models/get", json!({ "name": "fraud" })).await;
    assert_eq!(model["registered_model"]["tags"], expected);
    let version = done(address, "GET", "model-versions/get", json!({ "name": "fraud", "version": "1" })).await;
    assert_eq!(version["model_version"]["tags"], expected);
    let found = json!({ "filter": "tags.t4 = 'short' AND tags.t5 LIKE 'xx%'" });
    let found = done(address, "GET", "model-versions/search", found).await;
    assert_eq!(found["model_versions"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn whoever_comes_with_archive_existing_versions_is_alone() {
    let server = TestServer::start().await;
    let (address, client) = (server.address(), server.client());
    // Several may be in staging, as everywhere in MLflow.
    model(&client, "models/fraud").await;
    for _ in 0..8 {
        register(address, "fraud").await;
    }
    let to = |version: usize, archives: bool| json!({ "name": "fraud", "version": version.to_string(), "stage": "staging", "archive_existing_versions": archives });
    for version in 1..=3 {
        done(address, "POST", "model-versions/transition-stage", to(version, false)).await;
    }
    let staged = async || {
        let latest = json!({ "filter": "name = 'fraud'" });
        let found = done(address, "GET", "model-versions/search", latest).await;
        let found = found["model_versions"].as_array().unwrap().clone();
        found.iter().filter(|version| version["current_stage"] == "Staging").count()
    };
    assert_eq!(staged().await, 3);
    done(address, "POST", "model-versions/transition-stage", to(4, true)).await;
    assert_eq!(staged().await, 1);
    join_all((1..=8).map(|version| done(address, "POST", "model-versions/transition-stage", to(version, true)))).await;
    assert_eq!(staged().await, 1);
    // The alias of a stage is the stage.
    let alias = json!({ "name": "fraud", "alias": "production", "version": "2" });
    done(address, "POST", "registered-models/alias", alias).await;
    let production = client.get_version("models/fraud@production").await.unwrap();
    assert_eq!((production.number, production.stage()), (2, pb::Stage::Production));
    let alias = json!({ "name": "fraud", "alias": "production" });
    done(address, "DELETE", "registered-models/alias", alias).await;
    assert!(client.get_version("models/fraud@production").await.unwrap_err().is_not_found());
    assert_eq!(client.get_version("models/fraud/versions/2").await.unwrap().stage(), pb::Stage::Archived);
}

#[tokio::test]
async fn a_namespace_is_behind_the_address_and_a_password_is_a_token() {
    let server = TestServer::with(|config| {
        config.access = AccessChoice::Tokens;
        config.bootstrap_token_file = Some(config.storage_path.with_file_name("first-token"));
    })
    .await;
    let address = server.address();
    let token = std::fs::read_to_string(server.storage().with_file_name("first-token")).unwrap();
    let basic = {
        use base64::Engine as _;
        let pair = format!("ana:{}", token.trim());
        format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair))
    };
    let path = "/namespaces/risk/api/2.0/mlflow/registered-models/create";
    let body = json!({ "name": "fraud" }).to_string();
    let asked = async |authorization: &str| {
        let headers = [("content-type", "application/json"), ("authorization", authorization)];
        let answer = send(address, request("POST", path, &headers, body.clone())).await;
        (answer.status, answer.json()["error_code"].as_str().map(str::to_owned))
    };
    assert_eq!(asked("Bearer nope").await, (401, Some("UNAUTHENTICATED".to_owned())));
    assert_eq!(asked("Basic !").await, (401, Some("UNAUTHENTICATED".to_owned())));
    assert_eq!(asked(&basic).await, (200, None));
    let client = RegistryClient::builder(server.endpoint()).token(token.trim()).connect_lazy().unwrap();
    let made = client.get_model("namespaces/risk/models/fraud").await.unwrap();
    assert_eq!(made.creator, "users/admin");
}
