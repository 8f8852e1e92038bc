//! Names of resources: what they name, and their short forms.

use std::fmt;
use std::str::FromStr;

/// What a name names, by its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `namespaces/risk`.
    Namespace,
    /// `namespaces/risk/models/fraud`, `models/fraud` or `fraud`.
    Model,
    /// A model's name followed by `/versions/7`, `/versions/1.4.0` or `@production`.
    Version,
    /// A version's name followed by `/artifacts/` and a path.
    Artifact,
    /// A model's name followed by `/instances/web-1`.
    Instance,
    /// A model's name followed by `/approvals/74`.
    Approval,
    /// A model's name followed by `/locks/incident-7`.
    Lock,
    /// `events/4-0`.
    Event,
}

/// A name that was read: what it names, and how the contract has it.
///
/// ```
/// use registry_client::{Kind, Name};
///
/// let name: Name = "fraud@production".parse()?;
/// assert_eq!((name.kind(), name.as_str()), (Kind::Version, "models/fraud@production"));
/// assert!("experiments/7".parse::<Name>().is_err());
/// # Ok::<_, registry_client::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    kind: Kind,
    text: String,
}

/// A text that names nothing the registry has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a name: {problem}")]
pub struct InvalidName {
    /// The text.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Name {
    /// What it names.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name as requests have it: with its collections, so that `fraud` is `models/fraud`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = |kind, prefix: &str| Ok(Self { kind, text: format!("{prefix}{text}") });
        let invalid = |problem: String| Err(InvalidName { name: text.to_owned(), problem });
        // What stands where a collection should, with what follows it.
        let unknown = |rest: &str, known: &str| match first(rest) {
            collection if collection == known => invalid(format!("nothing is named in the collection {collection:?}")),
            collection => invalid(format!("unknown collection {collection:?}, expected {known}")),
        };
        if text.is_empty() {
            return invalid("it is empty".to_owned());
        }
        // A model can't go by these names alone: whoever writes them means something else.
        if let "namespaces" | "models" | "events" = text {
            return unknown(text, text);
        }
        if text.starts_with("events/") {
            return name(Kind::Event, "");
        }
        let in_namespace = text.strip_prefix("namespaces/").map(|rest| rest.split_once('/'));
        let model = match in_namespace {
            Some(None) => return name(Kind::Namespace, ""),
            Some(Some((_, rest))) => match rest.split_once('/') {
                Some(("models", model)) => model,
                _ => return unknown(rest, "models"),
            },
            None => text.strip_prefix("models/").unwrap_or(text),
        };
        let short = model.len() == text.len();
        let prefix = if short { "models/" } else { "" };
        let Some(end) = model.find(['/', '@']) else { return name(Kind::Model, prefix) };
        let below = match model[end..].strip_prefix('@') {
            Some(alias) => alias,
            None => match model[end + 1..].split_once('/') {
                Some(("versions", version)) => version,
                Some(("instances", id)) if !id.contains('/') => return name(Kind::Instance, prefix),
                Some(("approvals", id)) if !id.contains('/') => return name(Kind::Approval, prefix),
                Some(("locks", id)) if !id.contains('/') => return name(Kind::Lock, prefix),
                // There is no model's name that this could begin with.
                _ if short && first(&model[end + 1..]) != "versions" => return invalid(meant(model)),
                _ => return unknown(&model[end + 1..], "versions"),
            },
        };
        match below.split_once('/') {
            None => name(Kind::Version, prefix),
            Some((_, rest)) if rest.starts_with("artifacts/") => name(Kind::Artifact, prefix),
            Some((_, rest)) => unknown(rest, "artifacts"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.text
    }
}

/// What somebody may have meant who left collections out.
fn meant(text: &str) -> String {
    match text.split('/').collect::<Vec<_>>()[..] {
        [model, version] if !model.is_empty() && !version.is_empty() => format!(
            "did you mean the version {model}/versions/{version}, or the model namespaces/{model}/models/{version}?"
        ),
        _ => format!("unknown collection {:?}, expected namespaces, models or events", first(text)),
    }
}

/// The part of a path up to its first slash.
fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// The name as requests have it. One that can't be read stays as it is: the registry refuses it, with all else that is wrong.
pub(crate) fn complete(name: impl Into<String>) -> String {
    let name = name.into();
    name.parse::<Name>().map_or(name, String::from)
}

/// A model, and the last part of the name of a version of it; that is empty if the name is the model's.
pub(crate) fn model_and_version(name: impl Into<String>) -> (String, String) {
    let name = complete(name);
    let (model, version) = match name.split_once("/versions/") {
        Some((model, version)) => (model, version.to_owned()),
        None => match name.split_once('@') {
            Some((model, alias)) => (model, format!("@{alias}")),
            None => (&*name, String::new()),
        },
    };
    (model.to_owned(), version)
}

/// Whole names of those that [`complete`] takes.
pub(crate) fn complete_all(names: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    names.into_iter().map(complete).collect()
}

/// A version whose model is known: by its name, or only the last part of that.
pub(crate) fn version_of_model(version: impl Into<String>) -> String {
    let version = version.into();
    if version.contains('/') || version.find('@').is_some_and(|at| at > 0) { complete(version) } else { version }
}

/// A model's name as its namespace's name, empty for the default one, and its id.
pub(crate) fn namespace_and_id(model: impl Into<String>) -> (String, String) {
    let model = complete(model);
    let (namespace, id) = match model.strip_prefix("models/") {
        Some(id) => ("", id),
        None => model.split_once("/models/").unwrap_or(("", &model)),
    };
    (namespace.to_owned(), id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_they_name_and_may_leave_the_collection_of_models_out() {
        for (name, kind, full) in [
            ("fraud", Kind::Model, "models/fraud"),
            ("models/fraud", Kind::Model, "models/fraud"),
            ("namespaces/risk/models/fraud", Kind::Model, "namespaces/risk/models/fraud"),
            ("namespaces/risk/models/-", Kind::Model, "namespaces/risk/models/-"),
            ("namespaces/risk", Kind::Namespace, "namespaces/risk"),
            ("fraud@production", Kind::Version, "models/fraud@production"),
            ("models/fraud@production", Kind::Version, "models/fraud@production"),
            ("fraud/versions/1.4.0", Kind::Version, "models/fraud/versions/1.4.0"),
            ("fraud/versions/@live", Kind::Version, "models/fraud/versions/@live"),
            ("namespaces/risk/models/fraud/versions/7", Kind::Version, "namespaces/risk/models/fraud/versions/7"),
            ("fraud@live/artifacts/model.onnx", Kind::Artifact, "models/fraud@live/artifacts/model.onnx"),
            ("models/fraud/versions/7/artifacts/a/b@c", Kind::Artifact, "models/fraud/versions/7/artifacts/a/b@c"),
            ("fraud/instances/web-1", Kind::Instance, "models/fraud/instances/web-1"),
            ("fraud/approvals/74", Kind::Approval, "models/fraud/approvals/74"),
            ("models/fraud/locks/a", Kind::Lock, "models/fraud/locks/a"),
            ("namespaces/risk/models/fraud/instances/a", Kind::Instance, "namespaces/risk/models/fraud/instances/a"),
            ("events/4-0", Kind::Event, "events/4-0"),
        ] {
            let read: Name = name.parse().unwrap();
            assert_eq!((read.kind(), read.as_str()), (kind, full), "{name}");
        }
    }

    #[test]
    fn unknown_collections_are_refused_and_not_taken_for_models() {
        for (name, problem) in [
            ("", "it is empty"),
            ("experiments/7/runs/1", r#"unknown collection "experiments", expected namespaces, models or events"#),
            ("fraud/99", "did you mean the version fraud/versions/99, or the model namespaces/fraud/models/99?"),
            ("fraud/", r#"unknown collection "fraud", expected namespaces, models or events"#),
            ("namespaces/risk/experiments/7", r#"unknown collection "experiments", expected models"#),
            ("models/fraud/runs/7", r#"unknown collection "runs", expected versions"#),
            ("models/fraud/instances/a/b", r#"unknown collection "instances", expected versions"#),
            ("models/fraud/versions/7/runs/1", r#"unknown collection "runs", expected artifacts"#),
            ("namespaces", r#"nothing is named in the collection "namespaces""#),
            ("models", r#"nothing is named in the collection "models""#),
            ("events", r#"nothing is named in the collection "events""#),
            ("namespaces/risk/models", r#"nothing is named in the collection "models""#),
            ("fraud/versions", r#"nothing is named in the collection "versions""#),
            ("models/fraud/versions", r#"nothing is named in the collection "versions""#),
            ("fraud@live/artifacts", r#"nothing is named in the collection "artifacts""#),
            ("fraud/versions/7/artifacts", r#"nothing is named in the collection "artifacts""#),
            ("fraud@live/runs/1", r#"unknown collection "runs", expected artifacts"#),
        ] {
            assert_eq!(name.parse::<Name>().unwrap_err().problem, problem, "{name}");
            assert_eq!(complete(name), name);
        }
    }

    #[test]
    fn names_are_split_into_namespace_and_id() {
        for (name, expected) in [
            ("fraud", ("", "fraud")),
            ("models/fraud", ("", "fraud")),
            ("namespaces/risk/models/fraud", ("namespaces/risk", "fraud")),
            ("namespaces/risk/models/", ("namespaces/risk", "")),
        ] {
            let (namespace, id) = namespace_and_id(name);
            assert_eq!((namespace.as_str(), id.as_str()), expected, "{name}");
        }
    }

    #[test]
    fn a_version_whose_model_is_known_may_be_its_last_part() {
        for (version, expected) in
            [("7", "7"), ("1.4.0", "1.4.0"), ("@live", "@live"), ("fraud/versions/7", "models/fraud/versions/7")]
        {
            assert_eq!(version_of_model(version), expected);
        }
    }
}
