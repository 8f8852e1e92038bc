//! Checks of what callers write into models and versions. Every field at fault is found, not only the first.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Timestamp, Value};
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::policies::check_reference;
use crate::error::{Violations, quoted};
use crate::rules::artifacts::{check_path, media_type};

/// Of a text for people.
pub(super) const TEXT_BYTES: usize = 64 * 1024;
const SHORT_CHARACTERS: usize = 256;
const KEY_CHARACTERS: usize = 128;
const PAIRS: usize = 64;
/// A version without its artifacts; its record and events have to stay handy.
const VERSION_BYTES: usize = 768 * 1024;
/// A model without what the registry adds.
const MODEL_BYTES: usize = 384 * 1024;
/// How deep objects and lists of JSON lie in each other. Each takes up to three of the 100 levels that readers of protobuf allow, and
/// an event around them takes some more.
const JSON_LEVELS: usize = 24;
/// The years 1 to 9999, and 10,000 years: what the types are defined for.
const SECONDS_OF_TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const SECONDS_OF_DURATIONS: std::ops::RangeInclusive<i64> = 0..=315_576_000_000;
const NANOS: std::ops::Range<i32> = 0..1_000_000_000;

/// A text of at most so many bytes.
pub(super) fn long(found: &mut Violations, field: &str, text: &str, bytes: usize) {
    if text.len() > bytes {
        found.invalid(field, format!("has {} bytes; at most {bytes} are allowed", text.len()));
    }
}

/// A short text in one line.
pub(crate) fn short(found: &mut Violations, field: &str, text: &str) {
    let characters = text.chars().count();
    if characters > SHORT_CHARACTERS {
        found.invalid(field, format!("has {characters} characters; at most {SHORT_CHARACTERS} are allowed"));
    } else if text.chars().any(char::is_control) {
        found.invalid(field, "must not have control characters");
    }
}

fn key(found: &mut Violations, field: &str, key: &str) {
    let characters = key.chars().count();
    if key.is_empty() {
        found.invalid(field, "must not have an empty key");
    } else if characters > KEY_CHARACTERS {
        found.invalid(field, format!("has a key of {characters} characters; at most {KEY_CHARACTERS} are allowed"));
    } else if key.chars().any(char::is_control) {
        found.invalid(field, "must not have control characters in a key");
    }
}

/// Tags: few and short, because they are selected by.
pub(super) fn pairs(found: &mut Violations, field: &str, pairs: &BTreeMap<String, String>) {
    if pairs.len() > PAIRS {
        found.invalid(field, format!("has {} entries; at most {PAIRS} are allowed", pairs.len()));
    }
    for (name, value) in pairs {
        key(found, field, name);
        short(found, &format!("{field}[{name}]"), value);
    }
}

/// A value of an open set, or none.
pub(super) fn open(found: &mut Violations, field: &str, value: &str) {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let first = value.bytes().next().is_none_or(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !first || value.len() > 64 || !value.bytes().all(inner) {
        found.invalid(field, format!("{} does not match [a-z0-9][a-z0-9._-]{{0,63}}", quoted(value)));
    }
}

/// A point in time.
pub(crate) fn time(found: &mut Violations, field: &str, time: &Timestamp) {
    if !SECONDS_OF_TIMES.contains(&time.seconds) || !NANOS.contains(&time.nanos) {
        found.invalid(field, "must be in the years 1 to 9999, with 0 to 999,999,999 nanos");
    }
}

/// A length of time that is not negative.
pub(crate) fn duration(found: &mut Violations, field: &str, duration: &prost_types::Duration) -> Duration {
    if !SECONDS_OF_DURATIONS.contains(&duration.seconds) || !NANOS.contains(&duration.nanos) {
        found.invalid(field, "must be 0 to 10,000 years, with 0 to 999,999,999 nanos");
        return Duration::ZERO;
    }
    Duration::new(duration.seconds.unsigned_abs(), duration.nanos.unsigned_abs())
}

/// An object of JSON that every reader can decode, and write as JSON.
fn json(found: &mut Violations, field: &str, object: &Struct) {
    if let Some(problem) = object.fields.values().find_map(|value| problem_in(value, JSON_LEVELS - 1)) {
        found.invalid(field, problem);
    }
}

/// What is wrong with a value in which so many levels may follow.
fn problem_in(value: &Value, levels: usize) -> Option<String> {
    let mut inner: Box<dyn Iterator<Item = &Value>> = match &value.kind {
        None => return Some("has a value of no type".to_owned()),
        Some(Kind::NumberValue(number)) if !number.is_finite() => {
            return Some(format!("has the number {number}, which JSON has not"));
        }
        Some(Kind::NullValue(_) | Kind::NumberValue(_) | Kind::StringValue(_) | Kind::BoolValue(_)) => return None,
        Some(Kind::StructValue(object)) => Box::new(object.fields.values()),
        Some(Kind::ListValue(list)) => Box::new(list.values.iter()),
    };
    let Some(left) = levels.checked_sub(1) else {
        return Some(format!("has objects or lists that lie more than {JSON_LEVELS} levels deep"));
    };
    inner.find_map(|value| problem_in(value, left))
}

/// The SHA-256 that bytes are announced by, if they are.
pub(crate) fn announced_sha256(sha256: &str, found: &mut Violations) {
    if !sha256.is_empty() && (sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        found.invalid("sha256", "must be 64 hex digits");
    }
}

/// What callers may set of an artifact.
pub(crate) fn artifact(artifact: &pb::Artifact, found: &mut Violations) {
    found.parsed("path", check_path(&artifact.path));
    if artifact.r#type.is_empty() {
        found.required("type");
    }
    open(found, "type", &artifact.r#type);
    if media_type(&artifact.media_type, &artifact.path).is_none() {
        found.invalid("media_type", format!("{} is not a media type", quoted(&artifact.media_type)));
    }
    if artifact.size_bytes < 0 {
        found.invalid("size_bytes", "must not be negative");
    }
    announced_sha256(&artifact.sha256, found);
    pairs(found, "tags", &artifact.tags);
}

/// What callers may set of a model.
pub(crate) fn model(model: &pb::Model, found: &mut Violations) {
    open(found, "model_type", &model.model_type);
    for (field, text) in [
        ("display_name", &model.display_name),
        ("owner", &model.owner),
        ("team", &model.team),
        ("project", &model.project),
        ("business_domain", &model.business_domain),
    ] {
        short(found, field, text);
    }
    long(found, "description", &model.description, TEXT_BYTES);
    long(found, "purpose", &model.purpose, TEXT_BYTES);
    pairs(found, "tags", &model.tags);
    let annotated: usize = model.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if annotated > TEXT_BYTES {
        found.invalid("annotations", format!("has {annotated} bytes; at most {TEXT_BYTES} are allowed"));
    }
    for name in model.annotations.keys() {
        key(found, "annotations", name);
    }
    for (metric, direction) in &model.metric_directions {
        key(found, "metric_directions", metric);
        check_enum::<pb::MetricDirection>(found, &format!("metric_directions[{metric}]"), *direction);
    }
    check_reference(&model.policy, found);
    let bytes = model.given().encoded_len();
    if bytes > MODEL_BYTES {
        found.invalid("", format!("has {bytes} bytes; at most {MODEL_BYTES} are allowed"));
    }
}

/// What callers may set of a version. Whether the parents exist is checked where they are looked up.
pub(crate) fn version(version: &pb::Version, found: &mut Violations) {
    open(found, "framework", &version.framework);
    short(found, "framework_version", &version.framework_version);
    long(found, "description", &version.description, TEXT_BYTES);
    if !version.source_uri.is_empty() && !version.source_uri.contains(':') {
        found.invalid("source_uri", "must be a URI with a scheme, for example s3://bucket/model.onnx");
    }
    long(found, "source_uri", &version.source_uri, 4 * 1024);
    pairs(found, "tags", &version.tags);
    for (split, metrics) in &version.metrics {
        key(found, "metrics", split);
        for metric in metrics.values.keys() {
            key(found, &format!("metrics[{split}]"), metric);
        }
    }
    for (i, feature) in version.features.iter().enumerate() {
        if feature.name.is_empty() {
            found.required(format!("features[{i}].name"));
        }
    }
    if let Some(params) = &version.standardization_params {
        if params.mean.len() != params.scale.len() {
            let lengths = format!("has {} means and {} scales", params.mean.len(), params.scale.len());
            found.invalid("standardization_params", lengths);
        } else if !version.features.is_empty() && params.mean.len() != version.features.len() {
            let lengths = format!("has {} means for {} features", params.mean.len(), version.features.len());
            found.invalid("standardization_params.mean", lengths);
        }
    }
    if version.datasets.iter().any(|dataset| dataset.rows < 0 || dataset.split_rows.values().any(|rows| *rows < 0)) {
        found.invalid("datasets", "must not have negative rows");
    }
    for (field, object) in [
        ("hyperparameters", &version.hyperparameters),
        ("model_params", &version.model_params),
        ("additional_metadata", &version.additional_metadata),
    ] {
        object.iter().for_each(|object| json(found, field, object));
    }
    if let Some(training_time) = &version.training_time {
        time(found, "training_time", training_time);
    }
    let bytes = version.given().encoded_len();
    if bytes > VERSION_BYTES {
        found.invalid("", format!("has {bytes} bytes; at most {VERSION_BYTES} are allowed"));
    }
}

/// Adds a violation if an enum field has a number that the contract does not have.
fn check_enum<T: TryFrom<i32>>(found: &mut Violations, field: &str, number: i32) {
    if T::try_from(number).is_err() {
        found.invalid(field, format!("has no value {number}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(version: &pb::Version) -> Vec<String> {
        let mut found = Violations::default();
        super::version(version, &mut found);
        match found.check() {
            Err(crate::error::Error::Invalid(found)) => found.into_iter().map(|violation| violation.field).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn json_is_what_every_reader_can_write_as_json() {
        let one = |value| Struct { fields: [("key".to_owned(), value)].into() };
        for (kind, fits) in [
            (Some(Kind::NumberValue(0.5)), true),
            (Some(Kind::NullValue(0)), true),
            (Some(Kind::ListValue(prost_types::ListValue::default())), true),
            (Some(Kind::NumberValue(f64::NAN)), false),
            (Some(Kind::NumberValue(f64::INFINITY)), false),
            (None, false),
        ] {
            let within = Value { kind: Some(Kind::StructValue(one(Value { kind: kind.clone() }))) };
            let version = pb::Version { model_params: Some(one(within)), ..Default::default() };
            assert_eq!(found(&version).is_empty(), fits, "{kind:?}");
        }
    }

    #[test]
    fn times_and_lengths_of_time_are_what_their_types_are_defined_for() {
        for (seconds, nanos, fits) in [
            (0, 0, true),
            (-62_135_596_800, 0, true),
            (253_402_300_799, 999_999_999, true),
            (-62_135_596_801, 0, false),
            (253_402_300_800, 0, false),
            (0, -1, false),
            (0, 1_000_000_000, false),
            (i64::MIN, i32::MIN, false),
        ] {
            let version = pb::Version { training_time: Some(Timestamp { seconds, nanos }), ..Default::default() };
            assert_eq!(found(&version).is_empty(), fits, "{seconds} {nanos}");
        }
        for (seconds, nanos, fits) in [(3600, 1, true), (-1, 0, false), (0, -1, false), (i64::MIN, -1, false)] {
            let mut found = Violations::default();
            let taken = duration(&mut found, "grace", &prost_types::Duration { seconds, nanos });
            assert_eq!(taken, if fits { Duration::new(3600, 1) } else { Duration::ZERO });
            assert_eq!(found.check().is_ok(), fits, "{seconds} {nanos}");
        }
    }
}
