//! What commands print: tables and lines for people, protobuf's JSON form for scripts.

use std::io::Write as _;
use std::sync::LazyLock;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use registry_client::pb;

use crate::Failure;
use crate::values::short;

static DESCRIPTORS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(registry_proto::DESCRIPTORS).ok());

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints a message of the contract as one line of JSON, or what `text` makes of it.
    pub(crate) fn message<M: Message>(
        &self,
        name: &str,
        message: &M,
        text: impl FnOnce(&M) -> String,
    ) -> Result<(), Failure> {
        if self.json { self.line(&json(name, message)?) } else { self.line(&text(message)) }
    }

    /// Prints a line. A reader that has gone away, such as `head`, is no error.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        match writeln!(std::io::stdout(), "{}", text.trim_end()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            printed => Ok(printed?),
        }
    }

    /// Prints rows under a head, or in JSON each message in a line.
    pub(crate) fn rows<M: Message>(
        &self,
        name: &str,
        messages: &[M],
        head: &[&str],
        row: impl Fn(&M) -> Vec<String>,
    ) -> Result<(), Failure> {
        if self.json {
            return messages.iter().try_for_each(|message| self.line(&json(name, message)?));
        }
        let head: Vec<_> = head.iter().map(|name| name.to_uppercase()).collect();
        self.line(&table(&head, messages.iter().map(row)))
    }
}

/// A table without lines, that scripts for people can cut as well.
pub(crate) fn table(head: &[String], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head);
    table.add_rows(rows);
    // Each cell is padded by a space on both sides.
    table
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The JSON form of a message of the contract, with its defaults left out as grpcurl does.
pub(crate) fn json(name: &str, message: &impl Message) -> Result<String, Failure> {
    let pool = DESCRIPTORS.as_ref().ok_or("the contract's descriptors are damaged")?;
    let descriptor =
        pool.get_message_by_name(&format!("modelregistry.v1.{name}")).ok_or("the contract has no such message")?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let mut out = Vec::new();
    dynamic.serialize_with_options(&mut serde_json::Serializer::new(&mut out), &SerializeOptions::new())?;
    Ok(String::from_utf8(out)?)
}

/// A time as people write it, to the second, in UTC.
pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| chrono::DateTime::from_timestamp(time.seconds, 0));
    time.map(|time| time.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

/// A number of bytes as people write it.
pub(crate) fn bytes(count: i64) -> String {
    indicatif::BinaryBytes(u64::try_from(count).unwrap_or(0)).to_string()
}

/// The last part of a name.
pub(crate) fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A name as people write it: without `namespaces/default/models/`.
pub(crate) fn brief(name: &str) -> &str {
    name.strip_prefix("namespaces/default/models/").unwrap_or(name)
}

/// Fields under each other, those that are empty left out.
pub(crate) fn fields(fields: Vec<(&str, String)>) -> String {
    let shown: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let indent = format!("\n{:width$}  ", "");
    shown.iter().map(|(name, value)| format!("{name:width$}  {}\n", value.replace('\n', &indent))).collect()
}

/// Names and values, one a line.
pub(crate) fn pairs<K: std::fmt::Display, V: std::fmt::Display>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n")
}

/// A version as text.
pub(crate) fn version(version: &pb::Version) -> String {
    let metrics = version
        .metrics
        .iter()
        .flat_map(|(split, set)| set.values.iter().map(move |(metric, value)| (format!("{split}.{metric}"), *value)));
    let size = format!("{} in {} files", bytes(version.size_bytes), version.artifact_count);
    fields(vec![
        ("name", version.name.clone()),
        ("version id", version.version_id.clone()),
        ("state", short::<pb::VersionState>(version.state)),
        ("failure", version.failure_reason.clone()),
        ("stage", short::<pb::Stage>(version.stage)),
        ("since", time(version.stage_time.as_ref())),
        ("description", version.description.clone()),
        ("framework", format!("{} {}", version.framework, version.framework_version).trim().to_owned()),
        ("source", version.source_uri.clone()),
        ("metrics", pairs(metrics)),
        (
            "datasets",
            version.datasets.iter().map(|d| format!("{} {}", d.name, d.digest)).collect::<Vec<_>>().join("\n"),
        ),
        ("features", version.features.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ")),
        ("base versions", version.base_versions.join("\n")),
        ("tags", pairs(&version.tags)),
        ("trained", time(version.training_time.as_ref())),
        ("creator", version.creator.clone()),
        ("created", time(version.create_time.as_ref())),
        ("deleted", time(version.delete_time.as_ref())),
        (if version.purged { "purged" } else { "purge due" }, time(version.purge_time.as_ref())),
        ("size", size),
        ("manifest", version.manifest_sha256.clone()),
        ("revision", version.revision.to_string()),
        ("etag", version.etag.clone()),
    ])
}

/// A model as text.
pub(crate) fn model(model: &pb::Model) -> String {
    let stages = model.stages.iter().map(|summary| {
        let more =
            if summary.version_count > 1 { format!(" and {} more", summary.version_count - 1) } else { String::new() };
        (short::<pb::Stage>(summary.stage), format!("{}{more}", last(&summary.version)))
    });
    fields(vec![
        ("name", model.name.clone()),
        ("display name", model.display_name.clone()),
        ("type", model.model_type.clone()),
        ("description", model.description.clone()),
        ("owner", model.owner.clone()),
        ("team", model.team.clone()),
        ("project", model.project.clone()),
        ("domain", model.business_domain.clone()),
        ("purpose", model.purpose.clone()),
        ("tags", pairs(&model.tags)),
        ("versions", model.version_count.to_string()),
        ("latest", last(&model.latest_version).to_owned()),
        ("stages", pairs(stages)),
        ("aliases", pairs(model.aliases.iter().map(|(alias, version)| (alias, last(version))))),
        ("creator", model.creator.clone()),
        ("created", time(model.create_time.as_ref())),
        ("updated", time(model.update_time.as_ref())),
        ("deleted", time(model.delete_time.as_ref())),
        ("purge due", time(model.purge_time.as_ref())),
        ("revision", model.revision.to_string()),
        ("etag", model.etag.clone()),
    ])
}

/// An artifact as text.
pub(crate) fn artifact(artifact: &pb::Artifact) -> String {
    fields(vec![
        ("name", artifact.name.clone()),
        ("type", artifact.r#type.clone()),
        ("media type", artifact.media_type.clone()),
        ("size", bytes(artifact.size_bytes)),
        ("sha256", artifact.sha256.clone()),
        ("tags", pairs(&artifact.tags)),
        ("creator", artifact.creator.clone()),
        ("created", time(artifact.create_time.as_ref())),
        ("revision", artifact.revision.to_string()),
        ("etag", artifact.etag.clone()),
    ])
}

/// An event as one line.
pub(crate) fn event(event: &pb::Event) -> String {
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
    format!(
        "{:>6}  {}  {:<26}  {}{what}  by {}{comment}",
        event.revision,
        time(event.create_time.as_ref()),
        event.r#type,
        brief(&event.resource_name),
        event.actor,
    )
}
