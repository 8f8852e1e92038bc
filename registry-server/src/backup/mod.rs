//! One log, four uses: backup, restore, move and point in time all read the log of a store and carry it out in another one.
//!
//! A backup is the log up to one revision with the bytes of the artifacts that it speaks of ([`write`]); an archive is the same
//! in pieces ([`archive`]), shipped as they are committed ([`shipper`]); a restore carries either out in an empty store ([`restore`]); and a
//! verification carries the log out in a store of its own and compares ([`verify`]).

pub mod archive;
mod compare;
pub mod container;
pub(crate) mod history;
pub mod restore;
pub(crate) mod scrub;
pub mod shipper;
pub mod verify;
mod write;

use std::collections::BTreeSet;

use registry_proto::v1 as pb;

use crate::registry::contents::{Owned, chunks_of};
use crate::registry::kinds;
use crate::registry::resource::Resource as _;
use crate::store::{Pages, Read, Source, StoreError, decode};

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
            && let Some(record) = records.get(pb::Artifact::KIND, &hit.record.key).await?
        {
            names.push(decode::<pb::Artifact>(record.payload)?.name);
        }
    }
    Ok(names)
}
