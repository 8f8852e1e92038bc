//! Who of several consumers is at work, and how far they are: a cursor, and a lease of it that ends by itself.
//!
//! Each lease has an epoch, and epochs only grow: what somebody does under an earlier one is refused. So two that both believe to have
//! the lease, one of which was paused for a while, can't both move the cursor.

use std::time::{Duration, SystemTime};

/// How far consumers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Everything up to this revision is done.
    pub(crate) revision: u64,
    /// When something was last done.
    pub(crate) done: Option<SystemTime>,
    /// How often what comes next may have been begun: by how many leases since something was done.
    pub(crate) attempt: u32,
    /// The newest lease, if there ever was one.
    pub(crate) lease: Option<Lease>,
}

/// The right to move a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    pub(crate) epoch: u64,
    /// It ends then: others may take it. Until they do, its holder may go on.
    pub(crate) until: SystemTime,
}

/// The longest that a lease may be. One that seems to end later was granted by a clock that has been set back since: it is over.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// What became of somebody's wish for a lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It was granted: the cursor is this now.
    Granted(Cursor),
    /// Somebody else has it.
    Held(Lease),
    /// The lease that somebody had is not theirs any more.
    Lost,
}

/// The lease is not, or not any more, that of who acknowledges.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost;

impl Cursor {
    /// A cursor that nobody has moved.
    pub(crate) fn at(revision: u64) -> Self {
        Self { revision, done: None, attempt: 0, lease: None }
    }

    /// Somebody wants the lease for a while, or has it already, under an `epoch`: that one is kept or lost, and never replaced, since its
    /// holder may be at work.
    ///
    /// A new epoch is no smaller than the time in microseconds: where the cursor was lost, and with it the epochs, it is newer all the
    /// same.
    pub(crate) fn wish(&self, holder: &str, epoch: Option<u64>, now: SystemTime, length: Duration) -> Wish {
        let micros = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_micros());
        let fresh = |before: u64| u64::try_from(micros).unwrap_or(u64::MAX).max(before.saturating_add(1));
        let (epoch, attempt) = match &self.lease {
            Some(lease) if epoch == Some(lease.epoch) && lease.holder == holder => (lease.epoch, self.attempt),
            _ if epoch.is_some() => return Wish::Lost,
            Some(lease) if lease.until > now && lease.until <= now + LONGEST => return Wish::Held(lease.clone()),
            lease => (fresh(lease.as_ref().map_or(0, |lease| lease.epoch)), self.attempt.saturating_add(1)),
        };
        let lease = Lease { holder: holder.to_owned(), epoch, until: now + length };
        Wish::Granted(Self { lease: Some(lease), attempt, ..self.clone() })
    }

    /// The holder of a lease has done everything up to a revision, and keeps the lease for a while or, without a length, gives it back.
    pub(crate) fn acknowledge(
        &self,
        epoch: u64,
        revision: u64,
        now: SystemTime,
        length: Option<Duration>,
    ) -> Result<Self, Lost> {
        let lease = self.lease.as_ref().filter(|lease| lease.epoch == epoch).ok_or(Lost)?;
        // A lease that was given back has no holder: nothing more comes under its epoch.
        if lease.holder.is_empty() {
            return Err(Lost);
        }
        let kept = match length {
            Some(length) => Lease { until: now + length, ..lease.clone() },
            None => Lease { holder: String::new(), until: now, ..lease.clone() },
        };
        let moved = revision > self.revision;
        Ok(Self {
            revision: self.revision.max(revision),
            done: if moved { Some(now) } else { self.done },
            // What is acknowledged was no stumbling block; what comes next may be one, unless its holder lets it be.
            attempt: if moved { u32::from(length.is_some()) } else { self.attempt },
            lease: Some(kept),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn lease(holder: &str, epoch: u64, until: u64) -> Lease {
        Lease { holder: holder.to_owned(), epoch, until: at(until) }
    }

    #[test]
    fn one_at_a_time_has_the_lease() {
        let free = Cursor::at(7);
        let held = Cursor { lease: Some(lease("a", 5, 130)), attempt: 1, ..Cursor::at(7) };
        let granted = |epoch, attempt: u32| (epoch, attempt);
        // Whose cursor, who wishes, under which epoch, when; the epoch and the attempt that it gets, if it gets the lease.
        for (cursor, who, epoch, now, expected) in [
            (&free, "a", None, 100, Some(granted(100_000_000, 1))),
            // The cursor was lost: what somebody does under the old epoch is to end first.
            (&free, "a", Some(3), 100, None),
            (&held, "b", None, 100, None),
            (&held, "b", Some(5), 100, None),
            // Another process of the same name, perhaps.
            (&held, "a", None, 100, None),
            (&held, "a", Some(4), 100, None),
            (&held, "a", Some(5), 100, Some(granted(5, 1))),
            (&held, "b", None, 129, None),
            (&held, "b", None, 130, Some(granted(130_000_000, 2))),
            (&held, "b", Some(3), 130, None),
            // Nobody was faster.
            (&held, "a", Some(5), 500, Some(granted(5, 1))),
            (&held, "a", None, 500, Some(granted(500_000_000, 2))),
            // By a clock that was set back since: the first may be right.
            (&Cursor { lease: Some(lease("a", 5, 3700)), ..free.clone() }, "b", None, 100, None),
            (
                &Cursor { lease: Some(lease("a", 5, 3701)), ..free.clone() },
                "b",
                None,
                100,
                Some(granted(100_000_000, 1)),
            ),
            // That does not bring old epochs back.
            (
                &Cursor { lease: Some(lease("a", 900_000_000, 10)), ..free.clone() },
                "b",
                None,
                20,
                Some((900_000_001, 1)),
            ),
        ] {
            let wish = cursor.wish(who, epoch, at(now), LENGTH);
            let expected = match expected {
                Some((epoch, attempt)) => {
                    Wish::Granted(Cursor { lease: Some(lease(who, epoch, now + 30)), attempt, ..cursor.clone() })
                }
                None if epoch.is_some() => Wish::Lost,
                None => Wish::Held(cursor.lease.clone().unwrap()),
            };
            assert_eq!(wish, expected, "{who} {epoch:?} at {now}");
        }
    }

    #[test]
    fn only_the_holder_moves_the_cursor_and_only_ahead() {
        let held = Cursor { lease: Some(lease("a", 5, 130)), attempt: 3, done: Some(at(50)), ..Cursor::at(7) };
        let moved = |revision, done, attempt, until| Cursor {
            revision,
            done: Some(at(done)),
            attempt,
            lease: Some(lease("a", 5, until)),
        };
        // Under which epoch, up to where, when, and the cursor then.
        for (epoch, revision, now, expected) in [
            (5, 9, 100, Ok(moved(9, 100, 1, 130))),
            (5, 7, 110, Ok(moved(7, 50, 3, 140))),
            (5, 0, 110, Ok(moved(7, 50, 3, 140))),
            // Late, but nobody took it over.
            (5, 9, 200, Ok(moved(9, 200, 1, 230))),
            (4, 9, 100, Err(Lost)),
            (6, 9, 100, Err(Lost)),
        ] {
            assert_eq!(held.acknowledge(epoch, revision, at(now), Some(LENGTH)), expected, "{epoch} {revision} {now}");
        }
        assert_eq!(Cursor::at(7).acknowledge(0, 9, at(1), Some(LENGTH)), Err(Lost));
    }

    #[test]
    fn a_lease_that_is_given_back_is_free_at_once_and_ends_its_epoch() {
        let held = Cursor { lease: Some(lease("a", 5, 130)), attempt: 1, ..Cursor::at(7) };
        let given = held.acknowledge(5, 8, at(100), None).unwrap();
        assert_eq!((given.revision, &given.lease), (8, &Some(lease("", 5, 100))));
        assert_eq!(given.acknowledge(5, 9, at(100), Some(LENGTH)), Err(Lost));
        assert_eq!(given.wish("a", Some(5), at(100), LENGTH), Wish::Lost);
        // It is a new one, and the first attempt at what comes next.
        let Wish::Granted(next) = given.wish("a", None, at(100), LENGTH) else { panic!("held") };
        assert_eq!(next.lease, Some(lease("a", 100_000_000, 130)));
    }
}
