//! What holds of the client whatever befalls the servers, over many random runs in simulated time:
//!
//! 1. *Load.* Attempts beyond the first of each call that are not answered are at most one for ten calls, beside the reserve of the budget
//!    and the trials of a single server; so a total outage adds at most a tenth to the load.
//! 2. *Recovery.* When a server is back, calls are answered within one half-open period: the longest pause, and the time of a trial. None
//!    that still has patience fails behind that.
//! 3. *Once.* No mutation takes effect twice, and each that was answered has taken effect, whatever was lost on the way.
//! 4. *Failover.* As long as one server is up, no call fails.
//! 5. *Probes.* However many calls wait, each server is asked no more than once in a half-open period whether it is back.
//!
//! A seed is a run: the schedule of each server, the calls and the latencies follow from it. The client's own jitter does not, which is no
//! part of what has to hold.

mod world;

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::world::{Condition, FAILURES, Report, Scenario, Schedule, simulate};

const SECOND: Duration = Duration::from_secs(1);
/// The longest pause of the default policy.
const PAUSE: Duration = SECOND;
/// How long a trial may take.
const TRIAL: Duration = Duration::from_secs(5);
/// For those that waited to go on, a few after the other, and for their answers.
const DRAIN: Duration = Duration::from_secs(5);
/// How long calls count for the budget, and what may be repeated in that time without any.
const WINDOW: u64 = 10;
const RESERVE: usize = 10;

/// So many runs of each kind; with the long test many more.
const RUNS: u64 = 60;
const MANY_RUNS: u64 = 1500;

fn failure(rng: &mut StdRng) -> Condition {
    FAILURES[rng.random_range(0..FAILURES.len())]
}

/// All servers fail for a while, each in its own way.
fn total_outage(rng: &mut StdRng) -> (Scenario, u64, u64) {
    let (from, lasts) = (rng.random_range(1000..4000), rng.random_range(1000..15_000));
    let servers =
        (0..rng.random_range(1..=3)).map(|_| vec![(from, failure(rng)), (from + lasts, Condition::Up)]).collect();
    let patience = [0, 1, 5, 30].map(Duration::from_secs);
    let patience = patience[..rng.random_range(1..=4)].to_vec();
    let ms = from + lasts + 8000;
    (Scenario { servers, ms, calls_per_second: rng.random_range(3..9), patience }, from, from + lasts)
}

/// One server after the other fails for a while, with a second between.
fn rolling(rng: &mut StdRng) -> Scenario {
    let count = rng.random_range(2..=4);
    let mut servers = vec![Schedule::new(); count];
    let mut ms = 1000;
    for _ in 0..rng.random_range(1..=5) {
        let lasts = rng.random_range(500..5000);
        servers[rng.random_range(0..count)].extend([(ms, failure(rng)), (ms + lasts, Condition::Up)]);
        ms += lasts + 1000;
    }
    let patience = vec![Duration::from_secs(30)];
    Scenario { servers, ms, calls_per_second: rng.random_range(3..9), patience }
}

/// Every server does as it likes.
fn chaos(rng: &mut StdRng) -> Scenario {
    let schedule = |rng: &mut StdRng| {
        let mut ms = 0;
        let mut schedule = Schedule::new();
        while ms < 15_000 {
            let condition = if rng.random_bool(0.4) { Condition::Up } else { failure(rng) };
            schedule.push((ms, condition));
            ms += rng.random_range(100..4000);
        }
        schedule.push((15_000, Condition::Up));
        schedule
    };
    let servers = (0..rng.random_range(1..=3)).map(|_| schedule(rng)).collect();
    let patience = [0, 2, 30].map(Duration::from_secs).to_vec();
    Scenario { servers, ms: 18_000, calls_per_second: rng.random_range(3..9), patience }
}

/// How often each call was attempted.
fn attempts_of(report: &Report) -> HashMap<&str, usize> {
    let mut attempts = HashMap::new();
    report.attempts.iter().for_each(|attempt| *attempts.entry(attempt.call.as_str()).or_default() += 1);
    attempts
}

/// How many trials or probes there may be of all servers: the pauses double from at least 50 ms to at least half of the longest, and begin
/// anew behind an answer.
fn trials(scenario: &Scenario, report: &Report) -> usize {
    let last = report.calls.iter().map(|call| call.end).max().unwrap_or_default();
    let long = (last.as_secs_f64() / (PAUSE.as_secs_f64() / 2.0)).ceil() as usize;
    let of_server = |schedule: &Schedule| long + 5 * (1 + schedule.len());
    scenario.patience.len() * scenario.servers.iter().map(of_server).sum::<usize>()
}

fn check_load(scenario: &Scenario, report: &Report) {
    let attempts = attempts_of(report);
    let calls = report.calls.len();
    // The last attempt of a call that was answered at a further one costs nothing.
    let useless: usize = report
        .calls
        .iter()
        .map(|call| {
            let further = attempts.get(call.id.as_str()).map_or(0, |attempts| attempts - 1);
            further - usize::from(further > 0 && call.result.is_ok())
        })
        .sum();
    let lasted = report.calls.iter().map(|call| call.end).max().unwrap_or_default();
    let windows = lasted.as_secs() as usize / WINDOW as usize + 2;
    let trials = if scenario.servers.len() == 1 { trials(scenario, report) } else { 0 };
    let may_be = calls / 10 + RESERVE * windows + trials;
    assert!(useless <= may_be, "{useless} further attempts for nothing with {calls} calls; {may_be} may be");
}

fn check_once(report: &Report) {
    for (model, effects) in &report.effects {
        assert_eq!(*effects, 1, "{model} happened so often");
    }
    for call in report.calls.iter().filter(|call| call.is_mutation && call.result.is_ok()) {
        assert!(report.effects.contains_key(&call.id), "{call:?} was answered, and did not happen");
    }
}

fn check_probes(scenario: &Scenario, report: &Report) {
    let may_be = if scenario.servers.len() == 1 { 0 } else { trials(scenario, report) };
    assert!(report.probes.len() <= may_be, "{} probes; {may_be} may be", report.probes.len());
}

/// No call fails that has patience left behind this moment, and those that begin behind it are answered at once.
fn check_recovery(report: &Report, back: Duration, lost_to_hanging: Duration) {
    let by = back + PAUSE + TRIAL;
    for call in &report.calls {
        let until = call.start + call.patience;
        assert!(call.result.is_ok() || until <= by + DRAIN + lost_to_hanging, "{call:?}, back at {back:?}");
        if call.start >= by {
            assert!(call.result.is_ok() && call.end - call.start < SECOND / 2, "{call:?}, back at {back:?}");
        }
    }
}

fn total_outages(seeds: impl Iterator<Item = u64>) {
    let mut waited = 0;
    for seed in seeds {
        let (scenario, from, to) = total_outage(&mut StdRng::seed_from_u64(seed));
        eprintln!("seed {seed}: {scenario:?}");
        let report = simulate(&scenario, seed);
        check_load(&scenario, &report);
        check_once(&report);
        check_probes(&scenario, &report);
        // An attempt that hung when the servers came back is heard of a quarter of a minute later.
        let hangs = scenario.servers.iter().flatten().any(|(_, condition)| *condition == Condition::Hangs);
        let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
        check_recovery(&report, to, if hangs { 15 * SECOND } else { Duration::ZERO });
        waited +=
            report.calls.iter().filter(|call| call.start > from && call.start < to && call.result.is_ok()).count();
    }
    assert!(waited > 0, "no call had the patience");
}

fn failovers(seeds: impl Iterator<Item = u64>) {
    let mut repeated = 0;
    for seed in seeds {
        let scenario = rolling(&mut StdRng::seed_from_u64(seed));
        eprintln!("seed {seed}: {scenario:?}");
        let report = simulate(&scenario, seed);
        check_load(&scenario, &report);
        check_once(&report);
        check_probes(&scenario, &report);
        for call in &report.calls {
            assert!(call.result.is_ok(), "{call:?}");
        }
        repeated += report.repeated;
    }
    assert!(repeated > 0, "no answer was lost of what had happened");
}

fn chaotic(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let scenario = chaos(&mut StdRng::seed_from_u64(seed));
        eprintln!("seed {seed}: {scenario:?}");
        let report = simulate(&scenario, seed);
        check_load(&scenario, &report);
        check_once(&report);
        check_probes(&scenario, &report);
    }
}

#[test]
fn a_total_outage_adds_little_load_and_is_over_when_it_is() {
    total_outages(0..RUNS);
}

#[test]
fn no_call_fails_while_one_server_is_up_and_nothing_happens_twice() {
    failovers(0..RUNS);
}

#[test]
fn nothing_happens_twice_and_load_stays_bounded_whatever_servers_do() {
    chaotic(0..RUNS);
}

/// With so many calls that the reserve matters little.
#[test]
fn at_most_a_tenth_is_added_when_many_call() {
    for (seed, condition) in FAILURES.into_iter().enumerate() {
        for (servers, patience) in [(1, 30), (3, 0)] {
            let servers = vec![vec![(2000, condition), (12_000, Condition::Up)]; servers];
            let patience = vec![Duration::from_secs(patience)];
            let scenario = Scenario { servers, ms: 12_000, calls_per_second: 100, patience };
            let report = simulate(&scenario, seed as u64);
            let during = |at: Duration| at >= 2 * SECOND && at < 12 * SECOND;
            let calls = report.calls.iter().filter(|call| during(call.start)).count();
            let attempts = report.attempts.iter().filter(|attempt| during(attempt.at)).count();
            // The calls of just before count as well, and of the reserve each window that has begun, at both ends.
            let earlier = report.calls.iter().filter(|call| call.start < 2 * SECOND).count();
            let may_be = (calls + earlier) / 10 + RESERVE * 4;
            let more = attempts.saturating_sub(calls);
            eprintln!("{condition:?}, {} servers: {more} attempts beyond {calls} calls", scenario.servers.len());
            assert!(more <= may_be, "{more} attempts beyond {calls} calls; {may_be} may be: {scenario:?}");
            check_once(&report);
        }
    }
}

/// Thousands of runs: minutes.
#[test]
#[ignore = "takes minutes: tests/full.sh runs it"]
fn many_runs_of_everything() {
    total_outages(RUNS..MANY_RUNS);
    failovers(RUNS..MANY_RUNS);
    chaotic(RUNS..MANY_RUNS);
}
