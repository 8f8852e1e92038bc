//! What events tell of a change of stage, and how answers are read back from them.

use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::stage_number;
use crate::error::Error;
use crate::registry::Committed;
use crate::registry::transaction::{event, resource_of};
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
    unchanged(version, transitioned(stage, stage, cause))
}

/// An event of a version that changes nothing of it.
pub(super) fn unchanged(version: pb::Version, event: pb::Event) -> pb::Event {
    let before = pb::Version { name: version.name.clone(), ..Default::default() };
    pb::Event {
        resource_name: version.name.clone(),
        before: Some(before.into_resource()),
        after: Some(version.into_resource()),
        ..event
    }
}

/// Reads the results of transitions back from their events: each that is not a displacement begins a result.
pub(in crate::registry) fn moves(
    Committed { revision, events }: Committed,
) -> Result<Vec<pb::TransitionStageResponse>, Error> {
    let revision = revision.cast_signed();
    let mut moved: Vec<pb::TransitionStageResponse> = Vec::new();
    for mut event in events.into_iter().filter(|event| event.r#type != event_type::VERSION_GATES_OVERRIDDEN) {
        let (change, gates) = (event.stage_change, event.gates.take());
        let displaced = change.is_some_and(|change| change.cause() == pb::StageChangeCause::Displaced);
        let version = resource_of::<pb::Version>(event)?;
        // Without a change it stays where it was.
        let from_stage = change.map_or(version.stage, |change| change.from_stage);
        match moved.last_mut() {
            Some(last) if displaced => last.displaced.push(version),
            _ => {
                let (version, displaced) = (Some(version), Vec::new());
                moved.push(pb::TransitionStageResponse { version, displaced, revision, from_stage, gates });
            }
        }
    }
    Ok(moved)
}

/// The only one of them.
pub(super) fn first(moved: Vec<pb::TransitionStageResponse>) -> Result<pb::TransitionStageResponse, Error> {
    moved.into_iter().next().ok_or_else(|| Error::internal("a transition moved nothing"))
}
