use std::convert::Infallible;

use tonic::body::Body;
use tonic::{Code, Status};
use tower::service_fn;

use super::*;
use crate::pb::ErrorReason;
use crate::{RegistryClient, StatusError};

const MS: Duration = Duration::from_millis(1);
/// Enough for any number of attempts that do not wait.
const HOUR: Duration = Duration::from_secs(3600);

fn without_pauses(patience: Duration) -> RetryPolicy {
    RetryPolicy { patience, initial_backoff: Duration::ZERO, max_backoff: Duration::ZERO }
}

#[test]
fn waits_double_up_to_a_limit_and_never_undercut_what_the_registry_asks_for() {
    let policy = RetryPolicy { patience: HOUR, initial_backoff: 100 * MS, max_backoff: 500 * MS };
    for (failures, asked_for, random, expected) in [
        (1, None, 1.0, 100 * MS),
        (2, None, 1.0, 200 * MS),
        (3, None, 1.0, 400 * MS),
        (4, None, 1.0, 500 * MS),
        (u32::MAX, None, 1.0, 500 * MS),
        (3, None, 0.25, 100 * MS),
        (3, None, 0.0, Duration::ZERO),
        (1, Some(2000 * MS), 0.0, 2000 * MS),
        (1, Some(2000 * MS), 1.0, 2100 * MS),
    ] {
        assert_eq!(policy.delay_at(failures, asked_for, random), expected, "{failures} {asked_for:?} {random}");
    }
}

/// What befalls a call, at so many seconds since it began.
#[derive(Debug, Clone, Copy)]
enum Befalls {
    /// A failure, with a pause of so many seconds before the next attempt.
    Failure(u64, u64),
    /// The same with another server to ask at once.
    FailureOfOne(u64),
    Progress,
}

#[test]
fn the_patience_is_counted_from_the_first_failure_since_the_last_progress() {
    use Befalls::{Failure, FailureOfOne, Progress};
    const NONE: u64 = u64::MAX;
    // Patience and deadline, what befalls the call, and whether it is made again after each failure.
    let rows: [(u64, u64, &[Befalls], &[bool]); 12] = [
        (30, NONE, &[Failure(0, 1), Failure(1, 1), Failure(28, 1), Failure(29, 1)], &[true, true, true, false]),
        // How long the first attempt took, of a server that hung perhaps, takes nothing from it.
        (30, NONE, &[Failure(15, 1), Failure(40, 1), Failure(44, 1)], &[true, true, false]),
        // A wait beyond it is not begun.
        (30, NONE, &[Failure(0, 60)], &[false]),
        (30, NONE, &[Failure(0, 1), Failure(25, 4), Progress, Failure(50, 1), Failure(78, 1)], &[true; 4]),
        // Without patience every server is asked once.
        (0, NONE, &[Failure(0, 0)], &[false]),
        (0, NONE, &[FailureOfOne(0), FailureOfOne(5), Failure(9, 0)], &[true, true, false]),
        (0, NONE, &[Failure(0, 0), Progress, Failure(0, 0)], &[false, false]),
        // A round that has begun is brought to its end.
        (30, NONE, &[Failure(0, 1), FailureOfOne(31), FailureOfOne(32), Failure(33, 0)], &[true, true, true, false]),
        // A deadline ends it earlier, wherever it is.
        (30, 10, &[Failure(0, 1), Failure(8, 1), Failure(9, 1)], &[true, true, false]),
        (30, 10, &[Failure(0, 11)], &[false]),
        (30, 10, &[FailureOfOne(5), FailureOfOne(10)], &[true, false]),
        (NONE, NONE, &[Failure(0, 1), Failure(1_000_000, 1)], &[true, true]),
    ];
    for (patience, deadline, befalls, expected) in rows {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let patience = if patience == NONE { Duration::MAX } else { Duration::from_secs(patience) };
        let mut failures =
            Failures::new(&without_pauses(patience), &Budget::default(), (deadline != NONE).then(|| after(deadline)));
        let mut judge = |befalls: &Befalls| {
            match *befalls {
                Failure(at, delay) => Some((at, Pause { round_is_over: true, delay: Duration::from_secs(delay) })),
                FailureOfOne(at) => Some((at, Pause { round_is_over: false, delay: Duration::ZERO })),
                Progress => {
                    failures.forget();
                    None
                }
            }
            .map(|(at, pause)| failures.judge(after(at), pause).is_some())
        };
        let goes_on: Vec<_> = befalls.iter().filter_map(&mut judge).collect();
        assert_eq!(goes_on, expected, "{patience:?} {deadline} {befalls:?}");
    }
}

#[test]
fn what_is_told_of_an_absence_is_the_time_that_there_is() {
    let start = Instant::now();
    let pause = Pause { round_is_over: true, delay: 2000 * MS };
    for (deadline, patience) in [(None, 30_000 * MS), (Some(start + 10_000 * MS), 10_000 * MS)] {
        let mut failures = Failures::new(&RetryPolicy::default(), &Budget::default(), deadline);
        assert_eq!(failures.judge(start, pause), Some(Absence { away: 2000 * MS, patience }));
        assert_eq!(failures.judge(start + 3000 * MS, pause), Some(Absence { away: 5000 * MS, patience }));
    }
}

fn answer(code: Code, retry_after: Option<Duration>) -> Error {
    let status = StatusError {
        code,
        reason: ErrorReason::Unspecified,
        message: String::new(),
        violations: Vec::new(),
        failed_gates: Vec::new(),
        resource: None,
        metadata: Default::default(),
        retry_after,
    };
    Error::Status(Box::new(status))
}

/// To so many servers, of which nothing is asked but whether they are back: and then they are.
fn route(servers: usize) -> Route {
    let server = || service_fn(async |_| Ok::<http::Response<Body>, Infallible>(Status::unimplemented("").into_http()));
    let first = RegistryClient::with_service(server());
    let builder = (1..servers).fold(first, |builder, _| builder.service(server()));
    builder.retry(without_pauses(HOUR)).connect_lazy().unwrap().route()
}

#[tokio::test]
async fn waits_begin_when_all_servers_were_tried() {
    // Then the servers that are set aside are tried, too.
    let policy = without_pauses(Duration::ZERO);
    let mut route = route(3);
    // The failures in a row, what each server asked for, whether that was the last one of a round, and the wait: the shortest that
    // was asked for will do.
    for (failures, asked_for, round_is_over, delay) in [
        (1, Some(7), false, 0),
        (2, Some(5), false, 0),
        (3, Some(6), true, 5),
        (4, Some(4), false, 0),
        (5, None, false, 0),
        (6, Some(4), true, 0),
        // Something came, and then it failed again: a new round.
        (1, Some(9), false, 0),
        (2, Some(9), false, 0),
        (1, Some(8), false, 0),
        (2, Some(8), false, 0),
        (3, Some(8), true, 8),
    ] {
        route.next();
        let error = answer(Code::Unavailable, asked_for.map(|ms| ms * MS));
        let pause = route.failed(failures, Some(&error), &policy);
        assert_eq!(pause, Pause { round_is_over, delay: delay * MS }, "{failures} failures, {asked_for:?}");
    }
}

#[tokio::test]
async fn a_round_with_patience_is_over_when_the_others_are_set_aside() {
    let mut route = route(3);
    let fail = |route: &mut Route, failures| {
        route.next();
        route.failed(failures, Some(&answer(Code::Unavailable, None)), &without_pauses(HOUR)).round_is_over
    };
    assert_eq!([1, 2, 3].map(|failures| fail(&mut route, failures)), [false, false, true]);
    // Another call comes upon the same.
    assert!(fail(&mut route, 1));
}

#[tokio::test]
async fn only_what_is_unavailable_is_tried_again() {
    for (code, servers, attempts) in [
        (Code::Unavailable, 1, 3),
        (Code::Unavailable, 3, 9),
        (Code::Internal, 1, 1),
        (Code::Internal, 3, 1),
        (Code::Aborted, 1, 1),
        (Code::DeadlineExceeded, 1, 1),
        (Code::ResourceExhausted, 1, 1),
        (Code::NotFound, 1, 1),
    ] {
        let mut made = 0;
        let attempt = |_| {
            made += 1;
            // An end, lest it goes on for an hour.
            let code = if made < attempts { code } else { Code::NotFound };
            async move { Err::<(), _>(answer(code, None)) }
        };
        without_pauses(HOUR).run(route(servers), "test", None, attempt).await.unwrap_err();
        assert_eq!(made, attempts, "{code:?} of {servers} servers");
        let mut made = 0;
        let attempt = |_| {
            made += 1;
            async move { Err::<(), _>(answer(code, None)) }
        };
        let error = without_pauses(Duration::ZERO).run(route(servers), "test", None, attempt).await.unwrap_err();
        let once = if code == Code::Unavailable { servers } else { 1 };
        assert_eq!((error.code(), made), (Some(code), once), "{servers} servers");
    }
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut made = 0;
    let attempt = |_| {
        made += 1;
        async { Err::<(), _>(answer(Code::Unavailable, Some(Duration::from_secs(60)))) }
    };
    let error = without_pauses(HOUR).run(route(1), "test", Some(deadline), attempt).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert_eq!(made, 1);
}

/// The registry says so when it sees an upload end early, which means that the connection broke.
#[tokio::test]
async fn an_upload_that_was_broken_off_on_its_way_is_tried_again() {
    let mut made = 0;
    let attempt = |_| {
        made += 1;
        let Error::Status(mut status) = answer(Code::Cancelled, None) else { unreachable!("it is a status") };
        status.reason = ErrorReason::UploadIncomplete;
        let ended = if made < 3 { Err(Error::Status(status)) } else { Ok(()) };
        async { ended }
    };
    without_pauses(HOUR).run(route(1), "test", None, attempt).await.unwrap();
    assert_eq!(made, 3);
}
