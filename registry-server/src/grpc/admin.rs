//! `AdminService`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use registry_proto::v1 as pb;
use registry_proto::v1::admin_service_server::AdminService;
use registry_proto::v1::collect_garbage_response::Response as Collected;
use registry_proto::v1::scrub_response::Response as Scrubbed;
use registry_proto::v1::verify_response::Response as Verified;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::Services;
use super::call::{List, Messages, Reply, until};
use crate::backup::scrub::scrub;
use crate::backup::verify::verify;
use crate::error::{Error, Violations};
use crate::gc::{Plan, collect};
use crate::registry::validate;

/// How often a caller hears at most how far something is.
const PAUSE: Duration = Duration::from_millis(100);

#[tonic::async_trait]
impl AdminService for Services {
    async fn get_status(&self, request: Request<pb::GetStatusRequest>) -> Reply<pb::RegistryStatus> {
        let (about, draining) = (self.about.clone(), self.stopping.draining.clone());
        let read = |registry, ()| async move { about.status(&registry, &draining).await };
        self.read(request, |_, _| Some(()), read).await
    }

    async fn get_metrics(&self, request: Request<pb::GetMetricsRequest>) -> Reply<pb::GetMetricsResponse> {
        let metrics = self.metrics.clone();
        let to = |request: pb::GetMetricsRequest, found: &mut Violations| {
            let format = pb::MetricsFormat::try_from(request.format);
            if format.is_err() {
                found.invalid("format", "must be PROMETHEUS or OPEN_METRICS");
            }
            format.ok()
        };
        self.read(request, to, |_, format| async move { metrics.text(format).await }).await
    }

    type BackupStream = Messages<pb::BackupResponse>;

    async fn backup(&self, request: Request<pb::BackupRequest>) -> Reply<Self::BackupStream> {
        self.stream(
            request,
            |request, _| Some(request.skip_artifacts),
            |services, _, skip_artifacts| async move {
                let messages = ReceiverStream::new(services.registry.backup(skip_artifacts));
                let messages = messages.map_ok(|response| pb::BackupResponse { response: Some(response) });
                Ok(until(services.stopping.ending.clone(), messages))
            },
        )
        .await
    }

    type VerifyStream = Messages<pb::VerifyResponse>;

    async fn verify(&self, request: Request<pb::VerifyRequest>) -> Reply<Self::VerifyStream> {
        self.stream(
            request,
            |request, _| Some(request.skip_artifacts),
            |services, _, skip_artifacts| async move {
                let registry = services.registry.clone();
                let messages = services.reported(move |caller| async move {
                    let progress = |progress| {
                        caller.tell(Verified::Progress(progress));
                    };
                    let (store, chunks, archive) = (registry.store(), registry.chunks(), registry.archive().map(|(place, _)| place));
                    tokio::select! {
                        verified = verify(&**store, chunks, archive, skip_artifacts, progress) => Some(verified.map(Verified::Report)),
                        () = caller.out.closed() => None,
                    }
                });
                Ok(messages.map_ok(|response| pb::VerifyResponse { response: Some(response) }))
            },
        )
        .await
    }

    type CollectGarbageStream = Messages<pb::CollectGarbageResponse>;

    async fn collect_garbage(&self, request: Request<pb::CollectGarbageRequest>) -> Reply<Self::CollectGarbageStream> {
        self.stream(
            request,
            |request, found| {
                let grace = request.grace.map(|grace| validate::duration(found, "grace", &grace));
                Some((grace, request.validate_only))
            },
            |services, intent, (grace, validate_only)| async move {
                let grace = grace.unwrap_or(services.plan.grace);
                let plan = Plan { dry_run: validate_only, grace, ..services.plan };
                let registry = services.registry.clone();
                let messages = services.reported(move |caller| async move {
                    let progress = |phase: pb::CollectGarbagePhase, done| {
                        caller.tell(Collected::Progress(pb::CollectGarbageProgress { phase: phase.into(), done }))
                    };
                    Some(collect(&registry, &intent, &plan, progress).await.map(Collected::Report))
                });
                Ok(messages.map_ok(|response| pb::CollectGarbageResponse { response: Some(response) }))
            },
        )
        .await
    }

    type ScrubStream = Messages<pb::ScrubResponse>;

    async fn scrub(&self, request: Request<pb::ScrubRequest>) -> Reply<Self::ScrubStream> {
        self.stream(
            request,
            |request, _| Some(request.quarantine),
            |services, intent, quarantine| async move {
                let registry = services.registry.clone();
                let messages = services.reported(move |caller| async move {
                    let progress = |progress| caller.tell(Scrubbed::Progress(progress));
                    Some(scrub(&registry, &intent, quarantine, progress).await.map(Scrubbed::Report))
                });
                Ok(messages.map_ok(|response| pb::ScrubResponse { response: Some(response) }))
            },
        )
        .await
    }

    async fn tombstone_revision(&self, request: Request<pb::TombstoneRevisionRequest>) -> Reply<pb::Event> {
        self.act(
            request,
            |request, _| Some(request.revision),
            |registry, intent, revision| async move { registry.tombstone_revision(intent, revision).await },
        )
        .await
    }

    async fn list_usage(&self, request: Request<pb::ListUsageRequest>) -> Reply<pb::ListUsageResponse> {
        self.list(
            request,
            List::by(&["name"]),
            |_, _| Some(()),
            |registry, (), page| async move { registry.list_usage(&page).await },
        )
        .await
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
    ) -> BoxStream<'static, Result<T, Error>> {
        let (out, messages) = mpsc::channel(1);
        let work = work(Caller { out: out.clone(), last: Mutex::default() });
        tokio::spawn(async move {
            if let Some(last) = work.await {
                // The caller may have gone just now.
                let _ = out.send(last).await;
            }
        });
        until(self.stopping.draining.clone(), ReceiverStream::new(messages))
    }
}
