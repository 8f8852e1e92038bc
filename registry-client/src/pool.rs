//! The connections of a client, and its way from server to server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tracing::debug;

use crate::balance::{Balance, Ticket};
use crate::error::{Unreachable, causes};
use crate::outage::Teller;
use crate::retry::{Absence, Failures};
use crate::transport::{Address, Transport};
use crate::work::Callback;
use crate::{Error, Outage, RetryPolicy};

/// The connections to all servers of one registry.
#[derive(Debug)]
pub(crate) struct Pool {
    servers: Vec<Server>,
    balance: Mutex<Balance>,
    /// How long a server may take to say that it is back.
    patience: Duration,
    teller: Teller,
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
        on_outage: Callback<Outage>,
    ) -> Self {
        let balance = Mutex::new(Balance::new(addresses.len()));
        let teller = Teller::new(addresses.iter().map(|address| address.name.clone()).collect(), on_outage);
        let server = |address: Address| {
            let transports = (0..connections).map(|_| address.connect_lazy()).collect();
            Server { name: address.name, transports, next: AtomicUsize::new(0) }
        };
        Self { servers: addresses.into_iter().map(server).collect(), balance, patience, teller }
    }

    /// Where the servers are, as the program said.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| server.name.as_str())
    }

    /// Makes the first connection: to whoever answers first. The others are used once they have answered too.
    pub(crate) async fn connect(&mut self, addresses: &[Address], policy: &RetryPolicy) -> Result<(), Error> {
        let (mut failures, mut rounds) = (Failures::new(policy, None), 0);
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
                && let Some(due) = balance.due(Instant::now(), self.patience)
            {
                self.probe(due);
            }
            balance.pick(tried).expect("a route does not try a server twice in a round")
        };
        (ticket, self.servers[ticket.endpoint].transport())
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
            debug!(endpoint = self.name(ticket), "a server is used again");
        }
    }

    fn answered(&self, ticket: Ticket) {
        if self.balance().answered(ticket) {
            self.teller.is_over();
            debug!(endpoint = self.name(ticket), "a server answers again");
        }
    }

    fn failed(&self, ticket: Ticket, asked_for: Option<Duration>) {
        let pause = self.balance().failed(ticket, Instant::now(), asked_for, rand::random());
        if let Some(pause) = pause {
            debug!(endpoint = self.name(ticket), ?pause, "a server is set aside");
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

/// The way of one call, transfer or watch from server to server: in rounds, each of which tries every server once.
#[derive(Debug)]
pub(crate) struct Route {
    pool: Arc<Pool>,
    /// Where the last attempt went, and whether it was answered.
    last: Option<(Ticket, bool)>,
    /// Where this round was without success.
    tried: Vec<usize>,
    /// The shortest wait that a server of this round asked for.
    asked_for: Option<Duration>,
}

impl Route {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), last: None, tried: Vec::new(), asked_for: None }
    }

    /// Where to make the next attempt.
    pub(crate) fn next(&mut self) -> Transport {
        let (ticket, transport) = self.pool.pick(&self.tried);
        self.last = Some((ticket, false));
        transport
    }

    /// The server of the last attempt has answered.
    pub(crate) fn answered(&mut self) {
        if let Some((ticket, answered @ false)) = &mut self.last {
            *answered = true;
            self.pool.answered(*ticket);
        }
    }

    /// The last attempt ended, which says something about its server or not.
    pub(crate) fn ended<T>(&mut self, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.answered(),
            Err(error) => self.refused(error),
        }
    }

    fn refused(&mut self, error: &Error) {
        match self.last {
            Some((ticket, _)) if error.is_unavailable() => self.pool.failed(ticket, error.retry_after()),
            _ if error.status().is_some() => self.answered(),
            _ => {}
        }
    }

    /// The last attempt came to nothing; it was the last of so many in a row. Answers when to make the next: at once, as long as
    /// this round has somewhere to go.
    pub(crate) fn failed(&mut self, failures: u32, error: Option<&Error>, policy: &RetryPolicy) -> Pause {
        if let Some(error) = error {
            self.refused(error);
        }
        if failures == 1 {
            self.tried.clear();
        }
        let asked_for = error.and_then(Error::retry_after);
        self.asked_for = if self.tried.is_empty() { asked_for } else { self.asked_for.min(asked_for) };
        self.tried.extend(self.last.map(|(ticket, _)| ticket.endpoint));
        let servers = self.pool.servers.len();
        if self.tried.len() < servers {
            return Pause { round_is_over: false, delay: Duration::ZERO };
        }
        self.tried.clear();
        Pause { round_is_over: true, delay: policy.delay(failures / servers as u32, self.asked_for) }
    }

    /// Says that nobody answers, if that has been so for a while.
    pub(crate) fn unavailable(&self, absence: Absence, error: &Error) {
        self.pool.teller.notice(absence, error);
    }
}

/// What lies before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    /// All servers were tried since the last wait.
    pub(crate) round_is_over: bool,
    pub(crate) delay: Duration,
}

impl Pause {
    pub(crate) async fn wait(self) {
        // Even a sleep of no time takes a millisecond.
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
    }
}
