//! Resource names: one string for each thing, in one canonical spelling.
//!
//! What a name looks like is data: each [`Collection`] says which segment it has, what it lies in, and what its ids look like.
//! Parsing, keys, parents and what lies below what are written once over it. A name without a namespace is in `default`, and a
//! version answers to its number, its id and its aliases.

mod references;

use std::borrow::Cow;
use std::fmt;

use registry_common::text;

pub(crate) use self::references::{Computed, VersionRef, computed};
use super::artifacts::check_path;

/// The namespace of a name that does not say one.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";
/// Stands for all ids of a collection.
const ALL: &str = "-";

/// Things of one kind under one parent.
#[derive(Debug)]
pub(crate) struct Collection {
    /// What stands before the id in a name: `models`.
    pub(crate) segment: &'static str,
    /// One of them: `model`.
    pub(crate) singular: &'static str,
    /// What they lie in.
    pub(crate) parent: Option<&'static Self>,
    ids: Ids,
}

/// What the ids of a collection look like.
#[derive(Debug)]
enum Ids {
    /// Text; the check's message begins with "must".
    Text(fn(&str) -> Result<(), NameError>),
    /// A version's number, id or alias. Records are kept under the number.
    Version,
    /// The rest of the name, slashes included.
    Path,
}

/// Namespaces.
pub(crate) static NAMESPACES: Collection =
    Collection { segment: "namespaces", singular: "namespace", parent: None, ids: Ids::Text(check_namespace_id) };
/// The policies of a namespace.
pub(crate) static POLICIES: Collection =
    Collection { segment: "policies", singular: "policy", parent: Some(&NAMESPACES), ids: Ids::Text(check_id) };
/// The models of a namespace.
pub(crate) static MODELS: Collection =
    Collection { segment: "models", singular: "model", parent: Some(&NAMESPACES), ids: Ids::Text(check_id) };
/// The versions of a model.
pub(crate) static VERSIONS: Collection =
    Collection { segment: "versions", singular: "version", parent: Some(&MODELS), ids: Ids::Version };
/// The files of a version.
pub(crate) static ARTIFACTS: Collection =
    Collection { segment: "artifacts", singular: "artifact", parent: Some(&VERSIONS), ids: Ids::Path };

/// Subscriptions, which lie in no namespace: the events of several may be theirs.
pub(crate) static SUBSCRIPTIONS: Collection =
    Collection { segment: "subscriptions", singular: "subscription", parent: None, ids: Ids::Text(check_id) };
/// The processes that run versions of a model.
pub(crate) static INSTANCES: Collection =
    Collection { segment: "instances", singular: "instance", parent: Some(&MODELS), ids: Ids::Text(check_id) };

/// The requests for approvals of a model.
pub(crate) static APPROVALS: Collection =
    Collection { segment: "approvals", singular: "approval", parent: Some(&MODELS), ids: Ids::Text(check_id) };

/// The locks of a model and of its versions.
pub(crate) static LOCKS: Collection =
    Collection { segment: "locks", singular: "lock", parent: Some(&MODELS), ids: Ids::Text(check_id) };

/// Webhooks, which lie in no namespace either.
pub(crate) static WEBHOOKS: Collection =
    Collection { segment: "webhooks", singular: "webhook", parent: None, ids: Ids::Text(check_id) };

/// Users and services that are given roles together.
pub(crate) static GROUPS: Collection =
    Collection { segment: "groups", singular: "group", parent: None, ids: Ids::Text(check_id) };
/// Sets of permissions.
pub(crate) static ROLES: Collection =
    Collection { segment: "roles", singular: "role", parent: None, ids: Ids::Text(check_id) };
/// Who has which role on what.
pub(crate) static BINDINGS: Collection =
    Collection { segment: "bindings", singular: "binding", parent: None, ids: Ids::Text(check_id) };
/// What callers show who they are with.
pub(crate) static TOKENS: Collection =
    Collection { segment: "tokens", singular: "token", parent: None, ids: Ids::Text(check_id) };

/// Those whose names say what is below them.
static COLLECTIONS: &[&Collection] = &[&NAMESPACES, &MODELS, &VERSIONS, &ARTIFACTS];

impl Collection {
    /// This collection, what it lies in, and so on.
    fn up(&'static self) -> impl Iterator<Item = &'static Self> {
        std::iter::successors(Some(self), |collection| collection.parent)
    }

    /// The collections that a name in this one goes through, this one last.
    fn path(&'static self) -> Vec<&'static Self> {
        let mut path: Vec<_> = self.up().collect();
        path.reverse();
        path
    }

    fn check(&self, id: &str) -> Result<(), NameError> {
        let (what, checked) = match self.ids {
            Ids::Version => return VersionRef::parse(id).map(drop),
            Ids::Text(check) => ("id", check(id)),
            Ids::Path => ("path", check_path(id)),
        };
        checked.map_err(|NameError(why)| NameError(format!("the {}'s {what} {why}", self.singular)))
    }

    /// What is expected where a name in this collection should be.
    fn form(&'static self) -> NameError {
        let [top, path @ ..] = &self.path()[..] else { return NameError(String::new()) };
        let within = format!("{}/{{{}}}", top.segment, top.singular);
        if path.is_empty() {
            return NameError(format!("expected {within:?}"));
        }
        let parts = |path: &[&Self]| -> Vec<_> {
            path.iter()
                .map(|collection| match collection.ids {
                    Ids::Path => format!("{}/{{path}}", collection.segment),
                    _ => format!("{}/{{{}}}", collection.segment, collection.singular),
                })
                .collect()
        };
        let mut form = format!("{:?}", parts(path).join("/"));
        if let (Ids::Version, [models, _]) = (&self.ids, path) {
            form += &format!(" or {:?}", parts(&[models]).join("/") + "@{alias}");
        }
        NameError(format!("expected {form}, with or without {:?}", within + "/"))
    }
}

/// The name of a resource, its namespace included.
///
/// A version in it is as its caller gave it: by number, id or alias. Only by number it is the name that the record has.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    of: &'static Collection,
    text: String,
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Name {
    /// Parses the name of something in a collection.
    pub(crate) fn parse(of: &'static Collection, text: &str) -> Result<Self, NameError> {
        let path = of.path();
        let in_namespace = path.first().is_some_and(|top| std::ptr::eq(*top, &NAMESPACES));
        let whole = match text.starts_with("namespaces/") || !in_namespace {
            true => Cow::Borrowed(text),
            false => Cow::Owned(format!("namespaces/{DEFAULT_NAMESPACE}/{text}")),
        };
        let mut rest = Some(&*whole);
        let mut alias = None;
        let mut name = String::with_capacity(whole.len() + "/versions/".len());
        for collection in path {
            let id = match (&collection.ids, alias.take()) {
                // It stood behind the model.
                (Ids::Version, Some(alias)) => alias,
                (_, Some(_)) => return Err(of.form()),
                (_, None) => {
                    let below = rest.and_then(|rest| rest.strip_prefix(collection.segment)?.strip_prefix('/'));
                    let below = below.ok_or_else(|| of.form())?;
                    let id;
                    (id, rest) = match collection.ids {
                        Ids::Path => (below, None),
                        _ => cut(below),
                    };
                    id
                }
            };
            // `models/fraud@champion` is short for `models/fraud/versions/@champion`.
            let id = match id.find('@').filter(|_| std::ptr::eq(collection, &MODELS)) {
                Some(_) if std::ptr::eq(of, &MODELS) => return Err(of.form()),
                Some(at) => {
                    alias = Some(&id[at..]);
                    &id[..at]
                }
                None => id,
            };
            collection.check(id)?;
            let slash = if name.is_empty() { "" } else { "/" };
            for part in [slash, collection.segment, "/", id] {
                name.push_str(part);
            }
        }
        match (rest, alias) {
            (None, None) => Ok(Self { of, text: name }),
            _ => Err(of.form()),
        }
    }

    /// Parses the name of something that others lie below, or of nothing (everything). A last id `-` stands for all, and so for
    /// what they lie in. A version has to be named by number: an id would need a look-up, and an alias moves.
    pub(crate) fn parse_scope(text: &str) -> Result<Option<Self>, NameError> {
        if text.is_empty() {
            return Ok(None);
        }
        let names = "the name of a namespace, of a model (\"-\" for all) or of a version by number";
        let mut refused = NameError(format!("expected nothing, or {names}"));
        for of in COLLECTIONS.iter().filter(|of| !matches!(of.ids, Ids::Path)) {
            match Self::parse_parent(of, text) {
                Ok(name) if name.is_by_number() => return Ok(Some(name)),
                Ok(_) => {
                    let why = "the version must be named by its number, not by an id or an alias";
                    return Err(NameError(why.to_owned()));
                }
                // It has the form of a name in this collection.
                Err(error) if error != of.form() => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// Parses the name of something in a collection, or with the id `-` of all of it: that is the name of what they lie in.
    pub(crate) fn parse_parent(of: &'static Collection, text: &str) -> Result<Self, NameError> {
        match (of.parent, text.strip_suffix(ALL).and_then(|rest| rest.strip_suffix('/')?.strip_suffix(of.segment))) {
            (Some(parent), Some("")) if parent.parent.is_none() => Ok(Self::namespace_with(DEFAULT_NAMESPACE)),
            (Some(parent), Some(rest)) if rest.ends_with('/') => Self::parse(parent, &rest[..rest.len() - 1]),
            _ => Self::parse(of, text),
        }
    }

    /// A name that is kept, and so is one.
    pub(crate) fn canonical(of: &'static Collection, text: &str) -> Self {
        Self { of, text: text.to_owned() }
    }

    /// The namespace with this id.
    pub(crate) fn namespace_with(id: &str) -> Self {
        Self::top(&NAMESPACES, id)
    }

    /// The name of something that lies in nothing, by an id that was checked.
    pub(crate) fn top(of: &'static Collection, id: &str) -> Self {
        Self { of, text: format!("{}/{id}", of.segment) }
    }

    /// The name of something below this, by an id that was checked.
    pub(crate) fn child(&self, of: &'static Collection, id: impl fmt::Display) -> Self {
        Self { of, text: format!("{}/{}/{id}", self.text, of.segment) }
    }

    /// The collection that it is in.
    pub(crate) fn of(&self) -> &'static Collection {
        self.of
    }

    /// The whole name.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The last part.
    pub(crate) fn id(&self) -> &str {
        self.ids().last().unwrap_or_default()
    }

    /// The id of the namespace.
    pub(crate) fn namespace(&self) -> &str {
        self.ids().next().unwrap_or_default()
    }

    /// What it lies in. What lies in nothing lies in itself.
    pub(crate) fn parent(&self) -> Self {
        let Some(of) = self.of.parent else { return self.clone() };
        let end = self.text.len() - self.id().len() - self.of.segment.len() - 2;
        Self { of, text: self.text[..end].to_owned() }
    }

    /// The name of what it lies in, in a collection above.
    pub(crate) fn within(&self, of: &'static Collection) -> Self {
        let mut name = self.clone();
        while !std::ptr::eq(name.of, of) && name.of.parent.is_some() {
            name = name.parent();
        }
        name
    }

    /// Whether a resource with this name is the one named here or lies below it.
    pub(crate) fn contains(&self, name: &str) -> bool {
        name.strip_prefix(&self.text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The parts of the name as a record's key has them: each but the last closed by a zero byte, which no name can hold; a version's
    /// number is big-endian, so that it sorts as a number. So everything below something is one range, in order.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = self.prefix();
        if !matches!(self.of.ids, Ids::Version) {
            key.pop();
        }
        key
    }

    /// What the keys of everything below it begin with.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(self.text.len());
        for (collection, id) in self.of.path().into_iter().zip(self.ids()) {
            match (&collection.ids, id.parse::<i64>()) {
                (Ids::Version, Ok(number)) => prefix.extend(number.to_be_bytes()),
                _ => {
                    prefix.extend(id.as_bytes());
                    prefix.push(0);
                }
            }
        }
        prefix
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        // A path has slashes of its own.
        let parts = 2 * self.of.up().count();
        self.text.splitn(parts, '/').skip(1).step_by(2)
    }

    /// Whether the version in it, if there is one, is named by its number.
    pub(crate) fn is_by_number(&self) -> bool {
        self.of.path().iter().zip(self.ids()).all(|(of, id)| !matches!(of.ids, Ids::Version) || is_digits(id))
    }
}

/// The text before the first slash, and the text after it if there is one.
fn cut(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

/// What file systems take as the name of a folder.
const MAX_FOLDER_CHARS: usize = 255;

/// Why a text is not a name.
///
/// The message of a check on one text begins with "must", so that the caller can put before it what the text is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NameError(pub(crate) String);

/// Checks the id of a namespace or a model. `-` (all models), `.` and `..` fall to the rule for the first character.
pub(crate) fn check_id(value: &str) -> Result<(), NameError> {
    text::check_id(value).map_err(NameError)
}

/// Checks a namespace's id: an id that can be the name of a folder, in which what is not ASCII takes three characters a byte.
pub(crate) fn check_namespace_id(value: &str) -> Result<(), NameError> {
    check_id(value)?;
    let length: usize = value.bytes().map(|byte| if byte.is_ascii() { 1 } else { 3 }).sum();
    if length > MAX_FOLDER_CHARS {
        return refuse(format!(
            "must take at most {MAX_FOLDER_CHARS} characters when it is percent-encoded, not {length}"
        ));
    }
    Ok(())
}

/// Checks a version's id: an id that can't be mistaken for a version's number.
pub(crate) fn check_version_id(value: &str) -> Result<(), NameError> {
    check_id(value)?;
    if is_digits(value) {
        return refuse("must not be all digits: that is how a version's number looks");
    }
    Ok(())
}

/// Checks an alias that somebody wants to set or remove: an id that the registry does not compute itself, and that can't be mistaken for a
/// version's number.
pub(crate) fn check_alias(value: &str) -> Result<(), NameError> {
    check_version_id(value)?;
    if computed(value).is_some() {
        return refuse(format!("must not be {value:?}: the registry keeps this alias itself"));
    }
    Ok(())
}

/// Whether the text is made of ASCII digits: what a version's number is written with.
fn is_digits(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit())
}

fn refuse(message: impl Into<String>) -> Result<(), NameError> {
    Err(NameError(message.into()))
}

#[cfg(test)]
mod tests;
