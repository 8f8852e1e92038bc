//! How long a call that found the registry unavailable is made again, and when.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::Error;
use crate::client::later;
use crate::outage::Teller;
use crate::pool::{FIRST_PAUSE, Pause, Route};
use crate::resilience::Budget;
use crate::transport::Transport;

/// How long a call that finds the registry unavailable waits for it, and when it tries again meanwhile.
///
/// Only `UNAVAILABLE`, broken connections and uploads that they broke off are tried again. That is safe for mutations too: the client gives each of them a
/// request id before the first attempt, so that it happens once: a registry knows it for 24 hours, unless it is configured otherwise,
/// and the patience has to stay far below that.
///
/// With several servers an attempt asks one after the other, and ends when it has asked them all.
///
/// Patience is for waiting, and not for hammering. The first attempt of a call is always made. A further one is made at once where another
/// server is in use; behind that, it waits until a server that was set aside says that it is back: of all the calls that wait, one has it
/// asked, and with a single server one of them tries. And a further attempt takes from a [budget](crate::resilience::Budget) of one call in ten,
/// which gets back what was answered; if it is empty, the call waits for that, too. So a registry that is gone gets no more than a tenth on
/// top of its load, however many calls wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long the registry may be unavailable, counted from the first failure, or from the first one since a transfer made progress.
    /// Zero asks every server once.
    pub patience: Duration,
    /// The longest wait before the first retry; it doubles with each further one.
    pub initial_backoff: Duration,
    /// The longest wait of all, unless the registry itself asks for a longer one.
    pub max_backoff: Duration,
}

impl Default for RetryPolicy {
    /// Half a minute, as long as a restart takes, with a try every second or sooner.
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
        }
    }
}

impl RetryPolicy {
    /// The wait after so many failures in a row. What the registry asks for is waited in any case.
    pub(crate) fn delay(&self, failures: u32, asked_for: Option<Duration>) -> Duration {
        self.delay_at(failures, asked_for, rand::random())
    }

    /// Full jitter: `random`, from 0 to 1, chooses among all waits up to the limit, so that the clients of a registry that
    /// comes back do not arrive together.
    fn delay_at(&self, failures: u32, asked_for: Option<Duration>, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let limit = self.initial_backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        asked_for.unwrap_or_default() + limit.mul_f64(random)
    }

    /// Runs `attempt` on one server after the other until it ends well, or in a way that another attempt would not change. It
    /// waits whenever it has tried all servers.
    ///
    /// If the next attempt would start behind the deadline, the error there is says more than the deadline would.
    pub(crate) async fn run<T, F: Future<Output = Result<T, Error>>>(
        &self,
        mut route: Route,
        call: &str,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(Transport) -> F,
    ) -> Result<T, Error> {
        let mut failures = Failures::new(self, route.budget(), deadline);
        loop {
            match attempt(route.next()).await {
                Err(error) if error.is_unavailable() => failures.wait(&mut route, error, call).await?,
                result => {
                    route.ended(&result);
                    if !matches!(result, Err(Error::DeadlineExceeded)) {
                        failures.forget();
                    }
                    return result;
                }
            }
        }
    }
}

/// How often a call that waits for the budget looks at it: it fills with the calls of others.
const LOOK: Duration = Duration::from_millis(100);

/// The failures in a row of one call, transfer or connection.
#[derive(Debug)]
pub(crate) struct Failures {
    policy: RetryPolicy,
    deadline: Option<Instant>,
    /// What further attempts cost.
    budget: Budget,
    /// Whether the last attempt has cost something.
    paid: bool,
    count: u32,
    /// When the first of them came.
    since: Option<Instant>,
}

impl Failures {
    /// Before the first attempt.
    pub(crate) fn new(policy: &RetryPolicy, budget: &Budget, deadline: Option<Instant>) -> Self {
        budget.deposit();
        Self { policy: policy.clone(), deadline, budget: budget.clone(), paid: false, count: 0, since: None }
    }

    /// Something was achieved: what failed before no longer counts, and what the attempt has cost is paid back.
    pub(crate) fn forget(&mut self) {
        (self.count, self.since) = (0, None);
        if std::mem::take(&mut self.paid) {
            self.budget.repay();
        }
    }

    /// Waits until the next attempt is due. Fails with the error of the last one if that would be too late.
    pub(crate) async fn wait(&mut self, route: &mut Route, error: Error, what: &str) -> Result<(), Error> {
        self.count = self.count.saturating_add(1);
        self.paid = false;
        let pause = route.failed(self.count, Some(&error), &self.policy);
        let Some(outage) = self.judge(Instant::now(), pause) else { return Err(error) };
        route.unavailable(outage, &error);
        debug!(what, failures = self.count, delay = ?pause.delay, %error, "trying again");
        pause.wait().await;
        if self.may_go_on(route, pause.round_is_over, &error).await { Ok(()) } else { Err(error) }
    }

    /// Waits until a server is there for the next attempt, and the budget for it; until the patience is over.
    async fn may_go_on(&mut self, route: &mut Route, round_is_over: bool, error: &Error) -> bool {
        let (since, end) = (self.since.unwrap_or_else(Instant::now), self.end());
        let patience = self.policy.patience.min(end - since);
        let mut has_waited = false;
        loop {
            let tell = |teller: &Teller, due: Instant| teller.notice(Absence { away: due - since, patience }, error);
            let is_open = !round_is_over || route.opens(end, tell).await;
            if is_open && route.is_trial() {
                return true;
            }
            if is_open && std::mem::take(&mut has_waited) {
                // All those that waited do not go on at the same moment.
                sleep(self.policy.delay(1, None).min(FIRST_PAUSE)).await;
                continue;
            }
            if is_open && self.budget.withdraw() {
                self.paid = true;
                return true;
            }
            let now = Instant::now();
            if now >= end {
                return false;
            }
            match is_open {
                true => drop(timeout_at(end.min(now + LOOK), self.budget.repaid()).await),
                false => has_waited = true,
            }
        }
    }

    /// When the patience is over, or the time of the call.
    fn end(&self) -> Instant {
        let end = later(self.since.unwrap_or_else(Instant::now), self.policy.patience);
        self.deadline.map_or(end, |deadline| end.min(deadline))
    }

    /// Whether there is another attempt after this failure, which came now, and this pause: then how it stands with the registry.
    pub(crate) fn judge(&mut self, now: Instant, pause: Pause) -> Option<Absence> {
        let since = *self.since.get_or_insert(now);
        let away = now.duration_since(since).saturating_add(pause.delay);
        let left = self.deadline.map_or(Duration::MAX, |deadline| deadline.duration_since(since));
        let over = pause.round_is_over && away >= self.policy.patience;
        let late = away >= left;
        (!over && !late).then(|| Absence { away, patience: self.policy.patience.min(left) })
    }
}

/// How it stands with a registry that is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Absence {
    /// How long it will have been away when it is tried again.
    pub(crate) away: Duration,
    /// For how long it is tried in all.
    pub(crate) patience: Duration,
}

#[cfg(test)]
mod tests;
