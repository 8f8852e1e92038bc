//! Backups, and what the namespaces hold.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry_proto::v1::backup_response::Response as BackupMessage;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::task::spawn_blocking;

use crate::artifacts::Hasher;
use crate::call::setters;
use crate::destination::{Destination, NewFile};
use crate::work::Callback;
use crate::{Call, Error, RegistryClient, pb};

/// How many bytes are written to a file at once.
const BUFFER: usize = 1 << 20;

/// A backup that has not begun; see [`RegistryClient::backup`].
#[must_use = "nothing is backed up before write_to()"]
#[derive(Clone)]
pub struct Backup {
    client: RegistryClient,
    request: pb::BackupRequest,
    progress: Callback<BackupStep>,
}

/// How far a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupStep {
    /// The newest revision in the file.
    pub revision: i64,
    /// The revision that it is to be a backup of.
    pub of_revision: i64,
    /// Chunks of artifacts that are in the file.
    pub chunks: i64,
    /// Of how many; 0 until the log is there.
    pub of_chunks: i64,
    /// The file's bytes so far.
    pub bytes: i64,
}

impl RegistryClient {
    /// A backup of the whole registry at one revision, while it goes on working. `registry-server restore` makes a registry of it.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut backup = Vec::new();
    /// let completed = client.backup().write_to(&mut backup).await?;
    /// println!("revision {}: {} bytes", completed.revision, backup.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn backup(&self) -> Backup {
        Backup { client: self.clone(), request: pb::BackupRequest::default(), progress: None }
    }

    /// What the server that answers is, and how far the registry is: version, store, newest revision, archive. Of several servers one
    /// answers; a client of one endpoint asks that one.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let status = client.status().await?;
    /// println!("registry-server {} at revision {}", status.server_version, status.revision);
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> Call<pb::GetStatusRequest> {
        self.call(pb::GetStatusRequest::default())
    }

    /// What the server that answers measures, as Prometheus reads it.
    pub fn metrics(&self) -> Call<pb::GetMetricsRequest> {
        self.call(pb::GetMetricsRequest::default())
    }

    /// Lays a tombstone on a revision whose events can't be read, so that verifications count it as known.
    pub fn tombstone_revision(&self, revision: i64) -> Call<pb::TombstoneRevisionRequest> {
        self.call(pb::TombstoneRevisionRequest { revision, ..Default::default() })
    }

    /// What the artifacts of each namespace add up to, and may.
    pub fn list_usage(&self) -> Call<pb::ListUsageRequest> {
        self.call(pb::ListUsageRequest::default())
    }
}

setters!(GetMetricsRequest {
    /// The format of the text.
    format(format: pb::MetricsFormat) |r| r.format = format.into();
});

setters!(TombstoneRevisionRequest {
    /// Why, for the audit trail.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
});

impl Backup {
    /// Leave the bytes of the artifacts out.
    pub fn skip_artifacts(mut self, skip: bool) -> Self {
        self.request.skip_artifacts = skip;
        self
    }

    /// Calls back as it goes on.
    pub fn progress(mut self, callback: impl Fn(BackupStep) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// Writes the backup to a file, which is there, durably and for its owner's eyes only, once it is complete. A link is followed to
    /// its target; what is no regular file there (a device, a pipe) is written through.
    ///
    /// # Errors
    /// Those of [`write_to`](Self::write_to), with the path of the file.
    pub async fn to_file(self, path: impl Into<PathBuf>) -> Result<pb::BackupCompleted, Error> {
        let path = path.into();
        let given = path.clone();
        let opened = spawn_blocking(move || Open::at(&given)).await;
        let Open { new, file } = opened.map_err(|error| Error::io(&path, error.into()))??;
        let out = file.try_clone().map_err(|error| Error::io(&path, error))?;
        let out = BufWriter::with_capacity(BUFFER, tokio::fs::File::from_std(out));
        let completed = self.write_to(out).await.map_err(|error| match error {
            Error::Io { source, .. } => Error::io(&path, source),
            error => error,
        })?;
        if let Some(new) = new {
            let finished = spawn_blocking(move || new.finish(&file)).await;
            finished.map_err(Into::into).and_then(|done| done).map_err(|error| Error::io(&path, error))?;
        }
        Ok(completed)
    }

    /// Writes the backup and flushes the writer. What was written is a backup only if this ends well.
    ///
    /// # Errors
    /// What the registry says, [`Error::Transport`] if it goes away in between, [`Error::DigestMismatch`] if bytes were changed on
    /// the way, [`Error::Io`] with the path `backup` if they can't be written.
    pub async fn write_to(self, mut out: impl AsyncWrite + Unpin) -> Result<pb::BackupCompleted, Error> {
        let client = &self.client;
        let begin = |transport| client.receive(transport, self.request);
        let mut messages = client.retry().run(client.route(), "Backup", None, begin).await?;
        let failed = |error| Error::io("backup", error);
        let mut hasher = Hasher::default();
        let mut step = BackupStep { revision: 0, of_revision: 0, chunks: 0, of_chunks: 0, bytes: 0 };
        while let Some(message) = messages.message().await? {
            match message.response {
                Some(BackupMessage::Started(started)) => step.of_revision = started.revision,
                Some(BackupMessage::Data(bytes)) => {
                    hasher.update(&bytes);
                    step.bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
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
                    hasher.check("backup", completed.size_bytes.cast_unsigned(), &completed.sha256)?;
                    out.shutdown().await.map_err(failed)?;
                    return Ok(completed);
                }
                None => {}
            }
        }
        Err(Error::Protocol("a backup without its end"))
    }
}

/// What a backup is written to.
struct Open {
    /// Absent if it was there before, and can't be replaced.
    new: Option<NewFile>,
    file: File,
}

impl Open {
    /// Blocks.
    fn at(path: &Path) -> Result<Self, Error> {
        let opened = match Destination::of(path)? {
            Destination::File(path) => NewFile::beside(&path, true).map(|(new, file)| Self { new: Some(new), file }),
            Destination::Stream(path) => OpenOptions::new().write(true).open(path).map(|file| Self { new: None, file }),
        };
        opened.map_err(|error| Error::io(path, error))
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("request", &self.request).finish_non_exhaustive()
    }
}
