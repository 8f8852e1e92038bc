//! What commands print: tables and lines for people, protobuf's JSON form for scripts. All of it goes through here, where each line
//! is made one in which everything is seen: what the registry says is data, and drives no terminal.

pub(crate) mod json;

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use futures::{StreamExt as _, TryStreamExt as _};
use prost::Message;
use registry_client::{Error, pb};
use registry_common::shown;
use serde::Serialize;

use crate::Failure;
use crate::values::short;

/// Lines of text: a break within one of them is escaped when it is printed.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<String>);

impl From<String> for Lines {
    fn from(line: String) -> Self {
        Self(vec![line])
    }
}

impl From<Vec<String>> for Lines {
    fn from(lines: Vec<String>) -> Self {
        Self(lines)
    }
}

/// How to print.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    /// How many messages could not be printed.
    unprinted: AtomicUsize,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, unprinted: AtomicUsize::new(0) }
    }

    /// Prints a message of the contract as one line of JSON, or what `text` makes of it.
    pub(crate) fn message<M: Message, L: Into<Lines>>(
        &self,
        name: &str,
        message: &M,
        text: impl FnOnce(&M) -> L,
    ) -> Result<(), Failure> {
        if !self.json {
            return self.lines(text(message));
        }
        self.json_of(name, std::slice::from_ref(message)).iter().try_for_each(|json| print(json))
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
            return self.json_of(name, messages).iter().try_for_each(|json| print(json));
        }
        let head: Vec<_> = head.iter().map(|name| name.to_uppercase()).collect();
        self.lines(table(&head, messages.iter().map(row)))
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        print(&shown::line(text.trim_end()))
    }

    /// Prints lines.
    pub(crate) fn lines(&self, lines: impl Into<Lines>) -> Result<(), Failure> {
        lines.into().0.iter().try_for_each(|line| self.line(line))
    }

    /// Prints a text of our own, line breaks and all.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        text.lines().try_for_each(print)
    }

    /// Prints as JSON what is no message of the contract.
    pub(crate) fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        print(&json::value(value)?)
    }

    /// The messages as JSON, a line each. One that JSON can't say does not keep the others from being printed: which one it is is
    /// said at once, and [`finish`](Self::finish) fails.
    fn json_of<M: Message>(&self, name: &str, messages: &[M]) -> Vec<String> {
        let mut lines = Vec::with_capacity(messages.len());
        for message in messages {
            match json::message(name, message) {
                Ok(json) => lines.push(json),
                Err(error) => {
                    self.unprinted.fetch_add(1, Ordering::Relaxed);
                    note(&format!("{}: can't be printed as JSON: {error}", json::name_of(name, message)));
                }
            }
        }
        lines
    }

    /// Fails if not everything could be printed.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        match self.unprinted.load(Ordering::Relaxed) {
            0 => Ok(()),
            1 => Err("1 answer is missing above: it can't be printed as JSON".into()),
            count => Err(format!("{count} answers are missing above: they can't be printed as JSON").into()),
        }
    }
}

/// Prints a line as it is.
fn print(line: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Says something beside the output, on standard error.
pub(crate) fn note(text: &str) {
    // Where nobody listens, nobody can be told.
    let _ = writeln!(std::io::stderr(), "registryctl: {}", shown::lines(text));
}

/// How long to ask a page to be for so many of a list, and one more that tells that it goes on.
pub(crate) fn page_size(limit: usize) -> i32 {
    i32::try_from(limit.saturating_add(1).min(1000)).unwrap_or(1000)
}

/// Says that a list goes on behind its limit.
pub(crate) fn note_cut(which: &str, limit: usize) {
    note(&format!("these are the {which} {limit}, and there are more: see --limit"));
}

/// At most so many of a list; if it goes on behind them, that is said.
pub(crate) async fn first<T>(
    list: impl futures::Stream<Item = Result<T, Error>>,
    limit: usize,
    which: &str,
) -> Result<Vec<T>, Error> {
    let mut found: Vec<_> = list.take(limit.saturating_add(1)).try_collect().await?;
    if found.len() > limit {
        found.truncate(limit);
        note_cut(which, limit);
    }
    Ok(found)
}

/// A table without lines, that scripts for people can cut as well.
pub(crate) fn table(head: &[String], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    // Before the layout, which would take a line break in a cell for one of its own.
    let seen = |cells: &[String]| cells.iter().map(|cell| shown::line(cell).into_owned()).collect::<Vec<_>>();
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(seen(head));
    table.add_rows(rows.into_iter().map(|row| seen(&row)));
    // Each cell is padded by a space on both sides.
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect()
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
pub(crate) fn fields(fields: Vec<(&str, Lines)>) -> Vec<String> {
    let shown: Vec<_> = fields.into_iter().filter(|(_, value)| value.0.iter().any(|line| !line.is_empty())).collect();
    let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = shown.iter().flat_map(|(name, value)| {
        let names = std::iter::once(*name).chain(std::iter::repeat(""));
        names.zip(&value.0).map(|(name, line)| format!("{name:width$}  {line}"))
    });
    lines.collect()
}

/// A text that may have several lines.
pub(crate) fn text(text: &str) -> Lines {
    Lines(text.lines().map(|line| line.replace('\t', "    ")).collect())
}

/// Names and values, one a line.
pub(crate) fn pairs<K: std::fmt::Display, V: std::fmt::Display>(pairs: impl IntoIterator<Item = (K, V)>) -> Lines {
    Lines(pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect())
}

/// A double to its last digit, without a fraction that says nothing.
pub(crate) fn double(number: f64) -> String {
    // Debug, unlike Display, goes over to an exponent where digits would be zeros only.
    let text = format!("{number:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A version as text.
pub(crate) fn version(version: &pb::Version) -> Vec<String> {
    let metrics = version.metrics.iter().flat_map(|(split, set)| {
        set.values.iter().map(move |(metric, value)| (format!("{split}.{metric}"), double(*value)))
    });
    let size = format!("{} in {} files", bytes(version.size_bytes), version.artifact_count);
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
pub(crate) fn model(model: &pb::Model) -> Vec<String> {
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
pub(crate) fn artifact(artifact: &pb::Artifact) -> Vec<String> {
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

/// A double to six significant digits, or to its last one before the point if that is more.
pub(crate) fn significant(number: f64) -> String {
    let scientific = format!("{number:.5e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let without_zeros = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match exponent.parse::<i32>() {
        // Up to where a double has all whole numbers.
        Ok(exponent @ -4..16) => without_zeros(&format!("{number:.*}", usize::try_from(5 - exponent).unwrap_or(0))),
        _ => format!("{}e{exponent}", without_zeros(digits)),
    }
}

#[cfg(test)]
mod tests;
