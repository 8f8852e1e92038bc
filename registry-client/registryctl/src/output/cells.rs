//! Values of messages by their paths, as `--fields` and `--order-by` name them: `stage`, `tags.team`, `metrics.validation.auc`.

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value};
use prost_types::FieldMask;

use super::double;
use super::json::{self, Tree, descriptor};
use crate::Failure;

/// The value of a message at a path; empty where there is none.
pub(crate) fn cell(name: &str, message: &impl Message, path: &str) -> Result<String, Failure> {
    let message = DynamicMessage::decode(descriptor(name)?, message.encode_to_vec().as_slice())?;
    Ok(of_field(&message, path).unwrap_or_default())
}

/// What a request names to be answered with all that is at some paths.
pub(crate) fn mask(name: &str, paths: &[String], also: &[&str]) -> Option<FieldMask> {
    if paths.is_empty() {
        return None;
    }
    let message = descriptor(name).ok();
    let paths = paths.iter().map(|path| masked(message.as_ref(), path).to_owned());
    Some(FieldMask { paths: paths.chain(also.iter().map(|field| (*field).to_owned())).collect() })
}

/// A mask names fields and the entries of maps.
fn masked<'a>(message: Option<&MessageDescriptor>, path: &'a str) -> &'a str {
    let (first, rest) = split(path);
    let field = message.and_then(|message| message.get_field_by_name(first));
    match (field.map(|field| (field.is_map(), field.kind())), rest) {
        (Some((true, Kind::Message(entry))), Some(rest)) => match entry.map_entry_value_field().kind() {
            Kind::Message(_) => &path[..first.len() + 1 + split(rest).0.len()],
            _ => path,
        },
        (Some((false, Kind::Message(of))), Some(rest))
            if of.package_name() == "google.protobuf" || of.get_field_by_name(split(rest).0).is_some() =>
        {
            first
        }
        // The registry refuses what is no field.
        _ => path,
    }
}

/// The first part of a path, and the rest.
fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

fn of_field(message: &DynamicMessage, path: &str) -> Option<String> {
    let (first, rest) = split(path);
    let field = message.descriptor().get_field_by_name(first)?;
    if field.supports_presence() && !message.has_field(&field) {
        return None;
    }
    of_value(&message.get_field(&field), &field, rest)
}

/// The paths of all values that a field of a message has by name.
pub(crate) fn paths(name: &str, message: &impl Message, field: &str) -> Vec<String> {
    let mut found = Vec::new();
    let message = descriptor(name).and_then(|of| Ok(DynamicMessage::decode(of, message.encode_to_vec().as_slice())?));
    if let Ok(message) = message
        && let Some(of) = message.get_field_by_name(field)
    {
        add_paths(&of, field, &mut found);
    }
    found
}

fn add_paths(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Map(entries) => {
            for (key, value) in entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value))) {
                add_paths(value, &format!("{path}.{key}"), found);
            }
        }
        Value::Message(message) => match only_map(&message.descriptor()) {
            Some(map) => add_paths(&message.get_field(&map), path, found),
            None => found.push(path.to_owned()),
        },
        _ => found.push(path.to_owned()),
    }
}

fn of_value(value: &Value, field: &FieldDescriptor, path: Option<&str>) -> Option<String> {
    let Some(path) = path else { return shown(value, &field.kind()) };
    match (value, field.kind()) {
        (Value::Map(entries), Kind::Message(entry)) => {
            // A key may have dots: the longest one that fits is meant.
            let keys = entries.keys().filter_map(MapKey::as_str).filter(|key| {
                let rest = path.strip_prefix(key);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            let key = keys.max_by_key(|key| key.len())?;
            let rest = path[key.len()..].strip_prefix('.');
            of_value(entries.get(&MapKey::String(key.to_owned()))?, &entry.map_entry_value_field(), rest)
        }
        (Value::Message(message), _) => match only_map(&message.descriptor()) {
            Some(map) => of_value(&message.get_field(&map), &map, Some(path)),
            None => of_field(message, path),
        },
        _ => None,
    }
}

/// The map that a message wraps, if it has nothing else.
fn only_map(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let mut fields = message.fields();
    fields.next().filter(|field| field.is_map() && fields.next().is_none())
}

/// A value to its last digit.
fn shown(value: &Value, kind: &Kind) -> Option<String> {
    Some(match (value, kind) {
        (Value::String(text), _) => text.clone(),
        (Value::F64(number), _) => double(*number),
        (Value::I64(number), _) => number.to_string(),
        (Value::I32(number), _) => number.to_string(),
        (Value::Bool(value), _) => value.to_string(),
        (Value::EnumNumber(0), _) => String::new(),
        (Value::EnumNumber(number), Kind::Enum(of)) => {
            let prefix = of.default_value().name().trim_end_matches("UNSPECIFIED").to_owned();
            let short = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_ascii_lowercase();
            of.get_value(*number).map_or_else(|| number.to_string(), |value| short(value.name()))
        }
        (Value::List(items), _) => items.iter().map(|item| shown(item, kind)).collect::<Option<Vec<_>>>()?.join(", "),
        (Value::Map(entries), Kind::Message(entry)) => {
            let mut pairs: Vec<_> = entries.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            let kind = entry.map_entry_value_field().kind();
            let pair = |(key, value): (&MapKey, &Value)| Some(format!("{}={}", key.as_str()?, shown(value, &kind)?));
            pairs.into_iter().map(pair).collect::<Option<Vec<_>>>()?.join(", ")
        }
        (Value::Message(message), _) if only_map(&message.descriptor()).is_some() => {
            let map = only_map(&message.descriptor())?;
            return shown(&message.get_field(&map), &map.kind());
        }
        (Value::Message(message), kind) => match json::in_order(serde_json::to_value(message).ok()?, kind) {
            Tree::Leaf(serde_json::Value::String(text)) => text,
            tree => json::value(&tree).ok()?,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use prost_types::{Struct, Timestamp};
    use registry_client::pb;

    use super::*;
    use crate::values::value;

    fn version() -> pb::Version {
        let metrics = pb::MetricSet { values: [("auc".to_owned(), 0.1 + 0.2), ("f1.macro".to_owned(), 1.0)].into() };
        let depth = ("depth".to_owned(), value(6.into()));
        pb::Version {
            name: "n".to_owned(),
            number: 7,
            stage: pb::Stage::Production.into(),
            metrics: [("validation".to_owned(), metrics)].into(),
            tags: [("a.b".to_owned(), "dotted".to_owned()), ("a".to_owned(), "plain".to_owned())].into(),
            hyperparameters: Some(Struct { fields: [depth].into() }),
            create_time: Some(Timestamp { seconds: 1_769_428_800, nanos: 123_456_000 }),
            base_versions: vec!["x".to_owned(), "y".to_owned()],
            ..Default::default()
        }
    }

    #[test]
    fn values_are_found_by_their_paths() {
        for (path, expected) in [
            ("number", "7"),
            ("stage", "production"),
            ("state", ""),
            ("metrics.validation.auc", "0.30000000000000004"),
            ("metrics.validation.f1.macro", "1"),
            ("metrics.test.auc", ""),
            ("metrics.validation", "auc=0.30000000000000004, f1.macro=1"),
            ("tags.a.b", "dotted"),
            ("tags.a", "plain"),
            ("tags", "a=plain, a.b=dotted"),
            ("hyperparameters.depth", "6"),
            ("create_time", "2026-01-26T12:00:00.123456Z"),
            ("delete_time", ""),
            ("environment.language", ""),
            ("base_versions", "x, y"),
            ("nonsense", ""),
        ] {
            assert_eq!(cell("Version", &version(), path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn a_field_has_paths() {
        let mut found = paths("Version", &version(), "metrics");
        found.sort();
        assert_eq!(found, ["metrics.validation.auc", "metrics.validation.f1.macro"]);
        assert_eq!(paths("Version", &version(), "hyperparameters"), ["hyperparameters.depth"]);
        assert!(paths("Version", &version(), "nonsense").is_empty());
    }

    #[test]
    fn a_mask_names_what_the_paths_are_in() {
        let paths = [
            "name",
            "metrics.validation.auc",
            "tags.a.b",
            "hyperparameters.depth",
            "environment.language",
            "environment.nonsense",
            "stage.x",
            "nonsense.x",
        ];
        let mask = mask("Version", &paths.map(str::to_owned), &["etag"]).unwrap();
        let expected =
            "name metrics.validation tags.a.b hyperparameters environment environment.nonsense stage.x nonsense.x etag";
        assert_eq!(mask.paths.join(" "), expected);
        assert_eq!(super::mask("Version", &[], &["etag"]), None);
    }
}
