//! `metadata.json`, as Python wrote it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use registry_client::{known, pb};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::numbers;
use crate::values::{self, structure};

/// How deep objects and lists may lie in each other: the registry's own limit.
const LEVELS: usize = 24;

/// What the file says.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) version: pb::Version,
    pub(super) model_type: String,
    /// When it was put into production.
    pub(super) promoted_at: Option<String>,
    /// What was understood in one of several ways.
    pub(super) notes: Vec<String>,
}

/// Reads the file, or says all that is wrong with it. What has no field of its own in a version goes into `additional_metadata`.
pub(super) fn read(text: &str) -> Result<Metadata, Vec<String>> {
    // Windows' editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = numbers::read(text).map_err(|error| vec![error.to_string()])?;
    let Json::Object(object) = json else { return Err(vec!["is no object".to_owned()]) };
    let mut found = Found::default();
    let read = Fields { place: String::new(), fields: object }.into_metadata(&mut found);
    if found.problems.is_empty() { Ok(Metadata { notes: found.notes, ..read }) } else { Err(found.problems) }
}

/// What is to be said of a file.
#[derive(Debug, Default)]
struct Found {
    problems: Vec<String>,
    notes: Vec<String>,
}

/// The fields of an object, which are taken out of it one by one.
struct Fields {
    /// Where it lies: empty, or as `dataset.`.
    place: String,
    fields: Map<String, Json>,
}

impl Fields {
    /// A field, if there is one that says something.
    fn take<T: DeserializeOwned>(&mut self, name: &str, found: &mut Found) -> Option<T> {
        match self.fields.remove(name)? {
            Json::Null => None,
            json => {
                let read = serde_json::from_value(json);
                read.map_err(|error| found.problems.push(format!("{}{name}: {error}", self.place))).ok()
            }
        }
    }

    /// A field that has to be there.
    fn need<T: DeserializeOwned + Default>(&mut self, name: &str, found: &mut Found) -> T {
        let is_there = self.fields.get(name).is_some_and(|json| !json.is_null());
        if !is_there {
            found.problems.push(format!("{}{name}: is missing", self.place));
        }
        self.take(name, found).unwrap_or_default()
    }

    /// An object in it.
    fn object(&mut self, name: &str, found: &mut Found) -> Option<Self> {
        let fields = self.take(name, found)?;
        Some(Self { place: format!("{}{name}.", self.place), fields })
    }

    fn into_metadata(mut self, found: &mut Found) -> Metadata {
        let this = &mut self;
        let model_type = this.text("model_type", found);
        let framework = this.text("framework", found);
        let promoted_at = this.take::<String>("promoted_at", found);
        let features: Vec<_> = this.columns("features", found);
        let outputs: Vec<_> =
            this.take::<Json>("target", found).into_iter().filter_map(|json| column("target", json, found)).collect();
        let known_framework = open(&framework, known::framework::ALL);
        let mut version = pb::Version {
            description: this.text("description", found),
            framework: known_framework.clone().unwrap_or(known::framework::CUSTOM.to_owned()),
            framework_version: this.text("framework_version", found),
            metrics: this.metrics(found),
            hyperparameters: this.object("hyperparameters", found).map(|params| params.into_struct(found)),
            signature: Some(pb::Signature { inputs: features.clone(), outputs }),
            features,
            standardization_params: this.object("standardization_params", found).map(|mut params| {
                pb::StandardizationParams { mean: params.numbers("mean", found), scale: params.numbers("scale", found) }
            }),
            environment: this.object("environment", found).map(|mut environment| pb::Environment {
                language: "python".to_owned(),
                language_version: environment.need("python", found),
                packages: environment.need("packages", found),
            }),
            data_range: this
                .object("data_range", found)
                .map(|mut range| pb::DataRange { start: range.need("start", found), end: range.need("end", found) }),
            datasets: this.object("dataset", found).map(|dataset| dataset.into_dataset(found)).into_iter().collect(),
            training_time: this.time("training_date", found),
            ..Default::default()
        };
        // What fields of their own do not say in full is kept as it was.
        if known_framework.is_none() {
            self.fields.insert("framework".to_owned(), Json::String(framework));
        }
        if let Some(time) = &promoted_at {
            self.fields.insert("promoted_at".to_owned(), Json::String(time.clone()));
        }
        self.fields.remove("version");
        version.additional_metadata = Some(self.into_struct(found)).filter(|rest| !rest.fields.is_empty());
        let model_type = open(&model_type, known::model_type::ALL).unwrap_or(known::model_type::OTHER.to_owned());
        Metadata { version, model_type, promoted_at, notes: Vec::new() }
    }

    /// What is left of it, as protobuf keeps it.
    fn into_struct(self, found: &mut Found) -> prost_types::Struct {
        for (name, json) in &self.fields {
            if levels(json) >= LEVELS {
                let problem = format!("has objects or lists that lie more than {LEVELS} levels deep");
                found.problems.push(format!("{}{name}: {problem}", self.place));
            }
        }
        structure(self.fields)
    }

    fn text(&mut self, name: &str, found: &mut Found) -> String {
        self.take(name, found).unwrap_or_default()
    }

    /// A list of columns.
    fn columns(&mut self, name: &str, found: &mut Found) -> Vec<pb::Field> {
        let items: Vec<Json> = self.take(name, found).unwrap_or_default();
        let column = |(i, json)| column(&format!("{name}[{i}]"), json, found);
        items.into_iter().enumerate().filter_map(column).collect()
    }

    fn metrics(&mut self, found: &mut Found) -> BTreeMap<String, pb::MetricSet> {
        let Some(splits) = self.object("metrics", found) else { return BTreeMap::new() };
        let splits = splits.fields.into_iter().map(|(split, json)| {
            let Json::Object(metrics) = json else {
                found.problems.push(format!("metrics.{split}: is no object of numbers: metrics belong to a split"));
                return (split, pb::MetricSet::default());
            };
            let values = metrics.into_iter().filter_map(|(metric, json)| {
                let value = number(&json);
                if value.is_none() {
                    found.problems.push(format!("metrics.{split}.{metric}: {json} is no number that a metric can be"));
                }
                Some((metric, value?))
            });
            (split.clone(), pb::MetricSet { values: values.collect() })
        });
        splits.collect()
    }

    fn numbers(&mut self, name: &str, found: &mut Found) -> Vec<f64> {
        let items: Vec<Json> = self.need(name, found);
        let place = format!("{}{name}", self.place);
        let read = |(i, json): (usize, Json)| {
            let number = number(&json);
            if number.is_none() {
                found.problems.push(format!("{place}[{i}]: {json} is no number that a double can hold"));
            }
            number
        };
        items.into_iter().enumerate().filter_map(read).collect()
    }

    fn time(&mut self, name: &str, found: &mut Found) -> Option<prost_types::Timestamp> {
        let text: String = self.take(name, found)?;
        let Some((time, has_zone)) = time(&text) else {
            found.problems.push(format!("{}{name}: {text:?} is no time such as 2026-01-26T10:30:00", self.place));
            return None;
        };
        if !has_zone {
            found.notes.push(format!("{}{name}: {text} has no time zone, and is taken as UTC", self.place));
        }
        Some(values::timestamp(time))
    }

    fn into_dataset(mut self, found: &mut Found) -> pb::DatasetReference {
        let sha256: String = self.need("sha256", found);
        pb::DatasetReference {
            name: self.need("name", found),
            uri: String::new(),
            digest: format!("sha256:{sha256}"),
            rows: self.need("rows", found),
            split_rows: self.need("splits", found),
        }
    }
}

/// A column with its type, or only its name.
fn column(place: &str, json: Json, found: &mut Found) -> Option<pb::Field> {
    let mut column = match json {
        Json::String(name) => return Some(pb::Field { name, ..Default::default() }),
        Json::Object(fields) => Fields { place: format!("{place}."), fields },
        _ => {
            found.problems.push(format!("{place}: is neither a name nor an object"));
            return None;
        }
    };
    Some(pb::Field { name: column.need("name", found), dtype: column.text("dtype", found), shape: Vec::new() })
}

/// A number, or one of those that JSON has not and Python writes.
fn number(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A time as `isoformat()` writes it, and whether it says its zone.
fn time(text: &str) -> Option<(DateTime<Utc>, bool)> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some((time.to_utc(), true));
    }
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let time = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let date = || Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(chrono::NaiveTime::MIN));
    time.or_else(date).map(|time| (time.and_utc(), false))
}

/// A value of an open set in lower case, unless no value can be written like that.
fn open(text: &str, known: &[&str]) -> Option<String> {
    let value = values::open(&text.to_ascii_lowercase(), known);
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    (value.len() <= 64 && value.chars().all(inner) && !value.starts_with(['.', '_', '-'])).then_some(value)
}

/// How deep objects and lists lie in each other.
fn levels(json: &Json) -> usize {
    match json {
        Json::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or(0),
        Json::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;

    use super::*;

    #[test]
    fn what_has_no_field_is_kept() {
        let json = r#"{"version": "x", "framework": "Our own (2nd)", "deployment_status": "production",
            "promoted_at": "2026-01-26T10:30:00+00:00", "seed": {"numpy": 7}, "data_range": null}"#;
        let read = read(json).unwrap();
        assert_eq!(read.version.framework, known::framework::CUSTOM);
        assert_eq!(read.promoted_at.as_deref(), Some("2026-01-26T10:30:00+00:00"));
        let kept: Vec<_> = read.version.additional_metadata.unwrap().fields.into_keys().collect();
        assert_eq!(kept, ["deployment_status", "framework", "promoted_at", "seed"]);
    }

    #[test]
    fn python_s_numbers_and_times_are_taken() {
        let json = "\u{feff}{\"training_date\": \"2026-01-26T10:30:00.123456\", \"metrics\": {\"test\": {\"a\": NaN, \"b\": 0.5}},
            \"hyperparameters\": {\"missing\": NaN, \"seed\": 18446744073709551615, \"tol\": 1e-400, \"n\": 100},
            \"features\": [\"x\", {\"name\": \"y\", \"dtype\": \"int\"}], \"target\": \"z\"}";
        let Metadata { version, notes, .. } = read(json).unwrap();
        assert_eq!(notes, ["training_date: 2026-01-26T10:30:00.123456 has no time zone, and is taken as UTC"]);
        assert_eq!(version.training_time.map(|time| (time.seconds, time.nanos)), Some((1_769_423_400, 123_456_000)));
        let metrics = &version.metrics["test"].values;
        assert!(metrics["a"].is_nan() && metrics["b"] == 0.5);
        let params = version.hyperparameters.unwrap().fields;
        for (name, text) in [("missing", "NaN"), ("seed", "18446744073709551615"), ("tol", "1e-400")] {
            assert_eq!(params[name].kind, Some(Kind::StringValue(text.to_owned())));
        }
        assert_eq!(params["n"].kind, Some(Kind::NumberValue(100.0)));
        let columns: Vec<_> =
            version.features.iter().map(|field| (field.name.as_str(), field.dtype.as_str())).collect();
        assert_eq!(columns, [("x", ""), ("y", "int")]);
        assert_eq!(version.signature.unwrap().outputs[0].name, "z");
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_field() {
        let deep = format!("{}1{}", "[".repeat(24), "]".repeat(24));
        let json = r#"{"description": 7, "metrics": {"rmse": 0.4, "test": {"auc": "0.9", "n": 9007199254740993}},
            "dataset": {"name": "d", "rows": "many", "sha256": "x"}, "features": [{"dtype": "int"}, 7],
            "training_date": "yesterday", "standardization_params": {"mean": ["a"]}, "deep": DEEP}"#;
        let problems = read(&json.replace("DEEP", &deep)).unwrap_err();
        let fields: Vec<_> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
        let mut expected = vec![
            "description",
            "metrics.rmse",
            "metrics.test.auc",
            "metrics.test.n",
            "dataset.rows",
            "dataset.splits",
            "features[0].name",
            "features[1]",
            "training_date",
            "standardization_params.mean[0]",
            "standardization_params.scale",
            "deep",
        ];
        expected.sort_unstable();
        let mut found = fields.clone();
        found.sort_unstable();
        assert_eq!(found, expected, "{problems:?}");
        for (wrong, problem) in [("[1]", "is no object"), ("", "EOF"), (r#"{"a": NaNs}"#, "expected value")] {
            assert!(read(wrong).unwrap_err()[0].contains(problem), "{wrong}");
        }
    }

    #[test]
    fn times_are_those_of_python() {
        let noon = DateTime::from_timestamp(1_769_428_800, 0).unwrap();
        for (text, zone) in [
            ("2026-01-26T12:00:00Z", true),
            ("2026-01-26T13:00:00+01:00", true),
            ("2026-01-26T12:00:00", false),
            ("2026-01-26 12:00:00.000000", false),
            ("2026-01-26T12:00", false),
        ] {
            assert_eq!(time(text), Some((noon, zone)), "{text}");
        }
        assert!(time("2026-01-26").is_some_and(|(time, zone)| time < noon && !zone));
        for wrong in ["", "yesterday", "26.01.2026", "2026-01-26T25:00:00"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn open_values_are_as_they_were() {
        for (text, value) in
            [("", ""), ("XGBoost", "xgboost"), ("time-series", "time_series"), ("prophet-1.1", "prophet-1.1")]
        {
            let known = [known::framework::ALL, known::model_type::ALL].concat();
            assert_eq!(open(text, &known).as_deref(), Some(value));
        }
        for wrong in ["a b", "-a", "ß", &"a".repeat(65)] {
            assert_eq!(open(wrong, &[]), None, "{wrong}");
        }
    }
}
