//! Connections: how many there may be, how long one may take to say what it wants, and to want nothing.

mod measured;
mod presented;

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::Connected;

pub(crate) use self::measured::Measures;
use self::measured::Place;
pub(crate) use self::presented::Presented;
use crate::tls::Current;

/// How many bytes the first words of a connection have: what every HTTP/2 client sends before anything else.
const GREETING: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// How long to wait when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the other side may be silent after the end of what it is sent, and how long it may take in all to end as well.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_MOST: Duration = Duration::from_secs(30);

/// What connections may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many there may be at once.
    pub(crate) most: usize,
    /// How long one may take for its first words.
    pub(crate) handshake: Duration,
    /// How long one may be without a call.
    pub(crate) idle: Duration,
}

impl Limits {
    /// Leaves half of the files that the process may open to the stores.
    pub(crate) fn within_open_files(self) -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        Self { most: self.most.min(files / 2), ..self }
    }
}

/// What a connection is read from and written to.
pub(crate) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The connections that come to a listener, with TLS if there is any. One too many is closed at once: its client may go to another server.
pub(crate) fn accept(
    listener: TcpListener,
    limits: Limits,
    tls: Option<Current>,
    measures: Measures,
) -> BoxStream<'static, io::Result<Connection<Socket>>> {
    let arrivals = arrivals(listener, limits.most, measures.clone());
    match tls {
        None => {
            let plain = move |(stream, place)| {
                let peer = Peer::of(&stream);
                Ok(Connection::new(Either::Left(stream), peer, limits, Some(place)))
            };
            arrivals.map(plain).boxed()
        }
        Some(tls) => {
            // In tasks, because they compute. Each has a place, so that there are no more of them than connections.
            let begin = move |(stream, place)| {
                let (config, measures) = (Arc::clone(&tls.borrow()), measures.clone());
                let securing = async move {
                    let secured = secure(stream, place, config, limits).await;
                    if secured.is_none() {
                        measures.without_tls.inc();
                    }
                    secured
                };
                AbortOnDropHandle::new(tokio::spawn(securing))
            };
            let secured = arrivals.map(begin).buffer_unordered(limits.most.max(1));
            secured.filter_map(|secured| std::future::ready(secured.ok().flatten().map(Ok))).boxed()
        }
    }
}

/// The handshake of TLS. `None` if the client does not do its part, or not in time. One that is refused is told why.
async fn secure(
    stream: TcpStream,
    place: Place,
    config: Arc<ServerConfig>,
    limits: Limits,
) -> Option<Connection<Socket>> {
    let (client, peer) = (stream.peer_addr().ok(), Peer::of(&stream));
    match timeout(limits.handshake, TlsAcceptor::from(config).accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let peer = Peer {
                certificate: shown.map(|shown| Arc::new(Presented::read(shown).unwrap_or_else(Presented::unreadable))),
                ..peer
            };
            Some(Connection::new(Either::Right(Box::new(stream)), peer, limits, Some(place)))
        }
        Ok(Err((error, stream))) => {
            tracing::debug!(?client, %error, "a connection has no TLS");
            // By an alert, which is sent already, and which it loses if it is still sending. If it is gone, it needs none.
            let _ = Connection::new(stream, Peer::default(), limits, Some(place)).shutdown().await;
            None
        }
        Err(_) => {
            tracing::debug!(?client, "a connection took too long for TLS");
            None
        }
    }
}

/// What comes to a listener, each with its place.
fn arrivals(listener: TcpListener, most: usize, measures: Measures) -> impl Stream<Item = (TcpStream, Place)> + Send {
    measures.most.set(most as i64);
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    stream::unfold((listener, false), move |(listener, mut was_full)| {
        let (places, measures) = (Arc::clone(&places), measures.clone());
        async move {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::error!(%error, "a connection can't be taken");
                        sleep(PAUSE).await;
                        continue;
                    }
                };
                let place = Arc::clone(&places).try_acquire_owned().ok();
                if place.is_none() && !was_full {
                    tracing::warn!(most, "there are as many connections as there may be; others are closed");
                }
                was_full = place.is_none();
                if was_full {
                    measures.refused.inc();
                }
                if let Some(place) = place.map(|place| measures.place(place)) {
                    // Without it small answers wait for the caller's next packet. It only fails on one that is gone already.
                    let _ = stream.set_nodelay(true);
                    return Some(((stream, place), (listener, was_full)));
                }
            }
        }
    })
}

/// A connection that ends itself when it says nothing, or wants nothing, for too long.
pub(crate) struct Connection<IO> {
    io: IO,
    idle: Duration,
    peer: Peer,
    /// How many bytes came, up to a greeting.
    greeting: usize,
    alarm: Pin<Box<Sleep>>,
    /// When the end was sent.
    ended: Option<Instant>,
    _place: Option<Place>,
}

impl<IO> Connection<IO> {
    fn new(io: IO, peer: Peer, limits: Limits, place: Option<Place>) -> Self {
        let alarm = Box::pin(sleep(limits.handshake));
        Self { io, idle: limits.idle, peer, greeting: 0, alarm, ended: None, _place: place }
    }

    /// When it is to be closed, as far as is known now.
    fn end(&self) -> Instant {
        if self.greeting < GREETING { self.alarm.deadline() } else { self.peer.activity.last() + self.idle }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(context, buffer) {
            if this.greeting < GREETING {
                this.greeting += buffer.filled().len() - before;
            }
            return Poll::Ready(read);
        }
        while this.alarm.as_mut().poll(context).is_ready() {
            let end = this.end();
            if end <= Instant::now() {
                // Read as the end of the connection.
                return Poll::Ready(Ok(()));
            }
            this.alarm.set(sleep_until(end));
        }
        Poll::Pending
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    /// Sends the end, then reads until the other side ends too. A socket that is closed while bytes still come to it
    /// resets the connection, and the other side loses what it has not read yet.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let ended = match this.ended {
            Some(ended) => ended,
            None => {
                ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
                this.alarm.set(sleep(LINGER));
                *this.ended.insert(Instant::now())
            }
        };
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.io).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && ended.elapsed() < LINGER_MOST => {
                    this.alarm.as_mut().reset(Instant::now() + LINGER);
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.alarm.as_mut().poll(context).map(Ok),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<IO> Connected for Connection<IO> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// The other side of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) activity: Activity,
    /// `None` where there are no addresses, as in pipes.
    pub(crate) address: Option<IpAddr>,
    /// What it has shown, if it had to.
    pub(crate) certificate: Option<Arc<Presented>>,
}

impl Peer {
    /// That of a connection which has shown nothing yet.
    fn of(stream: &TcpStream) -> Self {
        let address = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
        Self { address, ..Self::default() }
    }
}

/// What goes on on a connection.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Mutex<Calls>>);

#[derive(Debug)]
struct Calls {
    open: usize,
    /// When the last one began or ended.
    last: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Calls { open: 0, last: Instant::now() })))
    }
}

impl Activity {
    /// Notes that a call has begun, until that is dropped.
    pub(crate) fn begin(&self) -> Open {
        self.note(|calls| calls.open += 1);
        Open(self.clone())
    }

    fn note(&self, change: impl FnOnce(&mut Calls)) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut calls);
        calls.last = Instant::now();
    }

    /// When something went on the last time: now, if a call is open.
    fn last(&self) -> Instant {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.open > 0 { Instant::now() } else { calls.last }
    }
}

/// A call that is open.
#[derive(Debug)]
pub(crate) struct Open(Activity);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.note(|calls| calls.open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};

    use super::*;

    const LIMITS: Limits = Limits { most: 1, handshake: Duration::from_millis(20), idle: Duration::from_millis(50) };

    fn connection() -> (DuplexStream, Connection<DuplexStream>) {
        let (client, server) = duplex(1024);
        (client, Connection::new(server, Peer::default(), LIMITS, None))
    }

    /// How long it takes until the connection ends.
    async fn ends(connection: &mut Connection<DuplexStream>) -> Duration {
        let began = Instant::now();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 0);
        began.elapsed()
    }

    #[tokio::test]
    async fn a_connection_that_does_not_greet_is_closed() {
        let (mut client, mut connection) = connection();
        client.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 16);
        ends(&mut connection).await;
    }

    #[tokio::test]
    async fn a_connection_without_calls_is_closed_and_one_with_a_call_is_not() {
        let (mut client, mut connection) = connection();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), GREETING);
        let call = connection.connect_info().activity.begin();
        assert!(timeout(5 * LIMITS.idle, connection.read(&mut [0; 64])).await.is_err(), "a call is open");
        drop(call);
        assert!(ends(&mut connection).await >= LIMITS.idle / 2);
    }

    #[tokio::test]
    async fn a_connection_ends_when_the_other_side_has_ended() {
        let (mut client, mut connection) = connection();
        let closed = tokio::spawn(async move { connection.shutdown().await });
        assert_eq!(client.read(&mut [0; 64]).await.unwrap(), 0, "it is told of the end");
        client.write_all(&[0; 5000]).await.expect("it may say what it began");
        drop(client);
        closed.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_does_not_wait_long_for_the_end_of_the_other_side() {
        let (mut client, mut connection) = connection();
        let began = Instant::now();
        connection.shutdown().await.unwrap();
        assert!((LINGER..2 * LINGER).contains(&began.elapsed()), "it is silent");

        let (mut connection, began) = (Connection::new(connection.io, Peer::default(), LIMITS, None), Instant::now());
        let closed = tokio::spawn(async move { connection.shutdown().await });
        while client.write_all(&[0; 64]).await.is_ok() {
            sleep(LINGER / 2).await;
        }
        closed.await.unwrap().unwrap();
        assert!((LINGER_MOST..2 * LINGER_MOST).contains(&began.elapsed()), "it goes on");
    }

    #[tokio::test]
    async fn a_connection_too_many_is_closed_and_makes_way_for_another_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = accept(listener, LIMITS, None, Measures::default());
        let _first = TcpStream::connect(address).await.unwrap();
        let served = accepted.next().await.unwrap().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut byte = [0; 1];
        tokio::select! {
            _ = accepted.next() => panic!("it was taken"),
            read = second.read(&mut byte) => assert_eq!(read.unwrap_or(0), 0),
        }
        drop(served);
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(accepted.next().await.unwrap().is_ok());
    }
}
