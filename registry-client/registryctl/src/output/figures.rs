//! Numbers, times and names as people write them.

use prost_types::Timestamp;

/// A time as people write it, to the second, in UTC.
pub(crate) fn time(time: Option<&Timestamp>) -> String {
    formatted(time, "%Y-%m-%d %H:%M:%SZ")
}

/// A time to the minute, for tables.
pub(crate) fn minute(time: Option<&Timestamp>) -> String {
    formatted(time, "%Y-%m-%d %H:%MZ")
}

fn formatted(time: Option<&Timestamp>, format: &str) -> String {
    let time = time.and_then(|time| chrono::DateTime::from_timestamp(time.seconds, 0));
    time.map(|time| time.format(format).to_string()).unwrap_or_default()
}

/// So many things: `1 file`, `3 files`.
pub(crate) fn count<N: std::fmt::Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A number of bytes as people write it.
pub(crate) fn bytes(count: i64) -> String {
    indicatif::BinaryBytes(u64::try_from(count).unwrap_or(0)).to_string()
}

/// The last part of a name.
pub(crate) fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A name as people write it: without `namespaces/default/models/`.
pub(crate) fn brief(name: &str) -> &str {
    name.strip_prefix("namespaces/default/models/").unwrap_or(name)
}

/// A double to its last digit, without a fraction that says nothing.
pub(crate) fn double(number: f64) -> String {
    // Debug, unlike Display, goes over to an exponent where digits would be zeros only.
    let text = format!("{number:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A double to six significant digits, or to its last one before the point if that is more.
pub(crate) fn significant(number: f64) -> String {
    let scientific = format!("{number:.5e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let without_zeros = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match exponent.parse::<i32>() {
        // Up to where a double has all whole numbers.
        Ok(exponent @ -4..16) => without_zeros(&format!("{number:.*}", usize::try_from(5 - exponent).unwrap_or(0))),
        _ => format!("{}e{exponent}", without_zeros(digits)),
    }
}
