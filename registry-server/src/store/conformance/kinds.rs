//! Kinds of the tests' own: a store must not care.

use crate::store::{Fact, FactType, FactValue, FactView, Index, Kind, KindLayout, Layout, Slot};

pub(in crate::store) const SHIP: Kind = Kind(3);
pub(in crate::store) const PORT: Kind = Kind(200);
pub(in crate::store) const COUNTER: Kind = Kind(201);
pub(in crate::store) const COUNT: Kind = Kind(255);

/// Where ships are.
pub(in crate::store) const BY_PORT: Index = Index { kind: SHIP, slot: 1 };
/// Which flags they fly.
pub(in crate::store) const BY_FLAG: Index = Index { kind: SHIP, slot: 2 };
/// Once more where they are, in a slot with a high number.
pub(in crate::store) const BY_BERTH: Index = Index { kind: SHIP, slot: 77 };

pub(in crate::store) static LAYOUT: Layout = Layout {
    always_written: None,
    kinds: &[
        KindLayout {
            kind: SHIP,
            name: "ships",
            slots: &[
                Slot { number: BY_PORT.slot, about: "in a port, by its name", several: false },
                Slot { number: BY_FLAG.slot, about: "by each of the ship's flags", several: true },
                Slot { number: BY_BERTH.slot, about: "in a port, by the berth", several: false },
            ],
            view: None,
        },
        KindLayout {
            kind: PORT,
            name: "ports",
            slots: &[],
            view: Some(FactView {
                about: "All ports",
                facts: &[Fact { name: "town", r#type: FactType::Text, about: "The town's own name for it" }],
                facts_of: |payload| {
                    let town = String::from_utf8_lossy(payload).into_owned();
                    vec![("town", FactValue::Text(town))]
                },
            }),
        },
        KindLayout { kind: COUNTER, name: "counters", slots: &[], view: None },
        KindLayout { kind: COUNT, name: "counts", slots: &[], view: None },
    ],
};
