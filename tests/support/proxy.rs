//! A proxy between a store and its database, that can do what networks do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What is to become of the next commit that comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Pass,
    /// The connection breaks before the database is asked to commit.
    LoseRequest,
    /// It breaks when the database has answered.
    LoseAnswer,
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    plan: Arc<Mutex<Plan>>,
    /// How many commits were cut.
    cuts: watch::Sender<usize>,
    /// Without a way through, connections end and no new ones are made.
    open: watch::Sender<bool>,
    /// How long everything takes that the database says.
    delay: watch::Sender<Duration>,
    trips: Mutex<Vec<RoundTrips>>,
}

/// How often the client of a connection had to wait for an answer before it said more.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundTrips {
    /// How often, up to now.
    pub count: usize,
    /// Whether the connection has committed something.
    pub commits: bool,
}

impl Proxy {
    /// A proxy to a server.
    ///
    /// # Panics
    /// Later, if that server takes no connections.
    pub async fn new(host: String) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, open, delay) = (watch::Sender::new(0), watch::Sender::new(true), watch::Sender::default());
        let (plan, trips) = (Arc::new(Mutex::new(Plan::Pass)), Mutex::default());
        let proxy = Arc::new(Self { port, plan, cuts, open, delay, trips });
        let serving = Arc::clone(&proxy);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (proxy, host) = (Arc::clone(&serving), host.clone());
                tokio::spawn(async move {
                    let mut open = proxy.open.subscribe();
                    if *open.borrow_and_update() {
                        let server = TcpStream::connect(host).await.unwrap();
                        tokio::select! {
                            () = proxy.pass(client, server) => {}
                            _ = open.wait_for(|open| !open) => {}
                        }
                    }
                });
            }
        });
        proxy
    }

    /// Breaks all connections and takes no new ones, or takes them again.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Lets everything that the database says come later.
    pub fn set_delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }

    /// What all connections took, in the order in which they were made.
    ///
    /// # Panics
    /// Never: nothing panics that counts.
    pub fn round_trips(&self) -> Vec<RoundTrips> {
        self.trips.lock().unwrap().clone()
    }

    /// Lets the next commit from now on meet with an accident; what is answered waits until it did.
    ///
    /// # Panics
    /// Never: the proxy lasts as long as what it is asked of.
    pub fn cut(&self, plan: Plan) -> impl Future<Output = ()> {
        let mut cuts = self.cuts.subscribe();
        let before = *cuts.borrow_and_update();
        *self.plan.lock().unwrap() = plan;
        async move {
            cuts.wait_for(|cuts| *cuts > before).await.unwrap();
        }
    }

    async fn pass(&self, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut lose_answer = false;
        let number = {
            let mut trips = self.trips.lock().unwrap();
            trips.push(RoundTrips::default());
            trips.len() - 1
        };
        let (mut answered, mut due) = (true, None);
        loop {
            tokio::select! {
                // What the client says before it hears an answer belongs to one round trip, also when it comes in pieces.
                biased;
                sent = client.read(&mut up) => {
                    let Ok(length @ 1..) = sent else { return };
                    let commits = up[..length].windows(6).any(|bytes| bytes == b"COMMIT");
                    {
                        let mut trips = self.trips.lock().unwrap();
                        trips[number].count += usize::from(std::mem::take(&mut answered));
                        trips[number].commits |= commits;
                    }
                    let plan = match commits {
                        true => std::mem::replace(&mut *self.plan.lock().unwrap(), Plan::Pass),
                        false => Plan::Pass,
                    };
                    if plan == Plan::LoseRequest {
                        self.cuts.send_modify(|cuts| *cuts += 1);
                        return;
                    }
                    lose_answer |= plan == Plan::LoseAnswer;
                    if server.write_all(&up[..length]).await.is_err() {
                        return;
                    }
                }
                () = async {
                    // That the server has closed is found out below.
                    let _ = server.peek(&mut down).await;
                    let delay = *self.delay.borrow();
                    if !delay.is_zero() {
                        sleep_until(*due.get_or_insert_with(|| Instant::now() + delay)).await;
                    }
                } => {
                    let Ok(length @ 1..) = server.read(&mut down).await else { return };
                    (answered, due) = (true, None);
                    // The tag of the command, which ends with a zero byte.
                    if lose_answer && down[..length].windows(7).any(|bytes| bytes == b"COMMIT\0") {
                        self.cuts.send_modify(|cuts| *cuts += 1);
                        return;
                    }
                    if client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
