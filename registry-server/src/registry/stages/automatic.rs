//! Versions that enter a stage by themselves: in the revision in which they turn READY, change, or have a check reported, if they pass its gates then.
//!
//! Whatever made the change, and however often it is tried: the version and its entry are one revision, or neither happened. *Invariant:*
//! a version enters a stage by itself once, and never again after somebody has moved it.

use std::collections::BTreeSet;

use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::{Transition, candidate, gating, may_move};
use crate::error::Error;
use crate::registry::models::{ModelRow, number_in};
use crate::registry::policies::in_force_if_automatic;
use crate::registry::transaction::Tx;
use crate::rules::names::{Name, VERSIONS};
use crate::rules::stages::{Move, Standing, State, enters_by_itself};

/// After what a version may pass gates that it did not pass before.
const OCCASIONS: [&str; 4] = [
    event_type::VERSION_CREATED,
    event_type::VERSION_FINALIZED,
    event_type::VERSION_UPDATED,
    event_type::VERSION_CHECK_REPORTED,
];

/// Whether a version has entered a stage by itself.
pub(in crate::registry) fn is_entry(event: &pb::Event) -> bool {
    event.stage_change.is_some_and(|change| change.cause() == pb::StageChangeCause::Automatic)
}

/// Moves what enters stages by itself after what has been done.
pub(in crate::registry) async fn enter(tx: &mut Tx<'_>) -> Result<(), Error> {
    let occasions = tx.events.iter().filter(|event| OCCASIONS.contains(&event.r#type.as_str()));
    let versions: BTreeSet<_> = occasions.map(|event| event.resource_name.clone()).collect();
    for name in versions {
        enter_one(tx, &Name::canonical(&VERSIONS, &name)).await?;
    }
    Ok(())
}

async fn enter_one(tx: &mut Tx<'_>, name: &Name) -> Result<(), Error> {
    let version: pb::Version = tx.any(name).await?;
    if candidate(&version).state != State::Ready || version.delete_time.is_some() {
        return Ok(());
    }
    let row: ModelRow = tx.any(&name.parent()).await?;
    let Some(in_force) = in_force_if_automatic(tx, &row.model).await? else { return Ok(()) };
    for to in in_force.automatic().iter().copied() {
        // Either may be another one since the turn before.
        let (version, row): (pb::Version, ModelRow) = (tx.any(name).await?, tx.any(&name.parent()).await?);
        let holder = row.stage(to).and_then(|held| number_in(&held.version));
        if !enters_by_itself(standing(&version), to, holder) {
            continue;
        }
        // As somebody would ask for it.
        let transition = Transition {
            name: name.clone(),
            to,
            incumbent: None,
            comment: String::new(),
            etag: String::new(),
            override_gates: false,
            approval: String::new(),
        };
        let Ok(Move::Enter { leaves }) = may_move(&in_force, &row, &version, to, None) else { continue };
        let Some(report) = gating::passed(tx, &in_force, &row, &version, &transition).await? else { continue };
        super::enter(tx, row, version, (to, leaves), Some(report), pb::StageChangeCause::Automatic).await?;
    }
    Ok(())
}

fn standing(version: &pb::Version) -> Standing {
    Standing {
        stage: candidate(version).stage,
        untouched: version.stage_time == version.create_time,
        entered_automatically: version.entered_automatically,
        number: version.number,
    }
}
