//! The arguments of the commands that tell what was.

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args as Group;
use prost_types::Timestamp;
use registry_client::Name;

use super::Shape;
use super::lists::time;
use super::values::at_least_one;
use crate::values::timestamp;

/// Of a command that shows what is, or was.
#[derive(Debug, Clone, Copy, Default, Group)]
pub(crate) struct AsOf {
    /// As it was, in place of as it is: at a time (`2026-11-03T10:00:00Z`, or `2026-11-03`, which is its beginning in UTC), so long ago
    /// (`3d`), or right after a revision (`4711`). A time that is written to the second or minute, as times are printed, is the end of
    /// that second or minute.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    as_of: Option<Moment>,
}

/// A point of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Revision(i64),
    Time(DateTime<Utc>),
}

impl AsOf {
    /// Whether it is given.
    pub(crate) fn is_given(self) -> bool {
        self.as_of.is_some()
    }

    /// What requests have in `revision`.
    pub(crate) fn revision(self) -> i64 {
        match self.as_of {
            Some(Moment::Revision(revision)) => revision,
            Some(Moment::Time(_)) | None => 0,
        }
    }

    /// What requests have in `read_time`.
    pub(crate) fn read_time(self) -> Option<Timestamp> {
        match self.as_of {
            Some(Moment::Time(time)) => Some(timestamp(time)),
            Some(Moment::Revision(_)) | None => None,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let revision = text.parse().ok().filter(|revision| *revision > 0);
        return revision.map(Moment::Revision).ok_or_else(|| "revisions are counted from 1".to_owned());
    }
    let begins = time(text).map_err(|error| format!("{error}, or a revision"))?;
    // What has not come yet is nothing that was.
    let ends = (begins + written_to(text)).min(Utc::now()).max(begins);
    Ok(Moment::Time(ends))
}

/// How long what is written of a time of day lasts, but for the last instant: times are printed without their fractions.
fn written_to(text: &str) -> TimeDelta {
    let lasts = match text.matches(':').count() {
        _ if text.contains('.') => return TimeDelta::zero(),
        // That of an offset is one more.
        1 => TimeDelta::minutes(1),
        2 | 3 => TimeDelta::seconds(1),
        _ => return TimeDelta::zero(),
    };
    lasts - TimeDelta::nanoseconds(1)
}

#[derive(Debug, Group)]
pub(crate) struct History {
    /// A version, a model or a namespace: what changed in it, and of a model also in its stages and aliases. Or a stage or an alias,
    /// such as `fraud@production`: which versions held it, from when to when.
    pub(crate) name: Name,
    /// The oldest first, in place of the newest first.
    #[arg(long)]
    pub(crate) asc: bool,
    /// How many changes at most.
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_revision_or_a_time() {
        assert_eq!(moment("4711"), Ok(Moment::Revision(4711)));
        let day = DateTime::from_timestamp(1_793_664_000, 0).unwrap();
        assert_eq!(moment("2026-11-03"), Ok(Moment::Time(day)));
        assert!(matches!(moment("3d"), Ok(Moment::Time(_))));
        let noon = DateTime::from_timestamp(1_769_428_800, 0).unwrap();
        for (text, lasts) in [
            ("2026-01-26T12:00:00Z", 999_999_999),
            ("2026-01-26T13:00:00+01:00", 999_999_999),
            ("2026-01-26 12:00:00Z", 999_999_999),
            ("2026-01-26 12:00Z", 59_999_999_999),
            ("2026-01-26T12:00:00.000Z", 0),
        ] {
            assert_eq!(moment(text), Ok(Moment::Time(noon + TimeDelta::nanoseconds(lasts))), "{text}");
        }
        // Of a second that is not over, what there is of it.
        let now = Utc::now();
        let Ok(Moment::Time(read)) = moment(&now.format("%Y-%m-%d %H:%M:%SZ").to_string()) else { panic!("a time") };
        assert!(now <= read && read <= Utc::now());
        for (wrong, says) in
            [("0", "from 1"), ("99999999999999999999", "from 1"), ("", "or a revision"), ("-7", "or a revision")]
        {
            assert!(moment(wrong).unwrap_err().contains(says), "{wrong}");
        }
    }
}
