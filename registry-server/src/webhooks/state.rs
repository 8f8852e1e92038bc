//! How far a webhook is, whose turn it is to send, and what an outcome makes of it: without a clock and without a store.
//!
//! *Invariant:* a state is replaced only by whoever knows it (compare and set), so a server whose turn is over can't move it.

use std::time::Duration;

use super::answers::{Meaning, Outcome};
use super::schedule::{self, Next};
use crate::store::Revision;
use crate::stored::WebhookState;

/// How long a server that sends keeps the others away without a word: what its crash costs until another one goes on. Every attempt
/// begins it anew.
pub(super) const TURN: Duration = Duration::from_secs(45);
/// What of its turn a server has to have left to begin an attempt: the longest attempt fits in, with room for a slow store.
const LEFT: Duration = Duration::from_secs(40);

/// A place in the log: behind an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub(crate) revision: Revision,
    pub(crate) index: u32,
}

impl Position {
    /// Behind all events of a revision.
    pub(crate) fn behind(revision: Revision) -> Self {
        Self { revision, index: u32::MAX }
    }

    /// The newest revision of which nothing is left.
    pub(crate) fn whole(self) -> Revision {
        if self.index == u32::MAX { self.revision } else { self.revision.saturating_sub(1) }
    }
}

/// What the record of a webhook says about where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// It begins after this revision.
    pub(crate) after: Revision,
    /// Which revision said so, and which one changed the webhook last.
    pub(crate) set_by: Revision,
    pub(crate) changed_by: Revision,
    /// Whether that was said in this store, and not in the one that it was restored from.
    pub(crate) here: bool,
}

/// Whether a server may send now. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may.
    Mine,
    /// Another one sends, until then.
    Others(i64),
    /// The next attempt is then.
    Later(i64),
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next event.
    GoOn,
    /// The same one, later.
    Wait,
    /// The webhook is disabled: nothing succeeded for days.
    Failing,
    /// The webhook is disabled: the receiver wants no more.
    Gone,
}

/// What an attempt was for, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// Behind the event that it was for.
    pub(super) event: Position,
    /// Whether the event has more to be sent.
    pub(super) more: bool,
    /// When it had ended.
    pub(super) now: i64,
    /// 0 to 1.
    pub(super) random: f64,
}

impl WebhookState {
    /// The state of a webhook as its record stands, made of the one that was kept.
    pub(crate) fn of(kept: Option<Self>, start: Start, newest: Revision) -> Self {
        let mut state = match kept {
            Some(kept) if kept.start_set_by == start.set_by => kept,
            // Of a restored webhook nobody knows how far it was, and its receiver may be the one of the other registry.
            None if !start.here => Self::begun(Position::behind(newest)),
            Some(kept) => Self { attempts: kept.attempts, ..Self::begun(Position::behind(start.after)) },
            None => Self::begun(Position::behind(start.after)),
        };
        state.start_set_by = start.set_by;
        if state.record_revision != start.changed_by {
            // It may be well now: what was wrong was perhaps the URL.
            state.record_revision = start.changed_by;
            (state.failures, state.failing_since, state.next_attempt) = (0, 0, 0);
            // It may tell other things of the event.
            state.messages = 0;
        }
        state
    }

    fn begun(position: Position) -> Self {
        Self { revision: position.revision, index: position.index, ..Self::default() }
    }

    pub(crate) fn position(&self) -> Position {
        Position { revision: self.revision, index: self.index }
    }

    /// Whether this server may send. A time that is further away than anything is put off is one of a clock that has been set back since.
    pub(super) fn turn(&self, me: &[u8], now: i64) -> Turn {
        let is_ahead = |time: i64, most: Duration| time > now && time <= now + millis(most);
        if self.holder != me && !self.holder.is_empty() && is_ahead(self.held_until, TURN) {
            return Turn::Others(self.held_until);
        }
        if self.failures > 0 && is_ahead(self.next_attempt, schedule::LONGEST) {
            return Turn::Later(self.next_attempt);
        }
        Turn::Mine
    }

    /// Whether this server has its turn for long enough to begin an attempt.
    pub(super) fn is_held(&self, me: &[u8], now: i64) -> bool {
        self.holder == me && self.held_until > now + millis(LEFT)
    }

    /// The state in which this server has its turn.
    pub(super) fn held(self, me: &[u8], now: i64) -> Self {
        Self { holder: me.to_vec().into(), held_until: now + millis(TURN), ..self }
    }

    /// The state in which nobody has.
    pub(super) fn released(self) -> Self {
        Self { holder: Default::default(), held_until: 0, ..self }
    }

    /// The state in which everything up to a position was looked at.
    pub(super) fn seen(self, position: Position) -> Self {
        Self { revision: position.revision, index: position.index, messages: 0, ..self }
    }

    /// The state after an attempt by the server whose turn it is.
    pub(super) fn after(self, outcome: &Outcome, attempt: Attempt) -> (Self, Then) {
        let Attempt { event, more, now, random } = attempt;
        let state = Self { attempts: self.attempts + 1, last_code: outcome.code().into(), last_attempt: now, ..self };
        let asked = match outcome.meaning() {
            Meaning::Delivered => {
                let messages = state.messages + 1;
                let done = if more { Self { messages, ..state } } else { state.seen(event) };
                let well =
                    Self { failures: 0, failing_since: 0, next_attempt: 0, held_until: now + millis(TURN), ..done };
                return (well, Then::GoOn);
            }
            Meaning::Gone => return (state.released(), Then::Gone),
            Meaning::Again(asked) => asked,
        };
        let failures = state.failures + 1;
        let failing_since = if state.failures == 0 { now } else { state.failing_since };
        let failing_for = Duration::from_millis(now.saturating_sub(failing_since).unsigned_abs());
        let failed = Self { failures, failing_since, ..state.released() };
        match schedule::next(failures, failing_for, asked, random) {
            Next::Retry(wait) => (Self { next_attempt: now + millis(wait), ..failed }, Then::Wait),
            Next::GiveUp => (failed, Then::Failing),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &[u8] = b"me";
    const START: Start = Start { after: 10, set_by: 11, changed_by: 11, here: true };

    fn answered(code: u16) -> Outcome {
        Outcome::Answered { code, retry_after: None }
    }

    fn at(revision: Revision, index: u32, now: i64) -> Attempt {
        Attempt { event: Position { revision, index }, more: false, now, random: 0.5 }
    }

    #[test]
    fn where_a_webhook_begins() {
        let new = WebhookState::of(None, START, 50);
        assert_eq!((new.position(), new.start_set_by), (Position::behind(10), 11));
        let restored = WebhookState::of(None, Start { here: false, ..START }, 50);
        assert_eq!(restored.position(), Position::behind(50));

        let (failed, _) = new.seen(Position { revision: 20, index: 1 }).after(&answered(500), at(20, 2, 1000));
        assert_eq!(WebhookState::of(Some(failed.clone()), START, 50), failed);
        // A change of the webhook lets it be tried at once; a replay moves it as well.
        let changed = WebhookState::of(Some(failed.clone()), Start { changed_by: 12, ..START }, 50);
        assert_eq!((changed.position(), changed.failures, changed.turn(ME, 1001)), (failed.position(), 0, Turn::Mine));
        let replay = Start { after: 3, set_by: 13, changed_by: 13, here: true };
        let replayed = WebhookState::of(Some(failed), replay, 50);
        assert_eq!((replayed.position(), replayed.failures, replayed.attempts), (Position::behind(3), 0, 1));
    }

    #[test]
    fn one_server_sends_at_a_time() {
        let idle = WebhookState::of(None, START, 50);
        assert_eq!(idle.turn(ME, 1000), Turn::Mine);
        assert!(!idle.is_held(ME, 1000));
        let held = idle.held(ME, 1000);
        assert!(held.is_held(ME, 1000 + 4_000) && !held.is_held(ME, 1000 + 6_000));
        assert_eq!(held.turn(ME, 1000), Turn::Mine);
        assert_eq!(held.turn(b"other", 1000), Turn::Others(46_000));
        assert_eq!(held.turn(b"other", 46_000), Turn::Mine);
        // The clock was set back.
        assert_eq!(held.turn(b"other", 999), Turn::Mine);
        assert_eq!(held.released().turn(b"other", 1000), Turn::Mine);
    }

    #[test]
    fn an_outcome_moves_the_webhook_or_makes_it_wait() {
        let held = WebhookState::of(None, START, 50).held(ME, 1000);
        let (done, then) = held.clone().after(&answered(204), at(20, 1, 2000));
        assert_eq!((done.position(), done.last_code, then), (Position { revision: 20, index: 1 }, 204, Then::GoOn));
        assert!(done.is_held(ME, 2000));

        let (failed, then) = held.clone().after(&answered(500), at(20, 1, 2000));
        assert_eq!((failed.position(), failed.failures, then), (held.position(), 1, Then::Wait));
        assert_eq!(failed.turn(b"other", 6999), Turn::Later(7000));
        assert_eq!(failed.turn(b"other", 7000), Turn::Mine);
        let (again, _) = failed.clone().after(&Outcome::Failed("x"), at(20, 1, 7000));
        assert_eq!((again.failures, again.failing_since, again.last_code), (2, 2000, 0));
        let (well, _) = again.after(&answered(200), at(20, 1, 8000));
        assert_eq!((well.failures, well.failing_since, well.next_attempt), (0, 0, 0));

        let asked = Outcome::Answered { code: 429, retry_after: Some(Duration::from_secs(60)) };
        assert_eq!(held.clone().after(&asked, at(20, 1, 2000)).0.next_attempt, 62_000);
        let (gone, then) = held.after(&answered(410), at(20, 1, 2000));
        assert_eq!((gone.position(), gone.turn(b"other", 2000), then), (Position::behind(10), Turn::Mine, Then::Gone));
    }

    #[test]
    fn an_event_of_several_messages_goes_on_where_it_failed() {
        let held = WebhookState::of(None, START, 50).held(ME, 1000);
        let more = |now| Attempt { more: true, ..at(20, 1, now) };
        let (one, then) = held.after(&answered(200), more(2000));
        assert_eq!((one.position(), one.messages, then), (Position::behind(10), 1, Then::GoOn));
        assert!(one.is_held(ME, 2000));
        let (failed, then) = one.after(&answered(500), more(3000));
        assert_eq!((failed.position(), failed.messages, then), (Position::behind(10), 1, Then::Wait));
        // Whatever was changed of it, it may tell something else now.
        let changed = WebhookState::of(Some(failed.clone()), Start { changed_by: 12, ..START }, 50);
        assert_eq!(changed.messages, 0);
        let (two, _) = failed.after(&answered(200), more(9000));
        assert_eq!(two.messages, 2);
        let (done, _) = two.after(&answered(200), at(20, 1, 9000));
        assert_eq!((done.position(), done.messages), (Position { revision: 20, index: 1 }, 0));
    }

    #[test]
    fn a_receiver_that_never_answers_costs_two_dozen_attempts_in_five_days() {
        let mut state = WebhookState::of(None, START, 50);
        let mut now = 1000;
        loop {
            let (next, then) = state.held(ME, now).after(&Outcome::Failed("x"), at(20, 0, now));
            state = next;
            if then == Then::Failing {
                break;
            }
            assert_eq!(then, Then::Wait);
            now = state.next_attempt;
        }
        assert!((15..=24).contains(&state.attempts), "{}", state.attempts);
        assert!(now - 1000 >= millis(schedule::GIVEN_UP_AFTER));
        assert_eq!(state.position(), Position::behind(10));
    }

    #[test]
    fn a_position_within_a_revision_is_not_behind_it() {
        assert_eq!(Position::behind(7).whole(), 7);
        assert_eq!(Position { revision: 7, index: 0 }.whole(), 6);
        assert!(Position { revision: 7, index: 3 } < Position::behind(7));
        assert!(Position::behind(7) < Position { revision: 8, index: 0 });
    }
}
