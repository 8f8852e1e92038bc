//! The table of kinds: everything that the registry keeps in its store, by number. The numbers are on the disk: none ever changes,
//! and none is used again. Resources are numbered from 1, what else is kept from 128.

use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::access::tokens::TokenRow;
use super::models::ModelRow;
use super::resource::Resource;
use super::webhooks::WebhookRow;
use crate::error::Error;
use crate::rules::names::{Collection, Name};
use crate::store::{Index, Kind, KindLayout, Layout, Record, Slot, Source};

/// A caller's id of a version, to its number.
pub(crate) const VERSION_ID: Kind = Kind(128);
/// One step of the stack of versions that held a stage.
pub(crate) const STAGE_HOLDER: Kind = Kind(129);
/// A request id, to what was done under it.
pub(crate) const REQUEST: Kind = Kind(130);
/// The hash and the time of the newest event.
pub(crate) const CHAIN_HEAD: Kind = Kind(131);
/// Says that a revision has events of a model.
pub(crate) const EVENT_REFERENCE: Kind = Kind(132);
/// What an artifact consists of.
pub(crate) const MANIFEST: Kind = Kind(133);
/// The newest sweep of chunks.
pub(crate) const SWEEP: Kind = Kind(134);
/// The chunks of a sweep.
pub(crate) const CONDEMNED: Kind = Kind(135);
/// A namespace's key for its chunks, wrapped.
pub(crate) const DATA_KEY: Kind = Kind(136);
/// What the artifacts of a namespace add up to.
pub(crate) const USAGE: Kind = Kind(137);

/// What stands for a revision that can't be read.
pub(crate) const TOMBSTONE: Kind = Kind(138);
/// Up to where the records of requests are removed.
pub(crate) const FORGOTTEN: Kind = Kind(139);

/// Hashes of the Merkle tree over the events.
pub(crate) const TREE_ROW: Kind = Kind(160);
/// The keys that checkpoints of it are signed with, by registry.
pub(crate) const AUDIT_KEY: Kind = Kind(161);

/// Says in which revision it last changed who may do what.
pub(crate) const ACCESS: Kind = Kind(150);

/// Manifests by what they list.
pub(crate) const CONTENTS: Index = Index { kind: MANIFEST, slot: 1 };

/// Makes the tables of the kinds of resources, and of what else is kept.
macro_rules! kinds {
    (resources: $($resource:ty),+ $(,)?; others: $($other:expr),+ $(,)?) => {
        /// The kinds of resources.
        pub(crate) static RESOURCES: &[Spec] = &[$(Spec::of::<$resource>()),+];

        /// What the registry's stores are opened with.
        pub(crate) static LAYOUT: Layout = Layout {
            kinds: &[$(<$resource as Resource>::LAYOUT,)+ $($other),+],
            always_written: Some((CHAIN_HEAD, &[])),
        };
    };
}

kinds! {
    resources:
        pb::Namespace,
        pb::Policy,
        ModelRow,
        pb::Version,
        pb::Artifact,
        pb::Subscription,
        pb::Instance,
        pb::Approval,
        pb::Lock,
        WebhookRow,
        pb::Group,
        pb::Role,
        pb::Binding,
        TokenRow;
    others:
        kind(VERSION_ID, "version_ids"),
        kind(STAGE_HOLDER, "stage_holders"),
        kind(REQUEST, "requests"),
        kind(CHAIN_HEAD, "chain_heads"),
        kind(EVENT_REFERENCE, "event_references"),
        KindLayout { slots: &[slot(CONTENTS.slot, "by the digest of their chunks")], ..kind(MANIFEST, "manifests") },
        kind(SWEEP, "sweeps"),
        kind(CONDEMNED, "condemned_chunks"),
        kind(DATA_KEY, "data_keys"),
        kind(USAGE, "usages"),
        kind(TOMBSTONE, "tombstones"),
        kind(FORGOTTEN, "forgotten_requests"),
        kind(ACCESS, "access_changes"),
        kind(TREE_ROW, "tree_rows"),
        kind(AUDIT_KEY, "audit_keys"),
}

/// A kind of resource, as data: what can be done without knowing which kind it is.
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) of: &'static Collection,
    /// Those that are not deleted, by name.
    pub(crate) listed: Source,
    /// What a record shows.
    pub(crate) shown: Shown,
}

/// The name and the resource in a record, or nothing if that is deleted.
type Shown = fn(&Record) -> Result<Option<(Name, pb::Resource)>, Error>;

impl Spec {
    /// The kind of the resources of a collection.
    pub(crate) fn of_collection(of: &'static Collection) -> Option<&'static Self> {
        RESOURCES.iter().find(|spec| std::ptr::eq(spec.of, of))
    }

    const fn of<R: Resource>() -> Self {
        Self { kind: R::KIND, of: R::OF, listed: R::LISTED, shown: shown::<R> }
    }
}

fn shown<R: Resource>(record: &Record) -> Result<Option<(Name, pb::Resource)>, Error> {
    let row = R::decode(record)?;
    if row.meta().delete_time.is_some() {
        return Ok(None);
    }
    let name = Name::canonical(R::OF, row.meta().name);
    Ok(Some((name, row.into_message().into_resource())))
}

/// A kind without indexes and facts.
pub(super) const fn kind(kind: Kind, name: &'static str) -> KindLayout {
    KindLayout { kind, name, slots: &[], view: None }
}

/// A slot that has one place of a record.
pub(super) const fn slot(number: u8, about: &'static str) -> Slot {
    Slot { number, about, several: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;

    use super::*;

    fn unique<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
        let mut seen = BTreeSet::new();
        items.into_iter().all(|item| seen.insert(item))
    }

    #[test]
    fn every_number_is_given_once() {
        assert!(unique(LAYOUT.kinds.iter().map(|known| known.kind)));
        assert!(unique(LAYOUT.kinds.iter().map(|known| known.name)));
        for known in LAYOUT.kinds {
            assert!(unique(known.slots.iter().map(|slot| slot.number)), "{}", known.name);
        }
    }

    #[test]
    fn every_resource_of_an_event_is_a_kind() {
        let kinds: BTreeSet<_> = RESOURCES.iter().map(|spec| spec.of.singular).collect();
        assert_eq!(kinds, BTreeSet::from_iter(registry_proto::resource::SINGULARS.iter().copied()));
    }

    #[test]
    fn views_show_the_facts_that_there_are() {
        for view in LAYOUT.kinds.iter().filter_map(|known| known.view.as_ref()) {
            // Neither a payload without fields nor one that can't be read makes it fail.
            for payload in [Bytes::new(), Bytes::from_static(b"\xff")] {
                for (name, _) in (view.facts_of)(&payload) {
                    assert!(view.facts.iter().any(|fact| fact.name == name), "{}: {name}", view.about);
                }
            }
        }
    }
}
