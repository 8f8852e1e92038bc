//! What resources have in common, as a trait, so that code on either side is written once for all kinds.
//!
//! The build derives the implementations from the contract and its annotations: which fields callers write is said there, once.

use prost::Message;
use prost_types::Timestamp;

use crate::v1;

/// A message that is a resource: a thing with a name, of which events tell.
pub trait Resource: Message + Default + Clone + PartialEq + 'static {
    /// The type, for example `modelregistry.dev/Model`.
    const TYPE: &'static str;
    /// One of them, for example `model`.
    const SINGULAR: &'static str;
    /// All fields.
    const FIELDS: &'static [&'static str];
    /// The fields that callers can update.
    const UPDATABLE: &'static [&'static str];
    /// The fields that callers give when they create it, and that stay.
    const FIXED: &'static [&'static str];

    /// What every resource has.
    fn meta(&self) -> Meta<'_>;
    /// The same, to be set.
    fn meta_mut(&mut self) -> MetaMut<'_>;

    /// Takes the value of a field from another message.
    fn take(&mut self, field: &str, from: &Self);
    /// Takes one entry of a field that is a map; false if it is none.
    fn take_entry(&mut self, field: &str, key: &str, from: &Self) -> bool;
    /// Whether one of these fields is not empty.
    fn has(&self, field: &str) -> bool;

    /// What a caller gave of one that is to be created: no more than what is theirs to write.
    fn given(&self) -> Self {
        let mut given = Self::default();
        for field in Self::UPDATABLE.iter().chain(Self::FIXED) {
            given.take(field, self);
        }
        given
    }

    /// What of this is different in another state of the same resource, besides its name, and the names of these fields.
    /// A number that is none (NaN) is like itself.
    fn changes(self, after: &Self) -> (Self, Vec<&'static str>);

    /// The resource of an event.
    fn into_resource(self) -> v1::Resource;
    /// The resource in an event, if it is of this type.
    fn from_resource(resource: v1::Resource) -> Option<Self>;
}

/// What one of each kind is called, in the order of `v1::Resource`.
pub const SINGULARS: &[&str] = derived::SINGULARS;

/// What every resource has. A time that a type does not have is absent.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// The whole name.
    pub name: &'a str,
    /// What a change has to know of the state that it changes.
    pub etag: &'a str,
    /// The revision that last changed it.
    pub revision: i64,
    /// When it was created.
    pub create_time: Option<&'a Timestamp>,
    /// Set while it is deleted.
    pub delete_time: Option<&'a Timestamp>,
}

/// The same, to be set. `None`: the type does not have it.
#[derive(Debug)]
pub struct MetaMut<'a> {
    /// The whole name.
    pub name: &'a mut String,
    /// A UUID.
    pub uid: &'a mut String,
    /// What a change has to know of the state that it changes.
    pub etag: &'a mut String,
    /// The revision that last changed it.
    pub revision: &'a mut i64,
    /// Who created it.
    pub creator: &'a mut String,
    /// When it was created.
    pub create_time: &'a mut Option<Timestamp>,
    /// When it was changed last.
    pub update_time: &'a mut Option<Timestamp>,
    /// Set while it is deleted.
    pub delete_time: Option<&'a mut Option<Timestamp>>,
    /// When it will be gone for good.
    pub purge_time: Option<&'a mut Option<Timestamp>>,
}

#[allow(clippy::all, unused_variables, reason = "generated code")]
mod derived {
    use prost::Message as _;

    use super::{Meta, MetaMut, Resource};

    include!(concat!(env!("OUT_DIR"), "/resource.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_what_was_there_before_and_the_names_of_all_that_differs() {
        let metrics = |auc| v1::MetricSet { values: [("auc".to_owned(), auc)].into() };
        let version = |description: &str, auc, framework: &str| v1::Version {
            name: "namespaces/default/models/m/versions/1".to_owned(),
            uid: "u".to_owned(),
            description: description.to_owned(),
            framework: framework.to_owned(),
            metrics: [("test".to_owned(), metrics(auc))].into(),
            ..Default::default()
        };
        let (before, changed) = version("", f64::NAN, "onnx").changes(&version("new", f64::NAN, "onnx"));
        assert_eq!(changed, ["description"]);
        assert_eq!(before, v1::Version { name: before.name.clone(), ..Default::default() });

        let (before, changed) = version("old", 0.5, "onnx").changes(&version("old", 0.75, ""));
        assert_eq!(changed, ["framework", "metrics"]);
        assert_eq!((before.framework.as_str(), &before.metrics["test"]), ("onnx", &metrics(0.5)));
        assert_eq!((before.uid.as_str(), before.description.as_str()), ("", ""));
    }
}
