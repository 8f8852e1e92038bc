//! The options that say what a namespace, model or version is: the same wherever one is made or changed.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args as Group;
use registry_client::{Edit, Editable, Name, known};

use super::lists::time;
use super::values::Open;
use super::{known_values, metric, pair};

/// Options for namespaces, models and versions alike.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "What is known of it")]
pub(crate) struct Common {
    /// A file that says what it is, `-` for standard input: the JSON that `--json get` prints, or the same as YAML. The options below
    /// go over it. What only the registry writes in it is left out; a field that there is not is an error.
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata: Option<PathBuf>,
    /// A description, for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A tag for selecting; may be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) tags: Vec<(String, String)>,
}

/// Options for versions only.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "What is known of the version")]
pub(crate) struct OfVersion {
    #[arg(long, help = known_values("What it was made with", known::framework::ALL))]
    #[arg(value_parser = Open::new(known::framework::ALL.iter().copied()), hide_possible_values = true)]
    pub(crate) framework: Option<String>,
    /// Which release of the framework, for example `2.1.0`.
    #[arg(long, value_name = "RELEASE")]
    pub(crate) framework_version: Option<String>,
    /// A metric, for example `validation.rmse=0.42`; may be given several times.
    #[arg(long = "metric", value_name = "SPLIT.NAME=VALUE", value_parser = metric)]
    pub(crate) metrics: Vec<(String, String, f64)>,
    /// A hyper-parameter, its value as JSON or plain text; may be given several times. A number that a double can't hold, such as
    /// 9007199254740993 or 1e-400, is kept as the text that it is.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) params: Vec<(String, String)>,
    /// When the training was: `2026-01-26T10:30:00Z`, `2026-01-26 10:30:00` or `2026-01-26` in UTC, or how long ago, for example `2h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) training_time: Option<DateTime<Utc>>,
}

/// Where a new version comes from.
#[derive(Debug, Default, Group)]
pub(crate) struct Bases {
    /// A version that this one was derived from; may be given several times.
    #[arg(long = "base-version", value_name = "VERSION")]
    pub(crate) base_versions: Vec<Name>,
}

/// What a model has besides.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "What is known of the model")]
pub(crate) struct OfModel {
    #[arg(long = "type", value_name = "TYPE", help = known_values("What it does", known::model_type::ALL))]
    #[arg(value_parser = Open::new(known::model_type::ALL.iter().copied()), hide_possible_values = true)]
    pub(crate) model_type: Option<String>,
    /// Who answers for it.
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// The team of the owner.
    #[arg(long)]
    pub(crate) team: Option<String>,
    /// The project that it is part of.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// The part of the business that it serves.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) business_domain: Option<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    /// The policy of its namespace that it is under, such as strict; by default the one called default, if there is one.
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<String>,
    /// An annotation, for tools; may be given several times.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) annotations: Vec<(String, String)>,
}

/// The name that people read.
#[derive(Debug, Default, Group)]
pub(crate) struct Titled {
    /// A name for people.
    #[arg(long, value_name = "NAME")]
    pub(crate) display_name: Option<String>,
}

/// Only if nothing has changed since.
#[derive(Debug, Default, Group)]
pub(crate) struct IfMatch {
    /// Only if this is still its etag, which `get` shows; otherwise nothing is done, and the exit code is 5.
    #[arg(long = "if-match", value_name = "ETAG", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) etag: Option<String>,
}

impl IfMatch {
    /// As requests have it: empty for whatever it is.
    pub(crate) fn into_etag(self) -> String {
        self.etag.unwrap_or_default()
    }

    /// An edit of what has this etag.
    pub(crate) fn of<R: Editable>(self, edit: Edit<R>) -> Edit<R> {
        match self.etag {
            Some(etag) => edit.etag(etag),
            None => edit,
        }
    }
}

/// The options that describe a new version.
#[derive(Debug, Group)]
pub(crate) struct Draft {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) of_version: OfVersion,
    #[command(flatten)]
    pub(crate) bases: Bases,
}

#[derive(Debug, Group)]
pub(crate) struct Set {
    /// The namespace, model or version.
    pub(crate) name: Name,
    /// A field to empty, as `--json get` calls it, for example `description`; of tags, annotations and metrics also one entry, as
    /// `tags.region` or `metrics.validation`. May be given several times.
    #[arg(long, value_name = "FIELD")]
    pub(crate) clear: Vec<String>,
    /// Only say what it would be.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) if_match: IfMatch,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) titled: Titled,
    #[command(flatten)]
    pub(crate) of_model: OfModel,
    #[command(flatten)]
    pub(crate) of_version: OfVersion,
}

/// A tag to set, or to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TagChange {
    Set(String, String),
    Remove(String),
}

#[derive(Debug, Group)]
pub(crate) struct Tag {
    /// The namespace, model or version.
    pub(crate) name: Name,
    /// `KEY=VALUE` sets a tag, `KEY-` removes one.
    #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = tag_change)]
    pub(crate) changes: Vec<TagChange>,
    #[command(flatten)]
    pub(crate) if_match: IfMatch,
}

#[derive(Debug, Group)]
pub(crate) struct CreateVersion {
    /// The model.
    pub(crate) model: Name,
    /// Another name for the version, for example `1.4.0`.
    #[arg(long, value_name = "ID")]
    pub(crate) version_id: Option<String>,
    /// Where the content lies, if it is not to be kept here, for example `s3://bucket/model.onnx`. The version is ready at once.
    #[arg(long, value_name = "URI")]
    pub(crate) source_uri: Option<String>,
    /// Only check, and say what would come out.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) draft: Draft,
}

#[derive(Debug, Group)]
pub(crate) struct Finalize {
    /// The version.
    pub(crate) version: Name,
    /// Give the version up instead, and say why.
    #[arg(long, value_name = "REASON")]
    pub(crate) failed: Option<String>,
    #[command(flatten)]
    pub(crate) if_match: IfMatch,
}

fn tag_change(text: &str) -> Result<TagChange, String> {
    if let Some((key, value)) = text.split_once('=') {
        return Ok(TagChange::Set(key.to_owned(), value.to_owned()));
    }
    match text.strip_suffix('-') {
        Some(key) if !key.is_empty() => Ok(TagChange::Remove(key.to_owned())),
        _ => Err("expected KEY=VALUE to set a tag, or KEY- to remove one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_and_removed_as_by_kubectl() {
        let set = |key: &str, value: &str| Ok(TagChange::Set(key.to_owned(), value.to_owned()));
        assert_eq!(tag_change("a=b"), set("a", "b"));
        assert_eq!(tag_change("a="), set("a", ""));
        assert_eq!(tag_change("a-=b=c-"), set("a-", "b=c-"));
        assert_eq!(tag_change("a-b-"), Ok(TagChange::Remove("a-b".to_owned())));
        for wrong in ["a", "-", ""] {
            assert!(tag_change(wrong).is_err(), "{wrong}");
        }
    }
}
