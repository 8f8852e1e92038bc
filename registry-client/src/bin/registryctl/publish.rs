//! `publish` and `pull`.

use std::path::PathBuf;

use registry_client::pb;

use crate::args::Publish;
use crate::output::{brief, bytes};
use crate::progress;
use crate::values::{resource, value};
use crate::{Context, Failure};

pub(crate) async fn publish(context: &Context, command: Publish) -> Result<(), Failure> {
    let mut version = pb::Version {
        label: command.label.unwrap_or_default(),
        description: command.description.unwrap_or_default(),
        framework: command.framework.unwrap_or_default().into(),
        framework_version: command.framework_version.unwrap_or_default(),
        tags: command.tags.into_iter().collect(),
        parents: command.parents.iter().map(|parent| resource(parent)).collect(),
        ..Default::default()
    };
    for (split, metric, value) in command.metrics {
        version.metrics.entry(split).or_default().values.insert(metric, value);
    }
    if !command.params.is_empty() {
        let fields = command.params.into_iter().map(|(name, text)| {
            let json = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
            (name, value(json))
        });
        version.hyperparameters = Some(prost_types::Struct { fields: fields.collect() });
    }
    let bar = progress::bar("uploading");
    let mut publish = context
        .client
        .publish(command.folder, resource(&command.model))
        .version(version)
        .progress(progress::follow(&bar));
    if command.create {
        publish = publish.create_model_if_missing(pb::Model::default());
    }
    let published = publish.send().await;
    bar.finish_and_clear();
    context.out.message("Version", &published?, |version| {
        let size = bytes(version.size_bytes);
        format!(
            "published {}: {} files, {size}, manifest {}",
            version.name, version.artifact_count, version.manifest_sha256
        )
    })
}

pub(crate) async fn pull(context: &Context, name: &str, folder: PathBuf) -> Result<(), Failure> {
    let bar = progress::bar("downloading");
    let pulled = context.client.pull(resource(name), &folder).progress(progress::follow(&bar)).send().await;
    bar.finish_and_clear();
    context.out.message("Version", &pulled?.version, |version| {
        let (files, size) = (version.artifact_count, bytes(version.size_bytes));
        format!("pulled {}: {files} files, {size}, verified, to {}", brief(&version.name), folder.display())
    })
}
