//! Work of the registry's own that takes a while: it verifies itself, reads all its bytes, collects its garbage.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use registry_proto::rpc::Request;

use crate::{Error, RegistryClient, pb};

/// What a caller's progress function is.
pub(crate) type Callback<T> = Option<Arc<dyn Fn(T) + Send + Sync>>;

/// A request for work whose answers tell how far it is, and at last what came of it.
pub trait Job: Request {
    /// How far the work is.
    type Progress;
    /// What came of it.
    type Report: Send;

    /// What an answer tells; `None` if that is something newer than this client.
    #[doc(hidden)]
    fn told(answer: Self::Response) -> Option<Told<Self>>;
}

/// What an answer to a [`Job`] tells.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "it is passed on at once")]
pub enum Told<Q: Job> {
    Progress(Q::Progress),
    Report(Q::Report),
}

macro_rules! jobs {
    ($($request:ident($answer:ident) -> $progress:ident, $report:ident;)*) => {
        $(impl Job for pb::$request {
            type Progress = pb::$progress;
            type Report = pb::$report;

            fn told(answer: Self::Response) -> Option<Told<Self>> {
                Some(match answer.response? {
                    pb::$answer::Response::Progress(progress) => Told::Progress(progress),
                    pb::$answer::Response::Report(report) => Told::Report(report),
                })
            }
        })*
    };
}

jobs! {
    VerifyRequest(verify_response) -> VerifyProgress, VerifyReport;
    ScrubRequest(scrub_response) -> ScrubProgress, ScrubReport;
    CollectGarbageRequest(collect_garbage_response) -> CollectGarbageProgress, CollectGarbageReport;
}

/// Work that has not begun: set what is optional, then `.await` it for its report. That something is wrong with the registry is no
/// error: it is in the report.
///
/// If it is dropped, or the connection breaks, the registry ends it with its next step. It then fails with
/// [`Error::Transport`] and may be begun again.
#[must_use = "nothing is done until this is awaited"]
#[derive(Clone)]
pub struct Work<Q: Job> {
    client: RegistryClient,
    request: Q,
    progress: Callback<Q::Progress>,
}

impl RegistryClient {
    /// Checks the whole registry: the hash chain, the state against the log, the bytes of every artifact. It takes a while.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let report = client.verify().progress(|step| eprintln!("{step:?}")).await?;
    /// assert_eq!(report.problem_count, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify(&self) -> Work<pb::VerifyRequest> {
        self.work(pb::VerifyRequest::default())
    }

    /// Reads every chunk of every artifact, and finds those that are missing or damaged.
    pub fn scrub(&self) -> Work<pb::ScrubRequest> {
        self.work(pb::ScrubRequest::default())
    }

    /// Purges versions that were deleted long ago, and removes the chunks that no artifact lists. Servers do so by themselves, too.
    ///
    /// Fails with `COLLECTION_RUNNING` if another collection is at work.
    pub fn collect_garbage(&self) -> Work<pb::CollectGarbageRequest> {
        self.work(pb::CollectGarbageRequest::default())
    }

    fn work<Q: Job>(&self, request: Q) -> Work<Q> {
        Work { client: self.clone(), request, progress: None }
    }
}

impl<Q: Job> Work<Q> {
    /// Calls back as it goes on.
    pub fn progress(mut self, callback: impl Fn(Q::Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    async fn run(self) -> Result<Q::Report, Error> {
        let client = &self.client;
        let begin = |transport| client.receive(transport, self.request.clone());
        let mut answers = client.retry().run(client.route(), Q::METHOD, None, begin).await?;
        while let Some(answer) = answers.message().await? {
            match (Q::told(answer), &self.progress) {
                (Some(Told::Progress(progress)), Some(callback)) => callback(progress),
                (Some(Told::Report(report)), _) => return Ok(report),
                (Some(Told::Progress(_)), None) | (None, _) => {}
            }
        }
        Err(Error::Protocol("work that ended without its report"))
    }
}

impl<Q: Job> IntoFuture for Work<Q> {
    type Output = Result<Q::Report, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Work<pb::VerifyRequest> {
    /// Check no bytes of artifacts.
    pub fn skip_artifacts(mut self, skip: bool) -> Self {
        self.request.skip_artifacts = skip;
        self
    }
}

impl Work<pb::ScrubRequest> {
    /// Put damaged chunks aside, so that they are sent again when one of their artifacts is uploaded again.
    pub fn quarantine(mut self, quarantine: bool) -> Self {
        self.request.quarantine = quarantine;
        self
    }
}

impl Work<pb::CollectGarbageRequest> {
    /// Only find out what would go.
    pub fn validate_only(mut self, validate_only: bool) -> Self {
        self.request.validate_only = validate_only;
        self
    }

    /// Spare chunks that were written within this time, rather than within the time that the server is configured with.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.request.grace = Some(wire(grace));
        self
    }
}

/// A time as requests have it.
pub(crate) fn wire(time: Duration) -> prost_types::Duration {
    let seconds = time.as_secs().try_into().unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: time.subsec_nanos().cast_signed() }
}

impl<Q: Job + fmt::Debug> fmt::Debug for Work<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("request", &self.request).finish_non_exhaustive()
    }
}
