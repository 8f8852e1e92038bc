//! What a follower does next: pure, told what came and asked what to do.

use std::time::Duration;

use tokio::time::Instant;

/// The longest pause before the first attempt after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause of all.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// By how much longer a pause is if nothing can be served during an attempt.
const COSTLY: u32 = 60;

/// The pause after so many failures in a row: at least half of what it grows to, so that what fails at once is not tried at once.
/// `random` is from 0 to 1.
pub(super) fn pause(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let longest = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + random / 2.0)
}

/// How it stands with one follower. `T` is what it loads: a version for each of its names.
#[derive(Debug)]
pub(super) struct State<T> {
    link: Link,
    look: Look,
    /// Look-ups in a row that failed.
    look_failures: u32,
    /// What the names stand for, as the registry said last.
    desired: Option<T>,
    /// The registry said last that one of them stands for nothing.
    absent: bool,
    /// What is served. Once there is something, only [`unloaded`](Self::unloaded) takes it away.
    serving: Option<T>,
    /// Was served before, and may be served if nothing else can be.
    fallback: Option<T>,
    /// What could not be loaded, of `desired` and `fallback`.
    failures: Vec<Failure<T>>,
    work: Option<Work<T>>,
    /// When what is new may be loaded: not all followers at once.
    not_before: Instant,
}

/// How it stands with the watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// It has told nothing. From then on that counts as down.
    Unknown { until: Instant },
    /// What changes is told.
    Up,
    /// What changes is not told.
    Down,
}

/// How it stands with looking up what the names stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// To be done, not before then.
    Due(Instant),
    /// On the way; and what it answers may be outdated.
    Running { outdated: bool },
    /// Known.
    Done,
}

#[derive(Debug)]
struct Failure<T> {
    target: T,
    /// In a row.
    count: u32,
    retry: Instant,
    /// The same while something is served that would have to be unloaded for it.
    costly_retry: Option<Instant>,
    error: String,
}

impl<T> Failure<T> {
    /// When to try again.
    fn due(&self, is_serving: bool) -> Instant {
        self.costly_retry.filter(|_| is_serving).unwrap_or(self.retry)
    }
}

/// What is being fetched or loaded.
#[derive(Debug)]
struct Work<T> {
    target: T,
    /// What comes of it does not count.
    abandoned: bool,
    /// What was served was unloaded for it.
    costly: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Do<T> {
    /// Look up what the names stand for.
    Look,
    /// Fetch, load and check.
    Load(T),
    /// End that as soon as possible, and say when it has [ended](State::abandoned).
    Abandon,
    /// Nothing, until something comes or it is this time.
    Wait(Option<Instant>),
}

/// What a follower does, for those who look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Something else is about to be served.
    Loading,
    /// What is to be served is, as far as is known.
    Serving,
    /// What is to be served can't be loaded.
    Failed(String),
}

impl<T: Clone + PartialEq> State<T> {
    /// `fallback` was good earlier. The watch has until then to say how it stands.
    pub(super) fn new(now: Instant, patience: Duration, fallback: Option<T>) -> Self {
        Self {
            link: Link::Unknown { until: now + patience },
            look: Look::Due(now),
            look_failures: 0,
            desired: None,
            absent: false,
            serving: None,
            fallback,
            failures: Vec::new(),
            work: None,
            not_before: now,
        }
    }

    /// The watch stands (again).
    pub(super) fn up(&mut self, now: Instant) {
        self.link = Link::Up;
        // What failed may have failed because the registry was away.
        for failure in &mut self.failures {
            failure.retry = failure.retry.min(now);
        }
        self.changed(now);
    }

    /// The watch does not stand.
    pub(super) fn down(&mut self) {
        self.link = Link::Down;
    }

    /// The names may stand for something else.
    pub(super) fn changed(&mut self, now: Instant) {
        self.look = match self.look {
            Look::Running { .. } => Look::Running { outdated: true },
            Look::Due(at) => Look::Due(at.min(now)),
            Look::Done => Look::Due(now),
        };
    }

    /// A look-up has answered. What is new waits for `jitter` if something is served meanwhile.
    pub(super) fn found(&mut self, now: Instant, target: T, jitter: Duration) {
        self.looked(now);
        self.absent = false;
        if self.desired.as_ref() != Some(&target) {
            self.failures.retain(|failure| failure.target == target);
            // Somebody promotes: that is worth another attempt.
            for failure in &mut self.failures {
                (failure.count, failure.retry, failure.costly_retry) = (0, now, None);
            }
            self.not_before = now + jitter;
        }
        // Equal, it may still say something new.
        self.desired = Some(target);
    }

    /// A look-up has answered that there is nothing.
    pub(super) fn found_nothing(&mut self, now: Instant) {
        self.looked(now);
        (self.desired, self.absent) = (None, true);
    }

    /// A look-up came to nothing.
    pub(super) fn look_failed(&mut self, now: Instant, random: f64) {
        self.look_failures = self.look_failures.saturating_add(1);
        self.look = Look::Due(now + pause(self.look_failures, random));
    }

    fn looked(&mut self, now: Instant) {
        self.look_failures = 0;
        self.look = if self.look == (Look::Running { outdated: true }) { Look::Due(now) } else { Look::Done };
    }

    /// What is loaded is good. Whether it is to be served: not if something else has become known.
    pub(super) fn loaded(&mut self) -> bool {
        let Some(Work { target, abandoned, .. }) = self.work.take() else { return false };
        let wanted = self.desired.as_ref() == Some(&target) || self.is_to_fall_back_on(&target);
        if abandoned || !wanted {
            return false;
        }
        self.failures.retain(|failure| failure.target != target);
        (self.serving, self.fallback) = (Some(target), None);
        true
    }

    /// It can't be fetched or loaded, or is no good.
    pub(super) fn failed(&mut self, now: Instant, error: String, random: f64) {
        let Some(Work { target, abandoned: false, costly }) = self.work.take() else { return };
        let before = self.failure_of(&target).map_or(0, |failure| failure.count);
        let count = before.saturating_add(1);
        self.failures.retain(|failure| failure.target != target);
        let pause = pause(count, random);
        let costly_retry = costly.then(|| now + pause * COSTLY);
        self.failures.push(Failure { target, count, retry: now + pause, costly_retry, error });
    }

    /// What was to be abandoned has ended.
    pub(super) fn abandoned(&mut self) {
        self.work = None;
    }

    /// What was served is unloaded, to make room.
    pub(super) fn unloaded(&mut self) {
        if let Some(serving) = self.serving.take() {
            self.fallback = Some(serving);
            if let Some(work) = &mut self.work {
                work.costly = true;
            }
        }
    }

    /// What to do now. It counts as begun; ask until there is nothing more to do.
    pub(super) fn next(&mut self, now: Instant) -> Do<T> {
        let mut wake = match self.link {
            Link::Unknown { until } => Some(until).filter(|until| *until > now),
            Link::Up | Link::Down => None,
        };
        let mut wake_at = |at: Instant| wake = Some(wake.map_or(at, |known| known.min(at)));
        if let Look::Due(at) = self.look
            && self.may_look(now)
        {
            if at <= now {
                self.look = Look::Running { outdated: false };
                return Do::Look;
            }
            wake_at(at);
        }
        let (goal, later) = self.goal(now);
        if let Some(at) = later {
            wake_at(at);
        }
        match &mut self.work {
            None => {
                if let Some(target) = goal {
                    self.work = Some(Work { target: target.clone(), abandoned: false, costly: false });
                    return Do::Load(target);
                }
            }
            Some(Work { abandoned: true, .. }) => {}
            Some(Work { target, abandoned, .. }) => {
                // Without anything to serve, the next best is not stopped any more.
                let next_best = self.serving.is_none() && self.fallback.as_ref() == Some(target);
                if goal.as_ref() != Some(target) && !next_best {
                    *abandoned = true;
                    return Do::Abandon;
                }
            }
        }
        Do::Wait(wake)
    }

    /// What is to be loaded, and when to ask again.
    fn goal(&self, now: Instant) -> (Option<T>, Option<Instant>) {
        let mut later = None;
        if let Some(desired) = &self.desired {
            if self.serving.as_ref() == Some(desired) {
                return (None, None);
            }
            let due = match self.failure_of(desired) {
                Some(failure) => failure.due(self.serving.is_some()),
                None if self.serving.is_some() => self.not_before,
                None => now,
            };
            if due <= now {
                return (Some(desired.clone()), None);
            }
            later = Some(due);
        }
        let Some(fallback) = self.fallback.as_ref().filter(|target| self.is_to_fall_back_on(target)) else {
            return (None, later);
        };
        let nothing_better = match &self.desired {
            Some(desired) => self.failure_of(desired).is_some(),
            None => self.absent || self.look_failures > 0 || self.is_down(now),
        };
        match self.failure_of(fallback).map_or(now, |failure| failure.retry) {
            _ if !nothing_better => (None, later),
            due if due <= now => (Some(fallback.clone()), later),
            due => (None, Some(later.map_or(due, |later| later.min(due)))),
        }
    }

    fn is_to_fall_back_on(&self, target: &T) -> bool {
        self.serving.is_none() && self.fallback.as_ref() == Some(target)
    }

    fn is_down(&self, now: Instant) -> bool {
        match self.link {
            Link::Unknown { until } => until <= now,
            Link::Up => false,
            Link::Down => true,
        }
    }

    /// Without a watch, look-ups only cost their patience; but who has nothing to serve asks all the same.
    fn may_look(&self, now: Instant) -> bool {
        self.link == Link::Up || (self.is_down(now) && self.serving.is_none() && !self.may_fall_back())
    }

    /// There is something to fall back on that has not failed.
    fn may_fall_back(&self) -> bool {
        self.fallback.as_ref().is_some_and(|fallback| self.failure_of(fallback).is_none())
    }

    fn failure_of(&self, target: &T) -> Option<&Failure<T>> {
        self.failures.iter().find(|failure| failure.target == *target)
    }

    /// There is nothing to serve, and only waiting may help.
    pub(super) fn is_stuck(&self) -> bool {
        let failed = self.desired.as_ref().is_some_and(|desired| self.failure_of(desired).is_some());
        let in_vain = failed || self.absent || self.look_failures > 0;
        let looking = matches!(self.look, Look::Running { .. });
        self.serving.is_none() && self.work.is_none() && !looking && in_vain && !self.may_fall_back()
    }

    pub(super) fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving.is_some()
    }

    pub(super) fn desired(&self) -> Option<&T> {
        self.desired.as_ref()
    }

    pub(super) fn phase(&self) -> Phase {
        let failure = self.desired.as_ref().and_then(|desired| self.failure_of(desired));
        match failure {
            Some(failure) => Phase::Failed(failure.error.clone()),
            None if self.serving.is_some() && (self.desired.is_none() || self.serving == self.desired) => {
                Phase::Serving
            }
            None => Phase::Loading,
        }
    }
}

#[cfg(test)]
mod tests;
