//! Making a backup: the log up to one revision, then the bytes that it speaks of. Writers go on meanwhile: the log only grows.

use std::collections::BTreeSet;

use bytes::Bytes;
use registry_common::hex;
use registry_proto::v1 as pb;
use registry_proto::v1::backup_response::Response;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::container::Sealer;
use super::history::History;
use super::named;
use crate::chunks::ChunkError;
use crate::error::Error;
use crate::registry::chain::Position;
use crate::registry::contents::{Owned, chunks_written};
use crate::registry::{Registry, count};
use crate::store::Revision;
use crate::stored::backup_frame::Frame;
use crate::stored::{BackupChunk, BackupHeader, LogGroup};

/// How many revisions are read from the log at once.
const READ: usize = 1024;
/// How many bytes a message has at most.
const MESSAGE: usize = 512 * 1024;
/// How many messages wait for the caller's connection: with the message's size this bounds a backup's memory.
const WAITING: usize = 8;

/// How many lost artifacts are listed at most.
const LOST_LISTED: usize = 1000;

type Message = Result<Response, Error>;

impl Registry {
    /// Begins a backup. It ends when the receiver is dropped.
    pub(crate) fn backup(&self, skip_artifacts: bool) -> mpsc::Receiver<Message> {
        let (out, receiver) = mpsc::channel(WAITING);
        let backup = Backup { registry: self.clone(), out: out.clone(), hasher: Sha256::new(), size: 0 };
        tokio::spawn(async move {
            if let Err(End::Failed(error)) = backup.run(skip_artifacts).await {
                // The caller may have gone; then nobody is left to be told.
                let _ = out.send(Err(error)).await;
            }
        });
        receiver
    }
}

/// Why a backup ends early.
enum End {
    Gone,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Backup {
    registry: Registry,
    out: mpsc::Sender<Message>,
    /// Over the whole file.
    hasher: Sha256,
    size: i64,
}

impl Backup {
    async fn run(mut self, skip_artifacts: bool) -> Result<(), End> {
        let revision = self.registry.store().newest().await?;
        self.send(Response::Started(pb::BackupStarted { revision: revision.cast_signed() })).await?;
        let (mut sealer, begin) =
            Sealer::begin(BackupHeader { after_hash: Position::start().hash, ..BackupHeader::default() });
        self.data(begin).await?;

        // Many artifacts may share a chunk.
        let mut wanted = BTreeSet::new();
        let registry = self.registry.clone();
        let mut history = History::of(&**registry.store(), registry.archive().map(|(place, _)| place));
        let mut at = 0;
        while at < revision {
            let began = Instant::now();
            let mut entries = history.next(READ).await?;
            entries.retain(|entry| entry.revision <= revision);
            let Some(last) = entries.last().map(|entry| entry.revision) else {
                return Err(
                    Error::internal(format!("the log ends at {at}, before its newest revision {revision}")).into()
                );
            };
            at = last;
            if !skip_artifacts {
                for entry in &entries {
                    wanted.extend(chunks_written(entry)?);
                }
            }
            let frame = sealer.seal(Frame::Log(LogGroup { entries }));
            // Half of the time is left to those who write meanwhile.
            tokio::time::sleep(began.elapsed()).await;
            self.data(frame).await?;
            self.progress(at, 0, 0).await?;
        }
        let in_all = count(wanted.len());
        let mut lost = BTreeSet::new();
        for (done, owned) in (1..).zip(wanted) {
            if !self.chunk(&mut sealer, &owned).await? {
                lost.insert(owned);
            }
            self.progress(revision, done, in_all).await?;
        }
        self.data(sealer.end(revision)).await?;
        let sha256 = hex(&self.hasher.finalize_reset());
        let lost_artifacts = named(&**self.registry.store(), &lost).await?;
        let completed = pb::BackupCompleted {
            revision: revision.cast_signed(),
            size_bytes: self.size,
            sha256,
            lost_artifact_count: count(lost_artifacts.len()),
            lost_artifacts: lost_artifacts.into_iter().take(LOST_LISTED).collect(),
        };
        self.send(Response::Completed(completed)).await
    }

    /// Sends a chunk; false if it is missing or damaged.
    async fn chunk(&mut self, sealer: &mut Sealer, (namespace, chunk): &Owned) -> Result<bool, End> {
        let sealed = match self.registry.chunks().sealed(namespace, chunk).await {
            Ok(sealed) => sealed,
            Err(ChunkError::Failed(error)) => return Err(error.into()),
            Err(_) => return Ok(false),
        };
        let blake3 = Bytes::copy_from_slice(&chunk.blake3);
        let frame = BackupChunk { namespace: namespace.clone(), blake3, size_bytes: chunk.size, sealed };
        self.data(sealer.seal(Frame::Chunk(frame))).await?;
        Ok(true)
    }

    async fn data(&mut self, mut bytes: Bytes) -> Result<(), End> {
        self.hasher.update(&bytes);
        self.size += count(bytes.len());
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(MESSAGE));
            self.send(Response::Data(piece)).await?;
        }
        Ok(())
    }

    async fn progress(&self, revision: Revision, chunks: i64, chunks_in_all: i64) -> Result<(), End> {
        let revision = revision.cast_signed();
        self.send(Response::Progress(pb::BackupProgress { revision, chunks, chunks_in_all })).await
    }

    async fn send(&self, response: Response) -> Result<(), End> {
        self.out.send(Ok(response)).await.map_err(|_| End::Gone)
    }
}
