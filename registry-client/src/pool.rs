//! The connections of a client.

mod route;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tracing::debug;

pub(crate) use self::route::{Pause, Route};
use crate::balance::{Balance, Ticket};
use crate::error::{Unreachable, causes};
use crate::outage::Teller;
use crate::resilience::{BreakerPolicy, Budget, HedgeLayer, State};
use crate::retry::Failures;
use crate::transport::{Address, Transport};
use crate::work::Callback;
use crate::{Error, Outage, RetryPolicy};

/// A server that failed is left alone for this long, give or take a half; twice as long after each further failure.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The connections to all servers of one registry.
#[derive(Debug)]
pub(crate) struct Pool {
    servers: Vec<Server>,
    balance: Mutex<Balance>,
    /// A server was set aside, is back, or is asked anew.
    changed: Notify,
    /// How long a server may take to say that it is back.
    patience: Duration,
    /// What repeated attempts may add.
    budget: Budget,
    /// Whether reads are asked twice that take long.
    hedge: Option<HedgeLayer>,
    teller: Teller,
}

/// What a call meets that waits until it may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// A server is in use.
    InUse,
    /// The call itself finds out whether the only server is back.
    Trial(Ticket),
    /// Nothing before then, unless something changes.
    At(Instant),
}

#[derive(Debug)]
struct Server {
    name: String,
    transports: Vec<Transport>,
    next: AtomicUsize,
}

impl Server {
    /// The connections in turn: one alone is a bottleneck at some 25,000 calls a second.
    fn transport(&self) -> Transport {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.transports[turn % self.transports.len()].clone()
    }
}

impl Pool {
    /// So many connections to each server, of which there is at least one, made when they are needed.
    pub(crate) fn lazy(
        addresses: Vec<Address>,
        connections: usize,
        patience: Duration,
        retry: &RetryPolicy,
        budget: Budget,
        hedge: Option<HedgeLayer>,
        on_outage: Callback<Outage>,
    ) -> Self {
        let policy = BreakerPolicy {
            // UNAVAILABLE is unmistakable, and usually there is another server.
            failures: 1,
            first_pause: FIRST_PAUSE.min(retry.initial_backoff),
            // Those who wait hear of a server that is back no later than they would find out by themselves.
            longest_pause: LONGEST_PAUSE.min(retry.max_backoff),
            trial_time: patience,
        };
        let balance = Mutex::new(Balance::new(addresses.len(), policy));
        let teller = Teller::new(addresses.iter().map(|address| address.name.clone()).collect(), on_outage);
        let server = |address: Address| {
            let transports = (0..connections).map(|_| address.connect_lazy()).collect();
            Server { name: address.name, transports, next: AtomicUsize::new(0) }
        };
        let servers = addresses.into_iter().map(server).collect();
        Self { servers, balance, changed: Notify::new(), patience, budget, hedge, teller }
    }

    /// Where the servers are, as the program said.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| server.name.as_str())
    }

    /// How the servers stand, in the same order.
    pub(crate) fn states(&self) -> Vec<State> {
        self.balance().states().collect()
    }

    /// Makes the first connection: to whoever answers first. The others are used once they have answered too.
    pub(crate) async fn connect(&mut self, addresses: &[Address], policy: &RetryPolicy) -> Result<(), Error> {
        let (mut failures, mut rounds) = (Failures::new(policy, &self.budget, None), 0);
        let (server, transport) = loop {
            let error = match first(addresses).await {
                Ok(connected) => break connected,
                Err(endpoints) => Error::Connect { endpoints },
            };
            rounds += 1;
            let pause = Pause { round_is_over: true, delay: policy.delay(rounds, None) };
            let Some(absence) = failures.judge(Instant::now(), pause) else { return Err(error) };
            self.teller.notice(absence, &error);
            pause.wait().await;
        };
        self.teller.is_over();
        self.servers[server].transports[0] = transport;
        let now = Instant::now();
        for other in (0..self.servers.len()).filter(|other| *other != server) {
            self.balance().doubt(other, now);
        }
        Ok(())
    }

    fn pick(self: &Arc<Self>, tried: &[usize]) -> (Ticket, Transport) {
        let ticket = {
            let mut balance = self.balance();
            // A single server is asked by the calls themselves: they have no other place to go.
            if self.servers.len() > 1
                && let Some(due) = balance.due(Instant::now())
            {
                self.probe(due);
            }
            balance.pick(tried).expect("a route does not try a server twice in a round")
        };
        (ticket, self.servers[ticket.endpoint].transport())
    }

    /// The way of a second call beside an attempt: to another server in use, or else to the same one.
    fn second(&self, ticket: Ticket) -> Transport {
        let server = self.balance().other(ticket.endpoint).unwrap_or(ticket.endpoint);
        self.servers[server].transport()
    }

    /// What there is for a call that waits until a server is in use. It is the waiting calls that have servers asked whether they are back:
    /// each of those once in a while, however many wait.
    fn opening(self: &Arc<Self>) -> Opening {
        let now = Instant::now();
        let mut balance = self.balance();
        if balance.has(&[]) {
            return Opening::InUse;
        }
        for _ in 0..self.servers.len() {
            match balance.due(now) {
                Some(due) if self.servers.len() == 1 => return Opening::Trial(due),
                Some(due) => self.probe(due),
                None => break,
            }
        }
        balance.next_due().map_or(Opening::InUse, Opening::At)
    }

    /// Asks a server that was set aside whether it is back. Calls do not wait for that: a server that is gone without a word takes
    /// its time.
    fn probe(self: &Arc<Self>, ticket: Ticket) {
        let transport = self.servers[ticket.endpoint].transport();
        let (pool, patience) = (Arc::downgrade(self), self.patience);
        tokio::spawn(async move {
            let serves = timeout(patience, serves(transport)).await.unwrap_or(false);
            // Without its client there is nobody to tell.
            let Some(pool) = pool.upgrade() else { return };
            match serves {
                true => pool.readmit(ticket),
                false => pool.failed(ticket, None),
            }
        });
    }

    fn readmit(&self, ticket: Ticket) {
        if self.balance().readmit(ticket) {
            self.changed.notify_waiters();
            debug!(endpoint = self.name(ticket), "a server is used again");
        }
    }

    fn answered(&self, ticket: Ticket) {
        if self.balance().answered(ticket) {
            self.teller.is_over();
            self.changed.notify_waiters();
            debug!(endpoint = self.name(ticket), "a server answers again");
        }
    }

    fn failed(&self, ticket: Ticket, asked_for: Option<Duration>) {
        let pause = self.balance().failed(ticket, Instant::now(), asked_for, rand::random());
        if let Some(pause) = pause {
            self.changed.notify_waiters();
            debug!(endpoint = self.name(ticket), ?pause, "a server is set aside");
        }
    }

    fn abandoned(&self, ticket: Ticket) {
        if self.balance().abandoned(ticket, Instant::now()) {
            self.changed.notify_waiters();
        }
    }

    fn name(&self, ticket: Ticket) -> &str {
        &self.servers[ticket.endpoint].name
    }

    fn balance(&self) -> MutexGuard<'_, Balance> {
        self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to the first server that takes one; all are asked at the same time.
async fn first(addresses: &[Address]) -> Result<(usize, Transport), Vec<Unreachable>> {
    let connect = async |server: usize| (server, addresses[server].connect().await);
    let mut connecting: FuturesUnordered<_> = (0..addresses.len()).map(connect).collect();
    let mut failures = Vec::new();
    while let Some((server, connected)) = connecting.next().await {
        match connected {
            Ok(transport) => return Ok((server, transport)),
            Err(error) => failures.push((server, error)),
        }
    }
    failures.sort_by_key(|(server, _)| *server);
    let unreachable =
        |(server, error): (usize, _)| Unreachable { endpoint: addresses[server].name.clone(), problem: causes(&error) };
    Err(failures.into_iter().map(unreachable).collect())
}

async fn serves(transport: Transport) -> bool {
    match HealthClient::new(transport).check(HealthCheckRequest::default()).await {
        Ok(answer) => answer.get_ref().status() == ServingStatus::Serving,
        // A server without the health service counts as up.
        Err(status) => !Error::from(status).is_unavailable(),
    }
}
