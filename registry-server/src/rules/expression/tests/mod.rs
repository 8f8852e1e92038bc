mod cases;
mod cel;
mod faults;
mod fields;
mod hostile;

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{ListValue, Struct, Timestamp, Value, value};
use registry_proto::v1 as pb;

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn metrics(pairs: &[(&str, f64)]) -> pb::MetricSet {
    pb::MetricSet { values: pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() }
}

fn json(kind: value::Kind) -> Value {
    Value { kind: Some(kind) }
}

/// 2026-01-26T10:30:00Z
const CREATED: i64 = 1_769_423_400;

/// A version with something of everything.
fn version() -> Vec<u8> {
    let list = ListValue { values: vec![json(value::Kind::NumberValue(64.0)), json(value::Kind::NumberValue(32.0))] };
    let hyperparameters = [
        ("max_depth", json(value::Kind::NumberValue(6.0))),
        ("solver", json(value::Kind::StringValue("lbfgs".to_owned()))),
        ("early", json(value::Kind::BoolValue(true))),
        ("nothing", json(value::Kind::NullValue(0))),
        ("layers", json(value::Kind::ListValue(list))),
        (
            "tree",
            json(value::Kind::StructValue(Struct {
                fields: [("leaves".to_owned(), json(value::Kind::NumberValue(31.0)))].into(),
            })),
        ),
    ];
    pb::Version {
        name: "namespaces/risk/models/fraud/versions/7".to_owned(),
        version_id: "1.4.0".to_owned(),
        number: 7,
        description: "größer, besser".to_owned(),
        creator: "ana".to_owned(),
        create_time: Some(Timestamp { seconds: CREATED, nanos: 500_000_000 }),
        tags: tags(&[("region", "eu"), ("pci", "yes"), ("empty", "")]),
        state: pb::VersionState::Ready.into(),
        stage: pb::Stage::Production.into(),
        framework: "onnx".to_owned(),
        base_versions: vec!["namespaces/risk/models/fraud/versions/6".to_owned()],
        metrics: [
            ("validation".to_owned(), metrics(&[("auc", 0.971), ("zero", 0.0), ("lost", f64::NAN), ("a.b", 2.0)])),
            ("test".to_owned(), metrics(&[("auc", 0.93)])),
            ("none".to_owned(), metrics(&[])),
        ]
        .into(),
        hyperparameters: Some(Struct {
            fields: hyperparameters.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
        }),
        features: vec![
            pb::Field { name: "amount".to_owned(), shape: vec![-1, 3], ..Default::default() },
            pb::Field { name: "age".to_owned(), ..Default::default() },
        ],
        standardization_params: Some(pb::StandardizationParams { mean: vec![0.5, f64::NAN], ..Default::default() }),
        size_bytes: 24_242,
        artifact_count: 6,
        ..Default::default()
    }
    .encode_to_vec()
}
