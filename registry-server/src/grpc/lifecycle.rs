//! `LifecycleService`.

use registry_proto::v1 as pb;
use registry_proto::v1::lifecycle_service_server::LifecycleService;
use registry_proto::v1::watch_events_request::Start as WatchStart;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::Services;
use super::call::{Messages, Reply, no_filter};
use crate::convert;
use crate::error::Violations;
use crate::registry::events::Selection;
use crate::registry::stages::{Rollback, Transition, TransitionTogether};
use crate::registry::validate;
use crate::registry::watch::Start;
use crate::rules::names::{MODELS, Name, VERSIONS};
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
                    validate::comment(found, "comment", &request.comment);
                    transition(request, found)
                }));
            }
            Some(TransitionTogether(transitions))
        })
        .await
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Reply<pb::RollbackResponse> {
        self.change(request, |request, found| {
            let model = found.name("name", &MODELS, &request.name);
            let stage = match request.stage {
                0 => Some(Stage::Production),
                number => convert::stage(number).filter(|stage| stage.is_stacked()),
            };
            if stage.is_none() {
                found.invalid("stage", "must be PRODUCTION or STAGING");
            }
            let incumbent = convert::incumbent("incumbent", request.incumbent, found);
            Some(Rollback { model: model?, stage: stage?, incumbent, etag: request.etag })
        })
        .await
    }

    type WatchEventsStream = Messages<pb::WatchEventsResponse>;

    async fn watch_events(&self, request: Request<pb::WatchEventsRequest>) -> Reply<Self::WatchEventsStream> {
        no_filter(&request.get_ref().filter)?;
        self.stream(
            request,
            |request, found| {
                let selection = selection(&request.parent, &request.types, found);
                let start = match request.start {
                    None | Some(WatchStart::Now(_)) => Start::Now,
                    Some(WatchStart::AfterRevision(revision)) => Start::After(revision),
                    Some(WatchStart::Snapshot(_)) => Start::Snapshot,
                };
                Some((selection?, start))
            },
            |services, _, (selection, start)| async move {
                let messages = services.registry.watch(selection, start, services.draining).await?;
                Ok(ReceiverStream::new(messages))
            },
        )
        .await
    }

    async fn list_events(&self, request: Request<pb::ListEventsRequest>) -> Reply<pb::ListEventsResponse> {
        self.list(
            request,
            &["revision"],
            |request, found| selection(&request.parent, &request.types, found),
            |registry, selection, page| async move { registry.list_events(&selection, &page).await },
        )
        .await
    }

    async fn get_event(&self, request: Request<pb::GetEventRequest>) -> Reply<pb::Event> {
        self.read(request, |request, _| Some(request.name), |registry, name| async move { registry.event(&name).await })
            .await
    }
}

fn transition(request: pb::TransitionStageRequest, found: &mut Violations) -> Option<Transition> {
    let name = found.name("name", &VERSIONS, &request.name);
    let to = convert::stage(request.stage);
    match request.stage {
        0 => found.required("stage"),
        number if to.is_none() => found.invalid("stage", format!("has no value {number}")),
        _ => {}
    }
    let incumbent = convert::incumbent("incumbent", request.incumbent, found);
    Some(Transition { name: name?, to: to?, incumbent, comment: request.comment, etag: request.etag })
}

fn selection(parent: &str, types: &[i32], found: &mut Violations) -> Option<Selection> {
    let parent = found.parsed("parent", Name::parse_scope(parent));
    let mut known = Vec::with_capacity(types.len());
    for (i, number) in types.iter().enumerate() {
        match pb::EventType::try_from(*number) {
            Ok(r#type) if r#type != pb::EventType::Unspecified => known.push(r#type),
            _ => found.invalid(format!("types[{i}]"), format!("has no value {number}")),
        }
    }
    Some(Selection { parent: parent?, types: known })
}
