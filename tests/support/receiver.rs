//! A receiver of webhooks, which answers as the test says.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::soon;

/// What a receiver does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It answers this code, and perhaps for how many seconds to wait.
    Code(u16, Option<u64>),
    /// It takes the message, and says so after this time.
    Late(Duration),
    /// It closes the connection.
    Closes,
}

impl Answer {
    /// A code, and nothing else.
    pub fn code(code: u16) -> Self {
        Self::Code(code, None)
    }

    /// A code, with `Retry-After`.
    pub fn after(code: u16, seconds: u64) -> Self {
        Self::Code(code, Some(seconds))
    }

    /// Whether the sender knows that the message has come.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Code(200..=299, _) | Self::Late(_))
    }
}

/// A message that came.
#[derive(Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// Its `webhook-id`, or MLflow's.
    pub id: String,
    /// Its `webhook-signature`, or MLflow's; empty if it is not signed.
    pub signatures: String,
    /// The name of the event.
    pub event: String,
    /// The body.
    pub json: serde_json::Value,
    /// What the receiver did with it.
    pub answer: Answer,
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    /// Checks the signature as Standard Webhooks' own library does.
    ///
    /// # Errors
    /// If it is not right.
    pub fn verify(&self, secret: &str) -> Result<(), standardwebhooks::WebhookError> {
        standardwebhooks::Webhook::new(secret)?.verify(&self.body, &self.headers)
    }

    /// Checks the signature that MLflow's webhooks have: the same under other names, with the bytes of the secret as the key.
    ///
    /// # Errors
    /// If it is not right.
    pub fn verify_mlflow(&self, secret: &str) -> Result<(), standardwebhooks::WebhookError> {
        let mut headers = HeaderMap::new();
        for (name, mlflows) in [
            ("webhook-id", MLFLOW_ID),
            ("webhook-timestamp", "x-mlflow-timestamp"),
            ("webhook-signature", MLFLOW_SIGNATURE),
        ] {
            headers.extend(self.headers.get(mlflows).map(|value| (HeaderName::from_static(name), value.clone())));
        }
        standardwebhooks::Webhook::from_bytes(secret.as_bytes().to_vec())?.verify(&self.body, &headers)
    }
}

const MLFLOW_ID: &str = "x-mlflow-delivery-id";
const MLFLOW_SIGNATURE: &str = "x-mlflow-signature";

/// What it answers.
#[derive(Debug)]
struct Plan {
    next: VecDeque<Answer>,
    otherwise: Answer,
}

/// It ends with the test.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    sender: UnboundedSender<Received>,
    received: UnboundedReceiver<Received>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// One that gives this answer unless it is told another one.
    ///
    /// # Panics
    /// If this machine has no port left.
    pub async fn start(otherwise: Answer) -> Self {
        Self::serving(otherwise, None).await
    }

    /// The same over TLS.
    ///
    /// # Panics
    /// As above.
    pub async fn start_with(otherwise: Answer, tls: TlsAcceptor) -> Self {
        Self::serving(otherwise, Some(tls)).await
    }

    async fn serving(otherwise: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan { next: VecDeque::new(), otherwise }));
        let (sender, received) = unbounded_channel();
        let serving = tokio::spawn(serve(listener, tls, Arc::clone(&plan), sender.clone()));
        Self { address, plan, sender, received, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where messages are to be sent.
    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// Gives this answer once, after those that were said before.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
    pub fn then(&self, answer: Answer) {
        self.plan.lock().unwrap().next.push_back(answer);
    }

    /// Gives this answer whenever nothing else was said.
    ///
    /// # Panics
    /// As above.
    pub fn otherwise(&self, answer: Answer) {
        self.plan.lock().unwrap().otherwise = answer;
    }

    /// Ends with all its connections, and begins anew where it was.
    ///
    /// # Panics
    /// If somebody has taken its port.
    pub async fn restart(&mut self) {
        self.serving.abort();
        // The listener is gone when the task is.
        let _ = (&mut self.serving).await;
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = tokio::spawn(serve(listener, None, Arc::clone(&self.plan), self.sender.clone()));
    }

    /// The next message, however long that takes.
    ///
    /// # Panics
    /// Never: the receiver lasts as long as this.
    pub async fn next(&mut self) -> Received {
        self.received.recv().await.expect("the receiver is there")
    }

    /// The next messages.
    ///
    /// # Panics
    /// If they don't come soon.
    pub async fn take(&mut self, count: usize) -> Vec<Received> {
        let mut received = Vec::new();
        while received.len() < count {
            received.push(soon(self.next()).await);
        }
        received
    }

    /// The messages that have come.
    pub fn drain(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }

    /// No message comes in a moment.
    ///
    /// # Panics
    /// If one does.
    pub async fn nothing_more(&mut self) {
        let more = timeout(Duration::from_millis(200), self.received.recv()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    plan: Arc<Mutex<Plan>>,
    received: UnboundedSender<Received>,
) {
    // They end with this.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (plan, received) = (Arc::clone(&plan), received.clone());
        let service = service_fn(move |request| answer(request, Arc::clone(&plan), received.clone()));
        let tls = tls.clone();
        connections.spawn(async move {
            let http = http1::Builder::new();
            // Whoever breaks off has what it wants.
            match tls {
                None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(http.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    plan: Arc<Mutex<Plan>>,
    received: UnboundedSender<Received>,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let header = |names: [&str; 2]| {
        let value = names.into_iter().find_map(|name| head.headers.get(name));
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let answer = {
        let mut plan = plan.lock().unwrap();
        plan.next.pop_front().unwrap_or(plan.otherwise)
    };
    let message = Received {
        at: Instant::now(),
        id: header(["webhook-id", MLFLOW_ID]),
        signatures: header(["webhook-signature", MLFLOW_SIGNATURE]),
        event: json["data"]["name"].as_str().unwrap_or_default().to_owned(),
        json,
        answer,
        headers: head.headers,
        body,
    };
    // An error means that the test is over.
    let _ = received.send(message);
    let (code, after) = match answer {
        Answer::Code(code, after) => (code, after),
        Answer::Late(time) => {
            tokio::time::sleep(time).await;
            (204, None)
        }
        Answer::Closes => return Err(io::Error::other("the connection is closed")),
    };
    let response = Response::builder().status(code).header("location", "http://127.0.0.1:1/");
    let response = match after {
        Some(seconds) => response.header(RETRY_AFTER, seconds),
        None => response,
    };
    Ok(response.body(Full::new(Bytes::from_static(b"thanks"))).unwrap())
}
