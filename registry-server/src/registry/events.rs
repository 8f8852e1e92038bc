//! Single events, and which ones somebody wants.

use std::collections::BTreeSet;
use std::sync::Arc;

use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::Registry;
use super::access::wishes::Seen;
use super::told::ToldEvent;
use super::transaction::Records as _;
use crate::error::{Error, Violations, quoted};
use crate::rules::expression::{self, Expression};
use crate::rules::names::Name;

/// How many types a request may choose.
const TYPES: usize = 100;
/// The type of an event in errors.
pub(super) const EVENT: &str = "modelregistry.dev/Event";
/// Which events somebody wants.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// Of this resource and all below it; `None` means everything.
    pub(crate) parent: Option<Name>,
    /// Empty means all.
    pub(crate) types: Vec<Types>,
    /// And such that meet this condition.
    pub(crate) filter: Option<Arc<Expression>>,
    /// Of what the caller sees.
    pub(crate) seen: Option<Seen>,
}

impl Selection {
    /// What a caller asks for, or `None` with the fields added that are at fault.
    pub(crate) fn new(parent: &str, types: &[String], filter: &str, found: &mut Violations) -> Option<Self> {
        let filter = found.condition("filter", filter, &expression::EVENT).map(Arc::new);
        let parent = found.parsed("parent", Name::parse_scope(parent));
        if types.len() > TYPES {
            found.invalid("types", format!("has {} entries; at most {TYPES} are allowed", types.len()));
            return None;
        }
        let mut known = Vec::with_capacity(types.len());
        for (i, text) in types.iter().enumerate() {
            match Types::parse(text) {
                Some(types) => known.push(types),
                None => {
                    found.invalid(format!("types[{i}]"), format!("{} is no type; {}", quoted(text), known_beside(text)))
                }
            }
        }
        Some(Self { parent: parent?, types: known, filter, seen: None })
    }

    /// Whether an event is wanted.
    pub(crate) fn takes(&self, ToldEvent { outside, encoded }: &ToldEvent) -> bool {
        // Of a revision without a tombstone nobody knows whom it was about.
        if outside.is_unknown() {
            return true;
        }
        let below = self.parent.as_ref().is_none_or(|parent| parent.contains(&outside.resource_name));
        let seen = || self.seen.as_ref().is_none_or(|seen| seen.sees_events_of(&outside.resource_name));
        let chosen =
            below && seen() && (self.types.is_empty() || self.types.iter().any(|types| types.have(&outside.r#type)));
        chosen && self.filter.as_ref().is_none_or(|filter| filter.matches(encoded))
    }
}

/// Types of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Types {
    /// One of them.
    One(String),
    /// All of a kind: what they begin with, the dot included.
    Of(String),
}

impl Types {
    /// Parses the name of a type, or a kind and `.*`; `None` if there is none such.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(kind) = text.strip_suffix('*').filter(|kind| kind.ends_with('.')) {
            let known = event_type::all().any(|known| known.starts_with(kind));
            return known.then(|| Self::Of(kind.to_owned()));
        }
        event_type::all().any(|known| known == text).then(|| Self::One(text.to_owned()))
    }

    fn have(&self, r#type: &str) -> bool {
        match self {
            Self::One(one) => r#type == one,
            Self::Of(kind) => r#type.starts_with(kind.as_str()),
        }
    }
}

/// The types of the kind that somebody may have meant, or the kinds: all types would be too long for an error.
fn known_beside(text: &str) -> String {
    let kind_of = |r#type: &'static str| r#type.split_once('.').map_or(r#type, |(kind, _)| kind);
    let meant = text.split('.').next().unwrap_or_default();
    let types: Vec<_> = event_type::all().filter(|known| kind_of(known) == meant).collect();
    if !types.is_empty() {
        return format!("known are {}, and {meant}.*", types.join(", "));
    }
    let kinds: BTreeSet<_> = event_type::all().map(kind_of).map(|kind| format!("{kind}.*")).collect();
    format!("known are {}", kinds.into_iter().collect::<Vec<_>>().join(", "))
}

impl Registry {
    /// Fails if what events are to be of never was: a typo must not look like silence. What is deleted or purged has its events.
    pub(super) async fn parent_must_exist(&self, selection: &Selection) -> Result<(), Error> {
        match &selection.parent {
            Some(parent) => self.store.parent_must_exist(parent).await,
            None => Ok(()),
        }
    }

    /// One event.
    pub(crate) async fn event(&self, name: &str) -> Result<pb::Event, Error> {
        let parts = name.strip_prefix("events/").and_then(|id| id.split_once('-'));
        let numbers = parts.and_then(|(revision, index)| Some((revision.parse().ok()?, index.parse::<i32>().ok()?)));
        // `events/01-0` is no second name of an event.
        let numbers = numbers.filter(|(revision, index)| name == format!("events/{revision}-{index}"));
        let Some((revision, index)) = numbers else {
            return Err(Error::field("name", ErrorReason::NameInvalid, "expected \"events/{revision}-{index}\""));
        };
        let missing = || Error::NotFound { of: EVENT, name: name.to_owned(), at: None };
        let events = if revision == 0 { Vec::new() } else { self.tail.events_of(revision).await? };
        events.into_iter().find(|event| event.index == index).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::registry::commit::CHAIN_START;
    use crate::registry::transaction::event;

    #[test]
    fn only_what_has_no_tombstone_is_told_to_everybody() {
        let narrow = Selection {
            parent: Some(Name::namespace_with("risk")),
            types: vec![Types::One(event_type::MODEL_CREATED.to_owned())],
            filter: None,
            seen: None,
        };
        let everything = Selection { parent: None, types: Vec::new(), filter: None, seen: None };
        let nothing = Expression::parse("false", &expression::EVENT).ok().map(Arc::new);
        let nothing = Selection { filter: nothing, ..everything.clone() };
        let unreadable = event(event_type::REVISION_UNREADABLE);
        let buried = pb::Event { hash: Bytes::from_static(&CHAIN_START), ..unreadable.clone() };
        let [unreadable, buried] = [unreadable, buried].map(|event| ToldEvent::of(&event).unwrap());
        assert!(narrow.takes(&unreadable) && nothing.takes(&unreadable));
        assert!(everything.takes(&buried));
        assert!(!narrow.takes(&buried) && !nothing.takes(&buried));
    }
}
