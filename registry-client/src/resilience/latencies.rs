//! How long calls took of late.

use std::collections::VecDeque;
use std::time::Duration;

/// So many are remembered.
const LAST: usize = 128;
/// With fewer, nothing is known.
const FEWEST: usize = 20;

/// How long the last calls took.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    last: VecDeque<Duration>,
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(latency);
    }

    /// What nineteen of twenty calls took at most.
    pub(super) fn p95(&self) -> Option<Duration> {
        if self.last.len() < FEWEST {
            return None;
        }
        let mut all: Vec<_> = self.last.iter().copied().collect();
        let place = (all.len() * 95).div_ceil(100) - 1;
        let (_, p95, _) = all.select_nth_unstable(place);
        Some(*p95)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nineteen_of_twenty_of_the_last_calls_took_no_longer() {
        for (calls, expected) in
            [(0, None), (19, None), (20, Some(19)), (100, Some(95)), (128, Some(122)), (1128, Some(1122))]
        {
            let mut latencies = Latencies::default();
            // The slowest last.
            (1..=calls).for_each(|ms| latencies.record(Duration::from_millis(ms)));
            assert_eq!(latencies.p95(), expected.map(Duration::from_millis), "{calls}");
        }
    }
}
