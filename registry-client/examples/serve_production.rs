//! Keeps the production version of a model in a local folder, as a service does that answers with it: loads what is in
//! production, then every version that enters it, the moment it does.
//!
//! ```text
//! cargo run -p registry-client --example serve_production -- models/fraud models/
//! ```
//!
//! `MODEL_REGISTRY_ENDPOINT` says where the registry is, otherwise it is `http://127.0.0.1:50051`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_client::known::event_type;
use registry_client::{Error, Items, RegistryClient, WatchItem};
use tokio::time::timeout;

/// When a reload that failed is tried again, if nothing happens before.
const AGAIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "models/mean".to_owned());
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "served".to_owned()));
    let endpoint = std::env::var("MODEL_REGISTRY_ENDPOINT").ok().filter(|set| !set.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    // The service may be up before the registry is.
    let client = RegistryClient::builder(endpoint).actor("serve-production").connect_lazy()?;

    // The watch stands before the first look, so that no promotion falls between the two.
    let mut watch = client.watch().parent(&model).types([event_type::VERSION_STAGE_TRANSITIONED]).stream();
    let mut served = None;
    changed(&mut watch).await?;
    loop {
        match reload(&client, &model, &folder, &mut served).await {
            Ok(()) => changed(&mut watch).await?,
            // The version that was loaded stays in use. No event comes again, so look again by itself.
            Err(error) => {
                eprintln!("not reloaded: {error}");
                timeout(AGAIN, changed(&mut watch)).await.unwrap_or(Ok(()))?;
            }
        }
    }
}

/// Waits until another version may be in production.
async fn changed(watch: &mut Items<WatchItem>) -> Result<(), Error> {
    while let Some(item) = watch.try_next().await? {
        match item {
            WatchItem::Created { .. } | WatchItem::Events { .. } => return Ok(()),
            WatchItem::Resumed { .. } => {
                eprintln!("the registry is back");
                return Ok(());
            }
            WatchItem::Disconnected { reason } => eprintln!("the registry is away: {reason}"),
            _ => {}
        }
    }
    Ok(())
}

/// Brings the folder up to date if another version is in production now. What is in production is looked up rather than taken from
/// the event: after a pause many may have come, and only the last one counts.
async fn reload(client: &RegistryClient, model: &str, folder: &Path, served: &mut Option<String>) -> Result<(), Error> {
    let version = match client.get_version(format!("{model}@production")).await {
        Ok(version) if served.as_ref() != Some(&version.name) => version,
        Ok(_) => return Ok(()),
        Err(error) if error.is_not_found() => {
            println!("nothing is in production");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    // Each version in a folder of its own: the one that is being served stays whole while the next one arrives.
    let pulled = client.pull(&version.name, folder.join(version.number.to_string())).await?;
    for (artifact, file) in pulled.artifacts.iter().zip(&pulled.files) {
        println!("  {} ({} bytes)", file.display(), artifact.size_bytes);
    }
    println!("serving {}", version.name);
    *served = Some(version.name);
    Ok(())
}
