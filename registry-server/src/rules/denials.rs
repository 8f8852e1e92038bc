//! When it is told of that somebody tried what they may not: the first time at once, what follows only counted, and told of ever more
//! rarely while it goes on. Whoever tries a million times makes a few events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How much is told of at a time; what else there is is counted together.
const MOST: usize = 100;
/// How long what follows is counted at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60 * 60));
/// How much longer the next pause is.
const LONGER: u32 = 4;

/// What was tried, of a kind `A`, and how the first such call came, of a kind `C`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told<A, C> {
    /// `None`: what there was no room for.
    pub(crate) attempt: Option<A>,
    pub(crate) count: i64,
    /// Of the first one.
    pub(crate) caller: Option<C>,
}

/// What was tried lately.
#[derive(Debug)]
pub(crate) struct Denials<A, C> {
    /// In a few hundred entries nothing has to be hashed.
    attempts: BTreeMap<Option<A>, Counted<C>>,
}

#[derive(Debug)]
struct Counted<C> {
    count: i64,
    caller: Option<C>,
    /// When it is told of, if there is anything to tell.
    due: Instant,
    pause: Duration,
}

impl<A, C> Default for Denials<A, C> {
    fn default() -> Self {
        Self { attempts: BTreeMap::new() }
    }
}

impl<A: Ord + Clone, C> Denials<A, C> {
    /// Notes that something was tried.
    pub(crate) fn note(&mut self, attempt: A, now: Instant, caller: impl FnOnce() -> C) {
        let attempt = Some(attempt);
        let has_room = self.attempts.len() < MOST || self.attempts.contains_key(&attempt);
        let attempt = attempt.filter(|_| has_room);
        let counted = self.attempts.entry(attempt.clone()).or_insert_with(|| Counted {
            count: 0,
            caller: None,
            due: now,
            pause: PAUSES.0,
        });
        if counted.count == 0 {
            counted.caller = attempt.map(|_| caller());
        }
        counted.count = counted.count.saturating_add(1);
    }

    /// When the next is to be told of.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.attempts.values().filter(|counted| counted.count > 0).map(|counted| counted.due).min()
    }

    /// What is to be told of now. What was not tried again for as long as it would have been counted is forgotten.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Told<A, C>> {
        let mut told = Vec::new();
        self.attempts.retain(|attempt, counted| {
            if counted.due > now {
                return true;
            }
            if counted.count == 0 {
                return false;
            }
            let (count, caller) = (std::mem::take(&mut counted.count), counted.caller.take());
            told.push(Told { attempt: attempt.clone(), count, caller });
            counted.due = now + counted.pause;
            counted.pause = PAUSES.1.min(counted.pause * LONGER);
            true
        });
        told
    }

    /// All that was not told of.
    pub(crate) fn rest(&mut self) -> Vec<Told<A, C>> {
        let all = std::mem::take(&mut self.attempts).into_iter().filter(|(_, counted)| counted.count > 0);
        all.map(|(attempt, Counted { count, caller, .. })| Told { attempt, count, caller }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn told(denials: &mut Denials<u32, u32>, now: Instant) -> Vec<(Option<u32>, i64, Option<u32>)> {
        denials.due(now).into_iter().map(|told| (told.attempt, told.count, told.caller)).collect()
    }

    #[test]
    fn what_goes_on_is_told_of_ever_more_rarely() {
        let (mut denials, start) = (Denials::default(), Instant::now());
        assert_eq!(denials.next(), None);
        let mut times = Vec::new();
        // Each second, for four hours.
        for second in 0..4 * 3600 {
            let now = start + SECOND * second;
            denials.note(7, now, || second);
            for (attempt, count, caller) in told(&mut denials, now) {
                times.push((second, count));
                assert_eq!(attempt, Some(7));
                assert_eq!(caller.map(i64::from), Some(i64::from(second) - count + 1), "how the first of them came");
            }
        }
        let minutes: Vec<_> = times.iter().map(|(second, _)| second / 60).collect();
        assert_eq!(minutes, [0, 1, 5, 21, 81, 141, 201]);
        let rest: i64 = denials.rest().iter().map(|told| told.count).sum();
        assert_eq!(times.iter().map(|(_, count)| count).sum::<i64>() + rest, 4 * 3600, "none is lost");
    }

    #[test]
    fn what_comes_again_after_a_while_is_told_of_at_once() {
        let (mut denials, start) = (Denials::default(), Instant::now());
        denials.note(7, start, || 0);
        assert_eq!(denials.next(), Some(start));
        assert_eq!(told(&mut denials, start), [(Some(7), 1, Some(0))]);
        assert_eq!(denials.next(), None);
        denials.note(7, start + SECOND, || 1);
        assert_eq!(denials.next(), Some(start + 60 * SECOND));
        assert_eq!(told(&mut denials, start + 59 * SECOND), []);
        assert_eq!(told(&mut denials, start + 60 * SECOND), [(Some(7), 1, Some(1))]);
        assert_eq!(told(&mut denials, start + 300 * SECOND), [], "and is forgotten");
        denials.note(7, start + 301 * SECOND, || 2);
        assert_eq!(told(&mut denials, start + 301 * SECOND), [(Some(7), 1, Some(2))]);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_together() {
        let (mut denials, now) = (Denials::default(), Instant::now());
        for attempt in 0..1000 {
            denials.note(attempt, now, || attempt);
        }
        let told = told(&mut denials, now);
        assert_eq!(told.len(), MOST + 1);
        assert_eq!(told[0], (None, 900, None));
        assert!(told[1..].iter().all(|(attempt, count, caller)| attempt.is_some() && *count == 1 && caller == attempt));
    }
}
