//! When request ids are forgotten.

use std::time::{Duration, SystemTime};

/// How old a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// It need not be known any longer. So is every request before it: times never decrease along the log.
    Old,
    /// It has to be known still, and so has every request behind it.
    Young,
    /// Its revision can't be read. A later one that is old tells that it is, too.
    Unknown,
}

/// How old a request is that was carried out at this time, by the clock that dated it, if requests are known for so long.
pub(crate) fn age(carried_out: Option<SystemTime>, now: SystemTime, keep: Duration) -> Age {
    match carried_out.map(|time| now.duration_since(time)) {
        None => Age::Unknown,
        Some(Ok(age)) if age >= keep => Age::Old,
        // An error means that the clock was set back: nobody knows how long ago it was.
        Some(Ok(_) | Err(_)) => Age::Young,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_old_is_forgotten() {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        let now = SystemTime::UNIX_EPOCH + 100 * day;
        for (carried_out, keep, expected) in [
            (Some(now - day - second), day, Age::Old),
            (Some(now - day), day, Age::Old),
            (Some(now - day + second), day, Age::Young),
            (Some(now), day, Age::Young),
            (Some(now + day), day, Age::Young),
            (Some(now), Duration::ZERO, Age::Old),
            (Some(now + second), Duration::ZERO, Age::Young),
            (Some(SystemTime::UNIX_EPOCH), Duration::MAX, Age::Young),
            (None, Duration::ZERO, Age::Unknown),
        ] {
            assert_eq!(age(carried_out, now, keep), expected, "{carried_out:?} {keep:?}");
        }
    }
}
