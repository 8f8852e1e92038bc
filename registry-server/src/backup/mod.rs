//! One log, four uses: backup, restore, move and point in time all read the log of a store and carry it out in another one.
//!
//! A backup is the log up to one revision with the bytes of the artifacts that it speaks of ([`write`]); an archive is the same
//! in pieces, shipped as they are committed ([`archive`]); a restore carries either out in an empty store ([`restore`]); and a
//! verification carries the log out in a store of its own and compares ([`verify`]).

pub mod archive;
pub mod container;
pub mod restore;
pub(crate) mod scrub;
pub mod verify;
mod write;

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use registry_proto::chunks::Chunk;
use registry_proto::store::{LogEntry, ManifestRecord};
use registry_proto::v1 as pb;

use crate::registry::contents::Content;
use crate::registry::keys;
use crate::registry::kinds;
use crate::store::{Pages, Read, Source, StoreError, read_write};

/// A chunk and the namespace that has it.
pub(crate) type Owned = (String, Chunk);

/// The chunks of the artifacts that a revision wrote.
pub(crate) fn chunks_written(entry: &LogEntry) -> Result<Vec<Owned>, StoreError> {
    let mut chunks = Vec::new();
    for write in &entry.writes {
        if let (kinds::MANIFEST, key, Some(put)) = read_write(write, &entry.events)? {
            chunks.extend(chunks_of(&key, put.payload)?);
        }
    }
    Ok(chunks)
}

/// The chunks that a manifest lists, other than those that it holds itself.
pub(crate) fn chunks_of(key: &[u8], payload: Bytes) -> Result<Vec<Owned>, StoreError> {
    let record = ManifestRecord::decode(payload).map_err(|error| StoreError::Damaged(error.to_string()))?;
    let namespace = keys::namespace_of(key).to_owned();
    let content = Content::from_record(record)?;
    Ok(content.stored().iter().map(|chunk| (namespace.clone(), *chunk)).collect())
}

/// The names of the artifacts that have one of these chunks.
async fn named<R: Read + ?Sized>(records: &R, chunks: &BTreeSet<Owned>) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    if chunks.is_empty() {
        return Ok(names);
    }
    let mut pages = Pages::of(Source::Kind(kinds::MANIFEST));
    while let Some(hit) = pages.next(records).await? {
        let listed = chunks_of(&hit.record.key, hit.record.payload)?;
        if listed.iter().any(|chunk| chunks.contains(chunk))
            && let Some(record) = records.get(kinds::ARTIFACT, &hit.record.key).await?
        {
            names.push(artifact(record.payload)?.name);
        }
    }
    Ok(names)
}

fn artifact(payload: Bytes) -> Result<pb::Artifact, StoreError> {
    pb::Artifact::decode(payload).map_err(|error| StoreError::Damaged(error.to_string()))
}
