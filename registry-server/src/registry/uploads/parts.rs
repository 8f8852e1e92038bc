//! Files that come in parts, each by itself.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use registry_common::chunks::{self, Chunk};
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use uuid::Uuid;

use super::{Receiving, Source, Upload, check_announced};
use crate::chunks::parts::{Part, Session};
use crate::error::{Error, Violations};
use crate::registry::artifacts::position;
use crate::registry::lists::{Listed, Page};
use crate::registry::{Intent, Registry};
use crate::rules::names::{ARTIFACTS, Name};

/// How many parts are read at once.
const READS: usize = 32;
/// How many parts a message names.
const NAMED: usize = 10;

/// A part that is to be stored; its fields were checked.
#[derive(Debug, Clone)]
pub(crate) struct PartUpload {
    /// The version.
    pub(crate) parent: Name,
    /// What the caller calls the file.
    pub(crate) id: Uuid,
    pub(crate) number: u32,
    /// In bytes.
    pub(crate) announced: Option<u64>,
    /// Lower-case hex, or empty.
    pub(crate) sha256: String,
}

/// The parts that an artifact is to be made of: from 1 to their count, which is 0 if nobody has said so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) id: Uuid,
    pub(crate) count: u32,
}

impl Registry {
    /// Begins to take a part.
    pub(crate) async fn begin_part(&self, part: &PartUpload) -> Result<(Session, Receiving), Error> {
        let session = self.session(&part.parent, part.id).await?;
        let room = self.room(part.parent.namespace(), None).await?;
        room.admit_artifact(part.announced.unwrap_or(0))?;
        Ok((session, self.begin_bytes(&part.parent, room).await?))
    }

    /// Stores a part, if its bytes are the announced ones.
    pub(crate) async fn finish_part(
        &self,
        upload: &PartUpload,
        session: &Session,
        receiving: Receiving,
    ) -> Result<pb::Part, Error> {
        let size = receiving.size();
        let chunks = receiving.cutter.finish_in_chunks().await?;
        let sha256 = self.sha256_of_cut(&session.namespace, receiving.id, &chunks).await?;
        let mut found = Violations::default();
        check_announced((upload.announced, &upload.sha256), (size, &sha256), &mut found);
        found.check()?;
        // It took a while to come.
        self.version_to_fill(&upload.parent).await?;
        let part = Part { chunks, sha256 };
        let stored = self.chunks.put_part(session, upload.number, &part).await?;
        Ok(message(upload.number, &part, stored.into()))
    }

    /// The parts of a file that are stored, by number.
    pub(crate) async fn list_parts(&self, parent: &Name, id: Uuid, page: &Page) -> Result<Listed<pb::Part>, Error> {
        let session = self.session(parent, id).await?;
        let after = position(page)?;
        let numbers = self.chunks.part_numbers(&session).await?;
        let rest: Vec<_> = numbers.into_iter().filter(|(number, _)| *number > after).collect();
        let (page, behind) = rest.split_at(page.size.min(rest.len()));
        let next = page.last().filter(|_| !behind.is_empty()).map(|(number, _)| number.to_be_bytes().to_vec());
        let read = async |(number, written): &(u32, _)| {
            let part = self.chunks.part(&session, *number).await?;
            Ok::<_, Error>(part.map(|part| message(*number, &part, prost_types::Timestamp::from(*written))))
        };
        let parts: Vec<_> = stream::iter(page).map(read).buffered(READS).try_collect().await?;
        // One that is gone since, or is damaged, is not stored.
        Ok(Listed::of(parts.into_iter().flatten().collect(), next))
    }

    /// Makes an artifact of parts.
    pub(crate) async fn create_of_parts(
        &self,
        intent: Intent,
        upload: Upload,
        parts: Parts,
    ) -> Result<pb::Artifact, Error> {
        if let Some(artifact) = self.uploaded(&intent).await? {
            return Ok(artifact);
        }
        let session = self.session(&upload.parent, parts.id).await?;
        if parts.count == 0 && self.chunks.has_parts(&session).await? {
            return Err(Error::field("part_count", ErrorReason::FieldRequired, "is required: the upload has parts"));
        }
        let name = upload.parent.child(&ARTIFACTS, &upload.artifact.path);
        let read = async |number| self.chunks.part(&session, number).await;
        let read: Vec<_> = stream::iter(1..=parts.count).map(read).buffered(READS).try_collect().await?;
        let missing = (1..).zip(&read).filter(|(_, part)| part.is_none()).map(|(number, _)| number).collect();
        check(name.as_str(), parts.count, missing)?;
        let read: Vec<_> = read.into_iter().flatten().map(|part| part.chunks).collect();
        let chunks = read.concat();
        if chunks.len() > chunks::MOST {
            let many = format!("the parts have {} chunks, and an artifact at most {}", chunks.len(), chunks::MOST);
            return Err(Error::TooLarge(many));
        }
        let source = if chunks.is_empty() { Source::Bytes(Bytes::new()) } else { Source::Parts(chunks) };
        let is_trial = intent.validate_only;
        match self.create_artifact(intent, upload, source).await {
            Err(Error::Precondition { reason: ErrorReason::ChunksMissing, .. }) => {
                let names = self.look().await?.names;
                let digests = read.iter().flatten().map(|chunk| chunk.blake3).collect();
                let gone = self.chunks.missing(&names, &session.namespace, digests).await?;
                let gone = parts_of(&read, &gone);
                // They are not listed any more, for whoever goes on by the list.
                if !is_trial {
                    self.chunks.check_owner(&*self.store).await?;
                    for number in &gone {
                        self.chunks.remove_part(&session, *number).await?;
                    }
                }
                check(name.as_str(), parts.count, gone)?;
                // They were sent again meanwhile.
                Err(Error::ChunksCollected(name.to_string()))
            }
            made => made,
        }
    }

    async fn session(&self, parent: &Name, id: Uuid) -> Result<Session, Error> {
        let version = self.version_to_fill(parent).await?;
        Ok(Session { namespace: parent.namespace().to_owned(), version: version.uid, id })
    }
}

fn message(number: u32, part: &Part, stored: prost_types::Timestamp) -> pb::Part {
    pb::Part {
        number: number.cast_signed(),
        size_bytes: part.size().cast_signed(),
        sha256: part.sha256.clone(),
        create_time: Some(stored),
    }
}

/// Fails if parts are missing.
fn check(artifact: &str, count: u32, missing: Vec<u32>) -> Result<(), Error> {
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = missing.iter().take(NAMED).map(u32::to_string).collect();
    let more = missing.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let detail = format!("of its parts 1 to {count} these are missing: {}{more}", named.join(", "));
    Err(Error::precondition(ErrorReason::PartsMissing, artifact, detail))
}

/// The parts that have chunks at these places, of all chunks in order; the places ascend.
fn parts_of(parts: &[Vec<Chunk>], places: &[u32]) -> Vec<u32> {
    let mut begin = 0;
    let ends = parts.iter().map(|part| {
        let from = begin;
        begin += part.len();
        from..begin
    });
    let has = |range: &std::ops::Range<usize>| {
        let at = places.partition_point(|place| (*place as usize) < range.start);
        places.get(at).is_some_and(|place| (*place as usize) < range.end)
    };
    (1..).zip(ends).filter(|(_, range)| has(range)).map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_belong_to_their_parts() {
        let chunk = |byte| Chunk::of(&[byte]);
        let parts = [vec![chunk(1), chunk(2)], vec![], vec![chunk(3)]];
        for (places, expected) in [(vec![], vec![]), (vec![0], vec![1]), (vec![2], vec![3]), (vec![1, 2], vec![1, 3])] {
            assert_eq!(parts_of(&parts, &places), expected, "{places:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named_as_far_as_it_is_not_too_much() {
        let text = |missing: Vec<u32>| check("a", 40, missing).unwrap_err().to_string();
        assert!(check("a", 40, Vec::new()).is_ok());
        assert!(text(vec![2, 5]).contains("of its parts 1 to 40 these are missing: 2, 5"), "{}", text(vec![2, 5]));
        assert!(text((1..=12).collect()).contains("9, 10 and 2 more"));
    }
}
