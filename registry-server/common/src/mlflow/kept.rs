//! What MLflow says of a version and we have no field for.

use std::collections::BTreeMap;

use prost_types::Struct;
use prost_types::value::Kind;
use registry_proto::v1 as pb;

/// The key of `additional_metadata` under which it is.
const KEPT: &str = "mlflow";

/// What MLflow says of a version and we have no field for.
#[derive(Debug)]
pub struct Kept<'a>(Option<&'a Struct>);

impl<'a> Kept<'a> {
    /// That of a version.
    pub fn of(version: &'a pb::Version) -> Self {
        let kept = version.additional_metadata.as_ref().and_then(|metadata| metadata.fields.get(KEPT)?.kind.as_ref());
        Self(kept.and_then(object))
    }

    /// A text; empty if it is not there.
    pub fn text(&self, key: &str) -> &'a str {
        self.0.and_then(|kept| kept.fields.get(key)?.kind.as_ref()).and_then(text).unwrap_or_default()
    }

    /// The tags that can be none of ours.
    pub fn tags(&self) -> BTreeMap<String, String> {
        let tags = self.0.and_then(|kept| kept.fields.get("tags")?.kind.as_ref()).and_then(object);
        let texts = |(key, value): (&String, &prost_types::Value)| {
            Some((key.clone(), value.kind.as_ref().and_then(text)?.to_owned()))
        };
        tags.into_iter().flat_map(|tags| &tags.fields).filter_map(texts).collect()
    }
}

/// Keeps it with a version.
pub fn keep(version: &mut pb::Version, key: &str, value: &str) {
    if !value.is_empty() {
        kept_mut(version).fields.insert(key.to_owned(), Kind::StringValue(value.to_owned()).into());
    }
}

/// Keeps a tag with a version that can be none of our tags, or no longer does.
pub(super) fn keep_tag(version: &mut pb::Version, key: &str, value: Option<&str>) {
    if value.is_none() && !Kept::of(version).tags().contains_key(key) {
        return;
    }
    let tags = object_mut(kept_mut(version), "tags");
    match value {
        Some(value) => drop(tags.fields.insert(key.to_owned(), Kind::StringValue(value.to_owned()).into())),
        None => drop(tags.fields.remove(key)),
    }
}

fn kept_mut(version: &mut pb::Version) -> &mut Struct {
    object_mut(version.additional_metadata.get_or_insert_default(), KEPT)
}

/// The object at a key. What else stands there makes room.
fn object_mut<'a>(of: &'a mut Struct, key: &str) -> &'a mut Struct {
    let value = of.fields.entry(key.to_owned()).or_default();
    if !matches!(value.kind, Some(Kind::StructValue(_))) {
        value.kind = Some(Kind::StructValue(Struct::default()));
    }
    match &mut value.kind {
        Some(Kind::StructValue(object)) => object,
        _ => unreachable!("it was made one"),
    }
}

fn object(kind: &Kind) -> Option<&Struct> {
    match kind {
        Kind::StructValue(object) => Some(object),
        _ => None,
    }
}

fn text(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}
