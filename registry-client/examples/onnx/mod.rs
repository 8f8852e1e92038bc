//! As much of ONNX as linear models of scikit-learn need: the operators Scaler, LinearRegressor and LinearClassifier of the domain
//! `ai.onnx.ml`, version 1, one after the other, as <https://onnx.ai/onnx/operators/> has them.
//!
//! A service with other models uses a runtime. Those in Rust that are built without a download (tract, rten, wonnx) lack Scaler.

pub(crate) mod proto;
#[cfg(test)]
mod tests;

use std::path::Path;

use prost::Message as _;

use self::proto::{ModelProto, NodeProto};

/// The domain of the operators.
pub(crate) const DOMAIN: &str = "ai.onnx.ml";

/// Why a model can't be used, or a row not be scored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    Unread(#[from] std::io::Error),
    #[error("not an ONNX model: {0}")]
    Garbled(#[from] prost::DecodeError),
    #[error("{0} is not there")]
    Missing(&'static str),
    #[error("{0} is not supported")]
    Unsupported(String),
    #[error("{what}: {has} values where {wanted} belong")]
    Length { what: &'static str, has: usize, wanted: usize },
}

/// A model that scores rows.
#[derive(Debug)]
pub(crate) struct Model {
    scalers: Vec<Scaler>,
    linear: Linear,
}

/// `(x - offset) * scale`.
#[derive(Debug)]
struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

/// `post(coefficients · x + intercepts)`, with a row of coefficients for each target or class.
#[derive(Debug)]
struct Linear {
    features: usize,
    coefficients: Vec<f32>,
    intercepts: Vec<f32>,
    classes: Vec<i64>,
    post: PostTransform,
}

#[derive(Debug, Clone, Copy)]
enum PostTransform {
    None,
    Logistic,
    Softmax,
}

impl Model {
    /// Reads a model from a file.
    pub(crate) fn open(file: &Path) -> Result<Self, Problem> {
        Self::parse(&std::fs::read(file)?)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let graph = ModelProto::decode(bytes)?.graph.ok_or(Problem::Missing("a graph"))?;
        let (last, before) = graph.node.split_last().ok_or(Problem::Missing("a node"))?;
        let mut value = &graph.input.first().ok_or(Problem::Missing("an input"))?.name;
        for node in &graph.node {
            if node.domain != DOMAIN {
                return Err(Problem::Unsupported(format!("the operator {} of {:?}", node.op_type, node.domain)));
            }
            if node.input != [value.as_str()] {
                return Err(Problem::Unsupported("a graph that is not a chain".to_owned()));
            }
            // A classifier's labels are its first output, and its scores the last.
            value = node.output.last().ok_or(Problem::Missing("an output"))?;
        }
        let linear = Linear::read(last)?;
        let scaler = |node| Scaler::read(node, linear.features);
        Ok(Self { scalers: before.iter().map(scaler).collect::<Result<_, _>>()?, linear })
    }

    /// How many values a row has.
    pub(crate) fn features(&self) -> usize {
        self.linear.features
    }

    /// A classifier's classes; none of a regressor.
    pub(crate) fn classes(&self) -> &[i64] {
        &self.linear.classes
    }

    /// The model's answer to a row: a value for each target, or a score for each class.
    pub(crate) fn score(&self, row: &[f32]) -> Result<Vec<f32>, Problem> {
        if row.len() != self.features() {
            return Err(Problem::Length { what: "a row", has: row.len(), wanted: self.features() });
        }
        let scaled = self.scalers.iter().fold(row.to_vec(), |row, scaler| scaler.apply(&row));
        Ok(self.linear.apply(&scaled))
    }
}

impl Scaler {
    fn read(node: &NodeProto, features: usize) -> Result<Self, Problem> {
        if node.op_type != "Scaler" {
            return Err(Problem::Unsupported(format!("the operator {} in this place", node.op_type)));
        }
        // One value is for all features.
        let values = |name| match node.floats(name) {
            [one] => Ok(vec![*one; features]),
            values => expect(name, values.to_vec(), features),
        };
        Ok(Self { offset: values("offset")?, scale: values("scale")? })
    }

    fn apply(&self, row: &[f32]) -> Vec<f32> {
        row.iter().zip(&self.offset).zip(&self.scale).map(|((x, offset), scale)| (x - offset) * scale).collect()
    }
}

impl Linear {
    fn read(node: &NodeProto) -> Result<Self, Problem> {
        let (rows, classes) = match &*node.op_type {
            "LinearRegressor" => (node.int("targets", 1), Vec::new()),
            "LinearClassifier" => (node.ints("classlabels_ints").len(), node.ints("classlabels_ints").to_vec()),
            other => return Err(Problem::Unsupported(format!("the operator {other} in this place"))),
        };
        let coefficients = node.floats("coefficients").to_vec();
        let features = coefficients.len().checked_div(rows).unwrap_or_default();
        if features == 0 || coefficients.len() != features * rows {
            return Err(Problem::Unsupported(format!("{} coefficients for {rows} rows", coefficients.len())));
        }
        let intercepts = match node.floats("intercepts") {
            [] => vec![0.0; rows],
            intercepts => expect("intercepts", intercepts.to_vec(), rows)?,
        };
        let post = match node.text("post_transform").unwrap_or(b"NONE") {
            b"NONE" => PostTransform::None,
            b"LOGISTIC" => PostTransform::Logistic,
            b"SOFTMAX" => PostTransform::Softmax,
            other => return Err(Problem::Unsupported(String::from_utf8_lossy(other).into_owned())),
        };
        Ok(Self { features, coefficients, intercepts, classes, post })
    }

    fn apply(&self, row: &[f32]) -> Vec<f32> {
        let dot = |weights: &[f32]| weights.iter().zip(row).map(|(weight, x)| weight * x).sum::<f32>();
        let rows = self.coefficients.chunks_exact(self.features);
        let raw: Vec<f32> = rows.zip(&self.intercepts).map(|(weights, intercept)| dot(weights) + intercept).collect();
        match self.post {
            PostTransform::None => raw,
            PostTransform::Logistic => raw.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            PostTransform::Softmax => {
                // Without the largest, the exponentials of large scores would be infinite.
                let largest = raw.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = raw.iter().map(|x| (x - largest).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.iter().map(|power| power / sum).collect()
            }
        }
    }
}

fn expect<T>(what: &'static str, values: Vec<T>, wanted: usize) -> Result<Vec<T>, Problem> {
    if values.len() == wanted { Ok(values) } else { Err(Problem::Length { what, has: values.len(), wanted }) }
}

impl NodeProto {
    fn attribute(&self, name: &str) -> Option<&proto::AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn floats(&self, name: &str) -> &[f32] {
        self.attribute(name).map(|attribute| &*attribute.floats).unwrap_or_default()
    }

    fn ints(&self, name: &str) -> &[i64] {
        self.attribute(name).map(|attribute| &*attribute.ints).unwrap_or_default()
    }

    fn int(&self, name: &str, default: usize) -> usize {
        self.attribute(name).map_or(default, |attribute| usize::try_from(attribute.i).unwrap_or_default())
    }

    fn text(&self, name: &str) -> Option<&[u8]> {
        self.attribute(name).map(|attribute| &*attribute.s)
    }
}
