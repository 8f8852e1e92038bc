//! MLflow's tags, which may be longer and more than ours: what can be a tag here is one, and what can't is an annotation of the model, or
//! kept with the metadata of the version.

use std::collections::BTreeMap;

use registry_proto::v1 as pb;

use super::kept::{Kept, keep_tag};

/// What the contract has for tags (*Tags* in `common.proto`).
const MOST: usize = 64;
/// The most characters of a key.
pub const KEY_CHARACTERS: usize = 128;
const VALUE_CHARACTERS: usize = 256;

/// Whether it can be a tag beside those that are there.
fn fits(tags: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    let is_text = |text: &str, most| text.chars().count() <= most && !text.contains(char::is_control);
    is_text(key, KEY_CHARACTERS) && is_text(value, VALUE_CHARACTERS) && (tags.len() < MOST || tags.contains_key(key))
}

/// Sets a tag of a model.
pub fn set_on_model(model: &mut pb::Model, key: &str, value: &str) {
    if fits(&model.tags, key, value) {
        model.annotations.remove(key);
        model.tags.insert(key.to_owned(), value.to_owned());
    } else {
        model.tags.remove(key);
        model.annotations.insert(key.to_owned(), value.to_owned());
    }
}

/// Sets a tag of a version.
pub fn set_on_version(version: &mut pb::Version, key: &str, value: &str) {
    if fits(&version.tags, key, value) {
        keep_tag(version, key, None);
        version.tags.insert(key.to_owned(), value.to_owned());
    } else {
        version.tags.remove(key);
        keep_tag(version, key, Some(value));
    }
}

/// Removes a tag of a version.
pub fn remove_from_version(version: &mut pb::Version, key: &str) {
    version.tags.remove(key);
    keep_tag(version, key, None);
}

/// Removes a tag of a model.
pub fn remove_from_model(model: &mut pb::Model, key: &str) {
    model.tags.remove(key);
    model.annotations.remove(key);
}

/// All tags of a model.
pub fn of_model(model: &pb::Model) -> BTreeMap<String, String> {
    let mut tags = model.annotations.clone();
    tags.extend(model.tags.clone());
    tags
}

/// All tags of a version.
pub fn of_version(version: &pb::Version) -> BTreeMap<String, String> {
    let mut tags = Kept::of(version).tags();
    tags.extend(version.tags.clone());
    tags
}

/// The tag that makes a prompt of a model or a version if it says `true`.
pub const IS_PROMPT: &str = "mlflow.prompt.is_prompt";

/// Whether what has these tags is a prompt.
pub fn is_prompt(tags: &BTreeMap<String, String>) -> bool {
    tags.get(IS_PROMPT).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_tag_is_kept_elsewhere_and_comes_back() {
        let long = "x".repeat(257);
        let mut model = pb::Model::default();
        let mut version = pb::Version::default();
        for value in ["short", &long, "two\nlines", "", "short"] {
            set_on_model(&mut model, "k", value);
            set_on_version(&mut version, "k", value);
            let is_tag = ["short", ""].contains(&value);
            assert_eq!((model.tags.contains_key("k"), model.annotations.contains_key("k")), (is_tag, !is_tag));
            assert_eq!(version.tags.contains_key("k"), is_tag);
            let expected = BTreeMap::from([("k".to_owned(), value.to_owned())]);
            assert_eq!((of_model(&model), of_version(&version)), (expected.clone(), expected));
        }
        remove_from_version(&mut version, "k");
        assert!(version.tags.is_empty());
        // One more than there may be.
        for at in 0..=MOST {
            set_on_model(&mut model, &at.to_string(), "x");
        }
        assert_eq!((model.tags.len(), model.annotations.len()), (MOST, 2));
    }
}
