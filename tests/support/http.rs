//! A client of HTTP/1.1, for what is called without gRPC, and one that writes bytes, for what no proper client would send.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::soon;

/// An answer, with all of its body.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The reason in the error that the body is.
    pub fn reason(&self) -> String {
        let error = self.json();
        let details = error["error"]["details"].as_array().cloned().unwrap_or_default();
        let reasons = details.iter().filter_map(|detail| detail["reason"].as_str());
        reasons.map(str::to_owned).next().unwrap_or_else(|| panic!("no reason: {error}"))
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// Sends a request on a connection of its own. The answer's body is still to come.
pub async fn begin(address: SocketAddr, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let host = address.to_string().parse().unwrap();
    request.headers_mut().entry("host").or_insert(host);
    soon(sender.send_request(request)).await.unwrap()
}

/// Sends a request, and waits for all of its answer.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let (parts, body) = begin(address, request).await.into_parts();
    let body = soon(body.collect()).await.unwrap().to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// A request with some headers.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// A request whose body is JSON.
pub fn json(method: &str, path: &str, body: &Json) -> Request<Full<Bytes>> {
    request(method, path, &[("content-type", "application/json")], body.to_string())
}

/// Writes bytes, and reads what comes until the server closes the connection.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be closed before all is written.
    let _ = stream.write_all(bytes.as_ref()).await;
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
