//! One log, four uses: backup, restore, move and point in time all read the log of a store and carry it out in another one.
//!
//! A backup is the log up to one revision with the bytes of the artifacts that it speaks of ([`write`]); an archive is the same
//! in pieces, shipped as they are committed ([`archive`]); a restore carries either out in an empty store ([`restore`]); and a
//! verification carries the log out in a store of its own and compares ([`verify`]).

pub mod archive;
pub mod container;
pub mod restore;
pub mod verify;
mod write;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use prost::Message as _;
use registry_proto::store::LogEntry;
use registry_proto::v1 as pb;

use crate::store::{Hit, Kind, Range, Read, Source, StoreError, read_write};

/// The artifacts that a revision wrote.
fn artifacts_written(entry: &LogEntry) -> Result<Vec<pb::Artifact>, StoreError> {
    let mut artifacts = Vec::new();
    for write in &entry.writes {
        if let (Kind::Artifact, _, Some(put)) = read_write(write, &entry.events)? {
            artifacts.push(artifact(put.payload)?);
        }
    }
    Ok(artifacts)
}

/// The names of the artifacts that have one of these digests.
async fn named<R: Read + ?Sized>(records: &R, digests: &BTreeSet<String>) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    if digests.is_empty() {
        return Ok(names);
    }
    let mut pages = Pages::of(Source::Kind(Kind::Artifact));
    while let Some(hit) = pages.next(records).await? {
        let artifact = artifact(hit.record.payload)?;
        if digests.contains(&artifact.sha256) {
            names.push(artifact.name);
        }
    }
    Ok(names)
}

fn artifact(payload: Bytes) -> Result<pb::Artifact, StoreError> {
    pb::Artifact::decode(payload).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// All records of a source in their order, read a page at a time.
struct Pages {
    source: Source,
    range: Option<Range>,
    page: VecDeque<Hit>,
}

impl Pages {
    const SIZE: usize = 1000;

    fn of(source: Source) -> Self {
        Self { source, range: Some(Range::first(Vec::new(), Self::SIZE)), page: VecDeque::new() }
    }

    async fn next<R: Read + ?Sized>(&mut self, records: &R) -> Result<Option<Hit>, StoreError> {
        if self.page.is_empty()
            && let Some(mut range) = self.range.take()
        {
            self.page = records.scan(self.source, &range).await?.into();
            if let Some(last) = self.page.back() {
                range.after = Some(last.position.clone());
                self.range = Some(range);
            }
        }
        Ok(self.page.pop_front())
    }
}
