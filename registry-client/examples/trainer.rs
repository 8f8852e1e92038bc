//! A training job: fits a ridge regression to the progression of diabetes, measures it, publishes it as ONNX with all that is known of it,
//! and prints the version's name for the next step of the pipeline. `deployer` promotes it, `scoring_service` serves it.
//!
//! ```text
//! cargo run -p registry-client --example trainer -- diabetes-progression 1.0
//! ```
//!
//! The number is alpha, which holds the coefficients down. `MODEL_REGISTRY_ENDPOINT` says where the registry is, otherwise it is
//! `http://127.0.0.1:50051`.

#[expect(dead_code, reason = "a regression has no classes")]
mod onnx;
mod ridge;

use std::path::Path;

use prost::Message as _;
use registry_client::known::{framework, model_type};
use registry_client::pb::{DatasetReference, Field, Model, StandardizationParams};
use registry_client::{Error, RegistryClient};

use self::onnx::proto::{
    AttributeProto, AttributeType, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    Tensor, TensorShapeProto, TypeProto, ValueInfoProto,
};
use self::ridge::{Ridge, Table};

/// The rows of the data set, in a file for each split.
const ROWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/rows/diabetes-progression");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "diabetes-progression".to_owned());
    let alpha: f64 = arguments.next().as_deref().unwrap_or("1.0").parse()?;
    let split = |split: &str| Table::read(&Path::new(ROWS).join(format!("{split}.csv")));
    let (train, validation, test) = (split("train")?, split("validation")?, split("test")?);

    let model = Ridge::fit(&train, alpha);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, exported(&model).encode_to_vec())?;
    // What is published is what was measured.
    let published = onnx::Model::open(&file)?;
    for row in &test.rows {
        let score = published.score(&row.iter().map(|x| *x as f32).collect::<Vec<_>>())?[0];
        if (f64::from(score) - model.predict(row)).abs() > 1e-3 {
            return Err(format!("the ONNX file says {score} where the model says {}", model.predict(row)).into());
        }
    }

    let endpoint = std::env::var("MODEL_REGISTRY_ENDPOINT").ok().filter(|set| !set.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let client = RegistryClient::builder(endpoint).actor("trainer").connect().await?;
    let splits = [("train", &train), ("validation", &validation), ("test", &test)];
    let mut publication = client
        .publish(folder.path(), name)
        .create_model_if_missing(Model { model_type: model_type::REGRESSION.to_owned(), ..Default::default() })
        .framework(framework::ONNX, "1.20")
        .description(format!("ridge regression, alpha {alpha}"))
        .hyperparameter("alpha", alpha)
        .features(train.features.iter().map(|name| Field {
            name: name.clone(),
            dtype: "float32".to_owned(),
            ..Default::default()
        }))
        .standardization_params(StandardizationParams { mean: model.mean.clone(), scale: model.scale.clone() })
        .dataset(DatasetReference {
            name: "diabetes-progression".to_owned(),
            rows: splits.iter().map(|(_, table)| table.rows.len() as i64).sum(),
            split_rows: splits.iter().map(|(split, table)| ((*split).to_owned(), table.rows.len() as i64)).collect(),
            ..Default::default()
        })
        .progress(|progress| eprintln!("{} of {} bytes", progress.done, progress.total.unwrap_or(progress.done)));
    for (split, table) in splits {
        for (metric, value) in model.metrics(table) {
            publication = publication.metric(split, metric, value);
        }
    }
    match publication.await {
        Ok(version) => println!("{}", version.name),
        Err(Error::UnfitFiles { files }) => files.iter().for_each(|file| eprintln!("can't publish {file}")),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The model as an ONNX file: a `Scaler`, and a `LinearRegressor` behind it.
fn exported(model: &Ridge) -> ModelProto {
    let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    let floats = |name: &str, floats: Vec<f32>| AttributeProto {
        name: name.to_owned(),
        floats,
        r#type: AttributeType::Floats.into(),
        ..Default::default()
    };
    let node = |op_type: &str, input: &str, output: &str, attribute| NodeProto {
        input: vec![input.to_owned()],
        output: vec![output.to_owned()],
        op_type: op_type.to_owned(),
        attribute,
        domain: onnx::DOMAIN.to_owned(),
    };
    let inverse: Vec<f64> = model.scale.iter().map(|scale| scale.recip()).collect();
    let scaler = vec![floats("offset", single(&model.mean)), floats("scale", single(&inverse))];
    let regressor =
        vec![floats("coefficients", single(&model.coefficients)), floats("intercepts", single(&[model.intercept]))];
    // A table of floats with any number of rows.
    let value = |name: &str, columns: usize| {
        let dim = [DimensionValue::Param("rows".to_owned()), DimensionValue::Value(columns as i64)];
        let dim = dim.map(|value| Dimension { value: Some(value) }).to_vec();
        let tensor = Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
        ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
    };
    ModelProto {
        ir_version: 8,
        producer_name: "registry-client trainer".to_owned(),
        graph: Some(GraphProto {
            node: vec![
                node("Scaler", "rows", "scaled", scaler),
                node("LinearRegressor", "scaled", "scores", regressor),
            ],
            name: "ridge".to_owned(),
            input: vec![value("rows", model.mean.len())],
            output: vec![value("scores", 1)],
        }),
        opset_import: vec![
            OperatorSetIdProto { domain: onnx::DOMAIN.to_owned(), version: 1 },
            OperatorSetIdProto { domain: String::new(), version: 15 },
        ],
    }
}
