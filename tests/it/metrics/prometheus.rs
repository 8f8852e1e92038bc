//! What Debian's Prometheus and its `promtool` say of the metrics, the alerts and the dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use registry_client::RegistryClient;
use registry_client::pb::Stage;
use registry_client::policies::{gate, rule};
use registry_server::config::AccessChoice;
use registry_tests::certificates::{Authority, Files};
use registry_tests::http::{Answer, request, send};
use registry_tests::receiver::{self, Receiver};
use registry_tests::{TestServer, ready, until};
use serde_json::Value as Json;

use super::{PATIENCE, SocketAddr, scrape, soon};

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry-server/monitoring")
}

/// Runs `promtool`, which has to be content.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    let command = command.args(arguments).current_dir(monitoring());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: it is in Debian's package prometheus");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    // What it has against names and texts it says, and ends well all the same.
    let content = output.status.success() && (arguments[0] != "check" || arguments[1] == "rules" || said.is_empty());
    assert!(content, "{arguments:?}: {said}");
}

/// The dashboard's queries, as Prometheus takes them.
fn queries(dashboard: &Json) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    let queries = targets.chain(annotations).map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| {
            let query =
                query.replace("$__rate_interval", "5m").replace("$job", "modelregistry").replace("$instance", ".*");
            assert!(!query.contains('$'), "{query}");
            query
        })
        .collect()
}

fn dashboard() -> Json {
    serde_json::from_str(&fs::read_to_string(monitoring().join("dashboard.json")).unwrap()).unwrap()
}

#[test]
fn alerts_are_rules_and_each_fires_when_it_should() {
    let rules = fs::read_to_string(monitoring().join("alerts.yml")).unwrap();
    let tests = fs::read_to_string(monitoring().join("alerts_test.yml")).unwrap();
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts_test.yml"], "");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname: {alert}\n");
        assert!(tests.contains(&fires), "{alert} has no case in which it fires");
    }
}

#[test]
fn the_dashboard_has_queries_and_every_panel_is_one_of_its_own() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].is_number());
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{panel}");
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(refs.len(), targets.len(), "{panel}");
        assert!(!targets.is_empty() || panel["type"] == "row", "{panel}");
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("queries.yml");
    // Each of them on a line of its own, in JSON, which is YAML.
    let rule = |(at, query): (usize, String)| serde_json::json!({ "record": format!("q{at}"), "expr": query });
    let rules: Vec<_> = queries(&dashboard).into_iter().enumerate().map(rule).collect();
    fs::write(&file, serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], "");
}

/// The names of our metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let names = regex::Regex::new(r"\b(modelregistry|process)_[a-z_]+").unwrap();
    names.find_iter(text).map(|name| name.as_str().to_owned()).collect()
}

/// A server that does all that is measured: it has TLS, an archive, a webhook and a subscription, and a port for Prometheus.
async fn busy(receiver: &Receiver, files: &Files) -> (TestServer, RegistryClient) {
    let server = TestServer::with(|config| {
        files.serve(config);
        config.archive = Some(config.storage_path.with_file_name("archive").display().to_string());
        config.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
        config.webhook_allow = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let client =
        files.connect(RegistryClient::builder(format!("https://{}", server.address()))).connect_lazy().unwrap();
    client.create_webhook("hook", receiver.url()).send().await.unwrap();
    client.create_subscription("all").send().await.unwrap();
    registry_tests::model(&client, "models/fraud").await;
    let first = ready(&client, "models/fraud").await;
    client.promote(&first.name).send().await.unwrap();
    (server, client)
}

#[tokio::test]
async fn promtool_has_nothing_against_the_metrics_and_there_are_all_that_alerts_and_dashboard_ask_for() {
    let receiver = Receiver::start(receiver::Answer::code(200)).await;
    let authority = Authority::new();
    let files = Files::of(&authority.sign());
    files.trust(&[&authority]);
    let (server, client) = busy(&receiver, &files).await;
    client.create_policy("shut").stage(rule(Stage::Staging).gate(gate("never", "false"))).await.unwrap();
    client.create_model("models/shut").policy("shut").await.unwrap();
    let kept_out = ready(&client, "models/shut").await;
    client.transition_stage(&kept_out.name, Stage::Staging).await.unwrap_err();

    let text = until(PATIENCE, async || {
        let answer = scrape(server.metrics()).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        // The webhook has been sent by then.
        text.contains("modelregistry_webhook_attempts_total{outcome=\"DELIVERED\"}").then_some(text)
    })
    .await;
    promtool(&["check", "metrics"], &text);
    let there = named(&text);
    let missing = |asked: BTreeSet<String>| asked.difference(&there).cloned().collect::<Vec<_>>();
    assert_eq!(missing(named(&fs::read_to_string(monitoring().join("alerts.yml")).unwrap())), [""; 0]);
    assert_eq!(missing(queries(&dashboard()).iter().flat_map(|query| named(query)).collect()), [""; 0]);
}

/// A Prometheus of the test's own.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Prometheus {
    /// Scrapes a server, with a token, and judges by our alerts at once.
    fn start(folder: &Path, target: SocketAddr, token: &str) -> Self {
        let rules = fs::read_to_string(monitoring().join("alerts.yml")).unwrap();
        let at_once = regex::Regex::new(r"for: \w+").unwrap().replace_all(&rules, "for: 0s");
        fs::write(folder.join("alerts.yml"), at_once.as_bytes()).unwrap();
        fs::write(folder.join("token"), token.trim()).unwrap();
        let config = serde_json::json!({
            "global": { "scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms" },
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{
                "job_name": "modelregistry",
                "authorization": { "credentials_file": "token" },
                "static_configs": [{ "targets": [target.to_string()] }],
            }],
        });
        fs::write(folder.join("prometheus.yml"), config.to_string()).unwrap();
        // It can't choose a free port itself.
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Command::new("prometheus")
            .current_dir(folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .expect("prometheus is installed: it is in Debian's package of that name");
        Self { process, address }
    }

    /// Asks until an answer is as it should be.
    async fn answers(&self, path: &str, is_it: impl Fn(&Json) -> bool) -> Json {
        until(PATIENCE, async || {
            let stream = tokio::net::TcpStream::connect(self.address).await.ok()?;
            drop(stream);
            let Answer { status: 200, body, .. } = send(self.address, request("GET", path, &[], "")).await else {
                return None;
            };
            let data = serde_json::from_slice::<Json>(&body).unwrap()["data"].clone();
            is_it(&data).then_some(data)
        })
        .await
    }
}

#[tokio::test]
async fn prometheus_reads_them_with_a_token_and_raises_an_alert_when_the_server_is_gone() {
    let mut server = TestServer::with(|config| {
        config.access = AccessChoice::Tokens;
        config.bootstrap_token_file = Some(config.storage_path.with_file_name("first-token"));
    })
    .await;
    let token = fs::read_to_string(server.storage().with_file_name("first-token")).unwrap();
    let admin = RegistryClient::builder(server.endpoint()).token(token.trim()).connect_lazy().unwrap();
    admin.create_binding("prometheus", "roles/monitor", ["services/prometheus"]).await.unwrap();
    let monitor = admin.create_token("services/prometheus").await.unwrap().secret;
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), server.address(), &monitor);

    let is_one = |data: &Json| data["result"][0]["value"][1] == "1";
    prometheus.answers("/api/v1/query?query=modelregistry_serving", is_one).await;
    // It asks for OpenMetrics by itself, and so keeps the traces.
    let headers = [
        ("authorization", &*format!("Bearer {monitor}")),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    soon(send(server.address(), request("GET", "/v1:getStatus", &headers, ""))).await;
    let exemplars = "/api/v1/query_exemplars?query=modelregistry_call_duration_seconds_bucket&start=0&end=9999999999";
    let kept = prometheus.answers(exemplars, |data| !data[0].is_null()).await;
    assert_eq!(kept[0]["exemplars"][0]["labels"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "{kept}");
    assert_eq!(kept[0]["seriesLabels"]["method"], "GetStatus");

    let fires = |data: &Json| {
        let alerts = data["alerts"].as_array().unwrap();
        alerts.iter().any(|alert| alert["labels"]["alertname"] == "ModelRegistryDown" && alert["state"] == "firing")
    };
    let before = prometheus.answers("/api/v1/alerts", |_| true).await;
    assert!(!fires(&before), "{before}");
    server.stop().await;
    prometheus.answers("/api/v1/alerts", fires).await;
}
