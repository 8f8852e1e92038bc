//! `AdminService`.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::admin_service_server::AdminService;
use registry_proto::v1::collect_garbage_response::Response as Collected;
use registry_proto::v1::scrub_response::Response as Scrubbed;
use registry_proto::v1::verify_response::Response as Verified;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Services;
use super::paging::{self, Query};
use super::request::{both, plain_order};
use crate::backup::scrub::scrub;
use crate::backup::verify::verify;
use crate::error::Error;
use crate::gc::{Plan, collect};
use crate::registry::lists::Page;
use crate::status::status;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How often a caller hears at most how far something is.
const PAUSE: Duration = Duration::from_millis(100);

#[tonic::async_trait]
impl AdminService for Services {
    type BackupStream = Messages<pb::BackupResponse>;

    async fn backup(&self, request: Request<pb::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let messages = ReceiverStream::new(self.registry.backup(request.into_inner().skip_artifacts));
        let messages = messages.map(|message| match message {
            Ok(response) => Ok(pb::BackupResponse { response: Some(response) }),
            Err(error) => Err(status(&error)),
        });
        Ok(Response::new(self.until_draining(messages)))
    }

    type VerifyStream = Messages<pb::VerifyResponse>;

    async fn verify(&self, request: Request<pb::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        let skip_artifacts = request.into_inner().skip_artifacts;
        let registry = self.registry.clone();
        let messages = self.reported(move |caller| async move {
            let progress = |progress| {
                caller.tell(Verified::Progress(progress));
            };
            tokio::select! {
                verified = verify(&**registry.store(), registry.chunks(), skip_artifacts, progress) => Some(verified.map(Verified::Report)),
                () = caller.out.closed() => None,
            }
        });
        let response = |response| pb::VerifyResponse { response: Some(response) };
        Ok(Response::new(Box::pin(messages.map_ok(response))))
    }

    type CollectGarbageStream = Messages<pb::CollectGarbageResponse>;

    async fn collect_garbage(
        &self,
        request: Request<pb::CollectGarbageRequest>,
    ) -> Result<Response<Self::CollectGarbageStream>, Status> {
        let (metadata, _, request) = request.into_parts();
        let grace = match request.grace.map(Duration::try_from) {
            None => Ok(self.plan.grace),
            Some(grace) => grace.map_err(|error| Error::field("grace", ErrorReason::FieldInvalid, error)),
        };
        let (order, grace) = both(plain_order(&metadata), grace)?;
        let plan = Plan { dry_run: request.dry_run, grace, ..self.plan.clone() };
        let registry = self.registry.clone();
        let messages = self.reported(move |caller| async move {
            let progress = |phase: pb::CollectGarbagePhase, done| {
                caller.tell(Collected::Progress(pb::CollectGarbageProgress { phase: phase.into(), done }))
            };
            Some(collect(&registry, &order, &plan, progress).await.map(Collected::Report))
        });
        let response = |response| pb::CollectGarbageResponse { response: Some(response) };
        Ok(Response::new(Box::pin(messages.map_ok(response))))
    }

    type ScrubStream = Messages<pb::ScrubResponse>;

    async fn scrub(&self, request: Request<pb::ScrubRequest>) -> Result<Response<Self::ScrubStream>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = plain_order(&metadata)?;
        let registry = self.registry.clone();
        let messages = self.reported(move |caller| async move {
            let progress = |progress| caller.tell(Scrubbed::Progress(progress));
            Some(scrub(&registry, &order, request.quarantine, progress).await.map(Scrubbed::Report))
        });
        let response = |response| pb::ScrubResponse { response: Some(response) };
        Ok(Response::new(Box::pin(messages.map_ok(response))))
    }

    async fn list_usage(
        &self,
        request: Request<pb::ListUsageRequest>,
    ) -> Result<Response<pb::ListUsageResponse>, Status> {
        let mut request = request.into_inner();
        let size = paging::size(std::mem::take(&mut request.page_size))?;
        let token = std::mem::take(&mut request.page_token);
        let query = Query::new("ListUsage", &request);
        let page = Page { size, after: query.position(&token)?, reverse: false, show_deleted: false };
        let listed = self.registry.list_usage(&page).await?;
        let next_page_token = listed.next.map(|next| query.token(&next)).unwrap_or_default();
        Ok(Response::new(pb::ListUsageResponse { namespaces: listed.items, next_page_token }))
    }
}

/// Who hears how far something is.
struct Caller<T> {
    out: mpsc::Sender<Result<T, Error>>,
    last: Mutex<Option<Instant>>,
}

impl<T> Caller<T> {
    /// Says how far it is, unless that was said just now; false if nobody wants to know any more.
    fn tell(&self, progress: T) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PAUSE) {
            // If the caller is behind, it will hear of a later step.
            let _ = self.out.try_send(Ok(progress));
            *last = Some(Instant::now());
        }
        !self.out.is_closed()
    }
}

impl Services {
    /// What a task of its own sends, and at last answers. The task has to see for itself that the caller is gone.
    fn reported<T: Send + 'static, W: Future<Output = Option<Result<T, Error>>> + Send + 'static>(
        &self,
        work: impl FnOnce(Caller<T>) -> W,
    ) -> Messages<T> {
        let (out, messages) = mpsc::channel(1);
        let work = work(Caller { out: out.clone(), last: Mutex::default() });
        tokio::spawn(async move {
            if let Some(last) = work.await {
                // The caller may have gone just now.
                let _ = out.send(last).await;
            }
        });
        self.until_draining(ReceiverStream::new(messages).map(|message| message.map_err(|error| status(&error))))
    }

    /// A stream that ends with UNAVAILABLE when the server stops.
    fn until_draining<T: Send + 'static>(
        &self,
        messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Messages<T> {
        let mut draining = self.draining.clone();
        let drained = async move {
            // An error means that the server is gone.
            let _ = draining.wait_for(|draining| *draining).await;
        };
        let draining = self.draining.clone();
        let end = futures::stream::once(async move { draining.borrow().then(|| Err(status(&Error::Draining))) });
        Box::pin(messages.take_until(drained).chain(end.filter_map(std::future::ready)))
    }
}
