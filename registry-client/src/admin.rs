use std::sync::Arc;

use registry_proto::v1::admin_service_client::AdminServiceClient;
use registry_proto::v1::backup_response::Response as BackupMessage;
use registry_proto::v1::verify_response::Response as VerifyMessage;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::artifacts::Hasher;
use crate::call::rpcs;
use crate::client::MAX_MESSAGE_BYTES;
use crate::{Call, Error, RegistryClient, pb};

rpcs!(AdminServiceClient<tonic::transport::Channel> {
    reads {}
    lists {
        list_usage(ListUsageRequest) -> ListUsageResponse.namespaces: NamespaceUsage;
    }
    mutations {}
});

/// What a caller's progress function is.
pub(crate) type Callback<T> = Option<Arc<dyn Fn(T) + Send + Sync>>;

/// A backup that has not begun; see [`RegistryClient::backup`].
#[must_use = "nothing is backed up before write_to()"]
#[derive(Clone)]
pub struct Backup {
    client: RegistryClient,
    skip_artifacts: bool,
    progress: Callback<BackupStep>,
}

/// How far a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupStep {
    /// The newest revision in the file.
    pub revision: u64,
    /// The revision that it is to be a backup of.
    pub of_revision: u64,
    /// Chunks of artifacts that are in the file.
    pub chunks: u64,
    /// Of how many; 0 until the log is there.
    pub of_chunks: u64,
    /// The file's bytes so far.
    pub bytes: u64,
}

/// A verification that has not begun; see [`RegistryClient::verify`].
#[must_use = "nothing is verified before run()"]
#[derive(Clone)]
pub struct Verify {
    client: RegistryClient,
    skip_artifacts: bool,
    progress: Callback<pb::VerifyProgress>,
}

impl RegistryClient {
    /// A backup of the whole registry at one revision, while it goes on working. `registry-server restore` makes a registry of it.
    pub fn backup(&self) -> Backup {
        Backup { client: self.clone(), skip_artifacts: false, progress: None }
    }

    /// Checks the whole registry: the hash chain, the state against the log, the bytes of every artifact. It takes a while.
    pub fn verify(&self) -> Verify {
        Verify { client: self.clone(), skip_artifacts: false, progress: None }
    }

    /// What the artifacts of each namespace add up to, and may.
    pub fn list_usage(&self) -> Call<pb::ListUsageRequest> {
        self.call(pb::ListUsageRequest::default())
    }
}

pub(crate) fn service(channel: Channel) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

impl Backup {
    /// Leave the bytes of the artifacts out.
    pub fn skip_artifacts(mut self, skip: bool) -> Self {
        self.skip_artifacts = skip;
        self
    }

    /// Calls back as it goes on.
    pub fn progress(mut self, callback: impl Fn(BackupStep) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// Writes the backup and flushes the writer. What was written is a backup only if this ends well.
    ///
    /// # Errors
    /// What the registry says, [`Error::Transport`] if it goes away in between, [`Error::DigestMismatch`] if bytes were changed on
    /// the way, [`Error::Io`] with the path `backup` if they can't be written.
    pub async fn write_to(self, mut out: impl AsyncWrite + Unpin) -> Result<pb::BackupCompleted, Error> {
        let client = &self.client;
        let begin = async |channel| {
            let request = client.request(pb::BackupRequest { skip_artifacts: self.skip_artifacts });
            client.open(service(channel).backup(request)).await
        };
        let mut messages = client.retry().run(client.route(), "Backup", None, begin).await?;
        let failed = |error| Error::io("backup", error);
        let mut hasher = Hasher::default();
        let mut step = BackupStep { revision: 0, of_revision: 0, chunks: 0, of_chunks: 0, bytes: 0 };
        while let Some(message) = messages.message().await? {
            match message.response {
                Some(BackupMessage::Started(started)) => step.of_revision = started.revision,
                Some(BackupMessage::Data(bytes)) => {
                    hasher.update(&bytes);
                    step.bytes += bytes.len() as u64;
                    out.write_all(&bytes).await.map_err(failed)?;
                }
                Some(BackupMessage::Progress(progress)) => {
                    step.revision = progress.revision;
                    step.chunks = progress.chunks;
                    step.of_chunks = progress.chunks_in_all;
                    if let Some(callback) = &self.progress {
                        callback(step.clone());
                    }
                }
                Some(BackupMessage::Completed(completed)) => {
                    hasher.check("backup", completed.size_bytes, &completed.sha256)?;
                    out.shutdown().await.map_err(failed)?;
                    return Ok(completed);
                }
                None => {}
            }
        }
        Err(Error::Protocol("a backup without its end"))
    }
}

impl Verify {
    /// Check no bytes of artifacts.
    pub fn skip_artifacts(mut self, skip: bool) -> Self {
        self.skip_artifacts = skip;
        self
    }

    /// Calls back as it goes on.
    pub fn progress(mut self, callback: impl Fn(pb::VerifyProgress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// Verifies. That something is wrong is no error: it is in the report.
    ///
    /// # Errors
    /// What the registry says, or [`Error::Transport`] if it goes away in between.
    pub async fn run(self) -> Result<pb::VerifyReport, Error> {
        let client = &self.client;
        let begin = async |channel| {
            let request = client.request(pb::VerifyRequest { skip_artifacts: self.skip_artifacts });
            client.open(service(channel).verify(request)).await
        };
        let messages = client.retry().run(client.route(), "Verify", None, begin).await?;
        let step = |message: pb::VerifyResponse| {
            Some(match message.response? {
                VerifyMessage::Progress(progress) => Step::Progress(progress),
                VerifyMessage::Report(report) => Step::Report(report),
            })
        };
        report(messages, step, &self.progress).await
    }
}

/// A message of work that tells how far it is, and at last what came of it.
pub(crate) enum Step<P, R> {
    Progress(P),
    Report(R),
}

/// Follows such work to its report.
pub(crate) async fn report<M, P, R>(
    mut messages: Streaming<M>,
    step: impl Fn(M) -> Option<Step<P, R>>,
    progress: &Callback<P>,
) -> Result<R, Error> {
    while let Some(message) = messages.message().await? {
        match (step(message), progress) {
            (Some(Step::Progress(progress)), Some(callback)) => callback(progress),
            (Some(Step::Report(report)), _) => return Ok(report),
            // Nobody wants to know how far it is, or it is something newer.
            _ => {}
        }
    }
    Err(Error::Protocol("work that ended without its report"))
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("skip_artifacts", &self.skip_artifacts).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Verify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verify").field("skip_artifacts", &self.skip_artifacts).finish_non_exhaustive()
    }
}
