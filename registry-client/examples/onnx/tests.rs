//! Against what onnxruntime and scikit-learn say.

use std::path::PathBuf;

use prost::Message as _;

use super::proto::{AttributeProto, ModelProto};
use super::{Model, Problem};

fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path)
}

fn legacy(version: &str) -> PathBuf {
    data("legacy-registry").join(version)
}

const DIABETES: &str = "diabetes-progression/20260115_090000";
const CANCER: &str = "breast-cancer/20260126_103000";

fn open(version: &str) -> Model {
    Model::open(&legacy(version).join("model.onnx")).unwrap()
}

/// The model of a file of which something was changed.
fn changed(version: &str, change: impl FnOnce(&mut ModelProto)) -> Result<Model, Problem> {
    let mut model = ModelProto::decode(&*std::fs::read(legacy(version).join("model.onnx")).unwrap()).unwrap();
    change(&mut model);
    Model::parse(&model.encode_to_vec())
}

/// An attribute of the last node.
fn attribute<'a>(model: &'a mut ModelProto, name: &str) -> &'a mut AttributeProto {
    let node = model.graph.as_mut().unwrap().node.last_mut().unwrap();
    node.attribute.iter_mut().find(|attribute| attribute.name == name).unwrap()
}

/// `x[j] = 0.01 j`.
fn ramp(model: &Model) -> Vec<f32> {
    (0..model.features()).map(|j| 0.01 * j as f32).collect()
}

fn assert_close(scores: &[f32], expected: &[f32], within: f32) {
    let close = scores.iter().zip(expected).all(|(score, expected)| (score - expected).abs() <= within);
    assert!(close && scores.len() == expected.len(), "{scores:?} is not {expected:?}");
}

/// The numbers of a table without its header.
fn table(file: PathBuf) -> Vec<Vec<f32>> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
}

#[test]
fn scores_are_those_of_onnxruntime() {
    let diabetes = open(DIABETES);
    assert_eq!((diabetes.features(), diabetes.classes()), (10, &[][..]));
    assert_close(&diabetes.score(&ramp(&diabetes)).unwrap(), &[241.1276], 1e-4);
    let cancer = open(CANCER);
    assert_eq!((cancer.features(), cancer.classes()), (30, &[0, 1][..]));
    let raw = changed(CANCER, |model| attribute(model, "post_transform").s = b"NONE".to_vec()).unwrap();
    assert_close(&raw.score(&ramp(&raw)).unwrap(), &[-64.693, 64.693], 1e-3);
    assert_close(&cancer.score(&ramp(&cancer)).unwrap(), &[0.0, 1.0], 1e-6);
    // Of scores without bounds, the likelihoods add up to one.
    let softmax = changed(CANCER, |model| attribute(model, "post_transform").s = b"SOFTMAX".to_vec()).unwrap();
    assert_close(&softmax.score(&ramp(&softmax)).unwrap(), &[0.0, 1.0], 1e-6);
}

#[test]
fn the_test_set_is_scored_as_its_trainer_did() {
    for (version, model, within) in [(DIABETES, "diabetes-progression", 1e-4), (CANCER, "breast-cancer", 1e-5)] {
        let (onnx, rows) = (open(version), table(data("rows").join(model).join("test.csv")));
        let predictions = table(legacy(version).join("test_predictions.csv"));
        assert_eq!(rows.len(), predictions.len());
        for (row, prediction) in rows.iter().zip(&predictions) {
            let (target, features) = row.split_last().unwrap();
            assert_eq!(*target, prediction[0], "the tables have other rows");
            let scores = onnx.score(features).unwrap();
            assert_close(&scores[scores.len() - 1..], &prediction[1..], within);
        }
    }
}

#[test]
fn what_can_not_be_scored_right_is_refused() {
    let refused = |version, change: fn(&mut ModelProto)| changed(version, change).unwrap_err().to_string();
    for (change, expected) in [
        ((|model| model.graph = None) as fn(&mut ModelProto), "a graph is not there"),
        (|model| model.graph.as_mut().unwrap().node.clear(), "a node is not there"),
        (|model| model.graph.as_mut().unwrap().node[0].domain.clear(), "the operator Scaler of \"\" is not supported"),
        (|model| model.graph.as_mut().unwrap().node.swap(0, 1), "a graph that is not a chain is not supported"),
        (
            |model| model.graph.as_mut().unwrap().node[0].op_type = "Normalizer".into(),
            "the operator Normalizer in this place is not supported",
        ),
        (|model| attribute(model, "post_transform").s = b"PROBIT".to_vec(), "PROBIT is not supported"),
        (|model| attribute(model, "coefficients").floats.truncate(59), "59 coefficients for 2 rows is not supported"),
        (|model| attribute(model, "intercepts").floats.push(0.0), "intercepts: 3 values where 2 belong"),
        (|model| attribute(model, "classlabels_ints").ints.clear(), "60 coefficients for 0 rows is not supported"),
    ] {
        assert_eq!(refused(CANCER, change), expected);
    }
    assert!(matches!(Model::parse(b"no model"), Err(Problem::Garbled(_))));
    let row = open(DIABETES).score(&[0.0]).unwrap_err();
    assert_eq!(row.to_string(), "a row: 1 values where 10 belong");
}
