//! When it is told of that somebody tried what they may not: the first time at once, what follows only counted, and told of ever more
//! rarely while it goes on. Whoever tries a million times makes a few events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Of how many principals is told at a time; what others try is counted together.
const PRINCIPALS: usize = 100;
/// How much is told of one of them, so that nobody hides behind what they try themselves; what else they try is counted together.
const THINGS: usize = 20;
/// How long what follows is counted at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60 * 60));
/// How much longer the next pause is.
const LONGER: u32 = 4;

/// Which attempts are counted together, of whatever kind `A`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tried<A> {
    /// What there was no room for, by whomever.
    Others,
    /// What there was no room for of a principal.
    By(String),
    /// The same thing, by a principal.
    This(String, A),
}

impl<A: Clone> Tried<A> {
    fn of(principal: &str, attempt: Option<&A>) -> Self {
        match attempt {
            Some(attempt) => Self::This(principal.to_owned(), attempt.clone()),
            None => Self::By(principal.to_owned()),
        }
    }
}

/// What was tried, and how the first such call came, of a kind `C`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told<A, C> {
    pub(crate) tried: Tried<A>,
    pub(crate) count: i64,
    /// Of the first one, if all are the same.
    pub(crate) caller: Option<C>,
}

/// What was tried lately.
#[derive(Debug)]
pub(crate) struct Denials<A, C> {
    /// By whom, and what; `None`: what there was no room for. In a few hundred entries nothing has to be hashed.
    tried: BTreeMap<String, BTreeMap<Option<A>, Counted<C>>>,
    others: Option<Counted<C>>,
}

#[derive(Debug)]
struct Counted<C> {
    count: i64,
    caller: Option<C>,
    /// When it is told of, if there is anything to tell.
    due: Instant,
    pause: Duration,
}

impl<C> Counted<C> {
    fn new(due: Instant) -> Self {
        Self { count: 0, caller: None, due, pause: PAUSES.0 }
    }

    fn add(&mut self, caller: impl FnOnce() -> Option<C>) {
        if self.count == 0 {
            self.caller = caller();
        }
        self.count = self.count.saturating_add(1);
    }

    /// Whether it is still counted, after it was told of if that was due.
    fn goes_on(&mut self, now: Instant, tell: impl FnOnce(i64, Option<C>)) -> bool {
        if self.due > now {
            return true;
        }
        if self.count == 0 {
            return false;
        }
        tell(std::mem::take(&mut self.count), self.caller.take());
        self.due = now + self.pause;
        self.pause = PAUSES.1.min(self.pause * LONGER);
        true
    }
}

impl<A, C> Default for Denials<A, C> {
    fn default() -> Self {
        Self { tried: BTreeMap::new(), others: None }
    }
}

impl<A: Ord + Clone, C> Denials<A, C> {
    /// Notes that a principal has tried something.
    pub(crate) fn note(&mut self, principal: &str, attempt: A, now: Instant, caller: impl FnOnce() -> C) {
        if !self.tried.contains_key(principal) && self.tried.len() >= PRINCIPALS {
            self.others.get_or_insert_with(|| Counted::new(now)).add(|| None);
            return;
        }
        let things = self.tried.entry(principal.to_owned()).or_default();
        let attempt = Some(attempt);
        let is_told = things.contains_key(&attempt) || things.len() < THINGS;
        let counted = things.entry(attempt.filter(|_| is_told)).or_insert_with(|| Counted::new(now));
        counted.add(|| is_told.then(caller));
    }

    /// When the next is to be told of.
    pub(crate) fn next(&self) -> Option<Instant> {
        let all = self.tried.values().flat_map(BTreeMap::values).chain(&self.others);
        all.filter(|counted| counted.count > 0).map(|counted| counted.due).min()
    }

    /// What is to be told of now. What was not tried again for as long as it would have been counted is forgotten.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Told<A, C>> {
        let mut told = Vec::new();
        self.tried.retain(|principal, things| {
            things.retain(|attempt, counted| {
                counted.goes_on(now, |count, caller| {
                    told.push(Told { tried: Tried::of(principal, attempt.as_ref()), count, caller });
                })
            });
            !things.is_empty()
        });
        let tell = |count, caller| told.push(Told { tried: Tried::Others, count, caller });
        if !self.others.as_mut().is_some_and(|others| others.goes_on(now, tell)) {
            self.others = None;
        }
        told
    }

    /// All that was not told of.
    pub(crate) fn rest(&mut self) -> Vec<Told<A, C>> {
        let Self { tried, others } = std::mem::take(self);
        let things = tried.into_iter().flat_map(|(principal, things)| {
            things.into_iter().map(move |(attempt, counted)| (Tried::of(&principal, attempt.as_ref()), counted))
        });
        let all = things.chain(others.map(|others| (Tried::Others, others)));
        let all = all.filter(|(_, counted)| counted.count > 0);
        all.map(|(tried, Counted { count, caller, .. })| Told { tried, count, caller }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn told(denials: &mut Denials<u32, u32>, now: Instant) -> Vec<(Tried<u32>, i64, Option<u32>)> {
        denials.due(now).into_iter().map(|told| (told.tried, told.count, told.caller)).collect()
    }

    fn this(who: &str, attempt: u32) -> Tried<u32> {
        Tried::This(who.to_owned(), attempt)
    }

    #[test]
    fn what_goes_on_is_told_of_ever_more_rarely() {
        let (mut denials, start) = (Denials::default(), Instant::now());
        assert_eq!(denials.next(), None);
        let mut times = Vec::new();
        // Each second, for four hours.
        for second in 0..4 * 3600 {
            let now = start + SECOND * second;
            denials.note("eve", 7, now, || second);
            for (tried, count, caller) in told(&mut denials, now) {
                times.push((second, count));
                assert_eq!(tried, this("eve", 7));
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
        denials.note("eve", 7, start, || 0);
        assert_eq!(denials.next(), Some(start));
        assert_eq!(told(&mut denials, start), [(this("eve", 7), 1, Some(0))]);
        assert_eq!(denials.next(), None);
        denials.note("eve", 7, start + SECOND, || 1);
        assert_eq!(denials.next(), Some(start + 60 * SECOND));
        assert_eq!(told(&mut denials, start + 59 * SECOND), []);
        assert_eq!(told(&mut denials, start + 60 * SECOND), [(this("eve", 7), 1, Some(1))]);
        assert_eq!(told(&mut denials, start + 300 * SECOND), [], "and is forgotten");
        denials.note("eve", 7, start + 301 * SECOND, || 2);
        assert_eq!(told(&mut denials, start + 301 * SECOND), [(this("eve", 7), 1, Some(2))]);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_together() {
        let (mut denials, now) = (Denials::default(), Instant::now());
        let mut tries =
            |who: &str, tries: u32| (0..tries).for_each(|attempt| denials.note(who, attempt, now, || attempt));
        tries("eve", 1000);
        tries("ana", 1);
        tries("bob", 20);
        let others: Vec<_> = (0..98).map(|other| format!("other {other}")).collect();
        others.iter().for_each(|other| tries(other, 2));
        let told = told(&mut denials, now);
        assert_eq!(told.len(), 21 + 1 + 20 + 97 * 2 + 1);
        assert_eq!(told.iter().map(|(_, count, _)| count).sum::<i64>(), 1000 + 1 + 20 + 98 * 2, "none is lost");

        let count = |of: Tried<u32>| told.iter().find(|(tried, ..)| *tried == of).map(|(_, count, _)| *count);
        assert_eq!(count(Tried::By("eve".to_owned())), Some(980));
        assert_eq!(count(this("ana", 0)), Some(1), "one who tries all they can think of hides nobody");
        assert_eq!(count(Tried::By("bob".to_owned())), None);
        assert_eq!(count(Tried::Others), Some(2));
        for (tried, count, caller) in &told {
            match tried {
                Tried::This(_, attempt) => assert_eq!((count, caller), (&1, &Some(*attempt))),
                Tried::By(_) | Tried::Others => assert_eq!(*caller, None),
            }
        }
    }
}
