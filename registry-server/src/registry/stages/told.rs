//! What events tell of a change of stage.

use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::stage_number;
use crate::registry::transaction::event;
use crate::rules::stages::Stage;

pub(in crate::registry) fn stage_change(from: Stage, to: Stage, cause: pb::StageChangeCause) -> pb::StageChange {
    pb::StageChange { from_stage: stage_number(from), to_stage: stage_number(to), cause: cause.into() }
}

/// The event of a version that moves, to be completed.
pub(super) fn transitioned(from: Stage, to: Stage, cause: pb::StageChangeCause) -> pb::Event {
    let stage_change = Some(stage_change(from, to, cause));
    pb::Event { stage_change, ..event(event_type::VERSION_STAGE_TRANSITIONED) }
}

/// The event of a version that is where it was to go.
pub(super) fn stayed(version: pb::Version, stage: Stage, cause: pb::StageChangeCause) -> pb::Event {
    let before = pb::Version { name: version.name.clone(), ..Default::default() };
    pb::Event {
        resource_name: version.name.clone(),
        before: Some(before.into_resource()),
        after: Some(version.into_resource()),
        ..transitioned(stage, stage, cause)
    }
}
