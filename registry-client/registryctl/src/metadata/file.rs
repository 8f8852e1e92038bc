//! A file that says what a namespace, policy, model or version is: the contract's message in protobuf's JSON form, or the same as YAML.

use std::path::Path;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use registry_client::{Editable, pb};
use serde_json::{Map, Value as Json};

use crate::numbers;
use crate::output::json::descriptor;

/// A resource that a file can describe.
pub(crate) trait Described: Editable {
    /// The name of its message.
    const MESSAGE: &'static str;
}

impl Described for pb::Namespace {
    const MESSAGE: &'static str = "Namespace";
}

impl Described for pb::Policy {
    const MESSAGE: &'static str = "Policy";
}

impl Described for pb::Model {
    const MESSAGE: &'static str = "Model";
}

impl Described for pb::Version {
    const MESSAGE: &'static str = "Version";
}

/// What a file says.
#[derive(Debug, Clone)]
pub(crate) struct Written<R> {
    message: R,
    /// The fields that it has, also if they are empty: those that callers write.
    fields: Vec<&'static str>,
    /// What it says that only the registry writes, in order.
    pub(crate) left_out: Vec<String>,
}

impl<R: Described> Written<R> {
    /// Reads JSON or, by the file's name or if it does not begin as JSON, YAML. Says all that is wrong.
    pub(crate) fn read(text: &str, file: &Path) -> Result<Self, Vec<String>> {
        // Windows' editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is = |ending: &str| file.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
        let is_yaml = is("yaml") || is("yml") || (!is("json") && !text.trim_start().starts_with('{'));
        let json = if is_yaml {
            yaml_serde::from_str(text)
                .map_err(|error| error.to_string())
                .and_then(json_of)
                .map_err(|error| vec![error])?
        } else {
            numbers::read(text).map_err(|error| vec![error.to_string()])?
        };
        Self::of(json)
    }

    fn of(json: Json) -> Result<Self, Vec<String>> {
        let message = descriptor(R::MESSAGE).map_err(|error| vec![error.to_string()])?;
        let Json::Object(object) = json else { return Err(vec!["is no object".to_owned()]) };
        let (mut fields, mut left_out, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        let mut whole = R::default();
        for (name, json) in object {
            let Some(field) = field_of(&message, &name) else {
                problems.push(format!("{name}: there is no such field"));
                continue;
            };
            let known = R::UPDATABLE.iter().chain(R::FIXED).find(|known| **known == field.name());
            let Some(known) = known else {
                if says_something(&json) {
                    left_out.push(name);
                }
                continue;
            };
            let before = problems.len();
            check(&json, &field, &name, &mut problems);
            if problems.len() > before {
                continue;
            }
            match parse::<R>(&message, &name, json) {
                Ok(parsed) => {
                    whole.take(known, &parsed);
                    fields.push(*known);
                }
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
        if problems.is_empty() { Ok(Self { message: whole, fields, left_out }) } else { Err(problems) }
    }

    /// Puts what the file says in the place of what is there.
    pub(crate) fn apply(&self, to: &mut R) {
        self.fields.iter().for_each(|field| to.take(field, &self.message));
    }
}

/// YAML as the JSON that says the same, with numbers as JSON's are read.
fn json_of(yaml: yaml_serde::Value) -> Result<Json, String> {
    use yaml_serde::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Json::Null,
        Yaml::Bool(is) => Json::Bool(is),
        Yaml::Number(number) => match number.as_f64() {
            Some(double) if double.is_nan() => Json::String("NaN".to_owned()),
            Some(double) if double.is_infinite() => {
                Json::String(if double > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
            }
            _ => numbers::read(&number.to_string()).map_err(|error| error.to_string())?,
        },
        Yaml::String(text) => Json::String(text),
        Yaml::Sequence(items) => Json::Array(items.into_iter().map(json_of).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let entry = |(key, value)| match json_of(key)? {
                Json::String(key) => Ok((key, json_of(value)?)),
                Json::Array(_) | Json::Object(_) | Json::Null => Err("a key is no text".to_owned()),
                key => Ok((key.to_string(), json_of(value)?)),
            };
            Json::Object(entries.into_iter().map(entry).collect::<Result<_, String>>()?)
        }
        Yaml::Tagged(tagged) => json_of(tagged.value)?,
    })
}

/// Whether a field is not as it is when nobody has said anything.
fn says_something(json: &Json) -> bool {
    match json {
        Json::Null => false,
        Json::Bool(is) => *is,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::String(text) => !(text.is_empty() || text == "0" || text.ends_with("_UNSPECIFIED")),
        Json::Array(items) => !items.is_empty(),
        Json::Object(entries) => !entries.is_empty(),
    }
}

/// A field by its name in JSON, or in the contract.
fn field_of(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name))
}

/// A message with one field.
fn parse<R: Described>(message: &MessageDescriptor, name: &str, json: Json) -> Result<R, String> {
    let object = Json::Object(Map::from_iter([(name.to_owned(), json)]));
    let dynamic = DynamicMessage::deserialize(message.clone(), object).map_err(|error| error.to_string())?;
    dynamic.transcode_to().map_err(|error| error.to_string())
}

/// Finds what the parser would only find one by one, or not at all: fields that there are not, and numbers that no double holds.
fn check(json: &Json, field: &FieldDescriptor, place: &str, problems: &mut Vec<String>) {
    let within = |key: &str| format!("{place}.{key}");
    match json {
        Json::Object(entries) if field.is_map() => {
            let Kind::Message(entry) = field.kind() else { return };
            let value = entry.map_entry_value_field();
            entries.iter().for_each(|(key, json)| check(json, &value, &within(key), problems));
        }
        Json::Array(items) if field.is_list() => {
            items.iter().enumerate().for_each(|(i, json)| check_one(json, field, &format!("{place}[{i}]"), problems));
        }
        json => check_one(json, field, place, problems),
    }
}

fn check_one(json: &Json, field: &FieldDescriptor, place: &str, problems: &mut Vec<String>) {
    match (json, field.kind()) {
        (Json::Object(entries), Kind::Message(message)) if message.package_name() != "google.protobuf" => {
            for (name, json) in entries {
                match field_of(&message, name) {
                    Some(field) => check(json, &field, &format!("{place}.{name}"), problems),
                    None => problems.push(format!("{place}.{name}: there is no such field")),
                }
            }
        }
        // What does not fit was made a text when it was read.
        (Json::String(text), Kind::Double) if text.contains(|c: char| c.is_ascii_digit()) && !numbers::fits(text) => {
            problems.push(format!("{place}: {text} is no number that a double can hold"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind as Value;

    use super::*;
    use crate::output::json;

    fn read(text: &str, file: &str) -> Result<Written<pb::Version>, Vec<String>> {
        Written::read(text, Path::new(file))
    }

    #[test]
    fn numbers_are_kept_in_yaml_as_in_json() {
        let yaml = "hyperparameters: {nan: .nan, inf: -.inf, large: 9007199254740993, small: 0.1, 7: true}\nmetrics: {v: {values: {a: .nan}}}";
        let json = r#"{"hyperparameters": {"nan": "NaN", "inf": "-Infinity", "large": 9007199254740993, "small": 0.1, "7": true},
            "metrics": {"v": {"values": {"a": "NaN"}}}}"#;
        let apply = |text: &str, file| {
            let mut version = pb::Version::default();
            read(text, file).unwrap().apply(&mut version);
            version
        };
        let (yaml, json) = (apply(yaml, "m.yaml"), apply(json, "m.json"));
        assert_eq!(yaml.hyperparameters, json.hyperparameters);
        assert!(yaml.metrics["v"].values["a"].is_nan() && json.metrics["v"].values["a"].is_nan());
        assert!(read("framework: onnx\nframework: xgboost", "m.yaml").is_err(), "which of them?");
    }

    fn whole() -> pb::Version {
        let field = |name: &str, shape: &[i64]| pb::Field {
            name: name.to_owned(),
            dtype: "float64".to_owned(),
            shape: shape.to_vec(),
        };
        let number = |number| prost_types::Value { kind: Some(Value::NumberValue(number)) };
        pb::Version {
            description: "two\nlines".to_owned(),
            framework: "xgboost".to_owned(),
            base_versions: vec!["namespaces/default/models/m/versions/1".to_owned()],
            tags: [("a".to_owned(), "b".to_owned())].into(),
            metrics: [(
                "test".to_owned(),
                pb::MetricSet { values: [("auc".to_owned(), 0.971), ("nan".to_owned(), f64::INFINITY)].into() },
            )]
            .into(),
            hyperparameters: Some(prost_types::Struct { fields: [("depth".to_owned(), number(6.0))].into() }),
            features: vec![field("x", &[])],
            signature: Some(pb::Signature { inputs: vec![field("x", &[-1, 4])], outputs: Vec::new() }),
            standardization_params: Some(pb::StandardizationParams { mean: vec![1.5], scale: vec![2.0] }),
            environment: Some(pb::Environment { language: "python".to_owned(), ..Default::default() }),
            data_range: Some(pb::DataRange { start: "2001".to_owned(), end: "2002".to_owned() }),
            datasets: vec![pb::DatasetReference {
                name: "d".to_owned(),
                rows: 9_007_199_254_740_993,
                split_rows: [("test".to_owned(), 7)].into(),
                ..Default::default()
            }],
            training_time: Some(prost_types::Timestamp { seconds: 1_769_423_400, nanos: 123_000_000 }),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_printed_can_be_given_back() {
        let there = pb::Version {
            name: "namespaces/default/models/m/versions/7".to_owned(),
            etag: "e".to_owned(),
            number: 7,
            state: pb::VersionState::Ready.into(),
            ..whole()
        };
        let printed = |tree: json::Tree| json::value(&tree).unwrap();
        let written = read(&printed(json::tree("Version", &there).unwrap()), "-").unwrap();
        assert_eq!(written.left_out, ["etag", "name", "number", "state"]);
        let mut again = pb::Version { description: "before".to_owned(), ..Default::default() };
        written.apply(&mut again);
        assert_eq!(again, whole());

        let model = pb::Model {
            owner: "o".to_owned(),
            metric_directions: [("cost".to_owned(), 2)].into(),
            policy: "strict".to_owned(),
            ..Default::default()
        };
        let written: Written<pb::Model> =
            Written::read(&printed(json::tree("Model", &model).unwrap()), Path::new("-")).unwrap();
        let mut again = pb::Model::default();
        written.apply(&mut again);
        assert_eq!(again, model);
    }

    #[test]
    fn yaml_says_the_same() {
        let text = "description: |-\n  two\n  lines\nmetrics: {test: {values: {auc: 0.971}}}\ntraining_time: '2026-01-26T10:30:00Z'\n";
        for file in ["m.yaml", "m.YML", "-", "metadata"] {
            let written = read(text, file).unwrap();
            assert_eq!(written.message.description, "two\nlines");
            assert_eq!(written.message.metrics["test"].values["auc"].to_bits(), 0.971_f64.to_bits());
            assert_eq!(written.message.training_time.unwrap().seconds, 1_769_423_400);
            assert_eq!(written.fields.len(), 3);
        }
        assert!(read(text, "m.json").is_err());
    }

    #[test]
    fn an_empty_field_counts_as_given() {
        let written = read(r#"{"tags": {}, "description": null, "signature": null}"#, "-").unwrap();
        let mut version = whole();
        written.apply(&mut version);
        assert_eq!((version.tags.len(), version.description.as_str(), version.signature), (0, "", None));
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        let text = r#"{"descripton": "x", "metrics": {"test": {"auc": 1, "values": {"n": 9007199254740993}}}, "tags": 7,
            "signature": {"inputs": [{"name": "x", "type": "int"}]}, "trainingTime": "yesterday", "uid": 3}"#;
        let problems = read(text, "-").unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
        let expected = [
            "descripton",
            "metrics.test.auc",
            "metrics.test.values.n",
            "tags",
            "signature.inputs[0].type",
            "trainingTime",
        ];
        let (mut found, mut expected) = (places.clone(), expected.to_vec());
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{problems:?}");
        for (wrong, problem) in [("[1]", "is no object"), ("{", "EOF"), ("a: b: c", "mapping")] {
            assert!(read(wrong, "-").unwrap_err()[0].contains(problem), "{wrong}: {:?}", read(wrong, "-"));
        }
    }
}
