//! Closed-loop load: so many clients, each sending its next call when the last one is answered.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde::Serialize;

/// What a load reached.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) p50_micros: f64,
    pub(super) p99_micros: f64,
}

/// Runs `call` in `clients` tasks for a time; the numbers it gets are the client's and the call's.
pub(super) async fn run<F, E>(clients: usize, time: Duration, call: impl Fn(usize, u64) -> F + Clone) -> Result<Rate, E>
where
    F: Future<Output = Result<(), E>>,
{
    let Times { took, elapsed } = time_calls(clients, time, call).await?;
    Ok(Rate {
        per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p50_micros: percentile(&took, 0.5),
        p99_micros: percentile(&took, 0.99),
    })
}

/// What the calls of a load took, sorted, and the load as a whole.
pub(super) struct Times {
    pub(super) took: Vec<Duration>,
    pub(super) elapsed: Duration,
}

/// As [`run`].
pub(super) async fn time_calls<F, E>(
    clients: usize,
    time: Duration,
    call: impl Fn(usize, u64) -> F + Clone,
) -> Result<Times, E>
where
    F: Future<Output = Result<(), E>>,
{
    let began = Instant::now();
    let client = |client: usize| {
        let call = call.clone();
        async move {
            let mut took = Vec::new();
            while began.elapsed() < time {
                let sent = Instant::now();
                call(client, took.len() as u64).await?;
                took.push(sent.elapsed());
            }
            Ok(took)
        }
    };
    let mut took = try_join_all((0..clients).map(client)).await?.concat();
    let elapsed = began.elapsed();
    took.sort_unstable();
    Ok(Times { took, elapsed })
}

/// A percentile of sorted times, in microseconds.
pub(super) fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = (share * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// The middle one of an odd number of rounds.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// One thing and its floor, measured in turns, so that a machine that changes its pace changes both. Answers the medians.
pub(super) async fn in_turns<A, B, E>(
    rounds: usize,
    mut ours: impl FnMut() -> A,
    mut floor: impl FnMut() -> B,
) -> Result<(Rate, Rate), E>
where
    A: Future<Output = Result<Rate, E>>,
    B: Future<Output = Result<Rate, E>>,
{
    let (mut our_rates, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        floors.push(floor().await?);
        our_rates.push(ours().await?);
    }
    Ok((middle(&our_rates), middle(&floors)))
}

/// The medians of some rounds.
pub(super) fn middle(rates: &[Rate]) -> Rate {
    let of = |field: fn(&Rate) -> f64| median(rates.iter().map(field).collect());
    Rate {
        per_second: of(|rate| rate.per_second),
        p50_micros: of(|rate| rate.p50_micros),
        p99_micros: of(|rate| rate.p99_micros),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_medians() {
        let times: Vec<_> = (1..=101).map(Duration::from_micros).collect();
        assert_eq!((percentile(&times, 0.5), percentile(&times, 0.99)), (51.0, 100.0));
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
