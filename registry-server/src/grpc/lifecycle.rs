//! `LifecycleService`.

use registry_proto::v1 as pb;
use registry_proto::v1::lifecycle_service_server::LifecycleService;
use tonic::Request;

use super::Services;
use super::call::{Reply, check_comment};
use crate::error::Violations;
use crate::registry::policies::incumbent;
use crate::registry::stages::{Rollback, Transition, TransitionTogether, stage};
use crate::rules::names::{MODELS, VERSIONS};
use crate::rules::stages::Stage;

/// How many transitions a batch may hold.
const BATCH: usize = 100;

#[tonic::async_trait]
impl LifecycleService for Services {
    async fn transition_stage(
        &self,
        request: Request<pb::TransitionStageRequest>,
    ) -> Reply<pb::TransitionStageResponse> {
        self.change(request, transition).await
    }

    async fn batch_transition_stages(
        &self,
        request: Request<pb::BatchTransitionStagesRequest>,
    ) -> Reply<pb::BatchTransitionStagesResponse> {
        self.change(request, |request, found| {
            if !(1..=BATCH).contains(&request.requests.len()) {
                found.invalid("requests", format!("has {} entries; 1 to {BATCH} are allowed", request.requests.len()));
            }
            let mut transitions = Vec::new();
            for (i, request) in request.requests.into_iter().enumerate() {
                if !request.request_id.is_empty() || request.validate_only {
                    found.invalid(format!("requests[{i}]"), "must leave request_id and validate_only to the batch");
                }
                transitions.extend(found.within(format!("requests[{i}]"), |found| {
                    check_comment("comment", &request.comment, found);
                    transition(request, found)
                }));
            }
            Some(TransitionTogether(transitions))
        })
        .await
    }

    async fn rollback_stage(&self, request: Request<pb::RollbackStageRequest>) -> Reply<pb::RollbackStageResponse> {
        self.change(request, |request, found| {
            let model = found.name("name", &MODELS, &request.name);
            let stage = match request.stage {
                0 => Some(Stage::Production),
                number => stage(number).filter(|stage| stage.is_stacked()),
            };
            if stage.is_none() {
                found.invalid("stage", "must be production or staging");
            }
            let incumbent = incumbent("incumbent", request.incumbent, found);
            Some(Rollback { model: model?, stage: stage?, incumbent, etag: request.etag })
        })
        .await
    }
}

fn transition(request: pb::TransitionStageRequest, found: &mut Violations) -> Option<Transition> {
    let name = found.name("name", &VERSIONS, &request.name);
    let to = stage(request.stage);
    match request.stage {
        0 => found.required("stage"),
        number if to.is_none() => found.invalid("stage", format!("has no value {number}")),
        _ => {}
    }
    let incumbent = incumbent("incumbent", request.incumbent, found);
    let pb::TransitionStageRequest { comment, etag, override_gates, .. } = request;
    if override_gates && comment.is_empty() {
        found.required("comment");
    }
    Some(Transition { name: name?, to: to?, incumbent, comment, etag, override_gates, approval: String::new() })
}
