//! The arguments of the commands that list things and events.

use std::time::SystemTime;

use chrono::{DateTime, NaiveDateTime, Utc};
use clap::Args as Group;
use clap::builder::NonEmptyStringValueParser;
use registry_client::{Name, known};

use super::values::{Open, at_least_one};
use super::{AsOf, Each, Fields, Shape, TableShape, names};
use crate::select::Select;

#[derive(Debug, Group)]
pub(crate) struct List {
    /// Nothing (models), a namespace (its models), a model (its versions), a version (its artifacts) or `namespaces`.
    #[arg(value_name = "NAME", value_parser = |text: &str| Parent::read(text, None))]
    pub(crate) parent: Option<Parent>,
    #[command(flatten)]
    pub(crate) select: Select,
    /// By these values of models or versions, each also with ` desc`, for example 'metrics.validation.auc desc, create_time'.
    #[arg(long, value_name = "FIELDS", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) order_by: Option<String>,
    /// Say how many there are in all.
    #[arg(long)]
    pub(crate) count: bool,
    /// Say how the first page came about.
    #[arg(long)]
    pub(crate) explain: bool,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub(crate) limit: usize,
    /// What is deleted as well.
    #[arg(long)]
    pub(crate) deleted: bool,
    #[command(flatten)]
    pub(crate) as_of: AsOf,
    #[command(flatten)]
    pub(crate) fields: Fields,
    #[command(flatten)]
    pub(crate) table: TableShape,
}

#[derive(Debug, Group)]
pub(crate) struct Events {
    /// Of this namespace, model or version only.
    #[arg(value_name = "NAME")]
    pub(crate) parent: Option<Name>,
    #[arg(long = "type", value_name = "TYPE", help = event_types())]
    #[arg(value_parser = Open::new(known::event_type::all()), hide_possible_values = true)]
    pub(crate) types: Vec<String>,
    /// Only events that meet this condition in CEL over `event`, for example 'event.after.version.stage == "PRODUCTION"'.
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true, default_value_t, hide_default_value = true)]
    pub(crate) filter: String,
    /// Only what this caller did: `--actor` says who calls.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) by: Option<String>,
    /// The oldest first, in place of the newest first.
    #[arg(long)]
    pub(crate) asc: bool,
    /// What happened at this time or later: `2026-01-26T10:30:00Z`, `2026-01-26 10:30:00` or `2026-01-26` in UTC, or how long ago,
    /// for example `2h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// What happened before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) until: Option<DateTime<Utc>>,
    /// How many at most.
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Group)]
pub(crate) struct Watch {
    /// Of this namespace, model or version only.
    #[arg(value_name = "NAME")]
    pub(crate) parent: Option<Name>,
    #[arg(long = "type", value_name = "TYPE", help = event_types())]
    #[arg(value_parser = Open::new(known::event_type::all()), hide_possible_values = true)]
    pub(crate) types: Vec<String>,
    /// Only events that meet this condition in CEL over `event`, for example 'event.after.version.stage == "PRODUCTION"'.
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true, default_value_t, hide_default_value = true)]
    pub(crate) filter: String,
    /// Only what this caller does: `--actor` says who calls.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) by: Option<String>,
    /// Begin after this revision; 0 is the whole log.
    #[arg(long, conflicts_with = "snapshot")]
    pub(crate) after: Option<i64>,
    /// Begin with what there is.
    #[arg(long)]
    pub(crate) snapshot: bool,
    #[command(flatten)]
    pub(crate) each: Each,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Group)]
pub(crate) struct Status {
    /// The instances of this model, in place of the servers.
    pub(crate) model: Option<Name>,
    /// Show them again whenever something changes, until Ctrl-C.
    #[arg(long, requires = "model")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) table: TableShape,
}

/// What has what is to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parent {
    /// All namespaces.
    Namespaces,
    /// The namespace that short names are in.
    Models,
    Of(Name),
}

impl Parent {
    pub(super) fn read(text: &str, namespace: Option<&str>) -> Result<Self, String> {
        match text.trim_end_matches('/') {
            "namespaces" => Ok(Self::Namespaces),
            "models" => Ok(Self::Models),
            "events" => Err("events are listed by `registryctl events`".to_owned()),
            _ => names::read(text, None, namespace).map(Self::Of),
        }
    }
}

/// The help of an option that selects events.
fn event_types() -> String {
    let known = known::event_type::all().collect::<Vec<_>>().join(", ");
    format!("Of this type, or of all types of a kind as in `version.*`; may be given several times. There are: {known}")
}

/// A time, or how long ago it was.
pub(crate) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok((SystemTime::now() - ago).into());
    }
    let date = format!("{text}T00:00:00Z");
    let read = |text: &str| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok();
    // As they are printed, too.
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    let utc = || formats.iter().find_map(|format| Some(NaiveDateTime::parse_from_str(bare, format).ok()?.and_utc()));
    read(text).or_else(utc).or_else(|| read(&date)).ok_or_else(|| {
        "expected a time such as 2026-01-26T10:30:00Z, 2026-01-26 10:30:00 or 2026-01-26, or how long ago, such as 2h".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn collections_are_listed() {
        let name = "namespaces/risk".parse().unwrap();
        for (text, parent) in
            [("namespaces", Parent::Namespaces), ("models/", Parent::Models), ("namespaces/risk", Parent::Of(name))]
        {
            assert_eq!(Parent::read(text, None), Ok(parent), "{text}");
        }
        assert!(Parent::read("events", None).unwrap_err().contains("registryctl events"));
        let Ok(Parent::Of(model)) = Parent::read("fraud", Some("risk")) else { panic!("a model has versions") };
        assert_eq!(model.as_str(), "namespaces/risk/models/fraud");
    }

    #[test]
    fn times_are_read() {
        let noon = DateTime::from_timestamp(1_769_428_800, 0).unwrap();
        for text in [
            "2026-01-26T12:00:00Z",
            "2026-01-26T13:00:00+01:00",
            "2026-01-26 12:00:00",
            "2026-01-26 12:00Z",
            "2026-01-26T12:00",
            "2026-01-26T12:00:00.000",
        ] {
            assert_eq!(time(text), Ok(noon), "{text}");
        }
        assert_eq!(time("2026-01-26"), Ok(noon - Duration::from_hours(12)));
        let ago = SystemTime::now().duration_since(time("2h").unwrap().into()).unwrap();
        assert!((7199..7260).contains(&ago.as_secs()), "{ago:?}");
        for wrong in ["", "yesterday", "2026-01-26 25:00:00"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
