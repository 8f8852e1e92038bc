//! Text from elsewhere as it may be shown to people: on a terminal, or in a log.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::RangeInclusive;

/// What is not seen, or changes how its neighbours are seen: Unicode's `Default_Ignorable_Code_Point` (zero-width characters, controls
/// of direction, tags), the separators of lines and paragraphs, and annotations. C0 and C1 come to these.
const UNSEEN: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// A value as errors echo it: quoted, and cut if it is long.
pub fn quoted(text: &str) -> String {
    const CHARACTERS: usize = 64;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The beginning of a text that has more bytes than this.
pub fn cut(text: &str, most: usize) -> String {
    const MARK: &str = "...";
    match text.len() <= most {
        true => text.to_owned(),
        false => {
            let ends = (0..=most.saturating_sub(MARK.len())).rev();
            let end = ends.into_iter().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text[..end].to_owned() + MARK
        }
    }
}

/// Whether a character stands for itself: it moves no cursor, breaks no line, hides nothing and changes no order.
pub fn is_plain(character: char) -> bool {
    // Most text is ASCII.
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    !character.is_control() && !UNSEEN.iter().any(|range| range.contains(&character))
}

/// A text as one line in which everything is seen: what is not [plain](is_plain) is written as `\n`, `\t` or `\u{1b}`.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_plain(character) { line.push(character) } else { line.extend(character.escape_default()) }
    }
    Cow::Owned(line)
}

/// A text that may have several [lines](line()): those after the first are indented, so that none of them passes for another message.
pub fn lines(text: &str) -> String {
    let mut lines = text.lines();
    let first = line(lines.next().unwrap_or_default()).into_owned();
    lines.fold(first, |shown, next| format!("{shown}\n  {}", line(next.trim_start())))
}

/// A URL without what may be a secret in it, also when it is mistyped: without all that stands before an `@`, and without its query and
/// fragment.
///
/// ```
/// assert_eq!(registry_common::shown::url("postgre://ana:secret@db/registry"), "postgre://...@db/registry");
/// ```
pub fn url(text: &str) -> String {
    let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (&text[..scheme.len() + 3], rest),
        _ => ("", text),
    };
    // A password that was not encoded may have any of these characters.
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("...@", rest));
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let more = if end < rest.len() { "?..." } else { "" };
    format!("{scheme}{user}{}{more}", &rest[..end])
}

/// Standard error for a log: each write is one entry, and becomes one [line](line()).
#[derive(Debug, Clone, Copy, Default)]
pub struct LogToStderr;

impl Write for LogToStderr {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let mut line = line(text.trim_end_matches('\n')).into_owned();
        line.push('\n');
        // In one piece: others write there as well, and each piece is a call of the system.
        io::stderr().write_all(line.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_hides_or_reorders_is_escaped_and_the_rest_is_not() {
        for (text, expected) in [
            ("", ""),
            ("fraud/versions/7", "fraud/versions/7"),
            ("Zoë, Ελένη, 模型, e\u{301}, 🙂, \\n", "Zoë, Ελένη, 模型, e\u{301}, 🙂, \\n"),
            ("fine\n   123  stage_transitioned", "fine\\n   123  stage_transitioned"),
            ("\u{1b}[1A\u{1b}[2K", "\\u{1b}[1A\\u{1b}[2K"),
            ("a\rb\tc\0d\u{7f}", "a\\rb\\tc\\u{0}d\\u{7f}"),
            ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
            ("\u{202e}gpj.exe\u{2066}\u{200e}", "\\u{202e}gpj.exe\\u{2066}\\u{200e}"),
            ("fra\u{200b}ud\u{feff}\u{2028}", "fra\\u{200b}ud\\u{feff}\\u{2028}"),
        ] {
            assert_eq!(line(text), expected);
            assert_eq!(line(expected), expected, "what was escaped once stays as it is");
        }
    }

    #[test]
    fn a_line_of_a_message_passes_for_no_other_message() {
        let text = "can't be published:\n  a\u{1b}[2K.bin: is a link\r\nregistryctl: all is well";
        let expected = "can't be published:\n  a\\u{1b}[2K.bin: is a link\n  registryctl: all is well";
        assert_eq!(lines(text), expected);
        assert_eq!(lines(""), "");
    }

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for (text, expected) in [
            ("http://127.0.0.1:50051", "http://127.0.0.1:50051"),
            ("postgres://ana:secret@db1,db2/registry?sslmode=require", "postgres://...@db1,db2/registry?..."),
            ("postgres://ana:sec@r?e/t@db/registry", "postgres://...@db/registry"),
            ("postgres:/ana:secret@db", "...@db"),
            ("ana:secret://x@db", "...@db"),
            ("s3://bucket/prefix#secret", "s3://bucket/prefix?..."),
            ("sleed", "sleed"),
        ] {
            assert_eq!(url(text), expected);
            assert!(!url(text).contains("secret"));
        }
    }
}
