//! Which server the next attempt goes to. Pure: it is told the time, and what became of the attempts.

use std::time::Duration;

use tokio::time::Instant;

/// An endpoint that failed is left alone for this long, give or take a half; twice as long after each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How the endpoints of a client stand.
#[derive(Debug)]
pub(crate) struct Balance {
    endpoints: Vec<Standing>,
    turn: usize,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    /// Set aside: when to ask whether it is back. Without that it is in use.
    aside_until: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// How often it was set aside.
    era: u64,
}

/// An attempt at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) endpoint: usize,
    /// Of the endpoint when the attempt began. What an attempt of an earlier era tells is no news: of sixty-four calls that break
    /// together one counts, and the last answers of a server that drains do not bring it back.
    era: u64,
}

impl Balance {
    /// So many endpoints, all in use. There is at least one.
    pub(crate) fn new(endpoints: usize) -> Self {
        Self { endpoints: vec![Standing::default(); endpoints], turn: 0 }
    }

    /// Where to try next, other than where it was `tried`: of the endpoints in use one after the other, and if there is none, where
    /// it may be over soonest. Answers nothing only if all were tried.
    pub(crate) fn pick(&mut self, tried: &[usize]) -> Option<Ticket> {
        let untried = || (0..self.endpoints.len()).filter(|endpoint| !tried.contains(endpoint));
        let in_use = || untried().filter(|&endpoint| self.endpoints[endpoint].aside_until.is_none());
        let endpoint = match in_use().count() {
            0 => untried().min_by_key(|&endpoint| self.endpoints[endpoint].aside_until)?,
            count => in_use().nth(self.turn % count)?,
        };
        self.turn = self.turn.wrapping_add(1);
        Some(self.ticket(endpoint))
    }

    /// An endpoint to ask whether it is back. If it does not say so within `patience`, it is due again.
    pub(crate) fn due(&mut self, now: Instant, patience: Duration) -> Option<Ticket> {
        let endpoint = self.endpoints.iter().position(|standing| standing.aside_until.is_some_and(|at| at <= now))?;
        self.endpoints[endpoint].aside_until = Some(now + patience);
        Some(self.ticket(endpoint))
    }

    /// Sets aside what is not known to be there, and due to be asked.
    pub(crate) fn doubt(&mut self, endpoint: usize, now: Instant) {
        self.set_aside(endpoint, now);
    }

    /// An attempt was answered: the endpoint is good. Answers whether it had failed before.
    pub(crate) fn answered(&mut self, ticket: Ticket) -> bool {
        self.readmit(ticket) && std::mem::take(&mut self.endpoints[ticket.endpoint].failures) > 0
    }

    /// The endpoint says that it is back, and is used again. Its failures are forgotten when a call was answered. Answers whether
    /// it is still that which was asked.
    pub(crate) fn readmit(&mut self, ticket: Ticket) -> bool {
        let standing = &mut self.endpoints[ticket.endpoint];
        let news = ticket.era == standing.era;
        if news {
            standing.aside_until = None;
        }
        news
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
        let standing = &mut self.endpoints[ticket.endpoint];
        if ticket.era != standing.era {
            return None;
        }
        let doublings = standing.failures.min(31);
        standing.failures = standing.failures.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE).mul_f64(0.5 + random / 2.0);
        let pause = pause.max(asked_for.unwrap_or_default());
        self.set_aside(ticket.endpoint, now + pause);
        Some(pause)
    }

    fn set_aside(&mut self, endpoint: usize, until: Instant) {
        let standing = &mut self.endpoints[endpoint];
        standing.aside_until = Some(until);
        standing.era += 1;
    }

    fn ticket(&self, endpoint: usize) -> Ticket {
        Ticket { endpoint, era: self.endpoints[endpoint].era }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Endpoints, each in use or set aside until so many milliseconds have passed.
    type Standings = &'static [u32];

    const UP: u32 = 0;

    fn balance(standings: Standings, start: Instant) -> Balance {
        let standing =
            |ms: &u32| Standing { aside_until: (*ms != UP).then(|| start + *ms * MS), ..Standing::default() };
        Balance { endpoints: standings.iter().map(standing).collect(), turn: 0 }
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
        let mut due = |ms: u32| balance.due(start + ms * MS, 10 * MS).map(|ticket| ticket.endpoint);
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
    fn pauses_grow_to_a_limit_and_are_no_shorter_than_asked_for() {
        let start = Instant::now();
        for (failures, asked_for, random, expected) in [
            (0, None, 1.0, 100 * MS),
            (0, None, 0.0, 50 * MS),
            (1, None, 1.0, 200 * MS),
            (5, None, 1.0, 3200 * MS),
            (6, None, 1.0, 5000 * MS),
            (6, None, 0.0, 2500 * MS),
            (u32::MAX, None, 1.0, 5000 * MS),
            (0, Some(200 * MS), 1.0, 200 * MS),
            (0, Some(20 * MS), 1.0, 100 * MS),
        ] {
            let mut balance = Balance { endpoints: vec![Standing { failures, ..Standing::default() }], turn: 0 };
            let ticket = balance.pick(&[]).unwrap();
            let pause = balance.failed(ticket, start, asked_for, random);
            assert_eq!(pause, Some(expected), "{failures} {asked_for:?} {random}");
            assert_eq!(balance.due(start + expected - MS, MS), None);
            assert!(balance.due(start + expected, MS).is_some());
        }
    }

    #[test]
    fn calls_that_fail_together_count_once() {
        let start = Instant::now();
        let mut balance = Balance::new(1);
        let calls: Vec<_> = (0..64).map(|_| balance.pick(&[]).unwrap()).collect();
        let pauses = calls.iter().filter_map(|call| balance.failed(*call, start, None, 1.0));
        assert_eq!(pauses.collect::<Vec<_>>(), [100 * MS]);
        let next = balance.pick(&[]).unwrap();
        assert_eq!(balance.failed(next, start, None, 1.0), Some(200 * MS));
    }

    #[test]
    fn answers_from_before_do_not_bring_an_endpoint_back() {
        let start = Instant::now();
        let mut balance = Balance::new(2);
        let (late, _, early) = (balance.pick(&[]).unwrap(), balance.pick(&[]), balance.pick(&[]).unwrap());
        assert!(balance.failed(early, start, None, 1.0).is_some());
        assert!(!balance.answered(late));
        assert_eq!(balance.pick(&[]).unwrap().endpoint, 1);
        assert_eq!(balance.pick(&[]).unwrap().endpoint, 1);
    }

    #[test]
    fn a_last_resort_that_answers_is_used_again() {
        let mut balance = Balance::new(1);
        let ticket = balance.pick(&[]).unwrap();
        balance.failed(ticket, Instant::now(), None, 1.0);
        let ticket = balance.pick(&[]).unwrap();
        assert!(balance.answered(ticket));
        assert_eq!(balance.due(Instant::now() + LONGEST_PAUSE, MS), None);
        assert!(!balance.answered(ticket), "that is known");
    }

    #[test]
    fn only_calls_make_failures_forgotten() {
        let start = Instant::now();
        let mut balance = Balance::new(2);
        balance.doubt(1, start);
        for (step, pause) in [(0, 100 * MS), (1, 200 * MS), (2, 400 * MS)] {
            let now = start + step * Duration::from_secs(1);
            let probe = balance.due(now, MS).unwrap();
            assert_eq!(probe.endpoint, 1);
            assert!(balance.readmit(probe));
            // It says that it is there, and then it is not.
            let call = balance.pick(&[0]).unwrap();
            assert_eq!(balance.failed(call, now, None, 1.0), Some(pause));
        }
        let probe = balance.due(start + Duration::from_secs(9), MS).unwrap();
        balance.readmit(probe);
        let call = balance.pick(&[0]).unwrap();
        assert!(balance.answered(call));
        assert_eq!(balance.failed(call, start, None, 1.0), Some(100 * MS));
    }
}
