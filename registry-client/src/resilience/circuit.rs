//! When an endpoint that fails is left alone, and when it is tried again. Pure: it is told the time, and what became of the calls.
//!
//! ```text
//!            failures in a row                    the pause is over
//!   Closed ---------------------> Open ---------------------------> HalfOpen
//!     ^                             ^                                  |  |
//!     |                             '---- the trial fails: twice the --'  |
//!     '------------------------------------- the trial is answered -------'
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// When a [breaker](super::BreakerLayer) gives an endpoint up, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open the circuit; 0 is taken as 1.
    pub failures: u32,
    /// How long it is open at first, give or take a half: the clients of one server do not try it together. It doubles with each trial that
    /// fails.
    pub first_pause: Duration,
    /// The longest pause, unless the server itself asks for a longer one.
    pub longest_pause: Duration,
    /// How long a trial may take. After that, another one may be made.
    pub trial_time: Duration,
}

impl Default for BreakerPolicy {
    /// Five failures in a row, a pause of 100 ms that grows to 5 s, and 5 s for a trial.
    fn default() -> Self {
        Self {
            failures: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            trial_time: Duration::from_secs(5),
        }
    }
}

/// Whether an endpoint is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    /// It is.
    #[default]
    Closed,
    /// It is left alone until then.
    Open { until: Instant },
    /// One trial finds out whether it is back; if nothing is heard of it until then, another one may.
    HalfOpen { until: Instant },
}

/// What is known of one endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circuit {
    state: State,
    /// In a row.
    failures: u32,
    /// How often it was opened.
    era: u64,
}

/// That a call began, and when: what a call of an earlier era tells is no news. Of sixty-four calls that break together one counts, and
/// the last answers of a server that drains do not bring it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permit {
    era: u64,
}

impl Circuit {
    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When a trial may be made, unless the circuit is closed.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { until } | State::HalfOpen { until } => Some(until),
        }
    }

    /// A call that is made whatever the state is.
    pub(crate) fn permit(&self) -> Permit {
        Permit { era: self.era }
    }

    /// A trial, if one is due: one at a time.
    pub(crate) fn trial(&mut self, now: Instant, policy: &BreakerPolicy) -> Option<Permit> {
        self.until().filter(|until| *until <= now)?;
        self.state = State::HalfOpen { until: now + policy.trial_time };
        Some(self.permit())
    }

    /// A call, which may be the trial; or when to ask again.
    pub(crate) fn admit(&mut self, now: Instant, policy: &BreakerPolicy) -> Result<Permit, Instant> {
        match self.until() {
            None => Ok(self.permit()),
            Some(until) => self.trial(now, policy).ok_or(until),
        }
    }

    /// A call was answered: the endpoint is good. Returns whether that is news.
    pub(crate) fn answered(&mut self, permit: Permit) -> bool {
        let was_closed = self.is_closed();
        self.readmit(permit) && (std::mem::take(&mut self.failures) > 0 || !was_closed)
    }

    /// The endpoint says that it is back, and is used again. Its failures are forgotten when a call was answered: until then the next one
    /// opens the circuit for longer. Returns whether this permit still counts.
    pub(crate) fn readmit(&mut self, permit: Permit) -> bool {
        let news = permit.era == self.era;
        if news {
            self.state = State::Closed;
        }
        news
    }

    /// A call found the endpoint unavailable, for at least as long as it `asked_for`. `random` is from 0 to 1. Returns for how long the
    /// circuit opens, if it does now.
    pub(crate) fn failed(
        &mut self,
        permit: Permit,
        now: Instant,
        asked_for: Option<Duration>,
        random: f64,
        policy: &BreakerPolicy,
    ) -> Option<Duration> {
        // Of an open one that is known: only its trial counts, so that calls which are made in spite of it do not put that off.
        if permit.era != self.era || matches!(self.state, State::Open { .. }) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let enough = policy.failures.max(1);
        if self.is_closed() && self.failures < enough {
            return None;
        }
        let doublings = self.failures.saturating_sub(enough).min(31);
        let pause = policy.first_pause.saturating_mul(1 << doublings).min(policy.longest_pause);
        let pause = pause.mul_f64(0.5 + random / 2.0).max(asked_for.unwrap_or_default());
        self.open(now + pause);
        Some(pause)
    }

    /// Nobody waits for the trial any more: the next one may be made at once. Returns whether it was one.
    pub(crate) fn abandoned(&mut self, permit: Permit, now: Instant) -> bool {
        let was_trial = permit.era == self.era && matches!(self.state, State::HalfOpen { .. });
        if was_trial {
            self.state = State::Open { until: now };
        }
        was_trial
    }

    pub(crate) fn open(&mut self, until: Instant) {
        self.state = State::Open { until };
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy(failures: u32) -> BreakerPolicy {
        BreakerPolicy { failures, trial_time: 1000 * MS, ..BreakerPolicy::default() }
    }

    #[derive(Debug, Clone, Copy)]
    enum Befalls {
        /// A call would like to be made.
        Call,
        /// The newest call that was made was answered, failed, was given up.
        Answered,
        Failed,
        Abandoned,
        /// The one before it failed.
        EarlierFailed,
        /// One that was made before the circuit opened last was answered.
        LateAnswer,
    }
    use Befalls::*;

    /// Each row: how many failures open the circuit; then what befalls it at which millisecond, and how it stands behind that: `made` or
    /// `refused` for a call, and the state.
    #[test]
    fn circuits_open_pause_try_and_close() {
        type Row = (u32, Befalls, &'static str);
        let rows: [(u32, &[Row]); 9] = [
            // Closed, open, half-open, closed.
            (
                1,
                &[
                    (0, Call, "made closed"),
                    (0, Failed, "open"),
                    (99, Call, "refused open"),
                    (100, Call, "made half-open"),
                    // One trial at a time.
                    (101, Call, "refused half-open"),
                    (102, Answered, "closed"),
                    (103, Call, "made closed"),
                ],
            ),
            // A trial that fails doubles the pause.
            (
                1,
                &[
                    (0, Call, "made closed"),
                    (0, Failed, "open"),
                    (100, Call, "made half-open"),
                    (110, Failed, "open"),
                    (309, Call, "refused open"),
                    (310, Call, "made half-open"),
                ],
            ),
            // A trial that is not heard of is followed by another one; which one is heard of first counts.
            (
                1,
                &[
                    (0, Call, "made closed"),
                    (0, Failed, "open"),
                    (100, Call, "made half-open"),
                    (1099, Call, "refused half-open"),
                    (1100, Call, "made half-open"),
                    (1101, Answered, "closed"),
                ],
            ),
            (
                1,
                &[
                    (0, Call, "made closed"),
                    (0, Failed, "open"),
                    (100, Call, "made half-open"),
                    (150, Abandoned, "open"),
                    (150, Call, "made half-open"),
                ],
            ),
            // It takes so many failures in a row.
            (
                3,
                &[
                    (0, Call, "made closed"),
                    (0, Failed, "closed"),
                    (1, Call, "made closed"),
                    (1, Failed, "closed"),
                    (2, Call, "made closed"),
                    (2, Failed, "open"),
                    (101, Call, "refused open"),
                    (102, Call, "made half-open"),
                ],
            ),
            (
                2,
                &[
                    (0, Call, "made closed"),
                    (0, Failed, "closed"),
                    (1, Call, "made closed"),
                    (1, Answered, "closed"),
                    (2, Call, "made closed"),
                    (2, Failed, "closed"),
                ],
            ),
            // Behind a trial that was answered it takes as many again.
            (
                2,
                &[
                    (0, Call, "made closed"),
                    (0, Failed, "closed"),
                    (0, Call, "made closed"),
                    (0, Failed, "open"),
                    (100, Call, "made half-open"),
                    (100, Answered, "closed"),
                    (101, Call, "made closed"),
                    (101, Failed, "closed"),
                ],
            ),
            // Calls that fail together count once, and late answers do not close it.
            (
                1,
                &[
                    (0, Call, "made closed"),
                    (0, Call, "made closed"),
                    (1, Failed, "open"),
                    (1, EarlierFailed, "open"),
                    (101, Call, "made half-open"),
                    (102, EarlierFailed, "half-open"),
                    (102, LateAnswer, "half-open"),
                ],
            ),
            // Nothing is known of a call that was given up while the circuit was closed.
            (1, &[(0, Call, "made closed"), (0, Abandoned, "closed")]),
        ];
        for (failures, steps) in rows {
            let (start, policy) = (Instant::now(), policy(failures));
            let mut circuit = Circuit::default();
            let mut made = Vec::new();
            for &(ms, befalls, expected) in steps {
                let now = start + ms * MS;
                let newest = |made: &[Permit], back: usize| made[made.len() - 1 - back];
                let call = match befalls {
                    Call => match circuit.admit(now, &policy) {
                        Ok(permit) => {
                            made.push(permit);
                            "made "
                        }
                        Err(until) => {
                            assert!(until > now);
                            "refused "
                        }
                    },
                    Answered => {
                        circuit.answered(newest(&made, 0));
                        ""
                    }
                    Failed | EarlierFailed => {
                        let back = usize::from(matches!(befalls, EarlierFailed));
                        circuit.failed(newest(&made, back), now, None, 1.0, &policy);
                        ""
                    }
                    Abandoned => {
                        circuit.abandoned(newest(&made, 0), now);
                        ""
                    }
                    LateAnswer => {
                        circuit.answered(made[0]);
                        ""
                    }
                };
                let state = match circuit.state() {
                    State::Closed => "closed",
                    State::Open { .. } => "open",
                    State::HalfOpen { .. } => "half-open",
                };
                assert_eq!(format!("{call}{state}"), expected, "{befalls:?} after {ms} ms of {steps:?}");
            }
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
            let mut circuit = Circuit { failures, ..Circuit::default() };
            let permit = circuit.permit();
            let pause = circuit.failed(permit, start, asked_for, random, &policy(1));
            assert_eq!(pause, Some(expected), "{failures} {asked_for:?} {random}");
            assert_eq!(circuit.trial(start + expected - MS, &policy(1)), None);
            assert!(circuit.trial(start + expected, &policy(1)).is_some());
        }
    }

    #[test]
    fn calls_that_are_made_in_spite_of_an_open_circuit_do_not_put_the_trial_off() {
        let start = Instant::now();
        let (mut circuit, policy) = (Circuit::default(), policy(1));
        let first = circuit.permit();
        assert_eq!(circuit.failed(first, start, None, 1.0, &policy), Some(100 * MS));
        for ms in 1..100 {
            let call = circuit.permit();
            assert_eq!(circuit.failed(call, start + ms * MS, None, 1.0, &policy), None);
        }
        let trial = circuit.trial(start + 100 * MS, &policy).unwrap();
        assert_eq!(circuit.failed(trial, start + 100 * MS, None, 1.0, &policy), Some(200 * MS));
        // One that is answered closes it.
        let call = circuit.permit();
        assert!(circuit.answered(call) && circuit.is_closed());
        assert!(!circuit.answered(call), "that is known");
    }

    #[test]
    fn only_calls_make_failures_forgotten() {
        let (mut circuit, policy) = (Circuit::default(), policy(1));
        let start = Instant::now();
        circuit.open(start);
        for (seconds, pause) in [(0, 100 * MS), (1, 200 * MS), (2, 400 * MS)] {
            let now = start + Duration::from_secs(seconds);
            let probe = circuit.trial(now, &policy).unwrap();
            assert!(circuit.readmit(probe));
            // It says that it is there, and then it is not.
            let call = circuit.permit();
            assert_eq!(circuit.failed(call, now, None, 1.0, &policy), Some(pause));
        }
        let probe = circuit.trial(start + Duration::from_secs(9), &policy).unwrap();
        circuit.readmit(probe);
        let call = circuit.permit();
        assert!(circuit.answered(call));
        assert_eq!(circuit.failed(call, start, None, 1.0, &policy), Some(100 * MS));
    }
}
