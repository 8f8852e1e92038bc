//! Resource names: one string for each thing, in one canonical spelling.
//!
//! A name without a namespace is in `default`, and a version answers to its number, its label and its aliases. All of
//! this is taken apart here; [`Display`](fmt::Display) writes the whole name again, and parsing that gives the same
//! value.

mod ids;

pub(crate) use ids::{NameError, check_alias, check_id, check_label, check_path};
use std::fmt;

/// The namespace of a name that does not say one.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

const NAMESPACE_FORM: &str = r#"expected "namespaces/{namespace}""#;
const MODEL_FORM: &str = r#"expected "models/{model}" or "namespaces/{namespace}/models/{model}""#;
const VERSION_FORM: &str = r#"expected "models/{model}/versions/{version}" or "models/{model}@{alias}", with or without "namespaces/{namespace}/""#;
const ARTIFACT_FORM: &str =
    r#"expected "models/{model}/versions/{version}/artifacts/{path}", with or without "namespaces/{namespace}/""#;
const PARENT_FORM: &str =
    "expected nothing, or the name of a namespace, of a model (\"-\" for all) or of a version by number";

/// A namespace: its id, without `namespaces/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamespaceName(pub(crate) String);

impl NamespaceName {
    /// Parses `namespaces/{namespace}`; the empty name is the default namespace.
    pub(crate) fn parse(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Ok(Self(DEFAULT_NAMESPACE.to_owned()));
        }
        let id =
            name.strip_prefix("namespaces/").filter(|id| !id.contains('/')).ok_or_else(|| refused(NAMESPACE_FORM))?;
        checked("namespace's id", id, check_id).map(Self)
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces/{}", self.0)
    }
}

/// A model: the ids of its namespace and of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelName {
    /// The namespace's id.
    pub(crate) namespace: String,
    /// The model's id, unique in its namespace.
    pub(crate) model: String,
}

impl ModelName {
    /// Parses `models/{model}`, with or without a namespace.
    pub(crate) fn parse(name: &str) -> Result<Self, NameError> {
        match Split::new(name) {
            Some(Split { namespace, model, alias: None, rest: None }) => Self::checked(namespace, model),
            _ => Err(refused(MODEL_FORM)),
        }
    }

    /// The canonical name of the model's version with this number.
    pub(crate) fn version(&self, number: i64) -> String {
        format!("{self}/versions/{number}")
    }

    fn checked(namespace: &str, model: &str) -> Result<Self, NameError> {
        Ok(Self {
            namespace: checked("namespace's id", namespace, check_id)?,
            model: checked("model's id", model, check_id)?,
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces/{}/models/{}", self.namespace, self.model)
    }
}

/// How a name says which version of its model is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VersionRef {
    /// By the number that the registry gave it, from 1.
    Number(i64),
    /// By the label that its maker gave it.
    Label(String),
    /// By an alias, without the `@`: one that was set, or `latest`, `production`, `staging`.
    Alias(String),
}

impl VersionRef {
    /// Parses the last part of a version's name: `7`, `1.4.0` or `@champion`.
    pub(crate) fn parse(segment: &str) -> Result<Self, NameError> {
        if let Some(alias) = segment.strip_prefix('@') {
            return checked("alias", alias, check_id).map(Self::Alias);
        }
        if !ids::is_digits(segment) {
            return checked("version's label", segment, check_label).map(Self::Label);
        }
        // `07` would be a second spelling of `7`, and no version has the number 0.
        if segment.starts_with('0') {
            return Err(refused("the version's number must be 1 or more, without leading zeros"));
        }
        segment
            .parse()
            .map(Self::Number)
            .map_err(|_| NameError(format!("the version's number must be at most {}", i64::MAX)))
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Label(label) => f.write_str(label),
            Self::Alias(alias) => write!(f, "@{alias}"),
        }
    }
}

/// A version of a model, by any of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionName {
    /// The model.
    pub(crate) model: ModelName,
    /// Which of its versions.
    pub(crate) version: VersionRef,
}

impl VersionName {
    /// Parses `…models/{model}/versions/{version}` or `…models/{model}@{alias}`.
    pub(crate) fn parse(name: &str) -> Result<Self, NameError> {
        match Self::parse_front(name) {
            Some((version, None)) => version,
            _ => Err(refused(VERSION_FORM)),
        }
    }

    /// The version that a name begins with, and what follows after the next slash. None if it begins otherwise.
    fn parse_front(name: &str) -> Option<(Result<Self, NameError>, Option<&str>)> {
        let Split { namespace, model, alias, rest } = Split::new(name)?;
        let (version, rest) = match alias {
            Some(alias) => (checked("alias", alias, check_id).map(VersionRef::Alias), rest),
            None => {
                let (segment, rest) = cut(rest?.strip_prefix("versions/")?);
                (VersionRef::parse(segment), rest)
            }
        };
        let model = ModelName::checked(namespace, model);
        let name = model.and_then(|model| Ok(Self { model, version: version? }));
        Some((name, rest))
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/versions/{}", self.model, self.version)
    }
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArtifactName {
    /// The version, by any of its names.
    pub(crate) version: VersionName,
    /// Where the file lies in the version's folder.
    pub(crate) path: String,
}

impl ArtifactName {
    /// Parses a version's name followed by `/artifacts/{path}`. The path goes on to the end, slashes included.
    pub(crate) fn parse(name: &str) -> Result<Self, NameError> {
        let (version, rest) = VersionName::parse_front(name).ok_or_else(|| refused(ARTIFACT_FORM))?;
        let path = rest.and_then(|rest| rest.strip_prefix("artifacts/")).ok_or_else(|| refused(ARTIFACT_FORM))?;
        Ok(Self { version: version?, path: checked("artifact's path", path, check_path)? })
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/artifacts/{}", self.version, self.path)
    }
}

/// Whose events are asked for: those of a resource and of all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Everybody's.
    All,
    /// Those of a namespace, by its id.
    Namespace(String),
    /// Those of a model.
    Model(ModelName),
    /// Those of a version.
    Version {
        /// The version's model.
        model: ModelName,
        /// The version's number.
        number: i64,
    },
}

impl Parent {
    /// Parses nothing (everything), or the name of a namespace, a model (`-` for all of them) or a version.
    ///
    /// A version has to be named by number: a label would need a look-up, and an alias moves while events are read.
    pub(crate) fn parse(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Ok(Self::All);
        }
        match Split::new(name) {
            None => NamespaceName::parse(name).map(|NamespaceName(id)| Self::Namespace(id)).map_err(|error| {
                // The namespace's own message would hide that other names are fine as well.
                if error == refused(NAMESPACE_FORM) { refused(PARENT_FORM) } else { error }
            }),
            Some(Split { alias: None, rest: None, .. }) => Ok(match parse_version_parent(name)? {
                ModelOrNamespace::Model(model) => Self::Model(model),
                ModelOrNamespace::Namespace(id) => Self::Namespace(id),
            }),
            Some(_) => match VersionName::parse_front(name) {
                Some((version, None)) => match version? {
                    VersionName { model, version: VersionRef::Number(number) } => Ok(Self::Version { model, number }),
                    _ => Err(refused("the version must be named by its number, not by a label or an alias")),
                },
                _ => Err(refused(PARENT_FORM)),
            },
        }
    }
}

/// What versions are listed of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelOrNamespace {
    /// One model.
    Model(ModelName),
    /// All models of the namespace with this id: `models/-`.
    Namespace(String),
}

/// Parses the parent of a list of versions: a model's name, where the model may be `-` for all of its namespace.
pub(crate) fn parse_version_parent(name: &str) -> Result<ModelOrNamespace, NameError> {
    match Split::new(name) {
        Some(Split { namespace, model: "-", alias: None, rest: None }) => {
            checked("namespace's id", namespace, check_id).map(ModelOrNamespace::Namespace)
        }
        _ => ModelName::parse(name).map(ModelOrNamespace::Model),
    }
}

/// A name taken apart as far as its model, with nothing checked yet.
struct Split<'a> {
    namespace: &'a str,
    model: &'a str,
    /// Of `models/{model}@{alias}`.
    alias: Option<&'a str>,
    /// What follows after the slash behind the model.
    rest: Option<&'a str>,
}

impl<'a> Split<'a> {
    /// None if the name does not have this form.
    fn new(name: &'a str) -> Option<Self> {
        let (namespace, tail) = match name.strip_prefix("namespaces/") {
            Some(tail) => tail.split_once('/')?,
            None => (DEFAULT_NAMESPACE, name),
        };
        let (model, rest) = cut(tail.strip_prefix("models/")?);
        let (model, alias) = match model.split_once('@') {
            Some((model, alias)) => (model, Some(alias)),
            None => (model, None),
        };
        Some(Self { namespace, model, alias, rest })
    }
}

/// The text before the first slash, and the text behind it if there is one.
fn cut(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

fn refused(message: &str) -> NameError {
    NameError(message.to_owned())
}

/// The text as an owned one if the check passes; otherwise an error that says which part of the name is wrong.
fn checked(what: &str, text: &str, check: fn(&str) -> Result<(), NameError>) -> Result<String, NameError> {
    match check(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(NameError(why)) => Err(NameError(format!("the {what} {why}"))),
    }
}

#[cfg(test)]
mod tests;
