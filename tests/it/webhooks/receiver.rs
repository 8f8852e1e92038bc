//! A receiver of webhooks, which answers as the test says.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use registry_tests::soon;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What a receiver does with a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// It answers this code, and perhaps for how many seconds to wait.
    Code(u16, Option<u64>),
    /// It closes the connection.
    Closes,
}

impl Answer {
    pub(super) fn code(code: u16) -> Self {
        Self::Code(code, None)
    }

    pub(super) fn after(code: u16, seconds: u64) -> Self {
        Self::Code(code, Some(seconds))
    }
}

/// A message that came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) at: Instant,
    pub(super) id: String,
    pub(super) signatures: String,
    /// The name of the event.
    pub(super) event: String,
    pub(super) json: serde_json::Value,
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    /// Checks the signature as Standard Webhooks' own library does.
    pub(super) fn verify(&self, secret: &str) -> Result<(), standardwebhooks::WebhookError> {
        standardwebhooks::Webhook::new(secret)?.verify(&self.body, &self.headers)
    }
}

/// It ends with the test.
pub(super) struct Receiver {
    url: String,
    answers: Arc<Mutex<(VecDeque<Answer>, Answer)>>,
    received: UnboundedReceiver<Received>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// One that gives this answer unless it is told another one.
    pub(super) async fn start(otherwise: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new((VecDeque::new(), otherwise)));
        let (sender, received) = unbounded_channel();
        let serving = tokio::spawn(serve(listener, Arc::clone(&answers), sender));
        Self { url, answers, received, serving }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Gives this answer once, after those that were said before.
    pub(super) fn then(&self, answer: Answer) {
        self.answers.lock().unwrap().0.push_back(answer);
    }

    /// Gives this answer whenever nothing else was said.
    pub(super) fn otherwise(&self, answer: Answer) {
        self.answers.lock().unwrap().1 = answer;
    }

    /// The next messages.
    pub(super) async fn take(&mut self, count: usize) -> Vec<Received> {
        let mut received = Vec::new();
        while received.len() < count {
            received.push(soon(self.received.recv()).await.expect("the receiver is there"));
        }
        received
    }

    /// The messages that have come.
    pub(super) fn drain(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }

    /// No message comes in a moment.
    pub(super) async fn nothing_more(&mut self) {
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
    answers: Arc<Mutex<(VecDeque<Answer>, Answer)>>,
    received: UnboundedSender<Received>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answers, received) = (Arc::clone(&answers), received.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (answers, received) = (Arc::clone(&answers), received.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                let header = |name: &str| head.headers[name].to_str().unwrap().to_owned();
                let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let message = Received {
                    at: Instant::now(),
                    id: header("webhook-id"),
                    signatures: header("webhook-signature"),
                    event: json["data"]["name"].as_str().unwrap_or_default().to_owned(),
                    json,
                    headers: head.headers,
                    body,
                };
                // An error means that the test is over.
                let _ = received.send(message);
                let answer = {
                    let mut answers = answers.lock().unwrap();
                    answers.0.pop_front().unwrap_or(answers.1)
                };
                let Answer::Code(code, after) = answer else {
                    return Err(io::Error::other("the connection is closed"));
                };
                let response = Response::builder().status(code).header("location", "http://127.0.0.1:1/");
                let response = match after {
                    Some(seconds) => response.header(RETRY_AFTER, seconds),
                    None => response,
                };
                Ok(response.body(Full::new(Bytes::from_static(b"thanks"))).unwrap())
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
