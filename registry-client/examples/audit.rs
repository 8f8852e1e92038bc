//! Prints who did what to a model, and why: its part of the log, oldest first.
//!
//! ```text
//! cargo run -p registry-client --example audit -- models/fraud
//! ```
//!
//! Without a name it prints the whole log. `MODEL_REGISTRY_ENDPOINT` says where the registry is, otherwise it is
//! `http://127.0.0.1:50051`.

use registry_client::RegistryClient;
use registry_client::pb::Event;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let resource = std::env::args().nth(1).unwrap_or_default();
    let endpoint = std::env::var("MODEL_REGISTRY_ENDPOINT").ok().filter(|set| !set.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let client = RegistryClient::connect(endpoint).await?;

    let mut events = client.list_events().parent(resource).stream();
    while let Some(event) = events.try_next().await? {
        println!("{}", line(&event));
    }
    Ok(())
}

fn line(event: &Event) -> String {
    let time = event.create_time.as_ref().map(ToString::to_string).unwrap_or_default();
    let Event { revision, actor, r#type, resource_name, .. } = event;
    let mut line = format!("{revision:>6} {time} {actor:<12} {type:<26} {resource_name}");
    if let Some(change) = &event.stage_change {
        let stage = |name: &'static str| name.trim_start_matches("STAGE_");
        let (from, to) = (stage(change.from_stage().as_str_name()), stage(change.to_stage().as_str_name()));
        line.push_str(&format!(" {from} -> {to}"));
    }
    for change in &event.alias_changes {
        line.push_str(&format!(" @{} -> {}", change.alias, change.to_version));
    }
    if !event.comment.is_empty() {
        // Escaped: a line break would begin what looks like another event.
        line.push_str(&format!(": {:?}", event.comment));
    }
    line
}
