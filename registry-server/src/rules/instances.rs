//! Instances of models: what a report is to what is known.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long an instance may be silent that does not say.
pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// How long instances may ask to be.
pub(crate) const TTLS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(1);

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
}
