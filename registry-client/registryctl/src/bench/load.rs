//! Closed-loop load: so many clients, each sending its next call when the last one is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde::Serialize;
use tokio::task::JoinSet;

/// What a load reached.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) p50_micros: f64,
    pub(super) p99_micros: f64,
}

/// Runs `call` in `clients` tasks for a time; the numbers it gets are the client's and the call's.
pub(super) async fn run<F, E>(
    clients: usize,
    time: Duration,
    call: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> Result<Rate, E>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Send + 'static,
{
    spawned(clients, move |began: Instant| began.elapsed() < time, call).await
}

/// The same for a number of calls in all.
pub(super) async fn run_calls<F, E>(
    clients: usize,
    calls: u64,
    call: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> Result<Rate, E>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Send + 'static,
{
    let begun = Arc::new(AtomicU64::new(0));
    spawned(clients, move |_| begun.fetch_add(1, Ordering::Relaxed) < calls, call).await
}

/// The clients are tasks, as they are where others are measured: one task would have one processor for all of them.
async fn spawned<F, E>(
    clients: usize,
    goes_on: impl Fn(Instant) -> bool + Clone + Send + 'static,
    call: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> Result<Rate, E>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Send + 'static,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let (goes_on, call) = (goes_on.clone(), call.clone());
        tasks.spawn(client(move || goes_on(began), move |calls| call(number, calls)));
    }
    let took = tasks.join_all().await.into_iter().collect::<Result<Vec<_>, E>>()?.concat();
    let Times { took, elapsed } = Times::of(took, began);
    Ok(Rate {
        per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p50_micros: percentile(&took, 0.5),
        p99_micros: percentile(&took, 0.99),
    })
}

/// Calls as long as it goes on, and notes what each call took.
async fn client<F, E>(goes_on: impl Fn() -> bool, call: impl Fn(u64) -> F) -> Result<Vec<Duration>, E>
where
    F: Future<Output = Result<(), E>>,
{
    let mut took = Vec::new();
    while goes_on() {
        let sent = Instant::now();
        call(took.len() as u64).await?;
        took.push(sent.elapsed());
    }
    Ok(took)
}

/// What the calls of a load took, sorted, and the load as a whole.
pub(super) struct Times {
    pub(super) took: Vec<Duration>,
    pub(super) elapsed: Duration,
}

impl Times {
    fn of(mut took: Vec<Duration>, began: Instant) -> Self {
        let elapsed = began.elapsed();
        took.sort_unstable();
        Self { took, elapsed }
    }
}

/// As [`run`], with calls that borrow: in one task.
pub(super) async fn time_calls<F, E>(
    clients: usize,
    time: Duration,
    call: impl Fn(usize, u64) -> F + Clone,
) -> Result<Times, E>
where
    F: Future<Output = Result<(), E>>,
{
    let began = Instant::now();
    let clients = (0..clients).map(|number| {
        let call = call.clone();
        client(move || began.elapsed() < time, move |calls| call(number, calls))
    });
    let took = try_join_all(clients).await?.concat();
    Ok(Times::of(took, began))
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
