//! Receives the events of a webhook, and prints them, after their signatures were checked.
//!
//! ```text
//! registryctl webhook create printer http://127.0.0.1:8080/    # prints the secret
//! WEBHOOK_SECRET=whsec_... cargo run -p registry-client --example webhook_receiver -- 127.0.0.1:8080
//! ```
//!
//! The registry sends to this machine only with `registry-server --webhook-allow 127.0.0.0/8`.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

/// More than any event has in JSON.
const BYTES: usize = 16 * 1024 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("WEBHOOK_SECRET").map_err(|error| format!("WEBHOOK_SECRET: {error}"))?;
    let webhook = Arc::new(Webhook::new(&secret)?);
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let webhook = Arc::clone(&webhook);
        let service = service_fn(move |request| {
            let webhook = Arc::clone(&webhook);
            async move { Ok::<_, Infallible>(answer(&webhook, request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(webhook: &Webhook, request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let (head, body) = request.into_parts();
    let code = match Limited::new(body, BYTES).collect().await {
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Ok(body) => {
            let body = body.to_bytes();
            // Also refuses what is older than five minutes: somebody may send again what they saw.
            match webhook.verify(&body, &head.headers) {
                Err(_) => StatusCode::UNAUTHORIZED,
                Ok(()) => print(&body),
            }
        }
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = code;
    response
}

/// Whatever is not 2xx comes again. An event may come twice: `webhook-id` tells.
fn print(body: &[u8]) -> StatusCode {
    let Ok(message) = serde_json::from_slice::<Value>(body) else { return StatusCode::BAD_REQUEST };
    println!("{} {} {}", message["timestamp"], message["type"], message["data"]["resourceName"]);
    StatusCode::NO_CONTENT
}
