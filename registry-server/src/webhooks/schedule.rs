//! When a delivery that failed is tried again, and when a webhook is given up.

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// How long after each failure in a row the next attempt follows; the last of them after every further failure. (They are svix's.)
const RETRIES: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(5 * 60 * 60),
    Duration::from_secs(10 * 60 * 60),
    Duration::from_secs(10 * 60 * 60),
];
/// By how much of it a time is longer or shorter, so that webhooks that failed together are not tried together.
const JITTER: f64 = 0.2;
/// How long a receiver may ask to be left alone, at least and at most.
const RETRY_AFTER: (Duration, Duration) = (SECOND, Duration::from_secs(10 * 60 * 60));
/// The longest time to the next attempt.
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// A webhook that has failed for so long without a success is disabled.
pub(super) const GIVEN_UP_AFTER: Duration = Duration::from_secs(120 * 60 * 60);

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, so long from now.
    Retry(Duration),
    /// The webhook is disabled.
    GiveUp,
}

/// What follows the failure of so many attempts in a row (1 for the first), the first of which was so long ago. The receiver may have asked
/// for a time with `Retry-After`; `random` is 0 to 1.
pub(super) fn next(failures: u32, failing_for: Duration, retry_after: Option<Duration>, random: f64) -> Next {
    if failing_for >= GIVEN_UP_AFTER {
        return Next::GiveUp;
    }
    let retry = match retry_after {
        // Its own wish is kept to, and has no jitter that could make it shorter.
        Some(asked) => asked.clamp(RETRY_AFTER.0, RETRY_AFTER.1),
        None => {
            let step = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
            RETRIES[step.min(RETRIES.len() - 1)].mul_f64(1.0 + JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0))
        }
    };
    // The last attempt is at the end of the time, not long after it.
    let left = GIVEN_UP_AFTER - failing_for;
    Next::Retry(retry.min(left.max(MINUTE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn a_retry_comes_when_the_schedule_or_the_receiver_says() {
        let none = Duration::ZERO;
        for (failures, failing_for, retry_after, random, expected) in [
            (1, none, None, 0.5, 5 * SECOND),
            (1, none, None, 0.0, 4 * SECOND),
            (1, none, None, 1.0, 6 * SECOND),
            (2, none, None, 0.5, 5 * MINUTE),
            (3, none, None, 0.5, 30 * MINUTE),
            (4, none, None, 0.5, 2 * HOUR),
            (5, none, None, 0.5, 5 * HOUR),
            (6, none, None, 0.5, 10 * HOUR),
            (7, none, None, 0.5, 10 * HOUR),
            (8, none, None, 0.5, 10 * HOUR),
            (u32::MAX, none, None, 1.0, 12 * HOUR),
            (1, none, Some(Duration::from_secs(90)), 0.0, 90 * SECOND),
            (7, none, Some(Duration::from_secs(90)), 1.0, 90 * SECOND),
            (1, none, Some(none), 0.5, SECOND),
            (1, none, Some(Duration::MAX), 0.5, 10 * HOUR),
            (9, 119 * HOUR, None, 0.5, HOUR),
            (9, 120 * HOUR - SECOND, None, 0.5, MINUTE),
        ] {
            let found = next(failures, failing_for, retry_after, random);
            assert_eq!(found, Next::Retry(expected), "{failures} {failing_for:?} {retry_after:?} {random}");
        }
        for failing_for in [120 * HOUR, 121 * HOUR] {
            assert_eq!(next(9, failing_for, Some(SECOND), 0.5), Next::GiveUp);
        }
    }

    #[test]
    fn a_dead_receiver_is_tried_for_five_days() {
        for random in [0.0, 0.5, 1.0] {
            let (mut failures, mut now) = (1, Duration::ZERO);
            while let Next::Retry(retry) = next(failures, now, None, random) {
                failures += 1;
                now += retry;
            }
            assert!((120 * HOUR..=120 * HOUR + MINUTE).contains(&now), "{now:?}");
            assert!((15..=21).contains(&failures), "{failures}");
        }
    }
}
