//! Connections to receivers, each to an address that was vetted: a name is resolved here, all of its addresses are looked at, and one of
//! these is connected to, so that nothing can change between the look-up and the connection. Proxies are not asked.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use async_trait::async_trait;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tower::Service;

use super::addresses::Guard;

/// How many addresses of a name are tried.
const TRIED: usize = 4;

/// Looks names up, and connects.
#[async_trait]
pub(super) trait Network: Send + Sync + 'static {
    /// The addresses of a host.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// A connection to one address.
    async fn connect(&self, address: SocketAddr) -> io::Result<Stream>;
}

/// The system's.
pub(super) struct System;

#[async_trait]
impl Network for System {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Stream(Box::new(stream)))
    }
}

/// Why there is no connection. No address is told: whoever may create webhooks need not learn what the server's resolver knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectError {
    NotAllowed,
    Unresolved,
    Unreachable,
}

impl ConnectError {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NotAllowed => "the host has an address that is not allowed (the server's setting webhook_allow)",
            Self::Unresolved => "the host's name can't be resolved",
            Self::Unreachable => "the host can't be connected to",
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ConnectError {}

/// Connects to vetted addresses only.
#[derive(Clone)]
pub(super) struct Guarded {
    guard: Guard,
    network: Arc<dyn Network>,
}

impl Guarded {
    pub(super) fn new(guard: Guard, network: Arc<dyn Network>) -> Self {
        Self { guard, network }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Stream>, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let addresses = match host.parse() {
            Ok(literal) => vec![literal],
            Err(_) => self.network.resolve(host).await.map_err(|_| ConnectError::Unresolved)?,
        };
        // A name with one address that is not allowed is no name to trust the others of.
        if !addresses.iter().all(|address| self.guard.takes(*address, tls)) {
            return Err(ConnectError::NotAllowed);
        }
        for address in addresses.iter().take(TRIED) {
            if let Ok(stream) = self.network.connect(SocketAddr::new(*address, port)).await {
                return Ok(TokioIo::new(stream));
            }
        }
        Err(if addresses.is_empty() { ConnectError::Unresolved } else { ConnectError::Unreachable })
    }
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// What a connection is made of.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

/// A connection.
pub(super) struct Stream(pub(super) Box<dyn Bytes>);

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
