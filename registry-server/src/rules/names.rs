//! Resource names: one string for each thing, in one canonical spelling.
//!
//! What a name looks like is data: each [`Collection`] says which segment it has, what it lies in, and what its ids look like.
//! Parsing, keys, parents and what lies below what are written once over it. A name without a namespace is in `default`, and a
//! version answers to its number, its id and its aliases.

mod ids;

use std::borrow::Cow;
use std::fmt;

pub(crate) use ids::{Computed, NameError, check_alias, check_id, check_path, check_version_id, computed};

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
    Collection { segment: "namespaces", singular: "namespace", parent: None, ids: Ids::Text(check_id) };
/// The models of a namespace.
pub(crate) static MODELS: Collection =
    Collection { segment: "models", singular: "model", parent: Some(&NAMESPACES), ids: Ids::Text(check_id) };
/// The versions of a model.
pub(crate) static VERSIONS: Collection =
    Collection { segment: "versions", singular: "version", parent: Some(&MODELS), ids: Ids::Version };
/// The files of a version.
pub(crate) static ARTIFACTS: Collection =
    Collection { segment: "artifacts", singular: "artifact", parent: Some(&VERSIONS), ids: Ids::Path };

/// Those whose names say what is below them.
static COLLECTIONS: &[&Collection] = &[&NAMESPACES, &MODELS, &VERSIONS, &ARTIFACTS];

impl Collection {
    /// This collection, what it lies in, and so on.
    fn up(&'static self) -> impl Iterator<Item = &'static Self> {
        std::iter::successors(Some(self), |collection| collection.parent)
    }

    fn depth(&'static self) -> usize {
        self.up().count()
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
        let [namespaces, path @ ..] = &self.path()[..] else { return NameError(String::new()) };
        let within = format!("{}/{{{}}}", namespaces.segment, namespaces.singular);
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
        if of.parent.is_none() && text.is_empty() {
            return Ok(Self::namespace_with(DEFAULT_NAMESPACE));
        }
        let whole = match text.starts_with("namespaces/") {
            true => Cow::Borrowed(text),
            false => Cow::Owned(format!("namespaces/{DEFAULT_NAMESPACE}/{text}")),
        };
        let mut rest = Some(&*whole);
        let mut alias = None;
        let mut name = String::with_capacity(whole.len() + "/versions/".len());
        for collection in of.path() {
            let id = match (&collection.ids, alias.take()) {
                // It stood behind the model.
                (Ids::Version, Some(alias)) => alias,
                _ => {
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
        Self { of: &NAMESPACES, text: format!("namespaces/{id}") }
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

    /// What it lies in. A namespace lies in itself.
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
        let parts = 2 * self.of.depth();
        self.text.splitn(parts, '/').skip(1).step_by(2)
    }

    /// Whether the version in it, if there is one, is named by its number.
    fn is_by_number(&self) -> bool {
        self.of.path().iter().zip(self.ids()).all(|(of, id)| !matches!(of.ids, Ids::Version) || ids::is_digits(id))
    }
}

/// How a name says which version of its model is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VersionRef {
    /// By the number that the registry gave it, from 1.
    Number(i64),
    /// By the id that its maker gave it.
    Id(String),
    /// By an alias, without the `@`: one that was set, or `latest`, `production`, `staging`.
    Alias(String),
}

impl VersionRef {
    /// Parses the last part of a version's name: `7`, `1.4.0` or `@champion`.
    pub(crate) fn parse(segment: &str) -> Result<Self, NameError> {
        let refused = |why: String| Err(NameError(why));
        if let Some(alias) = segment.strip_prefix('@') {
            let checked = check_id(alias).map_err(|NameError(why)| NameError(format!("the alias {why}")));
            return checked.map(|()| Self::Alias(alias.to_owned()));
        }
        if !ids::is_digits(segment) {
            let checked = check_version_id(segment);
            let checked = checked.map_err(|NameError(why)| NameError(format!("the version's id {why}")));
            return checked.map(|()| Self::Id(segment.to_owned()));
        }
        // `07` would be a second spelling of `7`, and no version has the number 0.
        if segment.starts_with('0') {
            return refused("the version's number must be 1 or more, without leading zeros".to_owned());
        }
        match segment.parse() {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => refused(format!("the version's number must be at most {}", i64::MAX)),
        }
    }
}

/// The text before the first slash, and the text after it if there is one.
fn cut(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests;
