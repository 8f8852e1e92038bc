//! Publishes the outcome of a training: makes the model if it is new, uploads a folder as the next version, and prints the
//! version's name for the next step of the pipeline.
//!
//! ```text
//! cargo run -p registry-client --example train_and_publish -- models/fraud out/
//! ```
//!
//! `MODEL_REGISTRY_ENDPOINT` says where the registry is, otherwise it is `http://127.0.0.1:50051`. Without a folder, the example
//! "trains" one: a model that always answers the mean.

use std::path::{Path, PathBuf};

use registry_client::known::{framework, model_type};
use registry_client::pb::Model;
use registry_client::{Error, RegistryClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "models/mean".to_owned());
    let (folder, rmse) = match arguments.next() {
        Some(folder) => (PathBuf::from(folder), None),
        None => {
            let folder = std::env::temp_dir().join(format!("trained-{}", std::process::id()));
            let rmse = train(&folder)?;
            (folder, Some(rmse))
        }
    };

    let endpoint = std::env::var("MODEL_REGISTRY_ENDPOINT").ok().filter(|set| !set.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let client = RegistryClient::builder(endpoint).actor("train-and-publish").connect().await?;
    let mut publication = client
        .publish(&folder, model)
        .create_model_if_missing(Model { model_type: model_type::REGRESSION.to_owned(), ..Default::default() })
        .framework(framework::CUSTOM, "1.0")
        .description("the nightly training")
        .hyperparameter("seed", 42.0)
        .progress(|progress| eprintln!("{} of {:?} bytes", progress.done, progress.total));
    if let Some(rmse) = rmse {
        publication = publication.metric("train", "rmse", rmse);
    }
    match publication.await {
        Ok(version) => println!("{}", version.name),
        Err(Error::UnfitFiles { files }) => files.iter().for_each(|file| eprintln!("can't publish {file}")),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Fits the mean to some points, writes the model and its metrics to a folder, and answers the error that is left.
fn train(folder: &Path) -> std::io::Result<f64> {
    let points = [3.1, 2.9, 3.4, 3.0, 2.7];
    let mean = points.iter().sum::<f64>() / points.len() as f64;
    let rmse = (points.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / points.len() as f64).sqrt();

    std::fs::create_dir_all(folder.join("logs"))?;
    std::fs::write(folder.join("model.json"), format!("{{\"mean\": {mean}}}\n"))?;
    std::fs::write(folder.join("metrics.json"), format!("{{\"train\": {{\"rmse\": {rmse}}}}}\n"))?;
    std::fs::write(folder.join("logs/training.log"), format!("{} points\n", points.len()))?;
    Ok(rmse)
}
