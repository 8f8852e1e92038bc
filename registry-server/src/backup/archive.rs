//! The archive: the log in segments, and the bytes of artifacts, in a folder or an object store.
//!
//! | path | |
//! |---|---|
//! | `registry-id-TIMELINE` | whose it is, and which timeline is the one now (see [`crate::owners`]) |
//! | `log/TIMELINE/FIRST-LAST-HASH.segment` | a container (see [`super::container`]) with the revisions FIRST to LAST |
//! | `chunks/NAMESPACE/XX/DIGEST` | the chunk with this BLAKE3, which begins with XX, as the chunk store keeps it |
//!
//! HASH is the beginning of the hash of revision LAST: another past has another one, so that no segment ever replaces one of another
//! past. Several servers of one registry may ship to one archive: their segments overlap, and are the same where they do.
//!
//! A timeline is a whole log, from revision 1 on. Whoever takes the archive over (`registry-server claim`) ships a new one: what the
//! former owner may still write goes to its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use registry_common::hex;
use uuid::Uuid;

use super::container::{ContainerError, Opener};
use super::restore::RestoreError;
use crate::chunks;
use crate::owners::{Claim, claims_on};
use crate::places::{Folder, PlaceError};
use crate::registry::chain::Position;
use crate::registry::contents::Owned;
use crate::store::Revision;
use crate::stored::LogEntry;
use crate::stored::backup_frame::Frame;

/// How many hex digits of the last revision's hash the name of a segment has.
const HASH_DIGITS: usize = 16;

/// Some revisions in an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) after: Revision,
    pub(super) last: Revision,
    /// How the hash of the last one begins.
    hash: String,
}

impl Segment {
    pub(super) fn new(after: Revision, last: &Position) -> Self {
        let mut hash = hex(&last.hash);
        hash.truncate(HASH_DIGITS);
        Self { after, last: last.revision, hash }
    }

    pub(super) fn file(&self) -> String {
        format!("{:020}-{:020}-{}.segment", self.after + 1, self.last, self.hash)
    }

    fn parse(file: &str) -> Option<Self> {
        let mut parts = file.strip_suffix(".segment")?.splitn(3, '-');
        let after = parts.next()?.parse::<Revision>().ok()?.checked_sub(1)?;
        let last = parts.next()?.parse().ok()?;
        let hash = parts.next()?;
        let is_hash = hash.len() == HASH_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hash.then(|| Self { after, last, hash: hash.to_owned() })
    }

    /// Whether it ends at this position, if it ends at its revision.
    pub(super) fn agrees(&self, position: &Position) -> bool {
        self.last != position.revision || hex(&position.hash).starts_with(&self.hash)
    }
}

/// Up to where segments in their order have everything from revision 1 on.
pub(super) fn without_gap(segments: &[Segment]) -> Revision {
    let go_on = |last, segment: &Segment| if segment.after <= last { segment.last.max(last) } else { last };
    segments.iter().fold(0, go_on)
}

/// An archive, to be read.
pub(super) struct Archived {
    pub(super) folder: Folder,
}

impl Archived {
    pub(super) fn new(folder: Folder) -> Self {
        Self { folder }
    }

    pub(super) fn name(&self) -> String {
        self.folder.name.clone()
    }

    /// The timeline that is to be restored: the only one there is, or the one that servers of the owner go on with.
    pub(super) async fn timeline(&self) -> Result<Uuid, RestoreError> {
        let timelines = self.timelines().await?;
        match timelines.keys().collect::<Vec<_>>().as_slice() {
            // A wrong path must not pass for the archive of an empty registry.
            [] => return Err(RestoreError::Nothing(self.name())),
            // Whatever the claims say: somebody may have moved the others away to say that it is the one.
            [only] => return Ok(**only),
            _ => {}
        }
        let claims = claims_on(&self.folder).await?;
        let registry = |(_, claim): &(Uuid, Option<Claim>)| claim.as_ref().map(|claim| claim.registry.clone());
        let of_one = claims.iter().all(|claim| registry(claim).is_some() && registry(claim) == registry(&claims[0]));
        if of_one || claims.len() == 1 {
            // In their order: a claim that was not removed may be older than the log.
            if let Some((timeline, _)) = claims.iter().find(|(id, _)| timelines.contains_key(id)) {
                return Ok(*timeline);
            }
        }
        let listed = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join("; ") };
        let timelines = timelines.iter().map(|(id, last)| format!("{id} up to revision {last}")).collect();
        let claims = claims.iter().map(|(id, claim)| match claim {
            Some(claim) => format!("registry-id-{id} of {claim}"),
            None => format!("registry-id-{id}, which can't be read"),
        });
        let (timelines, claims) = (listed(timelines), listed(claims.collect()));
        Err(RestoreError::Timelines { place: self.name(), claims, timelines })
    }

    /// The timelines there are, each with its newest revision.
    async fn timelines(&self) -> Result<BTreeMap<Uuid, Revision>, RestoreError> {
        let log = self.folder.path(["log"]);
        let (mut timelines, mut earlier) = (BTreeMap::new(), false);
        for meta in self.list(&log).await? {
            let Some(segment) = meta.filename().and_then(Segment::parse) else {
                earlier |= meta.filename().is_some_and(|file| file.ends_with(".segment"));
                continue;
            };
            let mut parts = meta.prefix_match(&log).into_iter().flatten();
            let Some(timeline) = parts.next().and_then(|part| part.as_ref().parse::<Uuid>().ok()) else { continue };
            let last = timelines.entry(timeline).or_default();
            *last = segment.last.max(*last);
        }
        if timelines.is_empty() && earlier { Err(RestoreError::Earlier(self.name())) } else { Ok(timelines) }
    }

    /// What there is of a timeline's log, in order.
    pub(super) async fn segments(&self, timeline: Uuid) -> Result<Vec<Segment>, PlaceError> {
        let files = self.list(&self.folder.path(["log", timeline.to_string().as_str()])).await?;
        let mut segments: Vec<_> = files.iter().filter_map(|path| Segment::parse(path.filename()?)).collect();
        segments.sort_unstable();
        Ok(segments)
    }

    async fn list(&self, below: &Path) -> Result<Vec<Path>, PlaceError> {
        let listed = self.folder.objects().list(Some(below)).map_ok(|meta| meta.location);
        listed.try_collect().await.map_err(|error| self.folder.failed(error))
    }

    pub(super) fn segment_path(&self, timeline: Uuid, segment: &Segment) -> Path {
        self.folder.path(["log", timeline.to_string().as_str(), segment.file().as_str()])
    }

    /// The revisions of a segment.
    pub(super) async fn read(&self, timeline: Uuid, segment: &Segment) -> Result<Vec<LogEntry>, RestoreError> {
        let path = self.segment_path(timeline, segment);
        let got = async { self.folder.objects().get(&path).await?.bytes().await };
        let bytes = got.await.map_err(|error| self.folder.failed(error))?;
        let place = format!("{}/log/{timeline}/{}", self.folder.name, segment.file());
        let failed = |source| RestoreError::Container { place: place.clone(), source };
        let other = |what: &str| failed(ContainerError::Damaged(what.to_owned()));
        let (mut frames, header) = Opener::begin(bytes.as_ref()).await.map_err(failed)?;
        if header.timeline != timeline.as_bytes().as_slice() || header.after != segment.after {
            return Err(other("it lies where another one belongs"));
        }
        let mut entries = Vec::new();
        loop {
            match frames.next().await.map_err(failed)? {
                Frame::Log(group) => entries.extend(group.entries),
                Frame::End(_) => break,
                _ => return Err(other("a frame that is not of the log")),
            }
        }
        if !entries.iter().map(|entry| entry.revision).eq(segment.after + 1..=segment.last) {
            return Err(other("it does not have the revisions of its name"));
        }
        let mut position = Position { revision: header.after, hash: header.after_hash };
        if let Some(broken) = entries.iter().find(|entry| !position.follow(entry)) {
            let (place, revision) = (place.clone(), broken.revision);
            return Err(RestoreError::Mixed { place, revision, sure: segment.after });
        }
        if !segment.agrees(&position) {
            return Err(other("it does not have the hash of its name"));
        }
        Ok(entries)
    }

    /// Reads a chunk, if it is there.
    pub(super) async fn read_chunk(&self, owned: &Owned) -> Result<Option<Bytes>, PlaceError> {
        self.folder.get(&self.chunk_path(owned)).await
    }

    pub(super) fn chunk_path(&self, (namespace, chunk): &Owned) -> Path {
        chunks::place(&self.folder, namespace, &chunk.blake3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_found_by_their_names_in_order() {
        let last = Position { revision: 12, hash: Bytes::from_static(&[0xab; 32]) };
        let segment = Segment::new(9, &last);
        let file = "00000000000000000010-00000000000000000012-abababababababab.segment";
        assert_eq!(segment.file(), file);
        assert_eq!(Segment::parse(file), Some(segment.clone()));
        assert!(segment.agrees(&last) && segment.agrees(&Position::start()));
        assert!(!segment.agrees(&Position { hash: Bytes::from_static(&[0xac; 32]), ..last }));
        for other in [
            "",
            "10-12",
            "10-12.segment",
            "0-12-abababababababab.segment",
            "10-12-ab.segment",
            "a-b-abababababababab.segment",
        ] {
            assert_eq!(Segment::parse(other), None, "{other}");
        }
    }
}
