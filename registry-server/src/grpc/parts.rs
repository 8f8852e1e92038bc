//! What comes in for `UploadPart`, and which parts an artifact is to be made of.

use http::Extensions;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::upload_part_request::Request as Piece;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::Services;
use super::admitting::needs_on;
use super::call::actor;
use super::uploads::{self, read_on};
use crate::chunks::parts::MOST;
use crate::error::{Error, Violations};
use crate::registry::uploads::parts::{PartUpload, Parts};
use crate::registry::validate::announced_sha256;
use crate::rules::names::VERSIONS;

impl Services {
    /// `UploadPart`.
    pub(super) async fn receive_part(
        &self,
        headers: MetadataMap,
        extensions: Extensions,
        mut messages: Streaming<pb::UploadPartRequest>,
    ) -> Result<pb::Part, Status> {
        let received = self.receive_part_messages(headers, extensions, &mut messages).await;
        if received.is_err() {
            read_on(messages);
        }
        received
    }

    async fn receive_part_messages(
        &self,
        headers: MetadataMap,
        extensions: Extensions,
        messages: &mut Streaming<pb::UploadPartRequest>,
    ) -> Result<pb::Part, Status> {
        let first = self.next_of(messages, 0).await?.and_then(|message| message.request);
        let Some(Piece::Metadata(metadata)) = first else {
            return Err(Error::field("metadata", ErrorReason::FieldRequired, "must come in the first message").into());
        };
        let names = [metadata.parent.as_str()];
        let admitted = self.admit(&extensions, || needs_on::<pb::UploadPartRequest>(&names))?;
        let mut found = Violations::default();
        actor(&headers, &mut found);
        let part = found.within("metadata", |found| part(metadata, found));
        let part = found.unless_any(part)?;
        let (session, mut receiving) = self.registry.begin_part(&part).await?;
        let bytes_of = |message: pb::UploadPartRequest| {
            message.request.map(|piece| match piece {
                Piece::Data(data) => Some(data),
                Piece::Metadata(_) => None,
            })
        };
        let announced = part.announced.map(|announced| ("metadata.size_bytes", announced));
        self.take_bytes(messages, &mut receiving, announced, bytes_of).await?;
        admitted.check()?;
        let stored = self.registry.finish_part(&part, &session, receiving).await;
        Ok(stored.map_err(|error| error.within("metadata"))?)
    }
}

/// The part that metadata announce.
fn part(metadata: pb::PartMetadata, found: &mut Violations) -> Option<PartUpload> {
    let parent = found.name("parent", &VERSIONS, &metadata.parent);
    let id = upload_id(&metadata.upload_id, found);
    let number = u32::try_from(metadata.number).ok().filter(|number| (1..=MOST).contains(number));
    if number.is_none() {
        found.invalid("number", format!("must be 1 to {MOST}"));
    }
    let announced = u64::try_from(metadata.size_bytes).ok();
    if announced.is_none() {
        found.invalid("size_bytes", "must not be negative");
    }
    let sha256 = metadata.sha256.to_ascii_lowercase();
    announced_sha256(&sha256, found);
    let announced = announced.filter(|size| *size > 0);
    // As for a whole file: one that breaks off could pass for it.
    if announced.is_none() && sha256.is_empty() && metadata.size_bytes == 0 {
        let either = "is required, or sha256: an empty part is announced by its sha256";
        found.add("size_bytes", ErrorReason::FieldRequired, either);
    }
    Some(PartUpload { parent: parent?, id: id?, number: number?, announced, sha256 })
}

/// What a caller calls a file that it sends in parts.
pub(super) fn upload_id(id: &str, found: &mut Violations) -> Option<Uuid> {
    if id.is_empty() {
        found.required("upload_id");
    }
    uploads::upload_id(id, found)
}

/// The parts that an artifact is to be made of, if it is to be made of parts.
pub(super) fn counted(request: &pb::CreateArtifactRequest, id: Option<Uuid>, found: &mut Violations) -> Option<Parts> {
    if request.part_count == 0 {
        // An empty file, if there are no parts that somebody forgot to count.
        let has_bytes = !request.chunks.is_empty() || !request.data.is_empty();
        return id.filter(|_| !has_bytes).map(|id| Parts { id, count: 0 });
    }
    let count = u32::try_from(request.part_count).ok().filter(|count| *count <= MOST);
    if count.is_none() {
        found.invalid("part_count", format!("must be 1 to {MOST}"));
    }
    if !request.chunks.is_empty() || !request.data.is_empty() {
        found.invalid("part_count", "an artifact has parts, `chunks` or `data`");
    }
    if request.upload_id.is_empty() {
        found.required("upload_id");
    }
    if request.artifact.as_ref().is_some_and(|artifact| artifact.size_bytes == 0 && artifact.sha256.is_empty()) {
        let either = "is required with `part_count`, or sha256: some of the parts could pass for the whole";
        found.add("artifact.size_bytes", ErrorReason::FieldRequired, either);
    }
    Some(Parts { id: id?, count: count? })
}
