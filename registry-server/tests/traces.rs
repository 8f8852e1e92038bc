//! Traces: the spans that a collector gets of a call, under the span of whoever called.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Takes spans, as a collector does.
struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A server that sends its spans to this address.
struct Server {
    process: Child,
    address: String,
    _said: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(collector: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_registry-server"))
            .args(["--listen", "127.0.0.1:0", "--cache", "16MiB", "--storage-path"])
            .arg(folder.path().join("data"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { process, address, _said: said, folder }
    }

    /// Makes a call over HTTP, in a trace that is recorded or not. Answers the status line and the headers.
    fn call(&self, method: &str, path: &str, flags: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let id = uuid::Uuid::now_v7();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 0\r\nx-registry-request-id: {id}\r\n\
             traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n\r\n",
            self.address
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(&format!("x-registry-request-id: {id}\r\n")), "it is echoed: {answer}");
        answer
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    registry_common::hex(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_http_is_a_trace_down_to_the_lane() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (out, mut exported) = mpsc::unbounded_channel();
    let service = TraceServiceServer::new(Collector(out));
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let server = Server::start(&address);
    // Not recorded by whoever calls, and so not here.
    assert!(server.call("POST", "/v1/namespaces/default/models?modelId=other", "00").starts_with("HTTP/1.1 200"));
    assert!(server.call("POST", "/v1/namespaces/default/models?modelId=fraud", "01").starts_with("HTTP/1.1 200"));
    assert!(server.call("GET", "/v1/namespaces/default/models/nothing", "01").starts_with("HTTP/1.1 404"));

    let mut spans: BTreeMap<String, Span> = BTreeMap::new();
    let mut service_name = None;
    let all = async {
        while !spans.contains_key("modelregistry.v1.ModelService/GetModel") || !spans.contains_key("commit") {
            for exported in exported.recv().await.expect("the collector runs").resource_spans {
                let attributes = exported.resource.unwrap().attributes;
                service_name =
                    attributes.into_iter().find(|attribute| attribute.key == "service.name").or(service_name.take());
                for span in exported.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    spans.insert(span.name.clone(), span);
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the spans arrive");
    assert!(
        matches!(service_name.unwrap().value.unwrap().value, Some(Value::StringValue(name)) if name == "registry-server")
    );
    let read = &spans["modelregistry.v1.ModelService/GetModel"];
    assert_eq!((hex(&read.trace_id).as_str(), hex(&read.parent_span_id).as_str()), (TRACE, PARENT));
    let code = read.attributes.iter().find(|attribute| attribute.key == "rpc.grpc.status_code").unwrap();
    assert!(matches!(code.value.as_ref().unwrap().value, Some(Value::IntValue(5))), "{code:?}");
    // What is the caller's fault is no error of ours.
    assert_eq!(read.status.as_ref().map_or(0, |status| status.code), StatusCode::Unset as i32);
    let (change, commit, decide) =
        (&spans["modelregistry.v1.ModelService/CreateModel"], &spans["commit"], &spans["decide"]);
    assert_eq!(commit.parent_span_id, change.span_id);
    assert_eq!(decide.parent_span_id, commit.span_id);
    for span in [change, commit, decide] {
        assert_eq!(hex(&span.trace_id), TRACE);
    }
    assert!(commit.start_time_unix_nano <= decide.start_time_unix_nano);
    assert!(decide.end_time_unix_nano <= commit.end_time_unix_nano);
    // The line in the log has it as well, also of what is not recorded.
    let log = server.log();
    for of in ["CreateModel", "GetModel"] {
        let line = log.lines().find(|line| line.contains(&format!("rpc=\"{of}\""))).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(&format!("trace_id=\"{TRACE}\"")), "{line}");
    }
}

#[test]
fn a_collector_that_is_not_there_costs_no_call() {
    // A port that nobody has.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let server = Server::start(&address);
    for _ in 0..20 {
        assert!(server.call("GET", "/v1/namespaces", "01").starts_with("HTTP/1.1 200"));
    }
}
