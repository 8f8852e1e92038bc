//! What is written and read.

use std::collections::BTreeMap;

use rand::Rng as _;
use registry_client::{known, pb};
use uuid::Uuid;

/// How much text the versions have that are made one by one.
pub(super) const KIB: usize = 1024;
/// How much those have that fill a registry.
pub(super) const SMALL: usize = 200;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A version as a training job registers it: three splits of four metrics, hyper-parameters, ten features.
pub(super) fn typical_version() -> pb::Version {
    let metrics = ["accuracy", "f1_score", "log_loss", "roc_auc"];
    let set = pb::MetricSet { values: metrics.iter().map(|name| ((*name).to_owned(), 0.987_654)).collect() };
    let number = |value: f64| prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(value)) };
    let parameters = ["max_depth", "n_estimators", "learning_rate", "random_state"];
    let features =
        (0..10).map(|i| pb::Field { name: format!("feature_{i}"), dtype: "float64".to_owned(), shape: Vec::new() });
    pb::Version {
        description: "boosted trees, trained on the data of last week".to_owned(),
        framework: known::framework::XGBOOST.to_owned(),
        framework_version: "3.1.0".to_owned(),
        metrics: ["train", "validation", "test"].iter().map(|split| ((*split).to_owned(), set.clone())).collect(),
        hyperparameters: Some(prost_types::Struct {
            fields: parameters.iter().map(|name| ((*name).to_owned(), number(7.0))).collect(),
        }),
        features: features.collect(),
        tags: BTreeMap::from([("team".to_owned(), "risk".to_owned())]),
        ..Default::default()
    }
}

/// A version with two metrics and so many characters (an even number) of text, as loads of key-value stores have values of a size. The text is another one
/// each time and shrinks to a half, as prose does: it does not flatter a store that compresses.
pub(super) fn version_of(characters: usize) -> pb::Version {
    let mut random = vec![0; characters.div_ceil(2)];
    rand::rng().fill_bytes(&mut random);
    let digits = random.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]);
    let values = [("auc", 0.971), ("rmse", 0.25)].map(|(name, value)| (name.to_owned(), value)).into();
    pb::Version {
        description: digits.map(char::from).collect(),
        framework: known::framework::PYTORCH.to_owned(),
        framework_version: "2.0.0".to_owned(),
        metrics: BTreeMap::from([("validation".to_owned(), pb::MetricSet { values })]),
        ..Default::default()
    }
}

/// A request that makes a version, READY at once.
pub(super) fn create_request(parent: &str, version: pb::Version) -> pb::CreateVersionRequest {
    pb::CreateVersionRequest {
        parent: parent.to_owned(),
        version: Some(version),
        finalize: true,
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    }
}
