//! What an attempt at a delivery came to.

use std::time::{Duration, SystemTime};

use chrono::DateTime;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer with this status code, and the time in its `Retry-After`.
    Answered {
        /// The status code.
        code: u16,
        /// How long to wait, as the receiver says.
        retry_after: Option<Duration>,
    },
    /// No answer, and why; without anything that the receiver said.
    Failed(&'static str),
}

/// What an outcome means for the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The event is delivered.
    Delivered,
    /// It is tried again, perhaps when the receiver says.
    Again(Option<Duration>),
    /// The receiver wants no more.
    Gone,
}

impl Outcome {
    pub(super) fn meaning(&self) -> Meaning {
        match self {
            Self::Answered { code: 200..=299, .. } => Meaning::Delivered,
            Self::Answered { code: 410, .. } => Meaning::Gone,
            // Redirects are not followed: what is behind them was not vetted.
            Self::Answered { code: 429 | 503, retry_after } => Meaning::Again(*retry_after),
            Self::Answered { .. } | Self::Failed(_) => Meaning::Again(None),
        }
    }

    /// The status code; 0 without an answer.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Answered { code, .. } => *code,
            Self::Failed(_) => 0,
        }
    }

    /// Why it failed, for people; empty if the event is delivered.
    pub(crate) fn problem(&self) -> &'static str {
        match self {
            Self::Failed(why) => why,
            Self::Answered { code: 200..=299, .. } => "",
            Self::Answered { code: 300..=399, .. } => "the receiver answered with a redirect, which is not followed",
            Self::Answered { code: 410, .. } => "the receiver is gone for good",
            Self::Answered { .. } => "the receiver refused it",
        }
    }
}

/// The time in a `Retry-After`: seconds, or a date.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = SystemTime::from(DateTime::parse_from_rfc2822(text).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let wait = Some(Duration::from_secs(7));
        for (code, expected) in [
            (200, Meaning::Delivered),
            (204, Meaning::Delivered),
            (299, Meaning::Delivered),
            (301, Meaning::Again(None)),
            (307, Meaning::Again(None)),
            (400, Meaning::Again(None)),
            (404, Meaning::Again(None)),
            (410, Meaning::Gone),
            (429, Meaning::Again(wait)),
            (500, Meaning::Again(None)),
            (503, Meaning::Again(wait)),
        ] {
            let outcome = Outcome::Answered { code, retry_after: wait };
            assert_eq!(outcome.meaning(), expected, "{code}");
            assert_eq!(outcome.problem().is_empty(), expected == Meaning::Delivered, "{code}");
        }
        assert_eq!(Outcome::Failed("why").meaning(), Meaning::Again(None));
        assert_eq!((Outcome::Failed("why").code(), Outcome::Failed("why").problem()), (0, "why"));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        for (text, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Wed, 21 Oct 2015 07:29:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }
}
