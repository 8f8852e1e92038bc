//! What is done in a sweep.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use registry_common::chunks::Chunk;
use registry_proto::v1 as pb;
use tokio::time::{Instant, sleep};

use super::records::{Over, newest};
use super::{Begun, WAIT, is_running};
use crate::chunks::garbage::{Removal, Stored};
use crate::chunks::{ChunkError, Place};
use crate::error::Error;
use crate::registry::{Intent, Registry};
use crate::rules::garbage::Sweep;
use crate::store::StoreError;

/// How many chunks are removed at once: what S3 takes in one request.
const AT_ONCE: usize = 1000;
/// How long it waits before it asks a store again that has too much to do; each time twice as long.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

impl Registry {
    /// Removes chunks in a sweep, and then ends it, or gives it up if something of it may still happen. Answers what was removed.
    ///
    /// # Errors
    /// If not all were removed, except for those that the store refuses to remove.
    pub(crate) async fn remove(&self, intent: &Intent, begun: &Begun, chunks: Vec<Stored>) -> Result<Removal, Error> {
        let removal = self.remove_all(begun, chunks).await;
        self.tell_refusal(removal.refusal.as_ref());
        let removed = pb::Sweep {
            generation: begun.generation.cast_signed(),
            chunk_count: removal.chunks.cast_signed(),
            size_bytes: removal.bytes.cast_signed(),
            quarantine: begun.quarantine,
        };
        let over = if removal.unsettled {
            tracing::warn!(sweep = begun.generation, "it is not known what becomes of some chunks: they get new names");
            Over::GivenUp(removed)
        } else {
            Over::Ended(removed)
        };
        let committed = self.commit(intent.clone(), over).await;
        match removal.failure {
            Some(error) => Err(error.into()),
            None => committed.map(|()| removal),
        }
    }

    async fn remove_all(&self, begun: &Begun, mut chunks: Vec<Stored>) -> Removal {
        let mut all = Removal::default();
        let mut pause = PAUSE;
        while !chunks.is_empty() {
            // What others have given up has new names: to remove more would be of no use.
            match newest(&*self.store).await {
                Ok(Sweep { generation, under_way: true }) if generation == begun.generation => {}
                Ok(_) => {
                    let given_up = "others took the one who removes chunks for dead".to_owned();
                    all.failure = Some(StoreError::Unavailable(given_up));
                    break;
                }
                Err(error) => {
                    all.failure = Some(StoreError::Unavailable(error.to_string()));
                    break;
                }
            }
            let now = chunks.split_off(chunks.len().saturating_sub(AT_ONCE));
            let removal = self.chunks.remove(now, begun.deadline).await;
            all.chunks += removal.chunks;
            all.bytes += removal.bytes;
            all.refused += removal.refused;
            all.refusal = all.refusal.or(removal.refusal);
            all.unsettled |= removal.unsettled;
            all.failure = removal.failure;
            if all.failure.is_some() && removal.unsettled {
                break;
            }
            if !removal.again.is_empty() {
                if Instant::now() + pause >= begun.deadline {
                    break;
                }
                chunks.extend(removal.again);
                sleep(pause).await;
                pause = LONGEST_PAUSE.min(2 * pause);
            } else if removal.refused > 0 && removal.chunks == 0 {
                // The right to remove anything is missing.
                all.refused += chunks.len() as u64;
                break;
            } else {
                pause = PAUSE;
            }
        }
        all
    }

    /// Says that the store refuses to remove chunks: once, until it is otherwise.
    fn tell_refusal(&self, refusal: Option<&StoreError>) {
        let refused_before = self.sweeps.refused.swap(refusal.is_some(), Ordering::Relaxed);
        match refusal {
            Some(error) if !refused_before => {
                tracing::error!(%error, "the store refuses to remove chunks, which stay as garbage; this is said once");
            }
            None if refused_before => tracing::info!("chunks are removed again"),
            _ => {}
        }
    }

    /// Puts a chunk aside if it is damaged, as a reader has found.
    pub(crate) async fn put_aside_if_damaged(&self, namespace: &str, found: &ChunkError) -> Result<(), Error> {
        let ChunkError::Damaged { chunk, problem } = found else { return Ok(()) };
        tracing::error!(namespace, chunk = chunk.hex(), problem, "a chunk is damaged");
        // Bytes that are kept with a record can't be put aside, and others may have been faster.
        let names = self.chunks.names().await?;
        if !self.chunks.missing(&names, namespace, vec![chunk.blake3]).await?.is_empty() {
            return Ok(());
        }
        self.put_aside(&Intent::own(), vec![(namespace.to_owned(), *chunk)]).await.map(drop)
    }

    /// Puts those of some chunks aside that are damaged, so that they count as missing and may be looked at. A sweep, so that none is
    /// put aside that somebody has mended meanwhile and relies on. Answers how many were.
    pub(crate) async fn put_aside(&self, intent: &Intent, chunks: Vec<(String, Chunk)>) -> Result<i64, Error> {
        let (registry, intent) = (self.clone(), intent.clone());
        // On its own, so that the sweep ends even if the caller goes away.
        let sweeping = tokio::spawn(async move {
            let places = chunks.iter().map(|(namespace, chunk)| (namespace.clone(), chunk.blake3)).collect();
            let begun = registry.begin_in_turn(&intent, &places).await?;
            let mut damaged = Vec::new();
            let mut failure = Ok(());
            for (namespace, chunk) in &chunks {
                match registry.chunks.set_aside(namespace, chunk, begun.generation).await {
                    Ok(found) => damaged.extend(found),
                    Err(error) => failure = Err(error),
                }
            }
            let removal = registry.remove(&intent, &begun, damaged).await?;
            failure?;
            Ok(removal.chunks.cast_signed())
        });
        sweeping.await.map_err(Error::internal)?
    }

    /// Begins a quarantine, but waits for other sweeps first.
    async fn begin_in_turn(&self, intent: &Intent, chunks: &BTreeSet<Place>) -> Result<Begun, Error> {
        let give_up = Instant::now() + WAIT;
        loop {
            match self.begin_sweep(intent, chunks, true).await {
                Err(error) if is_running(&error) && Instant::now() < give_up => {
                    self.until_over(newest(&*self.store).await?.generation).await?;
                }
                begun => return begun,
            }
        }
    }
}
