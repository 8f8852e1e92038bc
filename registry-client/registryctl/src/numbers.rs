//! JSON as people and Python write it, with numbers that protobuf can't hold.

use std::borrow::Cow;

use serde_json::Value as Json;

/// Reads JSON. A number of a message is a double: what none can hold stays as it is written, as a string. That is a whole number
/// that a double would round (`9007199254740993`), one beyond its range (`1e400`, `1e-400`), `NaN`, `Infinity` and `-Infinity`.
pub(crate) fn read(text: &str) -> serde_json::Result<Json> {
    serde_json::from_str(&quoted(text))
}

/// Whether a double can hold a number: a whole one as it is, any other one to its last digits.
pub(crate) fn fits(token: &str) -> bool {
    let Ok(number) = token.parse::<f64>() else { return true };
    let digits = token.split(['e', 'E']).next().unwrap_or_default();
    if !number.is_finite() || (number == 0.0 && digits.contains(|digit| matches!(digit, '1'..='9'))) {
        return false;
    }
    // Written out, a double has all of its digits; up to fifteen it holds any.
    token.len() <= 15 || token.contains(['.', 'e', 'E']) || format!("{number:.0}") == token
}

/// The same JSON with the numbers that don't fit as strings.
fn quoted(text: &str) -> Cow<'_, str> {
    let begins = |c: char| c.is_ascii_digit() || matches!(c, '"' | '-' | 'N' | 'I');
    let (mut rest, mut done) = (text, Cow::Borrowed(""));
    let mut kept = 0;
    while let Some(at) = rest.find(begins) {
        let token = &rest[at..];
        let end = if token.starts_with('"') { end_of_string(token) } else { end_of_number(token) };
        let start = text.len() - token.len();
        if !is_held(&token[..end]) {
            done += &text[kept..start];
            done += "\"";
            done += &token[..end];
            done += "\"";
            kept = start + end;
        }
        rest = &token[end..];
    }
    if kept == 0 { Cow::Borrowed(text) } else { done + &text[kept..] }
}

/// Whether a token can stay as it is; what is no JSON at all does, and its reader says so.
fn is_held(token: &str) -> bool {
    let is_number = |token: &str| token.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    !matches!(token, "NaN" | "Infinity" | "-Infinity") && (!is_number(token) || fits(token))
}

fn end_of_number(token: &str) -> usize {
    token.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(token.len())
}

fn end_of_string(token: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in token.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    token.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_no_double_holds_stay_as_they_are_written() {
        for text in [
            "9007199254740993",
            "-9007199254740993",
            "18446744073709551615",
            "123456789012345678901234567890",
            "1e-400",
            "1E400",
            "-1.5e999",
            "0.00001e-330",
            "NaN",
            "Infinity",
            "-Infinity",
        ] {
            assert_eq!(read(text).unwrap(), json!(text));
            let within = read(&format!(r#"{{"a": [1, {text}], "b":{text}}}"#)).unwrap();
            assert_eq!(within, json!({"a": [1, text], "b": text}));
        }
    }

    #[test]
    fn all_others_are_numbers() {
        for text in
            ["0", "-0", "100", "0.1", "1e3", "9007199254740992", "18446744073709551616", "0e-400", "4e-324", "1e308"]
        {
            assert_eq!(read(text).unwrap().as_f64(), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn what_stands_in_strings_is_left_alone() {
        let text = r#"{"NaN": "NaN 9007199254740993", "a\"1e400\\": "\\", "é1e400": true, "n": null, "x": 1e400}"#;
        let expected =
            json!({"NaN": "NaN 9007199254740993", "a\"1e400\\": "\\", "é1e400": true, "n": null, "x": "1e400"});
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in
            ["", "nan", "NaNs", "-inf", "-", "1.", "01", "1e400x", "\"NaN", "[NaN", "Infinit", "+1", "N", "abc1e400"]
        {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
    }
}
