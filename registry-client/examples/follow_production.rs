//! A service that always answers with the production model: for each line that it reads, a number that the model of
//! `train_and_publish` predicts. Promote another version, and the next answer is by that one.
//!
//! ```text
//! cargo run -p registry-client --example follow_production -- models/mean
//! ```
//!
//! `MODEL_REGISTRY_ENDPOINT` says where the registry is, otherwise it is `http://127.0.0.1:50051`.

use std::path::Path;

use registry_client::RegistryClient;

/// A model that always answers the mean.
fn load(folder: &Path) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("model.json"))?)?;
    json["mean"].as_f64().ok_or_else(|| "the model has no mean".into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1).unwrap_or_else(|| "models/mean".to_owned());
    let endpoint = std::env::var("MODEL_REGISTRY_ENDPOINT").ok().filter(|set| !set.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    // The service may be up before the registry is, and without it.
    let client = RegistryClient::builder(endpoint).actor("follow-production").connect_lazy()?;
    let followed = client
        .follow(format!("{model}@production"))
        .load(|folder, _| load(folder))
        .check(|mean| if mean.is_finite() { Ok(()) } else { Err("the mean is not a number") })
        .start()
        .await?;
    for request in std::io::stdin().lines() {
        let (request, serving) = (request?, followed.current());
        println!("{request}: {} by {}", serving.model, serving.version().name);
    }
    Ok(())
}
