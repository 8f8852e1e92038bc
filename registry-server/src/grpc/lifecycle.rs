//! `LifecycleService`.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::lifecycle_service_server::LifecycleService;
use registry_proto::v1::watch_events_request::Start as WatchStart;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Services;
use super::paging::{self, Query};
use super::request::{both, no_filter, order, required};
use crate::convert;
use crate::error::{Error, Violations};
use crate::registry::events::Selection;
use crate::registry::stages::{Moved, Rollback, Transition, Transitions};
use crate::registry::validate;
use crate::registry::watch::Start;
use crate::rules::names::{ModelName, Parent, VersionName};
use crate::rules::stages::Stage;
use crate::status::status;

/// How many transitions a batch may hold.
const BATCH: usize = 100;

#[tonic::async_trait]
impl LifecycleService for Services {
    async fn transition_stage(
        &self,
        request: Request<pb::TransitionStageRequest>,
    ) -> Result<Response<pb::TransitionStageResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "TransitionStage", &request, &request.request_id, request.validate_only);
        let mut found = Violations::default();
        let transition = transition(&mut found, "", request);
        let (order, ()) = both(order, found.check())?;
        let transitions = Transitions(transition.into_iter().collect());
        let moved = self.registry.transition(order, transitions).await?;
        let moved = moved.into_iter().next().ok_or_else(|| Error::internal("a transition moved nothing"))?;
        Ok(Response::new(transitioned(moved)))
    }

    async fn batch_transition_stages(
        &self,
        request: Request<pb::BatchTransitionStagesRequest>,
    ) -> Result<Response<pb::BatchTransitionStagesResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "BatchTransitionStages", &request, &request.request_id, request.validate_only);
        let mut found = Violations::default();
        if !(1..=BATCH).contains(&request.requests.len()) {
            found.invalid("requests", format!("has {} entries; 1 to {BATCH} are allowed", request.requests.len()));
        }
        let mut transitions = Vec::new();
        for (i, request) in request.requests.into_iter().enumerate() {
            let at = format!("requests[{i}].");
            if !request.request_id.is_empty() || request.validate_only {
                found.invalid(at.trim_end_matches('.'), "must leave request_id and validate_only to the batch");
            }
            transitions.extend(transition(&mut found, &at, request));
        }
        let (order, ()) = both(order, found.check())?;
        let moved = self.registry.transition(order, Transitions(transitions)).await?;
        let revision = moved.first().map_or(0, |moved| moved.revision);
        let responses = moved.into_iter().map(transitioned).collect();
        Ok(Response::new(pb::BatchTransitionStagesResponse { responses, revision }))
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Result<Response<pb::RollbackResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "Rollback", &request, &request.request_id, request.validate_only);
        let mut found = Violations::default();
        let model = found.name("name", ModelName::parse(&request.name));
        let stage = match pb::Stage::try_from(request.stage) {
            Ok(pb::Stage::Unspecified | pb::Stage::Production) => Stage::Production,
            Ok(pb::Stage::Staging) => Stage::Staging,
            _ => {
                found.invalid("stage", "must be PRODUCTION or STAGING");
                Stage::Production
            }
        };
        let incumbent = convert::incumbent(request.incumbent)
            .map_err(|error| found.invalid("incumbent", error))
            .unwrap_or_default();
        validate::comment(&mut found, "comment", &request.comment);
        let (mut order, ()) = both(order, found.check())?;
        order.comment = request.comment;
        let model = required("name", model)?;
        let rollback = Rollback { model, stage, incumbent, etag: request.etag };
        let Moved { version, displaced, revision } = self.registry.rollback(order, rollback).await?;
        Ok(Response::new(pb::RollbackResponse { version: Some(version), displaced, revision }))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<pb::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let request = request.into_inner();
        no_filter(&request.filter)?;
        let selection = selection(&request.parent, &request.types)?;
        let start = match request.start {
            None | Some(WatchStart::Now(_)) => Start::Now,
            Some(WatchStart::AfterRevision(revision)) => Start::After(revision),
            Some(WatchStart::Snapshot(_)) => Start::Snapshot,
        };
        let messages = self.registry.watch(selection, start, self.draining.clone()).await?;
        let stream = ReceiverStream::new(messages).map(|message| message.map_err(|error| status(&error)));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let mut request = request.into_inner();
        no_filter(&request.filter)?;
        let size = paging::size(std::mem::take(&mut request.page_size))?;
        let token = std::mem::take(&mut request.page_token);
        let query = Query::new("ListEvents", &request);
        let selection = selection(&request.parent, &request.types)?;
        let after = match query.position(&token)? {
            None => 0,
            Some(position) => position
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| Error::field("page_token", ErrorReason::PageTokenInvalid, "is not a page token"))?,
        };
        let page = self.registry.list_events(&selection, after, size).await?;
        let next_page_token = page.next.map(|next| query.token(&next.to_be_bytes())).unwrap_or_default();
        Ok(Response::new(pb::ListEventsResponse { events: page.events, next_page_token }))
    }

    async fn get_event(&self, request: Request<pb::GetEventRequest>) -> Result<Response<pb::Event>, Status> {
        Ok(Response::new(self.registry.event(&request.get_ref().name).await?))
    }
}

/// Checks one transition; `at` is where its fields stand in the request.
fn transition(found: &mut Violations, at: &str, request: pb::TransitionStageRequest) -> Option<Transition> {
    let name = found.name(format!("{at}name"), VersionName::parse(&request.name));
    let to = convert::stage(request.stage);
    if to.is_none() {
        if request.stage == pb::Stage::Unspecified as i32 {
            found.required(format!("{at}stage"));
        } else {
            found.invalid(format!("{at}stage"), format!("has no value {}", request.stage));
        }
    }
    let incumbent = convert::incumbent(request.incumbent)
        .map_err(|error| found.invalid(format!("{at}incumbent"), error))
        .unwrap_or_default();
    validate::comment(found, &format!("{at}comment"), &request.comment);
    Some(Transition { name: name?, to: to?, incumbent, comment: request.comment, etag: request.etag })
}

fn transitioned(moved: Moved) -> pb::TransitionStageResponse {
    let Moved { version, displaced, revision } = moved;
    pb::TransitionStageResponse { version: Some(version), displaced, revision }
}

fn selection(parent: &str, types: &[i32]) -> Result<Selection, Error> {
    let mut found = Violations::default();
    let parent = found.name("parent", Parent::parse(parent));
    let mut known = Vec::with_capacity(types.len());
    for (i, number) in types.iter().enumerate() {
        match pb::EventType::try_from(*number) {
            Ok(r#type) if r#type != pb::EventType::Unspecified => known.push(r#type),
            _ => found.invalid(format!("types[{i}]"), format!("has no value {number}")),
        }
    }
    found.check()?;
    Ok(Selection { parent: required("parent", parent)?, types: known })
}
