//! One attempt: a POST, and what comes of it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::addresses::Guard;
use super::answers::{Outcome, retry_after};
use super::connect::{ConnectError, Guarded, Network, System};
use super::targets::Target;
use crate::tls;

/// How much of an answer's body is read, so that its connection can be used again. It is not looked at.
const ANSWER_BYTES: usize = 16 * 1024;
/// How long a connection is kept for the next event: not as long as receivers keep theirs, so that none closes amid a request.
const IDLE: Duration = Duration::from_secs(1);
const AGENT: &str = concat!("model-registry/", env!("CARGO_PKG_VERSION"));

/// A message, signed.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) headers: &'static Headers,
    pub(super) id: String,
    /// In seconds since 1970.
    pub(super) timestamp: u64,
    /// Empty if it is not signed.
    pub(super) signatures: String,
    pub(super) body: Bytes,
}

/// The names of the headers of a message.
#[derive(Debug)]
pub(super) struct Headers {
    id: &'static str,
    timestamp: &'static str,
    signatures: &'static str,
}

impl Headers {
    /// Those of Standard Webhooks.
    pub(super) const STANDARD: Self =
        Self { id: "webhook-id", timestamp: "webhook-timestamp", signatures: "webhook-signature" };
    /// Those of MLflow: `mlflow/webhooks/constants.py`.
    pub(super) const MLFLOW: Self =
        Self { id: "x-mlflow-delivery-id", timestamp: "x-mlflow-timestamp", signatures: "x-mlflow-signature" };
}

/// Sends messages.
#[derive(Clone)]
pub(super) struct Sender {
    client: Client<HttpsConnector<Guarded>, Full<Bytes>>,
}

impl Sender {
    /// One that sends where the guard lets it, and trusts the authorities that the system trusts.
    pub(super) fn new(guard: Guard) -> Result<Self, rustls::Error> {
        Self::over(guard, Arc::new(System))
    }

    pub(super) fn over(guard: Guard, network: Arc<dyn Network>) -> Result<Self, rustls::Error> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::of_clients()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Guarded::new(guard, network));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            // One at a time is sent to a receiver.
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { client })
    }

    /// Sends a message, and waits so long for the answer.
    pub(super) async fn post(&self, target: &Target, message: Message, patience: Duration) -> Outcome {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(target.uri())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header(message.headers.id, message.id)
            .header(message.headers.timestamp, message.timestamp);
        if !message.signatures.is_empty() {
            request = request.header(message.headers.signatures, message.signatures);
        }
        let Ok(request) = request.body(Full::new(message.body)) else {
            return Outcome::Failed("the request can't be made");
        };
        let answered = async {
            match self.client.request(request).await {
                Ok(response) => outcome(response).await,
                Err(error) => Outcome::Failed(problem(&error)),
            }
        };
        timeout(patience, answered).await.unwrap_or(Outcome::Failed("the receiver did not answer in time"))
    }
}

async fn outcome(response: Response<Incoming>) -> Outcome {
    let (head, body) = response.into_parts();
    // An answer counts when it has ended, or is longer than anybody needs.
    let _ = Limited::new(body, ANSWER_BYTES).collect().await;
    let asked = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Outcome::Answered {
        code: head.status.as_u16(),
        retry_after: asked.and_then(|text| retry_after(text, SystemTime::now())),
    }
}

/// Why a request failed, in words of our own.
fn problem(error: &(dyn StdError + 'static)) -> &'static str {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return error.text();
        }
        if is_of_tls(error) {
            return "the receiver's certificate or its TLS can't be used";
        }
        cause = error.source();
    }
    "the connection was broken off"
}

/// What TLS says is wrapped in errors of the connection, of which it is no source.
fn is_of_tls(error: &(dyn StdError + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| is_of_tls(wrapped))
}
