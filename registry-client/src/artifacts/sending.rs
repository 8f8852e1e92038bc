//! Sending chunks: only those that the registry lacks, several batches at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use registry_common::chunks::Chunk;
use registry_proto::rpc::Request as _;
use tokio::task::JoinSet;

use super::cut::Piece;
use crate::progress::FileMeter;
use crate::retry::Failures;
use crate::transport::{self, Transport};
use crate::{Error, RegistryClient, pb};

/// How many chunks are sent in one call: with what is under way at once, this bounds the memory of an upload.
pub(super) const BATCH: usize = 8;
/// How many calls send at once.
const AT_ONCE: usize = 2;

/// An artifact on its way.
pub(super) struct Sending {
    batches: Batches,
    chunks: Vec<Chunk>,
    /// Chunks that the registry has, up to the first one that it lacks. If it has them all, it need not hear of their places.
    held: Vec<(u32, Chunk)>,
    /// One was lacking.
    lacking: bool,
    calls: JoinSet<Result<(), Error>>,
}

#[derive(Clone)]
struct Batches {
    client: RegistryClient,
    parent: String,
    upload_id: String,
    meter: FileMeter,
}

impl Sending {
    pub(super) fn new(client: &RegistryClient, parent: &str, upload_id: &str, meter: FileMeter) -> Self {
        let (client, parent, upload_id) = (client.clone(), parent.to_owned(), upload_id.to_owned());
        let batches = Batches { client, parent, upload_id, meter };
        Self { batches, chunks: Vec::new(), held: Vec::new(), lacking: false, calls: JoinSet::new() }
    }

    /// Takes the next chunks, in order; waits while too many are under way.
    pub(super) async fn take(&mut self, pieces: Vec<Piece>) -> Result<(), Error> {
        self.chunks.extend(pieces.iter().map(|piece| piece.chunk));
        let missing = self.batches.missing(&pieces).await?;
        let (missing, there): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|piece| missing.contains(&piece.chunk));
        there.iter().for_each(|piece| self.batches.meter.there(piece.bytes.len()));
        self.held.extend(there.iter().map(|piece| (piece.position, piece.chunk)));
        self.lacking |= !missing.is_empty();
        if !self.lacking {
            return Ok(());
        }
        while self.calls.len() >= AT_ONCE {
            self.one_done().await?;
        }
        let held = std::mem::take(&mut self.held);
        self.calls.spawn(self.batches.clone().send(held, missing));
        Ok(())
    }

    async fn one_done(&mut self) -> Result<(), Error> {
        match self.calls.join_next().await {
            Some(Ok(sent)) => sent,
            Some(Err(_)) => Err(Error::Protocol("a task that sent chunks panicked")),
            None => Ok(()),
        }
    }

    /// Waits until the registry has all chunks; answers them in order.
    pub(super) async fn finish(mut self) -> Result<Vec<Chunk>, Error> {
        while !self.calls.is_empty() {
            self.one_done().await?;
        }
        Ok(self.chunks)
    }
}

impl Batches {
    /// Which of the pieces the registry lacks.
    async fn missing(&self, pieces: &[Piece]) -> Result<HashSet<Chunk>, Error> {
        let blake3 = pieces.iter().map(|piece| Bytes::copy_from_slice(&piece.chunk.blake3)).collect();
        let request = pb::FindMissingChunksRequest { parent: self.parent.clone(), blake3 };
        let answer = self.client.call(request).await?;
        let missing = answer.missing.iter().map(|place| pieces.get(*place as usize).map(|piece| piece.chunk));
        missing.collect::<Option<_>>().ok_or(Error::Protocol("chunks are missing that were not asked for"))
    }

    /// Sends pieces until the registry has them. As long as some arrive each time, it goes on.
    async fn send(self, held: Vec<(u32, Chunk)>, mut pieces: Vec<Piece>) -> Result<(), Error> {
        let mut route = self.client.route();
        let mut failures = Failures::new(self.client.retry(), route.budget(), None);
        loop {
            match self.attempt(route.next(), &held, &pieces).await {
                Err(error) if error.is_unavailable() => {
                    failures.wait(&mut route, error, pb::UploadChunksRequest::METHOD).await?;
                }
                sent => {
                    route.ended(&sent);
                    if sent.is_ok() {
                        failures.forget();
                    }
                    return sent;
                }
            }
            let missing = self.missing(&pieces).await?;
            let before = pieces.len();
            let arrived = pieces.iter().filter(|piece| !missing.contains(&piece.chunk));
            arrived.for_each(|piece| self.meter.there(piece.bytes.len()));
            pieces.retain(|piece| missing.contains(&piece.chunk));
            if pieces.len() < before {
                failures.forget();
            }
        }
    }

    async fn attempt(&self, transport: Transport, held: &[(u32, Chunk)], pieces: &[Piece]) -> Result<(), Error> {
        let first = pb::UploadChunksRequest {
            parent: self.parent.clone(),
            upload_id: self.upload_id.clone(),
            ..Default::default()
        };
        let message = |position: u32, chunk: &Chunk, data: Bytes| pb::UploadChunksRequest {
            position: position.cast_signed(),
            blake3: Bytes::copy_from_slice(&chunk.blake3),
            size_bytes: chunk.size.into(),
            data,
            ..Default::default()
        };
        let mut messages = vec![first];
        messages.extend(held.iter().map(|(position, chunk)| message(*position, chunk, Bytes::new())));
        messages.extend(pieces.iter().map(|piece| message(piece.position, &piece.chunk, piece.bytes.clone())));
        // Counted when they leave, so that a slow line shows progress.
        let (sent, meter) = (Arc::new(AtomicUsize::new(0)), self.meter.clone());
        let counted = Arc::clone(&sent);
        let messages = stream::iter(messages).inspect(move |message| {
            counted.fetch_add(message.data.len(), Ordering::Relaxed);
            meter.moved(message.data.len());
        });
        match transport::send(transport, self.client.request(messages)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.meter.lost(sent.load(Ordering::Relaxed));
                Err(error)
            }
        }
    }
}
