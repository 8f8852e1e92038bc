//! `/metrics`: what is counted, who may read it, and what Prometheus makes of it.

mod prometheus;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use registry_client::pb::MetricsFormat;
use registry_client::{Error, RegistryClient};
use registry_server::config::{AccessChoice, Config};
use registry_tests::http::{Answer, json, request, send};
use registry_tests::{TestServer, model, ready, soon, until};
use serde_json::json;
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(20);

/// The values of all metrics, by their names with their labels in order.
struct Told(BTreeMap<String, f64>);

impl Told {
    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = match name.trim_end_matches('}').split_once('{') {
                Some((name, labels)) => {
                    // None of those that are looked for has a comma in it.
                    let mut labels: Vec<_> = labels.split(',').collect();
                    labels.sort_unstable();
                    format!("{name}{{{}}}", labels.join(","))
                }
                None => name.to_owned(),
            };
            (name, value.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
        });
        Self(values.collect())
    }

    /// A value; 0 if there is none.
    fn of(&self, name: &str) -> f64 {
        self.0.get(&format!("modelregistry_{name}")).copied().unwrap_or_default()
    }
}

async fn scrape(address: SocketAddr) -> Answer {
    send(address, request("GET", "/metrics", &[], "")).await
}

async fn told(address: SocketAddr) -> Told {
    let answer = scrape(address).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    Told::read(str::from_utf8(&answer.body).unwrap())
}

#[tokio::test]
async fn calls_are_counted_by_method_code_and_transport() {
    let server = TestServer::start().await;
    let (address, client) = (server.address(), server.client());
    model(&client, "models/fraud").await;
    client.get_model("models/nope").send().await.unwrap_err();
    for _ in 0..2 {
        send(address, request("GET", "/v1/namespaces/default/models/fraud", &[], "")).await;
    }
    send(address, request("GET", "/v1/namespaces/default/models/nope", &[], "")).await;
    send(address, request("GET", "/api/2.0/mlflow/registered-models/get?name=fraud", &[], "")).await;
    // What is no method has no name of its own.
    let mut unknown = tonic::client::Grpc::new(server.channel());
    unknown.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = "/modelregistry.v1.ModelService/Anything".parse().unwrap();
    let refused = unknown.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);

    let told = told(address).await;
    for (labels, expected) in [
        (r#"code="OK",method="CreateModel",transport="grpc""#, 1.0),
        (r#"code="NOT_FOUND",method="GetModel",transport="grpc""#, 1.0),
        (r#"code="OK",method="GetModel",transport="http""#, 2.0),
        (r#"code="NOT_FOUND",method="GetModel",transport="http""#, 1.0),
        (r#"code="OK",method="GetModel",transport="mlflow""#, 1.0),
        (r#"code="UNIMPLEMENTED",method="other",transport="grpc""#, 1.0),
    ] {
        assert_eq!(told.of(&format!("calls_total{{{labels}}}")), expected, "{labels}");
    }
    assert_eq!(told.of(r#"call_duration_seconds_count{method="GetModel",transport="http"}"#), 3.0);
    assert_eq!(told.of(r#"call_duration_seconds_bucket{le="+Inf",method="GetModel",transport="http"}"#), 3.0);
}

#[tokio::test]
async fn a_change_counts_whether_its_caller_waits_or_not() {
    let server = TestServer::start().await;
    let address = server.address();
    for at in 0..50 {
        // So short that most of them hear nothing of it.
        let headers = [("x-server-timeout", "0.001"), ("content-type", "application/json")];
        let path = format!("/v1/namespaces/default/models?modelId=m{at}");
        send(address, request("POST", &path, &headers, "{}")).await;
    }
    until(PATIENCE, async || {
        let told = told(address).await;
        let revision = told.of("log_revision");
        let counted = [told.of("commit_duration_seconds_count"), told.of(r#"events_total{type="model.created"}"#)];
        (counted == [revision; 2] && told.of("commits_waiting") == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_taken_whole_is_no_call_that_was_left() {
    let server = TestServer::start().await;
    let (address, client) = (server.address(), server.client());
    model(&client, "models/fraud").await;
    let version = client.create_version("models/fraud").await.unwrap();
    for (path, size) in [("small", 3), ("large", 300_000)] {
        client.upload(&version.name, path, registry_tests::noise(size)).send().await.unwrap();
        let file = format!("/v1/namespaces/default/models/fraud/versions/1/files/{path}");
        for (range, status) in [(None, 200), (Some(("range", "bytes=0-1")), 206)] {
            let answer = send(address, request("GET", &file, range.as_slice(), "")).await;
            assert_eq!(answer.status, status, "{path}");
        }
    }
    let told = told(address).await;
    let ended =
        |code: &str| told.of(&format!(r#"calls_total{{code="{code}",method="DownloadArtifact",transport="http"}}"#));
    assert_eq!((ended("OK"), ended("CANCELLED")), (4.0, 0.0));
}

#[tokio::test]
async fn watches_are_told_of_while_they_are_open() {
    let server = TestServer::start().await;
    let mut watch = server.client().watch().stream();
    // It has begun when it says so.
    soon(watch.next()).await;
    let open = told(server.address()).await;
    assert_eq!((open.of("watches"), open.of("watch_lag_revisions")), (1.0, 0.0));
    assert_eq!(open.of(r#"places_taken{kind="streams"}"#), 1.0);
    drop(watch);
    let left = r#"calls_total{code="CANCELLED",method="WatchEvents",transport="grpc"}"#;
    until(PATIENCE, async || {
        let told = told(server.address()).await;
        (told.of("watches") == 0.0 && told.of(r#"places_taken{kind="streams"}"#) == 0.0 && told.of(left) == 1.0)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_happens_and_what_there_is_is_told() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("models/fraud").team("risk").send().await.unwrap();
    model(&client, "models/other").await;
    let mut versions = Vec::new();
    for _ in 0..2 {
        let version = client.create_version("models/fraud").framework("onnx", "1.17").send().await.unwrap();
        client.upload(&version.name, "model.onnx", registry_tests::noise(100_000)).send().await.unwrap();
        versions.push(client.finalize_version(&version.name).send().await.unwrap().name);
    }
    client.promote(&versions[0]).send().await.unwrap();
    client.promote(&versions[1]).send().await.unwrap();
    client.rollback("models/fraud").send().await.unwrap();
    // What is deleted does not count, nor what is in it.
    ready(&client, "models/other").await;
    client.delete_model("models/other").force(true).send().await.unwrap();

    let status = client.status().await.unwrap();
    let told = until(PATIENCE, async || {
        let told = told(server.address()).await;
        // The index is a moment behind.
        (told.of("index_revision") == status.revision as f64).then_some(told)
    })
    .await;
    for (name, expected) in [
        ("serving", 1.0),
        ("log_revision", status.revision as f64),
        ("log_oldest_revision", 1.0),
        ("commits_waiting", 0.0),
        ("commit_duration_seconds_count", status.revision as f64),
        (r#"events_total{type="model.created"}"#, 2.0),
        (r#"events_total{type="version.finalized"}"#, 2.0),
        (r#"events_total{type="webhook.created"}"#, 0.0),
        (r#"stage_changes_total{cause="TRANSITION",to="PRODUCTION"}"#, 2.0),
        (r#"stage_changes_total{cause="DISPLACED",to="ARCHIVED"}"#, 2.0),
        (r#"stage_changes_total{cause="ROLLBACK",to="PRODUCTION"}"#, 1.0),
        (r#"models{team="risk"}"#, 1.0),
        (r#"models{team=""}"#, 0.0),
        (r#"framework_versions{framework="onnx"}"#, 2.0),
        (r#"stage_versions{stage="PRODUCTION"}"#, 1.0),
        (r#"stage_versions{stage="ARCHIVED"}"#, 1.0),
        ("index_ready", 1.0),
        ("artifacts", 2.0),
        ("artifacts_bytes", 200_000.0),
    ] {
        assert_eq!(told.of(name), expected, "{name}");
    }
    // The two are the same, to the byte.
    assert!(told.of("chunks_written_bytes_total") >= 100_000.0);
    let (groups, writes) = (told.of("commit_group_size_sum"), told.of("commit_write_duration_seconds_count"));
    assert!(groups >= status.revision as f64 && writes > 0.0 && writes <= groups, "{groups} in {writes}");
    let resident = told.0["process_resident_memory_bytes"];
    assert!(resident > 1e6 && told.0["process_cpu_seconds_total"] > 0.0, "{resident}");
}

#[tokio::test]
async fn who_may_read_is_decided_as_for_every_call() {
    fn secure(config: &mut Config) {
        config.access = AccessChoice::Tokens;
        config.bootstrap_token_file = Some(config.storage_path.with_file_name("first-token"));
        config.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    }
    let server = TestServer::with(secure).await;
    let token = std::fs::read_to_string(server.storage().with_file_name("first-token")).unwrap();
    let client = |token: &str| RegistryClient::builder(server.endpoint()).token(token.trim()).connect_lazy().unwrap();
    let admin = client(&token);
    let token_of = async |principal: &str, role: &str| {
        admin.create_binding(role.replace('/', "-"), role, [principal]).await.unwrap();
        admin.create_token(principal).await.unwrap().secret
    };
    let asked = async |token: &str| {
        let header = format!("Bearer {}", token.trim());
        send(server.address(), request("GET", "/metrics", &[("authorization", &header)], "")).await
    };
    let anonymous = scrape(server.address()).await;
    assert_eq!((anonymous.status, anonymous.reason().as_str()), (401, "TOKEN_MISSING"));
    let viewer = token_of("users/ana", "roles/viewer").await;
    let refused = asked(&viewer).await;
    assert_eq!((refused.status, refused.reason().as_str()), (403, "PERMISSION_DENIED"));
    let refused: Error = client(&viewer).metrics().send().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::PermissionDenied));
    let monitor = token_of("services/prometheus", "roles/monitor").await;
    assert_eq!(asked(&monitor).await.status, 200);
    let told = client(&monitor).metrics().format(MetricsFormat::OpenMetrics).send().await.unwrap();
    assert!(told.content_type.starts_with("application/openmetrics-text") && told.text.ends_with("# EOF\n"));
    let denied = client(&monitor).list_models().send().await.unwrap_err();
    assert_eq!(denied.code(), Some(Code::PermissionDenied), "it may do nothing else");

    // On its own port anybody may ask, for this alone.
    let (all, counted) = (scrape(server.metrics()).await, self::told(server.metrics()).await);
    assert_eq!(all.status, 200);
    assert_eq!(counted.of(r#"calls_total{code="UNAUTHENTICATED",method="GetMetrics",transport="http"}"#), 1.0);
    assert_eq!(counted.of(r#"calls_total{code="PERMISSION_DENIED",method="GetMetrics",transport="http"}"#), 1.0);
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/v1/namespaces", 404), ("/", 404), ("/metrics/", 404)]
    {
        assert_eq!(send(server.metrics(), request("GET", path, &[], "")).await.status, status, "{path}");
    }
    assert_eq!(send(server.metrics(), request("POST", "/metrics", &[], "")).await.status, 405);
    // Not even a page that a browser takes for one of this server's, by a name that was made to point here.
    for (header, value) in [("host", "metrics.example.com"), ("origin", "https://evil.example")] {
        let refused = send(server.metrics(), request("GET", "/metrics", &[(header, value)], "")).await;
        assert_eq!(refused.status, 421, "{header}: {refused:?}");
    }
}

#[tokio::test]
async fn a_server_that_turns_calls_away_still_tells_of_itself() {
    let server = TestServer::with(|config| config.max_calls = 0).await;
    let refused = send(server.address(), request("GET", "/v1/namespaces", &[], "")).await;
    assert_eq!((refused.status, refused.reason().as_str()), (429, "OVERLOADED"));
    let told = told(server.address()).await;
    let turned_away = r#"calls_total{code="RESOURCE_EXHAUSTED",method="ListNamespaces",transport="http"}"#;
    assert_eq!(told.of(turned_away), 1.0);
    assert_eq!(send(server.address(), json("POST", "/metrics", &json!({}))).await.status, 405);
}

#[tokio::test]
async fn open_metrics_name_traces_that_are_recorded() {
    let server = TestServer::start().await;
    let get = |trace: &str| {
        let header = format!("00-{trace}-00f067aa0ba902b7-0{}", u8::from(trace.starts_with('4')));
        request("GET", "/v1/namespaces", &[("traceparent", &header)], "")
    };
    let (recorded, other) = ("4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4736");
    send(server.address(), get(recorded)).await;
    send(server.address(), get(other)).await;
    let asked = request("GET", "/metrics", &[("accept", "application/openmetrics-text;version=1.0.0")], "");
    let answer = send(server.address(), asked).await;
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = str::from_utf8(&answer.body).unwrap();
    let exemplar = text.lines().find(|line| line.contains("# {trace_id=")).expect("there is one");
    assert!(exemplar.contains(r#"method="ListNamespaces""#) && exemplar.contains(recorded), "{exemplar}");
    assert!(!text.contains(other), "nobody has it");
}
