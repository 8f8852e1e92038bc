//! Instances of models: what a report is to what is known, and who is not heard of any more.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

/// How long an instance may be silent that does not say.
pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// How long instances may ask to be.
pub(crate) const TTLS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);
/// How much later than it meant to a server may look again without having been away.
const LATE: Duration = Duration::from_secs(1);

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said<'a> {
    /// By its number in the contract.
    pub(crate) state: i32,
    /// The version that it should run.
    pub(crate) desired: &'a str,
    /// The version that it runs.
    pub(crate) observed: &'a str,
    pub(crate) error: &'a str,
    pub(crate) target: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) ttl: Duration,
}

/// What a report is to what is known of its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// Nothing was known.
    First,
    /// Something has changed. `moved`: it is in another state, or with other versions.
    News { moved: bool },
    /// It is still there.
    Heartbeat,
}

/// What it is that an instance says this.
pub(crate) fn report(known: Option<&Said<'_>>, said: &Said<'_>) -> Report {
    let standing = |said: &Said<'_>| (said.state, said.desired.to_owned(), said.observed.to_owned());
    match known {
        None => Report::First,
        Some(known) if known == said => Report::Heartbeat,
        Some(known) => Report::News { moved: standing(known) != standing(said) },
    }
}

/// For how long a server has been able to hear instances, without a break. By the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hearing {
    since: SystemTime,
    now: SystemTime,
}

impl Hearing {
    /// It hears from this time on.
    pub(crate) fn from(now: SystemTime) -> Self {
        Self { since: now, now }
    }

    /// It hears at this time, which by its own clock is so long after the last. If the two differ it has stood still, or a clock was set:
    /// what instances said meanwhile may be lost, and it begins anew.
    pub(crate) fn goes_on(&mut self, now: SystemTime, elapsed: Duration) {
        let goes_on = now >= self.now && now.duration_since(self.now).is_ok_and(|passed| passed <= elapsed + LATE);
        *self = if goes_on { Self { now, ..*self } } else { Self::from(now) };
    }

    /// For how long an instance may still be silent that was last heard at this time; zero if it is taken to be gone.
    pub(crate) fn patience(&self, heard: SystemTime, ttl: Duration) -> Duration {
        let end = heard.max(self.since).checked_add(ttl);
        end.map_or(Duration::MAX, |end| end.duration_since(self.now).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_news() {
        let (none, zone) = (BTreeMap::new(), BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
        let known = Said {
            state: 1,
            desired: "v/2",
            observed: "v/1",
            error: "",
            target: "@live",
            labels: &none,
            ttl: DEFAULT_TTL,
        };
        for (said, expected) in [
            (known.clone(), Report::Heartbeat),
            (Said { state: 2, ..known.clone() }, Report::News { moved: true }),
            (Said { desired: "v/3", ..known.clone() }, Report::News { moved: true }),
            (Said { observed: "", ..known.clone() }, Report::News { moved: true }),
            (Said { error: "no memory", ..known.clone() }, Report::News { moved: false }),
            (Said { target: "@latest", ..known.clone() }, Report::News { moved: false }),
            (Said { labels: &zone, ..known.clone() }, Report::News { moved: false }),
            (Said { ttl: *TTLS.start(), ..known.clone() }, Report::News { moved: false }),
        ] {
            assert_eq!(report(Some(&known), &said), expected, "{said:?}");
            assert_eq!(report(None, &said), Report::First);
        }
    }

    #[test]
    fn who_was_not_heard_for_its_ttl_is_gone() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let ttl = Duration::from_secs(60);
        // Since when the server hears, what time it is, when the instance was heard, and for how long it may be silent.
        for (since, now, heard, left) in [
            (0, 100, 100, 60),
            (0, 100, 41, 1),
            (0, 100, 40, 0),
            (0, 100, 0, 0),
            // From before the server was there.
            (90, 100, 0, 50),
            (90, 149, 0, 1),
            (90, 150, 0, 0),
            // By a clock that was ahead.
            (0, 100, 130, 90),
        ] {
            let hearing = Hearing { since: at(since), now: at(now) };
            assert_eq!(hearing.patience(at(heard), ttl).as_secs(), left, "{since} {now} {heard}");
        }
    }

    #[test]
    fn a_server_that_stood_still_begins_anew() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (now, elapsed, since) in [
            (105, 5, 0),
            (106, 5, 0),
            // It was suspended, or the clock was set ahead.
            (107, 5, 107),
            // The clock was set back.
            (99, 5, 99),
        ] {
            let mut hearing = Hearing { since: at(0), now: at(100) };
            hearing.goes_on(at(now), Duration::from_secs(elapsed));
            assert_eq!(hearing, Hearing { since: at(since), now: at(now) }, "{now}");
        }
    }
}
