//! The table of kinds: everything that the registry keeps in its store, by number. The numbers are on the disk: none ever changes,
//! and none is used again.

use super::facts;
use crate::store::{FactView, Index, Kind, KindLayout, Layout, Slot};

/// A model.
pub(crate) const MODEL: Kind = Kind(1);
/// A version.
pub(crate) const VERSION: Kind = Kind(2);
/// An artifact of a version.
pub(crate) const ARTIFACT: Kind = Kind(3);
/// A version's label, to its number.
pub(crate) const LABEL: Kind = Kind(4);
/// One step of the stack of versions that held a stage.
pub(crate) const STAGE_HOLDER: Kind = Kind(5);
/// A request id, to what was done under it.
pub(crate) const REQUEST: Kind = Kind(6);
/// The hash of the newest event.
pub(crate) const CHAIN_HEAD: Kind = Kind(7);
/// Says that a revision has events of a model.
pub(crate) const EVENT_REFERENCE: Kind = Kind(8);
/// What an artifact consists of.
pub(crate) const MANIFEST: Kind = Kind(9);
/// The newest sweep of chunks.
pub(crate) const SWEEP: Kind = Kind(10);
/// The chunks of a sweep.
pub(crate) const CONDEMNED: Kind = Kind(11);
/// A namespace's key for its chunks, wrapped.
pub(crate) const DATA_KEY: Kind = Kind(12);
/// What the artifacts of a namespace add up to.
pub(crate) const USAGE: Kind = Kind(13);

/// Models that are not deleted, by name.
pub(crate) const LIVE_MODELS: Index = Index { kind: MODEL, slot: 1 };
/// Models that are not deleted, by the revision that made them.
pub(crate) const LIVE_MODELS_BY_AGE: Index = Index { kind: MODEL, slot: 2 };
/// All models, by the revision that made them.
pub(crate) const MODELS_BY_AGE: Index = Index { kind: MODEL, slot: 3 };
/// Models that are deleted and have versions that are not, by the time of their deletion.
pub(crate) const DELETED_MODELS: Index = Index { kind: MODEL, slot: 4 };

/// Versions that are not deleted, by number.
pub(crate) const LIVE_VERSIONS: Index = Index { kind: VERSION, slot: 1 };
/// Versions that are READY and not deleted, by number.
pub(crate) const READY_VERSIONS: Index = Index { kind: VERSION, slot: 2 };
/// Versions in a stage, by when they entered it.
pub(crate) const STAGE_ENTRIES: Index = Index { kind: VERSION, slot: 3 };
/// Versions that are deleted and not purged, by the time of their deletion.
pub(crate) const DELETED_VERSIONS: Index = Index { kind: VERSION, slot: 4 };

/// Manifests by what they list.
pub(crate) const CONTENTS: Index = Index { kind: MANIFEST, slot: 1 };

/// What the registry's stores are opened with.
pub(crate) static LAYOUT: Layout = Layout {
    kinds: &[
        KindLayout {
            slots: &[
                slot(LIVE_MODELS, "not deleted, by name"),
                slot(LIVE_MODELS_BY_AGE, "not deleted, by the revision that made them"),
                slot(MODELS_BY_AGE, "all, by the revision that made them"),
                slot(DELETED_MODELS, "deleted and with versions that are not, by the time of their deletion"),
            ],
            view: Some(FactView {
                about: "The models, deleted ones too",
                facts: facts::MODEL,
                facts_of: facts::of_model,
            }),
            ..kind(MODEL, "models")
        },
        KindLayout {
            slots: &[
                slot(LIVE_VERSIONS, "not deleted, by number"),
                slot(READY_VERSIONS, "READY and not deleted, by number"),
                slot(STAGE_ENTRIES, "in a stage, by when they entered it"),
                slot(DELETED_VERSIONS, "deleted and not purged, by the time of their deletion"),
            ],
            view: Some(FactView {
                about: "The versions of all models, deleted ones too",
                facts: facts::VERSION,
                facts_of: facts::of_version,
            }),
            ..kind(VERSION, "versions")
        },
        KindLayout {
            view: Some(FactView {
                about: "The artifacts of all versions",
                facts: facts::ARTIFACT,
                facts_of: facts::of_artifact,
            }),
            ..kind(ARTIFACT, "artifacts")
        },
        kind(LABEL, "labels"),
        kind(STAGE_HOLDER, "stage_holders"),
        kind(REQUEST, "requests"),
        kind(CHAIN_HEAD, "chain_heads"),
        kind(EVENT_REFERENCE, "event_references"),
        KindLayout { slots: &[slot(CONTENTS, "by the digest of their chunks")], ..kind(MANIFEST, "manifests") },
        kind(SWEEP, "sweeps"),
        kind(CONDEMNED, "condemned_chunks"),
        kind(DATA_KEY, "data_keys"),
        kind(USAGE, "usages"),
    ],
};

/// A kind without indexes and facts.
const fn kind(kind: Kind, name: &'static str) -> KindLayout {
    KindLayout { kind, name, slots: &[], view: None }
}

/// A slot that has one place of a record.
const fn slot(index: Index, about: &'static str) -> Slot {
    Slot { number: index.slot, about, several: false }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn ascending(numbers: impl IntoIterator<Item = u8>) -> bool {
        numbers.into_iter().is_sorted_by(|a, b| a < b)
    }

    #[test]
    fn every_number_is_given_once() {
        assert!(ascending(LAYOUT.kinds.iter().map(|known| known.kind.0)));
        let names: std::collections::BTreeSet<_> = LAYOUT.kinds.iter().map(|known| known.name).collect();
        assert_eq!(names.len(), LAYOUT.kinds.len());
        for known in LAYOUT.kinds {
            assert!(ascending(known.slots.iter().map(|slot| slot.number)), "{}", known.name);
        }
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
