//! What a change made different, in short lines.

use std::collections::BTreeMap;

use registry_client::{known, pb};
use serde_json::Value as Json;

use crate::Failure;
use crate::output::json;
use crate::values::Named as _;

/// How many characters of a value are shown.
const CHARACTERS: usize = 60;
/// How many lines of a change.
const LINES: usize = 20;
/// What the line of the event says already.
const OF_STAGES: [&str; 4] = ["stage", "stage_time", "stage_revision", "entered_automatically"];

/// A line for each value that is new (`+`), gone (`-`) or another one.
pub(super) fn differences(event: &pb::Event) -> Result<Vec<String>, Failure> {
    let said: &[&str] = match event.r#type.as_str() {
        known::event_type::VERSION_STAGE_TRANSITIONED => &OF_STAGES,
        known::event_type::ALIAS_SET | known::event_type::ALIAS_DELETED => &["aliases"],
        _ => &[],
    };
    let fields: Vec<_> = event.changed_fields.iter().filter(|field| !said.contains(&field.as_str())).collect();
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let mut whole = serde_json::to_value(json::tree("Event", event)?)?;
    let mut resource = |side: &str| match whole[side].take() {
        Json::Object(resource) => resource.into_iter().next().map(|(_, resource)| resource).unwrap_or_default(),
        _ => Json::Null,
    };
    let (mut before, mut after) = (resource("before"), resource("after"));
    let mut lines = Vec::new();
    for field in fields {
        let mut values: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
        let name = camel(field);
        for (side, resource) in [&mut before, &mut after].into_iter().enumerate() {
            collect(field, &resource[&name].take(), &mut |path, value| {
                values.entry(path).or_default()[side] = Some(value)
            });
        }
        lines.extend(values.into_iter().filter_map(|(path, sides)| match sides {
            [None, None] => None,
            [Some(before), Some(after)] if before == after => None,
            [Some(before), Some(after)] => Some(format!("{path}: {before} -> {after}")),
            [None, Some(after)] => Some(format!("+ {path}: {after}")),
            [Some(before), None] => Some(format!("- {path}: {before}")),
        }));
    }
    if lines.len() > LINES + 1 {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("and {more} more: see --json"));
    }
    Ok(lines)
}

/// Hands out the values within a value, each with its path, but for those that say nothing.
fn collect(path: &str, value: &Json, take: &mut impl FnMut(String, String)) {
    match value {
        Json::Null => {}
        Json::Object(entries) => {
            for (key, value) in entries {
                // Metrics are of a split: the message between says nothing.
                let inner = if key == "values" { path.to_owned() } else { format!("{path}.{key}") };
                collect(&inner, value, take);
            }
        }
        Json::Array(items) if items.is_empty() => {}
        Json::String(text) if text.is_empty() => {}
        Json::String(text) => take(path.to_owned(), cut(&short_name(text).unwrap_or_else(|| text.clone()))),
        other => take(path.to_owned(), cut(&other.to_string())),
    }
}

/// `ready` for `VERSION_STATE_READY`.
fn short_name(value: &str) -> Option<String> {
    let of = [pb::VersionState::PREFIX, pb::Stage::PREFIX].into_iter().find(|prefix| value.starts_with(prefix));
    of.map(|prefix| value[prefix.len()..].to_lowercase())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The name of a field in JSON.
fn camel(field: &str) -> String {
    let mut parts = field.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let mut letters = part.chars();
        name + &letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default() + letters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: pb::Version, after: pb::Version, fields: &[&str]) -> Vec<String> {
        let resource = |version| Some(pb::Resource { resource: Some(pb::resource::Resource::Version(version)) });
        let event = pb::Event {
            r#type: known::event_type::VERSION_UPDATED.to_owned(),
            before: resource(before),
            after: resource(after),
            changed_fields: fields.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        differences(&event).unwrap()
    }

    #[test]
    fn values_are_new_gone_or_others() {
        let version = |description: &str, tags: &[(&str, &str)], auc: f64| {
            let mut version = pb::Version { description: description.to_owned(), ..Default::default() };
            version.tags = tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            version.metrics.entry("test".to_owned()).or_default().values.insert("auc".to_owned(), auc);
            version
        };
        let lines = changed(
            version("", &[("region", "eu"), ("old", "1"), ("same", "x")], 0.5),
            version(&"é".repeat(100), &[("region", "us"), ("new", "2"), ("same", "x")], 0.75),
            &["description", "metrics", "tags"],
        );
        let description = format!("+ description: {}…", "é".repeat(CHARACTERS));
        let expected = [
            description.as_str(),
            "metrics.test.auc: 0.5 -> 0.75",
            "+ tags.new: 2",
            "- tags.old: 1",
            "tags.region: eu -> us",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_fields_that_changed_are_told_and_no_others() {
        let ready = pb::Version { state: pb::VersionState::Ready.into(), size_bytes: 5, ..Default::default() };
        let pending = pb::Version { state: pb::VersionState::Pending.into(), ..Default::default() };
        assert_eq!(changed(pending, ready, &["state"]), ["state: pending -> ready"]);
        let many = (0..100).map(|number| (number.to_string(), String::from("x"))).collect();
        let tagged = pb::Version { tags: many, ..Default::default() };
        let lines = changed(pb::Version::default(), tagged, &["tags"]);
        assert_eq!((lines.len(), lines[LINES].as_str()), (LINES + 1, "and 80 more: see --json"));
    }

    #[test]
    fn fields_have_their_names_in_json() {
        assert_eq!(camel("metric_directions"), "metricDirections");
        assert_eq!(camel("tags"), "tags");
    }
}
