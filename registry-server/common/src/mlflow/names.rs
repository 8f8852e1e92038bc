//! The names of MLflow's models, which may have blanks and more, as ids of models: one to one, so that each of our models has a name there.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::text::check_id;

/// What the id of a model begins with whose name is no id.
const MARK: &str = "mlflow.";

/// The id of the model that MLflow calls this: the name itself if it can be one, as `fraud`; otherwise `my model` is `mlflow.my+20model`.
pub fn id_of(name: &str) -> Cow<'_, str> {
    match check_id(name).is_ok() && !is_escaped(name) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(format!("{MARK}{}", escape(name))),
    }
}

/// What MLflow calls the model with this id.
pub fn name_of(id: &str) -> Cow<'_, str> {
    unescaped(id).map_or(Cow::Borrowed(id), Cow::Owned)
}

fn is_escaped(id: &str) -> bool {
    unescaped(id).is_some()
}

/// The name that an id was made from, if it is one that is made: no other name has it, and it itself is no other id's name.
fn unescaped(id: &str) -> Option<String> {
    let escaped = id.strip_prefix(MARK)?;
    let name = unescape(escaped)?;
    let is_made = !name.is_empty() && (check_id(&name).is_err() || is_escaped(&name));
    (is_made && escape(&name) == escaped).then_some(name)
}

/// Letters and digits, as far as ids may have them, and a few signs stay; the bytes of all else are `+` and two digits.
fn escape(name: &str) -> String {
    // What is in no normal form may have letters that would be in one if they stood alone.
    let is_plain = |c: char| match c {
        '-' | '_' | '.' => true,
        c => c.is_alphanumeric() && (c.is_ascii() || check_id(&c.to_string()).is_ok()),
    };
    let is_whole = check_id(&name.replace(|c| !is_plain(c), "")).is_ok();
    let mut escaped = String::with_capacity(3 * name.len());
    for c in name.chars() {
        if is_plain(c) && (c.is_ascii() || is_whole) {
            escaped.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(escaped, "+{byte:02X}");
        }
    }
    escaped
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((plain, after)) = rest.split_once('+') {
        bytes.extend(plain.bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_ids_stay() {
        for (name, id) in [
            ("fraud", "fraud"),
            ("fraud-2.1_b+x", "fraud-2.1_b+x"),
            ("größe", "größe"),
            ("mlflow.iris", "mlflow.iris"),
            ("mlflow.", "mlflow."),
            ("UpdateRMTest 2", "mlflow.UpdateRMTest+202"),
            ("größe 2", "mlflow.größe+202"),
            ("_private", "mlflow._private"),
            ("-", "mlflow.-"),
            ("a+ b", "mlflow.a+2B+20b"),
            ("mlflow.my+20model", "mlflow.mlflow.my+2B20model"),
            // Decomposed: an accent of its own.
            ("e\u{301}", "mlflow.e+CC+81"),
            // Two letters that would be another one in normal form.
            ("\u{1100}\u{1161}", "mlflow.+E1+84+80+E1+85+A1"),
        ] {
            assert_eq!((&*id_of(name), &*name_of(id)), (id, name));
        }
    }

    proptest! {
        #[test]
        fn every_name_has_an_id_of_its_own(name in any::<String>().prop_filter("no name", |name| !name.is_empty())) {
            let id = id_of(&name);
            prop_assert_eq!(&name_of(&id), &name);
            // However long it is.
            prop_assert!(id.chars().count() > 128 || check_id(&id).is_ok(), "{}", id);
        }

        #[test]
        fn every_id_has_a_name_of_its_own(id in "(mlflow\\.){0,2}([a-c+0-9é]|\\+20|\\+2B){0,8}") {
            prop_assume!(check_id(&id).is_ok());
            let name = name_of(&id);
            prop_assert_eq!(&id_of(&name), &id);
        }
    }
}
