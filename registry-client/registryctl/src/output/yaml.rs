//! JSON as YAML. Written here, since no YAML library escapes what a terminal would not show.

use std::fmt::Write as _;

use registry_common::shown;
use serde_json::Value as Json;

use super::json::Tree;

/// What a plain text would be read as, if not as a text.
const RESERVED: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan"];

/// The lines of a document.
pub(crate) fn lines(tree: &Tree) -> Vec<String> {
    match tree {
        Tree::Map(entries) if !entries.is_empty() => {
            entries.iter().flat_map(|(key, value)| entry(key, value)).collect()
        }
        Tree::List(items) if !items.is_empty() => items.iter().flat_map(item).collect(),
        flat => vec![in_line(flat)],
    }
}

fn entry(key: &str, value: &Tree) -> Vec<String> {
    let key = text(key);
    if value.is_flat() {
        return vec![format!("{key}: {}", in_line(value))];
    }
    let nested = lines(value).into_iter().map(|line| format!("  {line}"));
    std::iter::once(format!("{key}:")).chain(nested).collect()
}

fn item(value: &Tree) -> Vec<String> {
    let marks = std::iter::once("- ").chain(std::iter::repeat("  "));
    marks.zip(lines(value)).map(|(mark, line)| format!("{mark}{line}")).collect()
}

fn in_line(tree: &Tree) -> String {
    match tree {
        Tree::Map(_) => "{}".to_owned(),
        Tree::List(_) => "[]".to_owned(),
        Tree::Leaf(Json::String(string)) => text(string),
        Tree::Leaf(json) => json.to_string(),
    }
}

/// A text, in quotes if it would be something else without.
fn text(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_./@-".contains(character);
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if begins && text.chars().all(is_plain) && !RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut quoted = String::new();
    for character in Json::from(text).to_string().chars() {
        // Nothing can go wrong when a string is written to.
        let _ = match u32::from(character) {
            _ if shown::is_plain(character) => write!(quoted, "{character}"),
            code @ ..=0xffff => write!(quoted, "\\u{code:04x}"),
            code => write!(quoted, "\\U{code:08x}"),
        };
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(json: impl Into<Json>) -> Tree {
        Tree::Leaf(json.into())
    }

    fn map<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
        Tree::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    #[test]
    fn maps_and_lists_are_blocks() {
        let tree = map([
            ("name", leaf("namespaces/default/models/fraud")),
            ("tags", map([])),
            ("metrics", map([("test", map([("auc", leaf(0.5))]))])),
            ("features", Tree::List(vec![map([("name", leaf("age")), ("shape", Tree::List(vec![leaf(1), leaf(2)]))])])),
            ("shapes", Tree::List(vec![Tree::List(vec![leaf("a"), leaf(true)]), Tree::List(vec![])])),
        ]);
        let expected = "\
name: namespaces/default/models/fraud
tags: {}
metrics:
  test:
    auc: 0.5
features:
  - name: age
    shape:
      - 1
      - 2
shapes:
  - - a
    - true
  - []";
        // What `lines` makes of an item begins with its mark.
        assert_eq!(lines(&tree).join("\n"), expected);
    }

    #[test]
    fn what_would_be_no_text_is_quoted() {
        for (string, expected) in [
            ("fraud@production", "fraud@production"),
            ("", r#""""#),
            ("7", r#""7""#),
            ("No", r#""No""#),
            ("true", r#""true""#),
            ("2026-11-26T10:00:00Z", r#""2026-11-26T10:00:00Z""#),
            ("a: b", r#""a: b""#),
            ("- a", r#""- a""#),
            ("two\nlines", r#""two\nlines""#),
            ("\u{1b}[2K\u{202e}\u{e0041}", r#""\u001b[2K\u202e\U000e0041""#),
            ("模型", "\"模型\""),
        ] {
            assert_eq!(text(string), expected, "{string:?}");
        }
    }
}
