//! Lengths of time and numbers of bytes, as people write them: always with a unit, since a bare number would be a guess.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// A length of time: `5s`, `500ms`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Period(pub Duration);

impl Period {
    /// So many seconds.
    pub const fn of_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_bare(text) {
            return Err(format!("{text} has no unit: write {text}ms, {text}s, {text}m, {text}h or {text}days"));
        }
        let period = humantime::parse_duration(text);
        period.map(Self).map_err(|_| format!("{text:?} is no length of time, such as 500ms, 30s, 10m, 1h 30m or 7days"))
    }
}

impl Display for Period {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&humantime::format_duration(self.0), f)
    }
}

/// A number of bytes: `8MiB`, `1.5TB`, `1000001B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Size(ByteSize);

/// Units by which a size is written, if it is a whole number of them.
const UNITS: &[(u64, &str)] = &[(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

impl Size {
    /// So many bytes.
    pub const fn of(bytes: u64) -> Self {
        Self(ByteSize(bytes))
    }

    /// So many MiB.
    pub const fn of_mib(mib: u64) -> Self {
        Self(ByteSize::mib(mib))
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_bare(text) {
            return Err(format!("{text} has no unit: write {text}B, {text}KiB, {text}MiB, {text}GiB or {text}TiB"));
        }
        text.parse()
            .map(Self)
            .map_err(|_| format!("{text:?} is no number of bytes, such as 512KiB, 8MiB, 50GiB or 1.5TB"))
    }
}

/// Exact: what is read back is the same number.
impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        let whole = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
        let (unit, name) = whole.unwrap_or(&(1, "B"));
        write!(f, "{}{name}", bytes / unit)
    }
}

/// Whether a text is a number and nothing else. Zero is zero in any unit.
fn is_bare(text: &str) -> bool {
    let text = text.trim();
    text.parse::<f64>().is_ok_and(|number| number != 0.0)
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// A value of a file as it was written: a number is read as well, to say what is missing.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text with a unit, such as \"30s\" or \"8MiB\"")]
pub(super) enum Written {
    Text(String),
    Whole(u64),
    Broken(f64),
}

impl Written {
    pub(super) fn parse<T: FromStr<Err = String>>(self) -> Result<T, String> {
        match self {
            Self::Text(text) => text.parse(),
            Self::Whole(number) => number.to_string().parse(),
            Self::Broken(number) => number.to_string().parse(),
        }
    }
}

impl TryFrom<Written> for Period {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        written.parse()
    }
}

impl TryFrom<Written> for Size {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        written.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_written_as_it_is_read() {
        for (text, seconds, shown) in
            [("30s", 30, "30s"), ("10m", 600, "10m"), ("1h 30m", 5400, "1h 30m"), ("0", 0, "0s"), ("0s", 0, "0s")]
        {
            let period: Period = text.parse().unwrap();
            assert_eq!((period, period.to_string().as_str()), (Period::of_secs(seconds), shown));
            assert_eq!(shown.parse(), Ok(period));
        }
    }

    #[test]
    fn a_size_is_written_exactly() {
        for (text, bytes, shown) in [
            ("8MiB", 8 << 20, "8MiB"),
            ("1024 KiB", 1 << 20, "1MiB"),
            ("1000001B", 1_000_001, "1000001B"),
            ("1.5KiB", 1536, "1536B"),
            ("1TB", 1_000_000_000_000, "976562500KiB"),
            ("0", 0, "0B"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown));
            assert_eq!(shown.parse(), Ok(size));
        }
    }

    #[test]
    fn a_number_without_a_unit_is_told_which_there_are() {
        assert_eq!("30".parse::<Period>().unwrap_err(), "30 has no unit: write 30ms, 30s, 30m, 30h or 30days");
        assert_eq!("256".parse::<Size>().unwrap_err(), "256 has no unit: write 256B, 256KiB, 256MiB, 256GiB or 256TiB");
        for wrong in ["", "s", "1x", "-1s", "many"] {
            assert!(wrong.parse::<Period>().unwrap_err().contains("is no length of time"), "{wrong}");
            assert!(wrong.parse::<Size>().unwrap_err().contains("is no number of bytes"), "{wrong}");
        }
    }
}
