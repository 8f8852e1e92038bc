//! When changes are made: windows that open every week on the clock of a place, and freezes from one moment to another.

use chrono::{DateTime, Datelike as _, Days, NaiveTime, Timelike as _, Utc, Weekday};
use chrono_tz::Tz;

const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;

/// A time of the week in which changes are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    days: Vec<Weekday>,
    /// In minutes after midnight.
    start: u32,
    /// Likewise. Not after the start: on the next day.
    end: u32,
    zone: Tz,
}

impl Window {
    /// A window that opens on these days.
    pub(crate) fn new(days: Vec<Weekday>, start: u32, end: u32, zone: Tz) -> Self {
        Self { days, start, end, zone }
    }

    /// Whether it is open at a moment.
    pub(crate) fn is_open(&self, now: DateTime<Utc>) -> bool {
        let there = now.with_timezone(&self.zone);
        let minute = there.hour() * HOUR + there.minute();
        let opens = |day: Weekday| self.days.contains(&day);
        let (today, yesterday) = (there.weekday(), there.weekday().pred());
        match self.start < self.end {
            true => opens(today) && (self.start..self.end).contains(&minute),
            false => opens(today) && minute >= self.start || opens(yesterday) && minute < self.end,
        }
    }

    /// The next moment from now on at which it opens, to the minute; `None` if it is open, or an hour that the clock of the place
    /// leaves out is in the way.
    pub(crate) fn opens(&self, now: DateTime<Utc>) -> Option<DateTime<Tz>> {
        let there = now.with_timezone(&self.zone);
        let start = NaiveTime::from_hms_opt(self.start / HOUR, self.start % HOUR, 0)?;
        let days = (0..=7).filter_map(|days| there.date_naive().checked_add_days(Days::new(days)));
        let openings = days.filter(|day| self.days.contains(&day.weekday()));
        openings.filter_map(|day| day.and_time(start).and_local_timezone(self.zone).earliest()).find(|open| *open > now)
    }
}

/// A zone by its name in the IANA database.
pub(crate) fn zone(name: &str) -> Option<Tz> {
    name.parse().ok()
}

/// The minutes after midnight of `HH:MM`; `24:00` is the end of the day.
pub(crate) fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let total = hours * HOUR + minutes;
    (minutes < HOUR && total <= DAY).then_some(total)
}

/// A time in which nothing changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freeze {
    /// From when on; `None`: from ever.
    pub(crate) start: Option<DateTime<Utc>>,
    /// Up to when, and not then any more; `None`: for ever.
    pub(crate) end: Option<DateTime<Utc>>,
    /// Why.
    pub(crate) reason: String,
}

impl Freeze {
    /// Whether nothing changes at a moment.
    pub(crate) fn holds(&self, now: DateTime<Utc>) -> bool {
        self.start.is_none_or(|start| start <= now) && self.end.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use Weekday::{Fri, Mon, Sat, Sun};
    use chrono::SecondsFormat;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_by_the_clock_of_its_zone() {
        let window = |days: &[Weekday], start: &str, end: &str, place: &str| {
            Window::new(days.to_vec(), minutes(start).unwrap(), minutes(end).unwrap(), zone(place).unwrap())
        };
        let berlin = window(&[Mon, Fri], "09:00", "17:00", "Europe/Berlin");
        let night = window(&[Sat], "22:00", "02:00", "UTC");
        let whole = window(&[Sun], "00:00", "24:00", "America/New_York");
        for (window, now, open) in [
            // Winter is an hour from UTC there, and summer two. 2026-01-05 and 2026-07-06 are Mondays.
            (&berlin, "2026-01-05T07:59:59Z", false),
            (&berlin, "2026-01-05T08:00:00Z", true),
            (&berlin, "2026-07-06T07:00:00Z", true),
            (&berlin, "2026-07-06T06:59:59Z", false),
            (&berlin, "2026-07-06T14:59:59Z", true),
            (&berlin, "2026-07-06T15:00:00Z", false),
            (&berlin, "2026-07-07T09:00:00Z", false),
            // Over midnight, from Saturday to Sunday only.
            (&night, "2026-01-03T22:00:00Z", true),
            (&night, "2026-01-04T01:59:00Z", true),
            (&night, "2026-01-04T02:00:00Z", false),
            (&night, "2026-01-04T22:00:00Z", false),
            (&night, "2026-01-03T01:00:00Z", false),
            // It is still Sunday there.
            (&whole, "2026-01-05T04:59:59Z", true),
            (&whole, "2026-01-05T05:00:00Z", false),
            (&whole, "2026-01-04T04:59:59Z", false),
        ] {
            assert_eq!(window.is_open(at(now)), open, "{window:?} {now}");
        }
        let opens = |window: &Window, now| window.opens(at(now)).unwrap().to_rfc3339_opts(SecondsFormat::Secs, true);
        assert_eq!(opens(&berlin, "2026-07-06T15:00:00Z"), "2026-07-10T09:00:00+02:00");
        assert_eq!(opens(&night, "2026-01-04T02:00:00Z"), "2026-01-10T22:00:00Z");
    }

    #[test]
    fn a_time_of_the_day_is_hours_and_minutes() {
        for (text, expected) in [
            ("00:00", Some(0)),
            ("09:30", Some(570)),
            ("23:59", Some(1439)),
            ("24:00", Some(1440)),
            ("24:01", None),
            ("9:30", None),
            ("09:60", None),
            ("09:3", None),
            ("+9:30", None),
            ("0930", None),
            ("", None),
        ] {
            assert_eq!(minutes(text), expected, "{text:?}");
        }
        assert_eq!((zone("Europe/Berlin").is_some(), zone("UTC").is_some(), zone("Berlin")), (true, true, None));
    }

    #[test]
    fn a_freeze_holds_from_its_start_to_before_its_end() {
        let freeze = |start: Option<&str>, end: Option<&str>| Freeze {
            start: start.map(at),
            end: end.map(at),
            reason: String::new(),
        };
        let (begin, end) = (Some("2026-12-20T00:00:00Z"), Some("2027-01-03T00:00:00Z"));
        for (freeze, now, holds) in [
            (freeze(begin, end), "2026-12-19T23:59:59Z", false),
            (freeze(begin, end), "2026-12-20T00:00:00Z", true),
            (freeze(begin, end), "2027-01-03T00:00:00Z", false),
            (freeze(begin, None), "2030-01-01T00:00:00Z", true),
            (freeze(None, end), "1999-01-01T00:00:00Z", true),
            (freeze(None, None), "2026-01-01T00:00:00Z", true),
        ] {
            assert_eq!(freeze.holds(at(now)), holds, "{freeze:?} {now}");
        }
    }
}
