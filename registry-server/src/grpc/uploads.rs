//! What comes in for `ArtifactService`: streams of bytes and of chunks, and what is to become of them.

use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use registry_common::chunks::{self, Chunk};
use registry_common::hex;
use registry_common::possession::Possession;
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::upload_artifact_request::Request as Part;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::Services;
use super::admitting::{needs, needs_on};
use super::call::{actor, intent_of};
use super::parts;
use crate::error::{Error, Violations, quoted};
use crate::registry::Intent;
use crate::registry::resource::Resource as _;
use crate::registry::uploads::parts::Parts;
use crate::registry::uploads::possession::Claim;
use crate::registry::uploads::{Receiving, Source, Upload};
use crate::rules::artifacts::media_type;
use crate::rules::names::VERSIONS;
use crate::status::plain;

/// How much of an upload that was refused is read on, so that its caller gets the reason: a proxy between may lose it if the stream is
/// given up amid what is being sent.
const READ_ON: Duration = Duration::from_secs(1);

impl Services {
    /// `UploadArtifact`.
    pub(super) async fn receive(
        &self,
        headers: MetadataMap,
        extensions: Extensions,
        mut parts: Streaming<pb::UploadArtifactRequest>,
    ) -> Result<pb::Artifact, Status> {
        let received = self.receive_parts(headers, extensions, &mut parts).await;
        if received.is_err() {
            read_on(parts);
        }
        received
    }

    async fn receive_parts(
        &self,
        headers: MetadataMap,
        extensions: Extensions,
        parts: &mut Streaming<pb::UploadArtifactRequest>,
    ) -> Result<pb::Artifact, Status> {
        let first = self.next_of(parts, 0).await?.and_then(|part| part.request);
        let Some(Part::Metadata(mut metadata)) = first else {
            return Err(Error::field("metadata", ErrorReason::FieldRequired, "must come in the first message").into());
        };
        let mut found = Violations::default();
        let method = pb::UploadArtifactRequest::METHOD;
        let request_id = std::mem::take(&mut metadata.request_id);
        let names = [metadata.parent.as_str()];
        let wish = self.admit(&extensions, || needs_on::<pb::UploadArtifactRequest>(&names))?.wish();
        let intent = Intent { wish, ..intent_of(&headers, &extensions, method, &metadata, &request_id, &mut found) };
        let upload = found.within("metadata", |found| {
            let upload = upload(&metadata.parent, metadata.artifact, found)?;
            // Without either, an upload that breaks off could pass for a whole one.
            if upload.announced().is_none() && upload.artifact.sha256.is_empty() {
                let either = "is required, or sha256: an empty file is announced by its sha256";
                found.add("artifact.size_bytes", ErrorReason::FieldRequired, either);
            }
            Some(upload)
        });
        let upload = found.unless_any(upload)?;
        if let Some(artifact) = self.registry.uploaded(&intent).await.map_err(|error| error.within("metadata"))? {
            let mut sha256 = Sha256::new();
            // Read to the end: not every client takes a response before it has sent everything.
            while let Some(part) = self.next_of(parts, 0).await? {
                if let Some(Part::Data(data)) = part.request {
                    sha256.update(&data);
                }
            }
            if hex(&sha256.finalize()) != artifact.sha256 {
                let other = "was used for other bytes";
                return Err(Error::field("metadata.request_id", ErrorReason::RequestIdReused, other).into());
            }
            return Ok(artifact);
        }
        let mut receiving = self.registry.begin_upload(&upload).await?;
        let bytes_of = |part: pb::UploadArtifactRequest| {
            part.request.map(|part| match part {
                Part::Data(data) => Some(data),
                Part::Metadata(_) => None,
            })
        };
        let announced = upload.announced().map(|announced| ("metadata.artifact.size_bytes", announced));
        self.take_bytes(parts, &mut receiving, announced, bytes_of).await?;
        // A caller that takes it back in the same breath is heard first.
        tokio::task::yield_now().await;
        let made = self.registry.finish_upload(intent, upload, receiving).await;
        Ok(made.map_err(|error| error.within("metadata"))?)
    }

    /// Takes what follows on the metadata of an upload. `bytes_of` has the bytes of a message, and `Some(None)` where it has metadata.
    pub(super) async fn take_bytes<M>(
        &self,
        messages: &mut Streaming<M>,
        receiving: &mut Receiving,
        announced: Option<(&str, u64)>,
        bytes_of: impl Fn(M) -> Option<Option<Bytes>>,
    ) -> Result<(), Status> {
        while let Some(message) = self.next_of(messages, receiving.size()).await? {
            match bytes_of(message) {
                Some(Some(data)) => receiving.write(&data).await?,
                Some(None) => {
                    let twice = "must come in the first message only";
                    return Err(Error::field("metadata", ErrorReason::FieldInvalid, twice).into());
                }
                None => return Err(Error::field("data", ErrorReason::FieldRequired, "is required").into()),
            }
            if let Some((field, announced)) = announced.filter(|(_, announced)| receiving.size() > *announced) {
                let more = format!("{announced} bytes were announced, and more came");
                return Err(Error::field(field, ErrorReason::SizeMismatch, more).into());
            }
        }
        Ok(())
    }

    /// `UploadChunks`.
    pub(super) async fn receive_chunks(
        &self,
        headers: MetadataMap,
        extensions: Extensions,
        mut messages: Streaming<pb::UploadChunksRequest>,
    ) -> Result<pb::UploadChunksResponse, Status> {
        let received = self.receive_messages(headers, extensions, &mut messages).await;
        if received.is_err() {
            read_on(messages);
        }
        received
    }

    async fn receive_messages(
        &self,
        headers: MetadataMap,
        extensions: Extensions,
        messages: &mut Streaming<pb::UploadChunksRequest>,
    ) -> Result<pb::UploadChunksResponse, Status> {
        let Some(first) = self.next_of(messages, 0).await? else {
            return Err(Error::field("parent", ErrorReason::FieldRequired, "must come in the first message").into());
        };
        let admitted = self.admit(&extensions, || needs(&first))?;
        let mut found = Violations::default();
        actor(&headers, &mut found);
        let parent = found.name("parent", &VERSIONS, &first.parent);
        let id = upload_id(&first.upload_id, &mut found);
        let parent = found.unless_any(parent)?;
        let (mut incoming, room) = self.registry.begin_chunks(&parent, id).await?;
        let mut answer = pb::UploadChunksResponse::default();
        // The first message may do without a chunk.
        let mut next = Some(first).filter(|first| !first.blake3.is_empty() || !first.data.is_empty());
        loop {
            if let Some(message) = next {
                let (position, chunk) = announced(&message, id.is_some())?;
                if message.data.is_empty() {
                    incoming.place(position, chunk).await;
                } else {
                    let sum = answer.size_bytes + i64::from(chunk.size);
                    room.admit(sum.unsigned_abs())?;
                    incoming.take(position, message.data, Some(chunk.blake3)).await?;
                    answer.chunk_count += 1;
                    answer.size_bytes = sum;
                }
            }
            next = self.next_of(messages, answer.size_bytes.unsigned_abs()).await?;
            let Some(message) = &next else { break };
            admitted.check()?;
            if !message.parent.is_empty() || !message.upload_id.is_empty() {
                let field = if message.parent.is_empty() { "upload_id" } else { "parent" };
                let twice = "must come in the first message only";
                return Err(Error::field(field, ErrorReason::FieldInvalid, twice).into());
            }
        }
        incoming.finish().await?;
        Ok(answer)
    }

    /// The next message of an upload, `None` at its end.
    pub(super) async fn next_of<M>(&self, messages: &mut Streaming<M>, received: u64) -> Result<Option<M>, Status> {
        let mut ending = self.stopping.ending.clone();
        let next = tokio::select! {
            next = timeout(self.idle, messages.message()) => next,
            _ = ending.wait_for(|ending| *ending) => return Err(Error::Draining.into()),
        };
        match next {
            Ok(Ok(message)) => Ok(message),
            // The message was too large for the decoder, or the server is full: the layer above says so in the service's own terms.
            Ok(Err(error)) if matches!(error.code(), Code::OutOfRange | Code::ResourceExhausted) => Err(error),
            Ok(Err(_)) => Err(Error::UploadIncomplete { received }.into()),
            Err(_) => {
                let idle = format!("no bytes came for {} s", self.idle.as_secs());
                Err(plain(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, &idle))
            }
        }
    }
}

/// Reads what still comes on a stream that is answered already, for a while.
pub(super) fn read_on<M: Send + 'static>(mut messages: Streaming<M>) {
    tokio::spawn(timeout(READ_ON, async move { while let Ok(Some(_)) = messages.message().await {} }));
}

/// The chunk that a message says to hold, or to tell the place of.
fn announced(message: &pb::UploadChunksRequest, placed: bool) -> Result<(u32, Chunk), Error> {
    let mut found = Violations::default();
    let size = match message.data.len() {
        0 => message.size_bytes,
        length => i64::try_from(length).unwrap_or(i64::MAX),
    };
    let chunk = Chunk::from_message(&pb::Chunk { blake3: message.blake3.clone(), size_bytes: size });
    if message.blake3.len() != 32 {
        found.invalid("blake3", "must be 32 bytes");
    } else if chunk.is_none() {
        let field = if message.data.is_empty() { "size_bytes" } else { "data" };
        found.invalid(field, format!("a chunk has 1 to {} bytes", chunks::LARGEST));
    }
    if message.data.is_empty() && !placed {
        found.add("data", ErrorReason::FieldRequired, "may be empty with `upload_id` only");
    }
    let position = u32::try_from(message.position).ok().filter(|position| (*position as usize) < chunks::MOST);
    if position.is_none() {
        found.invalid("position", format!("must be 0 to {}", chunks::MOST - 1));
    }
    found.unless_any(position.zip(chunk))
}

pub(super) fn upload_id(id: &str, found: &mut Violations) -> Option<Uuid> {
    if id.is_empty() {
        return None;
    }
    Uuid::try_parse(id).map_err(|_| found.invalid("upload_id", format!("{} is not a UUID", quoted(id)))).ok()
}

/// What an artifact is to be made of.
pub(super) enum MadeOf {
    Parts(Parts),
    Stored(Source),
}

/// What `CreateArtifact` is to make, and of what.
pub(super) fn create(request: pb::CreateArtifactRequest, found: &mut Violations) -> Option<(Upload, MadeOf)> {
    let mut chunks = Vec::with_capacity(request.chunks.len());
    for (place, message) in request.chunks.iter().enumerate() {
        match Chunk::from_message(message) {
            Some(chunk) => chunks.push(chunk),
            None => {
                let problem = format!("must have a digest of 32 bytes and 1 to {} bytes", chunks::LARGEST);
                found.invalid(format!("chunks[{place}]"), problem);
            }
        }
    }
    if chunks.len() > chunks::MOST {
        found.invalid("chunks", format!("an artifact has at most {} chunks", chunks::MOST));
    }
    if request.data.len() > chunks::INLINE {
        found.invalid("data", format!("may have at most {} bytes: more are sent in chunks", chunks::INLINE));
    }
    if !request.data.is_empty() && !request.chunks.is_empty() {
        found.invalid("data", "an artifact has `data` or `chunks`");
    }
    if !matches!(request.possession.len(), 0 | 32) {
        found.invalid("possession", "must be 32 bytes");
    }
    let id = upload_id(&request.upload_id, found);
    let parts = parts::counted(&request, id, found);
    let path = request.artifact.as_ref().map(|artifact| artifact.path.as_str()).unwrap_or_default();
    let claim = Claim { of: Box::new(Possession::new(&request.parent, path)), proof: request.possession };
    let upload = upload(&request.parent, request.artifact, found)?;
    let made_of = match parts {
        Some(parts) => MadeOf::Parts(parts),
        None if chunks.is_empty() => MadeOf::Stored(Source::Bytes(request.data)),
        None => MadeOf::Stored(Source::Chunks(chunks, id, claim)),
    };
    Some((upload, made_of))
}

fn upload(parent: &str, artifact: Option<pb::Artifact>, found: &mut Violations) -> Option<Upload> {
    let parent = found.name("parent", &VERSIONS, parent);
    let Some(mut artifact) = artifact else {
        found.required("artifact");
        return None;
    };
    found.within("artifact", |found| pb::Artifact::check(&artifact, found));
    artifact.media_type = media_type(&artifact.media_type, &artifact.path)?;
    artifact.sha256.make_ascii_lowercase();
    Some(Upload { parent: parent?, artifact })
}
