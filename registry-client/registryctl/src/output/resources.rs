//! Resources and events as text.

use registry_client::pb;

use super::{Lines, brief, bytes, count, double, fields, last, pairs, text, time};
use crate::values::short;

/// A version as text.
pub(crate) fn version(version: &pb::Version) -> Lines {
    let metrics = version.metrics.iter().flat_map(|(split, set)| {
        set.values.iter().map(move |(metric, value)| (format!("{split}.{metric}"), double(*value)))
    });
    let size = format!("{} in {}", bytes(version.size_bytes), count(version.artifact_count, "file"));
    fields(vec![
        ("name", version.name.clone().into()),
        ("version id", version.version_id.clone().into()),
        ("state", short::<pb::VersionState>(version.state).into()),
        ("failure", text(&version.failure_reason)),
        ("stage", short::<pb::Stage>(version.stage).into()),
        ("since", time(version.stage_time.as_ref()).into()),
        ("description", text(&version.description)),
        ("framework", format!("{} {}", version.framework, version.framework_version).trim().to_owned().into()),
        ("source", version.source_uri.clone().into()),
        ("metrics", pairs(metrics)),
        ("datasets", version.datasets.iter().map(|d| format!("{} {}", d.name, d.digest)).collect::<Vec<_>>().into()),
        ("features", version.features.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ").into()),
        ("base versions", version.base_versions.clone().into()),
        ("tags", pairs(&version.tags)),
        ("trained", time(version.training_time.as_ref()).into()),
        ("creator", version.creator.clone().into()),
        ("created", time(version.create_time.as_ref()).into()),
        ("deleted", time(version.delete_time.as_ref()).into()),
        (if version.purged { "purged" } else { "purge due" }, time(version.purge_time.as_ref()).into()),
        ("size", size.into()),
        ("manifest", version.manifest_sha256.clone().into()),
        ("revision", version.revision.to_string().into()),
        ("etag", version.etag.clone().into()),
    ])
}

/// A model as text.
pub(crate) fn model(model: &pb::Model) -> Lines {
    let stages = model.stages.iter().map(|summary| {
        let more =
            if summary.version_count > 1 { format!(" and {} more", summary.version_count - 1) } else { String::new() };
        (short::<pb::Stage>(summary.stage), format!("{}{more}", last(&summary.version)))
    });
    fields(vec![
        ("name", model.name.clone().into()),
        ("display name", model.display_name.clone().into()),
        ("type", model.model_type.clone().into()),
        ("description", text(&model.description)),
        ("owner", model.owner.clone().into()),
        ("team", model.team.clone().into()),
        ("project", model.project.clone().into()),
        ("domain", model.business_domain.clone().into()),
        ("purpose", text(&model.purpose)),
        ("tags", pairs(&model.tags)),
        ("versions", model.version_count.to_string().into()),
        ("latest", last(&model.latest_version).to_owned().into()),
        ("stages", pairs(stages)),
        ("aliases", pairs(model.aliases.iter().map(|(alias, version)| (alias, last(version))))),
        ("creator", model.creator.clone().into()),
        ("created", time(model.create_time.as_ref()).into()),
        ("updated", time(model.update_time.as_ref()).into()),
        ("deleted", time(model.delete_time.as_ref()).into()),
        ("purge due", time(model.purge_time.as_ref()).into()),
        ("revision", model.revision.to_string().into()),
        ("etag", model.etag.clone().into()),
    ])
}

/// An artifact as text.
pub(crate) fn artifact(artifact: &pb::Artifact) -> Lines {
    fields(vec![
        ("name", artifact.name.clone().into()),
        ("type", artifact.r#type.clone().into()),
        ("media type", artifact.media_type.clone().into()),
        ("executable", if artifact.executable { "yes" } else { "" }.to_owned().into()),
        ("size", bytes(artifact.size_bytes).into()),
        ("sha256", artifact.sha256.clone().into()),
        ("tags", pairs(&artifact.tags)),
        ("creator", artifact.creator.clone().into()),
        ("created", time(artifact.create_time.as_ref()).into()),
        ("revision", artifact.revision.to_string().into()),
        ("etag", artifact.etag.clone().into()),
    ])
}

/// An event as one line; where it goes on in a second one, below its time.
pub(crate) fn event(event: &pb::Event) -> Lines {
    let mut what = match &event.stage_change {
        Some(change) => {
            format!(" {} -> {}", short::<pb::Stage>(change.from_stage), short::<pb::Stage>(change.to_stage))
        }
        None => String::new(),
    };
    for change in &event.alias_changes {
        what += &format!(" @{} -> {}", change.alias, last(&change.to_version));
    }
    let comment = if event.comment.is_empty() { String::new() } else { format!("  \"{}\"", event.comment) };
    let line = format!(
        "{:>6}  {}  {:<26}  {}{what}  by {}{comment}",
        event.revision,
        time(event.create_time.as_ref()),
        event.r#type,
        brief(&event.resource_name),
        event.actor,
    );
    Lines::from(line).hanging(8)
}
