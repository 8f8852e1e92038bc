use std::sync::Arc;
use std::time::Duration;

use registry_proto::v1::collect_garbage_response::Response as CollectMessage;
use registry_proto::v1::scrub_response::Response as ScrubMessage;

use crate::admin::{Callback, Step, report, service};
use crate::{Error, RegistryClient, pb};

/// A collection of garbage that has not begun; see [`RegistryClient::collect_garbage`].
#[must_use = "nothing is collected before run()"]
#[derive(Clone)]
pub struct CollectGarbage {
    client: RegistryClient,
    dry_run: bool,
    grace: Option<Duration>,
    progress: Callback<pb::CollectGarbageProgress>,
}

/// A scrub that has not begun; see [`RegistryClient::scrub`].
#[must_use = "nothing is read before run()"]
#[derive(Clone)]
pub struct Scrub {
    client: RegistryClient,
    quarantine: bool,
    progress: Callback<pb::ScrubProgress>,
}

impl RegistryClient {
    /// Purges versions that were deleted long ago, and removes the chunks that no artifact lists. Servers do so by themselves, too.
    pub fn collect_garbage(&self) -> CollectGarbage {
        CollectGarbage { client: self.clone(), dry_run: false, grace: None, progress: None }
    }

    /// Reads every chunk of every artifact, and finds those that are missing or damaged.
    pub fn scrub(&self) -> Scrub {
        Scrub { client: self.clone(), quarantine: false, progress: None }
    }
}

impl CollectGarbage {
    /// Only find out what would go.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Spare chunks that were written within this time, rather than within the time that the server is configured with.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Calls back as it goes on.
    pub fn progress(mut self, callback: impl Fn(pb::CollectGarbageProgress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// Collects. If this is dropped, or the registry goes away, the collection ends with its next step.
    ///
    /// # Errors
    /// What the registry says: `COLLECTION_RUNNING` if another collection is at work; [`Error::Transport`] if it goes away.
    pub async fn run(self) -> Result<pb::CollectGarbageReport, Error> {
        let client = &self.client;
        let invalid = |grace: Duration| Error::InvalidOption {
            option: "grace",
            value: format!("{grace:?}"),
            problem: "is too long".to_owned(),
        };
        let grace = self.grace.map(|grace| grace.try_into().map_err(|_| invalid(grace))).transpose()?;
        let begin = async |channel| {
            let request = client.request(pb::CollectGarbageRequest { dry_run: self.dry_run, grace });
            client.open(service(channel).collect_garbage(request)).await
        };
        let messages = client.retry().run(client.route(), "CollectGarbage", None, begin).await?;
        let step = |message: pb::CollectGarbageResponse| {
            Some(match message.response? {
                CollectMessage::Progress(progress) => Step::Progress(progress),
                CollectMessage::Report(report) => Step::Report(report),
            })
        };
        report(messages, step, &self.progress).await
    }
}

impl Scrub {
    /// Put damaged chunks aside, so that they are sent again when one of their artifacts is uploaded again.
    pub fn quarantine(mut self, quarantine: bool) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// Calls back as it goes on.
    pub fn progress(mut self, callback: impl Fn(pb::ScrubProgress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// Reads. That something is wrong is no error: it is in the report.
    ///
    /// # Errors
    /// What the registry says, or [`Error::Transport`] if it goes away in between.
    pub async fn run(self) -> Result<pb::ScrubReport, Error> {
        let client = &self.client;
        let begin = async |channel| {
            let request = client.request(pb::ScrubRequest { quarantine: self.quarantine });
            client.open(service(channel).scrub(request)).await
        };
        let messages = client.retry().run(client.route(), "Scrub", None, begin).await?;
        let step = |message: pb::ScrubResponse| {
            Some(match message.response? {
                ScrubMessage::Progress(progress) => Step::Progress(progress),
                ScrubMessage::Report(report) => Step::Report(report),
            })
        };
        report(messages, step, &self.progress).await
    }
}

impl std::fmt::Debug for CollectGarbage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("CollectGarbage");
        debug.field("dry_run", &self.dry_run).field("grace", &self.grace).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrub").field("quarantine", &self.quarantine).finish_non_exhaustive()
    }
}
