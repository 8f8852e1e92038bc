//! Options that narrow a list: together they are one condition in CEL, which the registry evaluates.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args as Group, ValueEnum};
use registry_client::{known, pb};

use crate::Usage;
use crate::args::{Open, one_of, time};
use crate::values::Named;

/// What is listed: a condition is about that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Namespaces,
    Models,
    Versions,
    Artifacts,
}

impl Of {
    /// The variable of a condition.
    fn variable(self) -> &'static str {
        match self {
            Self::Namespaces => "resource",
            Self::Models => "model",
            Self::Versions => "version",
            Self::Artifacts => "artifact",
        }
    }

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Models => "models",
            Self::Versions => "versions",
            Self::Artifacts => "artifacts",
        }
    }
}

#[derive(Debug, Default, Group)]
pub(crate) struct Select {
    /// Only what meets this condition in CEL over `version`, `model`, `artifact` or, of a namespace, `resource`: for example
    /// 'version.framework == "onnx" && version.tags["pci"] == "yes"'. The other options are added to it
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    filter: Option<String>,
    /// Only versions in this stage: of a model, or of all models of the namespace
    #[arg(long, value_parser = one_of::<pb::Stage>(), ignore_case = true)]
    pub(crate) stage: Option<pb::Stage>,
    /// Only versions in this state; a version that is withdrawn is no longer ready
    #[arg(long, ignore_case = true)]
    state: Option<State>,
    /// Only versions made with this
    #[arg(long, value_parser = Open::new(known::framework::ALL.iter().copied()), hide_possible_values = true)]
    framework: Option<String>,
    /// Only versions with such a metric, for example 'validation.auc > 0.9'; may be given several times
    #[arg(long = "where", value_name = "SPLIT.NAME > VALUE", value_parser = metric)]
    metrics: Vec<Metric>,
    /// Only models, or artifacts, of this type
    #[arg(long = "type", value_name = "TYPE")]
    #[arg(value_parser = Open::new(known::model_type::ALL.iter().copied()), hide_possible_values = true)]
    r#type: Option<String>,
    /// Only models of this team, or versions of such models
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    team: Option<String>,
    /// Only models of this owner, or versions of such models
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    owner: Option<String>,
    /// Only what has this tag, with this value if one is given; may be given several times
    #[arg(long = "tag", value_name = "KEY[=VALUE]", value_parser = tag)]
    tags: Vec<String>,
    /// Only what was made at this time or later: `2026-01-26`, `2026-01-26T10:30:00Z`, or how long ago, for example `7d`
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<DateTime<Utc>>,
}

/// What lists show of a version's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Pending,
    Ready,
    Failed,
    Withdrawn,
}

impl State {
    fn condition(self) -> &'static str {
        match self {
            Self::Pending => "version.state == \"PENDING\"",
            Self::Ready => "version.state == \"READY\" && !has(version.withdraw_time)",
            Self::Failed => "version.state == \"FAILED\"",
            Self::Withdrawn => "has(version.withdraw_time)",
        }
    }
}

/// A metric that is compared.
#[derive(Debug, Clone, PartialEq)]
struct Metric {
    split: String,
    name: String,
    comparison: &'static str,
    value: f64,
}

impl Select {
    /// What is listed in a namespace: its models, or the versions of all of them if an option is about versions.
    pub(crate) fn in_namespace(&self) -> Of {
        let versions = self.stage.is_some()
            || self.state.is_some()
            || self.framework.is_some()
            || !self.metrics.is_empty()
            || self.filter.as_ref().is_some_and(|filter| mentions(filter, Of::Versions.variable()));
        if versions { Of::Versions } else { Of::Models }
    }

    /// Takes out what selects the models of versions, and returns it as a condition on them; empty if there is nothing.
    pub(crate) fn take_of_models(&mut self) -> Result<String, Usage> {
        let of_models = Self { team: self.team.take(), owner: self.owner.take(), ..Self::default() };
        of_models.condition(Of::Models)
    }

    /// Whether only the stage is asked for.
    pub(crate) fn is_only_stage(&self) -> bool {
        let Self { filter, stage: _, state, framework, metrics, r#type, team, owner, tags, since } = self;
        let texts = [filter, framework, r#type, team, owner];
        texts.iter().all(|text| text.is_none())
            && state.is_none()
            && since.is_none()
            && metrics.is_empty()
            && tags.is_empty()
    }

    /// The filter by itself, if other options are added to it: a fault in it is where it was written, and not where it is in the condition.
    pub(crate) fn filter_of_several(&self, of: Of) -> Option<String> {
        let filter = self.filter.clone()?;
        self.condition(of).is_ok_and(|condition| condition != filter).then_some(filter)
    }

    /// The condition on what is listed; empty if there is none.
    pub(crate) fn condition(&self, of: Of) -> Result<String, Usage> {
        let variable = of.variable();
        let mut conditions = Vec::new();
        let mut add = |option: &str, kinds: &[Of], condition: Option<String>| match condition {
            Some(_) if !kinds.contains(&of) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| kind.plural()).collect();
                let (selects, listed) = (kinds.join(" or "), of.plural());
                Err(Usage(format!("{option} selects {selects}, and what is listed are {listed}")))
            }
            condition => {
                conditions.extend(condition);
                Ok(())
            }
        };
        let equals = |field: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{variable}.{field} == {}", quoted(value)))
        };
        add("--stage", &[Of::Versions], self.stage.map(|stage| format!("version.stage == \"{}\"", short(stage))))?;
        add("--state", &[Of::Versions], self.state.map(|state| state.condition().to_owned()))?;
        add("--framework", &[Of::Versions], equals("framework", &self.framework))?;
        for Metric { split, name, comparison, value } in &self.metrics {
            let metric = format!("version.metrics[{}][{}] {comparison} {value:?}", quoted(split), quoted(name));
            add("--where", &[Of::Versions], Some(metric))?;
        }
        let r#type = if of == Of::Models { "model_type" } else { "type" };
        add("--type", &[Of::Models, Of::Artifacts], equals(r#type, &self.r#type))?;
        add("--team", &[Of::Models], equals("team", &self.team))?;
        add("--owner", &[Of::Models], equals("owner", &self.owner))?;
        let all = [Of::Namespaces, Of::Models, Of::Versions, Of::Artifacts];
        for tag in &self.tags {
            let condition = match tag.split_once('=') {
                Some((key, value)) => format!("{variable}.tags[{}] == {}", quoted(key), quoted(value)),
                None => format!("{} in {variable}.tags", quoted(tag)),
            };
            add("--tag", &all, Some(condition))?;
        }
        let since = self.since.map(|since| since.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        add("--since", &all, since.map(|since| format!("{variable}.create_time >= timestamp(\"{since}\")")))?;
        let filter = self.filter.clone().into_iter().map(|filter| match conditions.is_empty() {
            true => filter,
            // A comment may end it.
            false => format!("({filter}\n)"),
        });
        let whole: Vec<_> = filter.chain(conditions.iter().cloned()).collect();
        Ok(whole.join(" && "))
    }
}

/// Whether values are those of versions, and not of models.
pub(crate) fn are_of_versions<'a>(values: impl IntoIterator<Item = &'a str>) -> bool {
    const FIELDS: &[&str] = &[
        "framework",
        "hyperparameters",
        "metrics",
        "number",
        "size_bytes",
        "stage",
        "stage_time",
        "state",
        "version_id",
    ];
    let first = |value: &'a str| value.trim().split(['.', '[', ' ']).next().unwrap_or_default();
    values.into_iter().any(|value| FIELDS.contains(&first(value)))
}

/// Whether a condition is over a variable.
fn mentions(condition: &str, variable: &str) -> bool {
    let part_of_a_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '"' | '\'');
    condition.match_indices(variable).any(|(at, _)| {
        !condition[..at].ends_with(part_of_a_word) && condition[at + variable.len()..].trim_start().starts_with('.')
    })
}

/// An enum's value as conditions have it.
fn short<E: Named>(value: E) -> &'static str {
    value.name().trim_start_matches(E::PREFIX)
}

/// A text as a condition has it: as JSON does.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn tag(text: &str) -> Result<String, String> {
    match text.split_once('=').map_or(text, |(key, _)| key) {
        "" => Err("expected KEY or KEY=VALUE".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn metric(text: &str) -> Result<Metric, String> {
    let form =
        || "expected SPLIT.NAME, one of < <= > >= = != and a number, for example 'validation.auc > 0.9'".to_owned();
    let at = text.find(['<', '>', '=', '!']).ok_or_else(form)?;
    let (name, rest) = text.split_at(at);
    let comparisons = [("<=", "<="), (">=", ">="), ("==", "=="), ("!=", "!="), ("<", "<"), (">", ">"), ("=", "==")];
    let found = comparisons.iter().find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)));
    let (comparison, value) = found.ok_or_else(form)?;
    let (split, name) = name.trim().split_once('.').ok_or_else(form)?;
    if split.is_empty() || name.is_empty() {
        return Err(form());
    }
    let value: f64 = value.trim().parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(form)?;
    Ok(Metric { split: split.to_owned(), name: name.to_owned(), comparison, value })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        select: Select,
    }

    fn select(options: &[&str]) -> Select {
        Line::try_parse_from([&["list"], options].concat()).unwrap().select
    }

    #[test]
    fn options_become_a_condition() {
        for (of, options, expected) in [
            (Of::Models, &[][..], ""),
            (Of::Versions, &["--stage", "production"], "version.stage == \"PRODUCTION\""),
            (
                Of::Versions,
                &["--framework", "ONNX", "--state", "ready", "--tag", "pci=yes", "--tag", "blessed"],
                "version.state == \"READY\" && !has(version.withdraw_time) && version.framework == \"onnx\" && version.tags[\"pci\"] == \"yes\" && \
                 \"blessed\" in version.tags",
            ),
            (
                Of::Versions,
                &["--where", "validation.auc > 0.9", "--where", "test.f1@5<=1", "--where", "a.b.c=-1e300"],
                "version.metrics[\"validation\"][\"auc\"] > 0.9 && version.metrics[\"test\"][\"f1@5\"] <= 1.0 && \
                 version.metrics[\"a\"][\"b.c\"] == -1e300",
            ),
            (
                Of::Models,
                &["--type", "LLM", "--team", "ri\"sk\\", "--owner", "ana"],
                "model.model_type == \"llm\" && model.team == \"ri\\\"sk\\\\\" && model.owner == \"ana\"",
            ),
            (Of::Artifacts, &["--type", "plot"], "artifact.type == \"plot\""),
            (
                Of::Namespaces,
                &["--since", "2026-01-26", "--tag", "cost="],
                "resource.tags[\"cost\"] == \"\" && resource.create_time >= timestamp(\"2026-01-26T00:00:00Z\")",
            ),
            (Of::Versions, &["--filter", "version.number > 7 || true"], "version.number > 7 || true"),
            (Of::Versions, &["--filter", "-1 < version.number"], "-1 < version.number"),
            (
                Of::Versions,
                &["--filter", "version.number > 7 || true", "--stage", "archived"],
                "(version.number > 7 || true\n) && version.stage == \"ARCHIVED\"",
            ),
        ] {
            assert_eq!(select(options).condition(of).unwrap(), expected, "{options:?}");
        }
    }

    #[test]
    fn options_say_what_is_listed() {
        for (options, expected) in [
            (&[][..], Of::Models),
            (&["--team", "risk"], Of::Models),
            (&["--tag", "a=b"], Of::Models),
            (&["--where", "a.b>1"], Of::Versions),
            (&["--stage", "production"], Of::Versions),
            (&["--filter", "version.number == 1"], Of::Versions),
            (&["--filter", "!(version . number == 1)"], Of::Versions),
            (&["--filter", "model.latest_version.endsWith('1') && model.version == 'version.'"], Of::Models),
        ] {
            assert_eq!(select(options).in_namespace(), expected, "{options:?}");
        }
        let mut both = select(&["--team", "risk", "--owner", "ana", "--framework", "onnx"]);
        let wrong = both.condition(Of::Versions);
        assert_eq!(both.take_of_models().unwrap(), "model.team == \"risk\" && model.owner == \"ana\"");
        assert_eq!(both.condition(Of::Versions).unwrap(), "version.framework == \"onnx\"");
        assert_eq!(both.take_of_models().unwrap(), "");
        assert_eq!(wrong.unwrap_err().to_string(), "--team selects models, and what is listed are versions");
    }

    #[test]
    fn metrics_are_read() {
        for wrong in [
            "",
            "auc > 1",
            "auc = 0.9",
            ".auc > 1",
            "validation. > 1",
            "validation.auc",
            "validation.auc > x",
            "validation.auc >> 1",
            "a.b > inf",
            "a.b ! 1",
        ] {
            assert!(metric(wrong).is_err(), "{wrong}");
        }
    }
}
