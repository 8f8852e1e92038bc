//! Times and lengths of time as they are written.

use chrono::DateTime;

/// Seconds since 1970 and nanoseconds of a time in RFC 3339.
pub(super) fn time(text: &str) -> Option<(i64, i32)> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some((time.timestamp(), i32::try_from(time.timestamp_subsec_nanos()).ok()?))
}

/// Units of lengths of time, and their nanoseconds.
const UNITS: [(&str, i128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The nanoseconds of a length of time as Go writes it: `72h`, `1h30m`, `1.5s`, `-10m`.
pub(super) fn duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() && rest != "0" {
        let number = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let behind = &rest[number..];
        let unit = behind.find(|letter: char| letter.is_ascii_digit()).unwrap_or(behind.len());
        let (_, of_unit) = UNITS.iter().find(|(name, _)| *name == &behind[..unit])?;
        let (whole, fraction) = rest[..number].split_once('.').unwrap_or((&rest[..number], ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(*of_unit)?)?;
        if !fraction.is_empty() {
            // A nanosecond is the least; what is behind it is cut off.
            let digits = &fraction[..fraction.len().min(15)];
            let part: i128 = digits.parse().ok()?;
            nanos = nanos.checked_add(part * of_unit / 10_i128.pow(u32::try_from(digits.len()).ok()?))?;
        }
        rest = &behind[unit..];
    }
    Some(if negative { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, nanos) in [
            ("72h", Some(259_200_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-10m", Some(-600_000_000_000)),
            (".5ms", Some(500_000)),
            ("0", Some(0)),
            ("3us", Some(3_000)),
            ("3µs", Some(3_000)),
            ("", None),
            ("-", None),
            ("5", None),
            ("h", None),
            (".s", None),
            ("1.2.3s", None),
            ("7d", None),
            ("1h ", None),
            ("99999999999999999999999999999999999999999h", None),
        ] {
            assert_eq!(duration(text), nanos, "{text:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("1970-01-01T00:00:01.5Z"), Some((1, 500_000_000)));
        assert_eq!(time("2026-11-26T10:00:00+02:00"), Some((1_795_680_000, 0)));
        assert_eq!(time("2026-11-26"), None);
    }
}
