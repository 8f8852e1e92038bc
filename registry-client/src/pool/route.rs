//! The way of a call from server to server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Opening, Pool};
use crate::balance::Ticket;
use crate::outage::Teller;
use crate::resilience::{Budget, Hedged};
use crate::retry::Absence;
use crate::transport::Transport;
use crate::{Error, RetryPolicy};

/// The way of one call, transfer or watch from server to server: in rounds, each of which tries every server once.
#[derive(Debug)]
pub(crate) struct Route {
    pool: Arc<Pool>,
    /// Where the last attempt went, and whether it was answered.
    last: Option<(Ticket, bool)>,
    /// Whether another server has given that answer, which was asked second.
    by_second: Arc<AtomicBool>,
    /// The attempt that finds out whether the only server is back: the next one, or the last.
    trial: Option<Ticket>,
    /// Where this round was without success.
    tried: Vec<usize>,
    /// The shortest wait that a server of this round asked for.
    asked_for: Option<Duration>,
}

impl Route {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            last: None,
            by_second: Arc::default(),
            trial: None,
            tried: Vec::new(),
            asked_for: None,
        }
    }

    /// Where to make the next attempt. The first one of a call is made in any case: if all servers are set aside, where that may be over
    /// soonest.
    pub(crate) fn next(&mut self) -> Transport {
        let (ticket, transport) = match self.trial {
            Some(ticket) => (ticket, self.pool.servers[ticket.endpoint].transport()),
            None => self.pool.pick(&self.tried),
        };
        self.last = Some((ticket, false));
        let Some(hedge) = &self.pool.hedge else { return transport };
        self.by_second = Arc::default();
        let (hedge, by_second) = (hedge.clone(), Arc::clone(&self.by_second));
        transport.with(Hedged { hedge, second: self.pool.second(ticket), by_second })
    }

    /// What repeated attempts cost.
    pub(crate) fn budget(&self) -> &Budget {
        &self.pool.budget
    }

    /// Whether a further attempt may be made now. If not, waits until that may have changed, but no longer than `end`; `waiting` hears
    /// of it, and until when.
    pub(crate) async fn opens(&mut self, end: Instant, waiting: impl FnOnce(&Teller, Instant)) -> bool {
        let pool = Arc::clone(&self.pool);
        // Before looking, so that no change is missed.
        let changed = pool.changed.notified();
        match pool.opening() {
            Opening::InUse => {
                if !pool.balance().has(&self.tried) {
                    self.tried.clear();
                }
                return true;
            }
            Opening::Trial(ticket) => {
                self.trial = Some(ticket);
                return true;
            }
            Opening::At(due) => {
                let due = due.min(end);
                waiting(&pool.teller, due);
                tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                }
            }
        }
        false
    }

    /// Whether the next attempt is the one that finds out whether the only server is back.
    pub(crate) fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// The server of the last attempt has answered.
    pub(crate) fn answered(&mut self) {
        self.trial = None;
        if let Some((ticket, answered @ false)) = &mut self.last {
            *answered = true;
            if !self.by_second.load(Ordering::Relaxed) {
                self.pool.answered(*ticket);
            }
        }
    }

    /// The last attempt ended, which says something about its server or not.
    pub(crate) fn ended<T>(&mut self, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.answered(),
            Err(error) => self.refused(error),
        }
    }

    /// A trial that told nothing, because nobody waits for it any more: others may try.
    fn give_trial_back(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.pool.abandoned(trial);
        }
    }

    fn refused(&mut self, error: &Error) {
        match self.last {
            Some((ticket, _)) if error.is_unavailable() => {
                self.trial = None;
                self.pool.failed(ticket, error.retry_after());
            }
            _ if error.status().is_some() => self.answered(),
            _ => {}
        }
    }

    /// The last attempt came to nothing; it was the last of so many in a row. Answers when to make the next: at once, as long as
    /// this round has a server in use to go to; without patience, or for a stream that broke off, any server.
    pub(crate) fn failed(&mut self, failures: u32, error: Option<&Error>, policy: &RetryPolicy) -> Pause {
        let broke_off = matches!(self.last, Some((_, true)));
        if let Some(error) = error {
            self.refused(error);
        }
        self.give_trial_back();
        if failures == 1 {
            self.tried.clear();
        }
        let asked_for = error.and_then(Error::retry_after);
        self.asked_for = if self.tried.is_empty() { asked_for } else { self.asked_for.min(asked_for) };
        self.tried.extend(self.last.map(|(ticket, _)| ticket.endpoint));
        let servers = self.pool.servers.len();
        if self.tried.len() < servers {
            let goes_on = broke_off || policy.patience.is_zero() || self.pool.balance().has(&self.tried);
            return Pause { round_is_over: !goes_on, delay: Duration::ZERO };
        }
        self.tried.clear();
        Pause { round_is_over: true, delay: policy.delay(failures / servers as u32, self.asked_for) }
    }

    /// Says that nobody answers, if that has been so for a while.
    pub(crate) fn unavailable(&self, absence: Absence, error: &Error) {
        self.pool.teller.notice(absence, error);
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.give_trial_back();
    }
}

/// What lies before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    /// All servers were tried since the last wait, or the others are set aside.
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
