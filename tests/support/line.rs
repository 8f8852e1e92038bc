//! A line between a client and a server that breaks when it is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy on a port of its own, which counts what the client sends.
#[derive(Debug)]
pub struct Line {
    /// Where it listens.
    pub address: SocketAddr,
    state: Mutex<State>,
    /// How often it broke; every connection that was there ended.
    broken: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    crossed: u64,
    /// It breaks when so many bytes have crossed since it broke the last time.
    gaps: VecDeque<u64>,
    since: u64,
    /// How long every piece takes, in either direction.
    delay: Duration,
}

impl Line {
    /// A line to a server. While that takes no connections, those of the line end at once.
    ///
    /// # Panics
    /// If this machine has no port left.
    pub async fn to(server: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Self { address, state: Mutex::default(), broken: watch::Sender::new(0) });
        let serving = Arc::clone(&line);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let line = Arc::clone(&serving);
                tokio::spawn(async move {
                    let mut broken = line.broken.subscribe();
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        () = line.pass(client, server) => {}
                        _ = broken.changed() => {}
                    }
                });
            }
        });
        line
    }

    /// Lets it break after so many bytes, and then after so many again.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
    pub fn break_after(&self, gaps: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock().unwrap();
        state.gaps = gaps.into_iter().collect();
        state.since = 0;
    }

    /// Lets every piece, of up to 64 KiB in either direction, take so long.
    ///
    /// # Panics
    /// As above.
    pub fn set_delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// How many bytes the client has sent over it.
    ///
    /// # Panics
    /// As above.
    pub fn crossed(&self) -> u64 {
        self.state.lock().unwrap().crossed
    }

    /// How often it broke.
    pub fn broke(&self) -> usize {
        *self.broken.borrow()
    }

    /// How many of so many bytes may pass; fewer if it breaks amid them.
    fn take(&self, length: usize) -> usize {
        let mut state = self.state.lock().unwrap();
        let left = state.gaps.front().map_or(u64::MAX, |gap| gap - state.since);
        let taken = left.min(length as u64);
        state.crossed += taken;
        state.since += taken;
        if taken == left {
            state.gaps.pop_front();
            state.since = 0;
            self.broken.send_modify(|broken| *broken += 1);
        }
        taken as usize
    }

    async fn pass(&self, client: TcpStream, server: TcpStream) {
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        let up = self.carry(&mut from_client, &mut to_server, |length| self.take(length));
        let down = self.carry(&mut from_server, &mut to_client, |length| length);
        // However it ends: the other end sees it.
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    }

    async fn carry(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, take: impl Fn(usize) -> usize) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            let delay = self.state.lock().unwrap().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if to.write_all(&bytes[..take(length)]).await.is_err() {
                return;
            }
        }
    }
}
