//! Connections that say in plain words what is wrong when one side speaks TLS and the other does not expect it, or refuses a certificate.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tonic::codegen::{Service, StdError};

/// How an alert of TLS begins, and no connection of HTTP/2: its first frame would have more than a megabyte.
const ALERT: u8 = 0x15;

/// Why the newest connection to a server ended before the server said anything. A call that comes to nothing for it may not be told: it
/// may hear of no more than a connection that was closed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(crate) fn problem(&self) -> Option<String> {
        self.lock().clone()
    }

    /// There is a connection that says something, or none at all.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    fn note(&self, error: io::Error) -> io::Error {
        *self.lock() = Some(error.to_string());
        error
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes connections without TLS.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    tcp: HttpConnector,
    pub(crate) trouble: Trouble,
}

impl Plain {
    pub(crate) fn new(tcp: HttpConnector) -> Self {
        Self { tcp, trouble: Trouble::default() }
    }
}

impl Service<Uri> for Plain {
    type Response = TokioIo<Line<TcpStream>>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Self::Response, StdError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, trouble) = (self.tcp.call(uri), self.trouble.clone());
        Box::pin(async move {
            let stream = connecting.await.inspect_err(|_| trouble.end())?.into_inner();
            Ok(TokioIo::new(Line::new(stream, trouble)))
        })
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Line<IO> {
    io: IO,
    has_read: bool,
    trouble: Trouble,
}

impl<IO> Line<IO> {
    pub(crate) fn new(io: IO, trouble: Trouble) -> Self {
        Self { io, has_read: false, trouble }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Line<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(context, buffer));
        if self.has_read {
            return Poll::Ready(read);
        }
        read.map_err(|error| self.trouble.note(explained(error)))?;
        if let Some(first) = buffer.filled().get(before) {
            if *first == ALERT {
                let problem = io::Error::other("the server speaks TLS: its endpoint begins with https://");
                return Poll::Ready(Err(self.trouble.note(problem)));
            }
            self.has_read = true;
            self.trouble.end();
        }
        Poll::Ready(Ok(()))
    }
}

/// A server tells of a certificate that it refuses when the client has begun to speak already.
#[cfg(feature = "tls")]
fn explained(error: io::Error) -> io::Error {
    use tokio_rustls::rustls::AlertDescription as Alert;
    use tokio_rustls::rustls::Error::AlertReceived;

    let alert = match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(AlertReceived(alert)) => *alert,
        _ => return error,
    };
    let problem = match alert {
        Alert::CertificateRequired => "the server asks for a client's certificate, and there is none".to_owned(),
        // The second one is about an authority of the same name.
        Alert::UnknownCA | Alert::DecryptError => {
            "the server does not know the authority of this client's certificate".to_owned()
        }
        Alert::CertificateExpired => "this client's certificate has expired".to_owned(),
        other => format!("the server ended TLS: {other:?}"),
    };
    io::Error::new(error.kind(), problem)
}

#[cfg(not(feature = "tls"))]
fn explained(error: io::Error) -> io::Error {
    error
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Line<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
