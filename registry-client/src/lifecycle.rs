//! Stages, and the log of all that happened.

use crate::call::setters;
use crate::names::complete;
use crate::{Call, RegistryClient, pb};

/// Stages, and the log of all that happened. For what is happening, see [`watch`](Self::watch).
impl RegistryClient {
    /// Moves a version to a stage, and the version that held it to where the model's policy says, at once.
    ///
    /// [`is_failed_precondition`](crate::Error::is_failed_precondition) if the version or the policy rules it out. If gates keep it out,
    /// [`failed_gates`](crate::Error::failed_gates) says which; [`policies`](crate::policies) is about them.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use registry_client::pb::Stage;
    ///
    /// client.transition_stage("fraud/versions/7", Stage::Staging).comment("to be looked at").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn transition_stage(&self, version: impl Into<String>, stage: pb::Stage) -> Call<pb::TransitionStageRequest> {
        let (name, stage) = (complete(version), stage.into());
        self.call(pb::TransitionStageRequest { name, stage, ..Default::default() })
    }

    /// Moves a version to production: short for [`transition_stage`](Self::transition_stage).
    pub fn promote(&self, version: impl Into<String>) -> Call<pb::TransitionStageRequest> {
        self.transition_stage(version, pb::Stage::Production)
    }

    /// Up to 100 moves in one revision: all of them or none. Each sees what those before it did.
    pub fn batch_transition_stages(
        &self,
        moves: impl IntoIterator<Item = pb::TransitionStageRequest>,
    ) -> Call<pb::BatchTransitionStagesRequest> {
        let complete =
            |step: pb::TransitionStageRequest| pb::TransitionStageRequest { name: complete(step.name), ..step };
        let requests = moves.into_iter().map(complete).collect();
        self.call(pb::BatchTransitionStagesRequest { requests, ..Default::default() })
    }

    /// Gives a stage back to the version that held it before.
    pub fn rollback_stage(&self, model: impl Into<String>, stage: pb::Stage) -> Call<pb::RollbackStageRequest> {
        let (name, stage) = (complete(model), stage.into());
        self.call(pb::RollbackStageRequest { name, stage, ..Default::default() })
    }

    /// Gives production back: short for [`rollback_stage`](Self::rollback_stage).
    pub fn rollback(&self, model: impl Into<String>) -> Call<pb::RollbackStageRequest> {
        self.rollback_stage(model, pb::Stage::Production)
    }

    /// What happened: everywhere, or to [`parent`](Call::parent) and all below it.
    pub fn list_events(&self) -> Call<pb::ListEventsRequest> {
        self.call(pb::ListEventsRequest::default())
    }

    /// One event: `events/{revision}-{index}`.
    pub fn get_event(&self, name: impl Into<String>) -> Call<pb::GetEventRequest> {
        self.call(pb::GetEventRequest { name: name.into() })
    }
}

setters!(TransitionStageRequest {
    /// What becomes of the version that holds the stage; without it, what the model's policy says.
    incumbent(action: pb::IncumbentAction) |r| r.incumbent = action.into();
    /// Why, for the audit trail.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
    /// Let it in whatever its gates say, for this reason, which takes the place of the comment.
    override_gates(reason: impl Into<String>) |r| {
        r.override_gates = true;
        r.comment = reason.into();
    };
});

setters!(RollbackStageRequest {
    /// What becomes of the version that holds the stage; without it, what the model's policy says.
    incumbent(action: pb::IncumbentAction) |r| r.incumbent = action.into();
    /// Why, for the audit trail.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
    /// Only if this is still the model's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(ListEventsRequest {
    /// Of this resource and of all below it: a namespace, a model, or a version by its number.
    parent(name: impl Into<String>) |r| r.parent = complete(name);
    /// Of these types only: `version.created`, or `version.*` for all of a kind. See [`event_type`](crate::known::event_type).
    types(types: impl IntoIterator<Item = impl Into<String>>) |r| r.types = types.into_iter().map(Into::into).collect();
    /// Only what meets this condition, in CEL: `event.actor == "ana" && has(event.stage_change)`. A page may be short or empty and not be
    /// the last; `stream()` goes on.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// `revision` (the default: oldest first) or `revision desc`.
    order_by(order: impl Into<String>) |r| r.order_by = order.into();
    /// Only what happened at this time or later.
    start_time(time: std::time::SystemTime) |r| r.start_time = Some(time.into());
    /// Only what happened before.
    end_time(time: std::time::SystemTime) |r| r.end_time = Some(time.into());
});
