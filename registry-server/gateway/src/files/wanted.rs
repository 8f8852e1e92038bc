//! Conditions and ranges: what of a file a request wants.

use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

/// What of a file a request wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// From a byte on, so many.
    Part(u64, u64),
    /// It has the file already.
    Nothing,
    /// It wants another file.
    Other,
    /// It begins behind the end.
    Beyond,
}

pub(super) fn wanted(headers: &HeaderMap, is_get: bool, etag: &str, size: u64) -> Wanted {
    let listed = |name: &HeaderName| {
        let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    // Weak ones are compared by what they say, where that is allowed.
    let has = |list: &str, weak: bool| {
        list.split(',')
            .map(str::trim)
            .any(|one| one == "*" || one == etag || (weak && one.strip_prefix("W/") == Some(etag)))
    };
    if listed(&IF_MATCH).is_some_and(|list| !has(&list, false)) {
        return Wanted::Other;
    }
    if listed(&IF_NONE_MATCH).is_some_and(|list| has(&list, true)) {
        return Wanted::Nothing;
    }
    let applies = listed(&IF_RANGE).is_none_or(|given| given == etag);
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).filter(|_| applies && is_get);
    range.and_then(|range| part(range, size)).unwrap_or(Wanted::All)
}

/// The part of a file that a range is; `None` if it is no range, or several. Several at once are not worth their form: whoever asks for
/// them gets the whole, as is allowed.
fn part(range: &str, size: u64) -> Option<Wanted> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    // What has more digits than there are bytes anywhere is behind the end of every file.
    let number = |text: &str| match text.bytes().all(|digit| digit.is_ascii_digit()) {
        true if !text.is_empty() => Some(text.parse().unwrap_or(u64::MAX)),
        _ => None,
    };
    let (from, to) = match (first, last) {
        ("", last) => (size.saturating_sub(number(last)?), size),
        (first, "") => (number(first)?, size),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, size.min(last.saturating_add(1)))
        }
    };
    Some(if from < to { Wanted::Part(from, to - from) } else { Wanted::Beyond })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(given: &[(HeaderName, &str)]) -> Wanted {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        wanted(&headers, true, "\"abc\"", 100)
    }

    #[test]
    fn what_of_a_file_is_wanted() {
        for (given, expected) in [
            (&[][..], Wanted::All),
            (&[(RANGE, "bytes=0-9")], Wanted::Part(0, 10)),
            (&[(RANGE, "bytes=90-")], Wanted::Part(90, 10)),
            (&[(RANGE, "bytes=-10")], Wanted::Part(90, 10)),
            (&[(RANGE, "bytes=90-1000")], Wanted::Part(90, 10)),
            (&[(RANGE, "bytes=0-99")], Wanted::Part(0, 100)),
            (&[(RANGE, "bytes=-1000")], Wanted::Part(0, 100)),
            (&[(RANGE, "bytes=0-99999999999999999999999")], Wanted::Part(0, 100)),
            (&[(RANGE, "bytes=-0")], Wanted::Beyond),
            (&[(RANGE, "bytes=99999999999999999999999-")], Wanted::Beyond),
            (&[(RANGE, "bytes=3-1")], Wanted::All),
            (&[(RANGE, "bytes=+0-1")], Wanted::All),
            (&[(RANGE, "bytes=100-")], Wanted::Beyond),
            (&[(RANGE, "bytes=200-300")], Wanted::Beyond),
            // Not ranges of bytes, or several.
            (&[(RANGE, "lines=0-9")], Wanted::All),
            (&[(RANGE, "bytes=x-")], Wanted::All),
            (&[(RANGE, "bytes=0-1,5-6")], Wanted::All),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"abc\"")], Wanted::Part(0, 10)),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"old\"")], Wanted::All),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, "W/\"abc\"")], Wanted::All),
            (&[(IF_NONE_MATCH, "\"x\", \"abc\"")], Wanted::Nothing),
            (&[(IF_NONE_MATCH, "W/\"abc\"")], Wanted::Nothing),
            (&[(IF_NONE_MATCH, "*")], Wanted::Nothing),
            (&[(IF_NONE_MATCH, "\"x\"")], Wanted::All),
            (&[(IF_MATCH, "\"abc\"")], Wanted::All),
            (&[(IF_MATCH, "W/\"abc\"")], Wanted::Other),
            (&[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"abc\"")], Wanted::Other),
        ] {
            assert_eq!(asked(given), expected, "{given:?}");
        }
    }

    #[test]
    fn an_empty_file_has_no_parts_and_who_asks_for_the_head_gets_that_of_the_whole() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        assert_eq!(wanted(&headers, true, "\"abc\"", 0), Wanted::Beyond);
        assert_eq!(wanted(&headers, false, "\"abc\"", 100), Wanted::All);
    }
}
