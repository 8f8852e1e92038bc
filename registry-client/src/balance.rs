//! Which server the next attempt goes to. Pure: it is told the time, and what became of the attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::resilience::{BreakerPolicy, Circuit, Permit, State};

/// How the endpoints of a client stand: a circuit for each, which is open while the endpoint is set aside.
#[derive(Debug)]
pub(crate) struct Balance {
    circuits: Vec<Circuit>,
    policy: BreakerPolicy,
    turn: usize,
}

/// An attempt at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) endpoint: usize,
    permit: Permit,
}

impl Balance {
    /// So many endpoints, all in use. There is at least one.
    pub(crate) fn new(endpoints: usize, policy: BreakerPolicy) -> Self {
        Self { circuits: vec![Circuit::default(); endpoints], policy, turn: 0 }
    }

    /// Where to try next, other than where it was `tried`: of the endpoints in use one after the other, and if there is none, where
    /// it may be over soonest. Answers nothing only if all were tried.
    pub(crate) fn pick(&mut self, tried: &[usize]) -> Option<Ticket> {
        let untried = || (0..self.circuits.len()).filter(|endpoint| !tried.contains(endpoint));
        let in_use = || untried().filter(|&endpoint| self.circuits[endpoint].is_closed());
        let endpoint = match in_use().count() {
            0 => untried().min_by_key(|&endpoint| self.circuits[endpoint].until())?,
            count => in_use().nth(self.turn % count)?,
        };
        self.turn = self.turn.wrapping_add(1);
        Some(self.ticket(endpoint))
    }

    /// Whether an endpoint is in use other than where it was `tried`.
    pub(crate) fn has(&self, tried: &[usize]) -> bool {
        (0..self.circuits.len()).any(|endpoint| !tried.contains(&endpoint) && self.circuits[endpoint].is_closed())
    }

    /// The endpoint in use behind this one.
    pub(crate) fn other(&self, endpoint: usize) -> Option<usize> {
        let count = self.circuits.len();
        (1..count).map(|step| (endpoint + step) % count).find(|&other| self.circuits[other].is_closed())
    }

    /// An endpoint to ask whether it is back. If it does not say so in time, it is due again.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Ticket> {
        let trial = |(endpoint, circuit): (usize, &mut Circuit)| {
            Some(Ticket { endpoint, permit: circuit.trial(now, &self.policy)? })
        };
        self.circuits.iter_mut().enumerate().find_map(trial)
    }

    /// When the next endpoint is due that is not in use.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.circuits.iter().filter_map(Circuit::until).min()
    }

    /// Sets aside what is not known to be there, and due to be asked.
    pub(crate) fn doubt(&mut self, endpoint: usize, now: Instant) {
        self.circuits[endpoint].open(now);
    }

    /// An attempt was answered: the endpoint is good. Answers whether that is news.
    pub(crate) fn answered(&mut self, ticket: Ticket) -> bool {
        self.circuits[ticket.endpoint].answered(ticket.permit)
    }

    /// The endpoint says that it is back, and is used again. Its failures are forgotten when a call was answered. Answers whether
    /// it is still that which was asked.
    pub(crate) fn readmit(&mut self, ticket: Ticket) -> bool {
        self.circuits[ticket.endpoint].readmit(ticket.permit)
    }

    /// Nobody waits any more for what was to tell whether the endpoint is back. Answers whether that was awaited.
    pub(crate) fn abandoned(&mut self, ticket: Ticket, now: Instant) -> bool {
        self.circuits[ticket.endpoint].abandoned(ticket.permit, now)
    }

    /// An attempt found the endpoint unavailable, for at least as long as it `asked_for`: sets it aside. `random`, from 0 to 1,
    /// spreads the clients of a server. Answers for how long, unless that is known.
    pub(crate) fn failed(
        &mut self,
        ticket: Ticket,
        now: Instant,
        asked_for: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        self.circuits[ticket.endpoint].failed(ticket.permit, now, asked_for, random, &self.policy)
    }

    /// How each of them stands.
    pub(crate) fn states(&self) -> impl Iterator<Item = State> {
        self.circuits.iter().map(Circuit::state)
    }

    fn ticket(&self, endpoint: usize) -> Ticket {
        Ticket { endpoint, permit: self.circuits[endpoint].permit() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 1,
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_secs(5),
        trial_time: Duration::from_millis(10),
    };

    /// Endpoints, each in use or set aside until so many milliseconds have passed.
    type Standings = &'static [u32];

    const UP: u32 = 0;

    fn balance(standings: Standings, start: Instant) -> Balance {
        let mut balance = Balance::new(standings.len(), POLICY);
        let aside = standings.iter().enumerate().filter(|(_, ms)| **ms != UP);
        aside.for_each(|(endpoint, ms)| balance.doubt(endpoint, start + *ms * MS));
        balance
    }

    #[test]
    fn attempts_go_where_they_may_be_answered() {
        // How the endpoints stand, which of them were tried, and where the next attempts go.
        let rows: [(Standings, &[usize], &[usize]); 12] = [
            (&[UP], &[], &[0, 0]),
            (&[UP, UP, UP], &[], &[0, 1, 2, 0, 1, 2]),
            // What is set aside leaves its share to all of the others.
            (&[UP, 5, UP, UP], &[], &[0, 2, 3, 0, 2, 3]),
            (&[5, 5, UP], &[], &[2, 2]),
            // So does what was tried.
            (&[UP, UP, UP], &[1], &[0, 2, 0, 2]),
            (&[UP, 5, UP], &[0], &[2, 2]),
            // What is set aside is the last resort: first what may be over soonest.
            (&[5], &[], &[0, 0]),
            (&[9, 5, 7], &[], &[1, 1]),
            (&[9, 5, 7], &[1], &[2, 2]),
            (&[UP, 5, 3], &[0], &[2, 2]),
            (&[UP, 5, 3], &[0, 2], &[1, 1]),
            (&[UP, 5], &[1, 0], &[]),
        ];
        for (standings, tried, expected) in rows {
            let mut balance = balance(standings, Instant::now());
            let picked: Vec<_> = (0..expected.len().max(1)).map_while(|_| balance.pick(tried)).collect();
            let picked: Vec<_> = picked.iter().map(|ticket| ticket.endpoint).collect();
            assert_eq!(picked, expected, "{standings:?} without {tried:?}");
        }
    }

    #[test]
    fn what_is_set_aside_is_asked_when_its_time_has_come() {
        let start = Instant::now();
        let mut balance = balance(&[UP, 5, 8], start);
        let mut due = |ms: u32| balance.due(start + ms * MS).map(|ticket| ticket.endpoint);
        let rows = [
            (4, None),
            (5, Some(1)),
            // One question at a time.
            (7, None),
            (9, Some(2)),
            (9, None),
            // No answer is none.
            (15, Some(1)),
        ];
        for (ms, expected) in rows {
            assert_eq!(due(ms), expected, "after {ms} ms");
        }
    }

    #[test]
    fn a_second_attempt_goes_to_another_endpoint_in_use() {
        let start = Instant::now();
        for (standings, endpoint, other) in [
            (&[UP][..], 0, None),
            (&[UP, UP, UP], 0, Some(1)),
            (&[UP, UP, UP], 2, Some(0)),
            (&[UP, 5, UP], 0, Some(2)),
            (&[UP, 5], 0, None),
        ] {
            assert_eq!(balance(standings, start).other(endpoint), other, "{standings:?} {endpoint}");
        }
    }

    #[test]
    fn calls_that_fail_together_count_once() {
        let start = Instant::now();
        let mut balance = Balance::new(1, POLICY);
        let calls: Vec<_> = (0..64).map(|_| balance.pick(&[]).unwrap()).collect();
        let pauses = calls.iter().filter_map(|call| balance.failed(*call, start, None, 1.0));
        assert_eq!(pauses.collect::<Vec<_>>(), [100 * MS]);
        let trial = balance.due(start + 100 * MS).unwrap();
        assert_eq!(balance.failed(trial, start + 100 * MS, None, 1.0), Some(200 * MS));
    }

    #[test]
    fn answers_from_before_do_not_bring_an_endpoint_back() {
        let start = Instant::now();
        let mut balance = Balance::new(2, POLICY);
        let (late, _, early) = (balance.pick(&[]).unwrap(), balance.pick(&[]), balance.pick(&[]).unwrap());
        assert!(balance.failed(early, start, None, 1.0).is_some());
        assert!(!balance.answered(late));
        assert_eq!(balance.pick(&[]).unwrap().endpoint, 1);
        assert_eq!(balance.pick(&[]).unwrap().endpoint, 1);
    }
}
