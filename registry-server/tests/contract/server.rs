//! A server in this process, and a client that knows its methods from their descriptors alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, Value};
use registry_proto::v1::ErrorReason;
use registry_proto::{ACTOR_HEADER, REQUEST_ID_HEADER};
use registry_server::config::{Config, Memory, Period};
use registry_server::server::Server;
use registry_server::store::{Decision, StoreError, Transaction};
use registry_server::stores::Stores;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::descriptors::{self, get};

/// How long a watch is listened to.
const QUIET: Duration = Duration::from_millis(50);

/// A revision whose events can't be decoded.
struct Garbage;

#[tonic::async_trait]
impl Decision for Garbage {
    async fn decide(&self, _: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        Ok(Some(Bytes::from_static(&[0x12, 0x7f])))
    }
}

/// A server on an empty store, which goes with this.
pub(crate) struct TestServer {
    pub(crate) channel: Channel,
    pub(crate) address: SocketAddr,
    /// Stops the server when it is dropped.
    _stop: oneshot::Sender<()>,
    _folder: TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_in(folder(), |_| {}).await
    }

    /// The same, with settings of its own.
    pub(crate) async fn with(settings: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(folder(), settings).await
    }

    /// The same, on a store whose first revision can't be read.
    pub(crate) async fn damaged() -> Self {
        let folder = folder();
        let config = Config { storage_path: folder.path().to_owned(), ..Config::default() };
        let stores = Stores::open(&config).await.expect("a store");
        let revision = stores.store.commit(Arc::new(Garbage)).await.expect("a commit");
        assert_eq!(revision, Some(1));
        drop(stores);
        Self::start_in(folder, |_| {}).await
    }

    async fn start_in(folder: TempDir, settings: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            storage_path: folder.path().to_owned(),
            cache: Memory::of_mib(16),
            // Nothing happens by itself.
            gc_every: Period(Duration::ZERO),
            webhook_allow: vec!["127.0.0.1".parse().expect("an address")],
            drain: Period::of_secs(0),
            ..Config::default()
        };
        settings(&mut config);
        let server = Server::open(config).await.expect("a store");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(server.serve(listener, async {
            // An error means that the test is over.
            let _ = stopped.await;
        }));
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
        Self { channel, address, _stop: stop, _folder: folder }
    }

    /// Calls a method, whatever it sends and answers.
    pub(crate) async fn call(
        &self,
        method: &MethodDescriptor,
        messages: Vec<DynamicMessage>,
        headers: MetadataMap,
    ) -> Result<Vec<DynamicMessage>, Status> {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let request = Request::from_parts(headers, tonic::Extensions::default(), tokio_stream::iter(messages));
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let codec = Dynamic { answer: method.output() };
        let answered = grpc.streaming(request, path.parse().expect("a path"), codec).await?;
        let mut stream = answered.into_inner();
        let mut answers = Vec::new();
        while let Ok(next) = tokio::time::timeout(self.patience(method), stream.message()).await {
            match next? {
                Some(answer) => answers.push(answer),
                None => break,
            }
        }
        assert!(method.is_server_streaming() || answers.len() == 1, "{}: {} answers", method.name(), answers.len());
        Ok(answers)
    }

    /// How long the next message may take. A watch does not end by itself.
    fn patience(&self, method: &MethodDescriptor) -> Duration {
        if method.name() == "WatchEvents" { QUIET } else { Duration::from_secs(30) }
    }

    /// Calls a method with what the request is in JSON, and expects an answer.
    pub(crate) async fn ok(&self, name: &str, json: Json) -> DynamicMessage {
        self.ok_by(None, name, json).await
    }

    /// The same, called by somebody.
    pub(crate) async fn ok_by(&self, actor: Option<&str>, name: &str, json: Json) -> DynamicMessage {
        let method = descriptors::method(name);
        let request = descriptors::request(&method, &json);
        let answers = self.call(&method, request, headers(actor, None)).await;
        let answers = answers.unwrap_or_else(|status| panic!("{name} of {json}: {status:?}"));
        answers.into_iter().next_back().expect("an answer")
    }

    /// The newest revision of the log.
    pub(crate) async fn head(&self) -> i64 {
        let page = self.ok("ListEvents", json!({ "orderBy": "revision desc", "pageSize": 1 })).await;
        let events = get(&page, "events").expect("a field");
        let newest = events.as_list().and_then(|events| events.first()?.as_message().cloned());
        newest.and_then(|event| get(&event, "revision")?.as_i64()).unwrap_or_default()
    }
}

/// A folder that goes with the test, or stays, in `FUZZ_STORES`, for others to read.
fn folder() -> TempDir {
    let folder = match std::env::var_os("FUZZ_STORES") {
        Some(stores) => tempfile::Builder::new().prefix("store-").disable_cleanup(true).tempdir_in(stores),
        None => tempfile::tempdir(),
    };
    folder.expect("a folder")
}

/// The headers of a call.
pub(crate) fn headers(actor: Option<&str>, request_id: Option<&str>) -> MetadataMap {
    let mut headers = MetadataMap::new();
    for (name, value) in [(ACTOR_HEADER, actor), (REQUEST_ID_HEADER, request_id)] {
        if let Some(value) = value {
            headers.insert(name, value.parse().expect("a header"));
        }
    }
    headers
}

/// Expects an error, for one of some reasons.
pub(crate) fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>, code: Code, reasons: &[ErrorReason]) {
    let status = answer.expect_err(what);
    assert_eq!(status.code(), code, "{what}: {status:?}");
    let details = status.get_error_details();
    let reason = format!("ERROR_REASON_{}", details.error_info().expect("an ErrorInfo").reason);
    let reason = ErrorReason::from_str_name(&reason).expect("a reason of the contract");
    assert!(reasons.contains(&reason), "{what}: {status:?}");
}

/// Sends and takes messages by their descriptors.
#[derive(Clone)]
struct Dynamic {
    answer: MessageDescriptor,
}

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(out).map_err(|error| Status::unknown(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.answer.clone(), bytes);
        message.map(Some).map_err(|error| Status::unknown(error.to_string()))
    }
}

/// A text as a field holds it.
pub(crate) fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}
