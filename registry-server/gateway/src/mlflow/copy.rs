//! Copies of versions that have their files here: the copy has the same chunks, and no byte of them is sent or stored again.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use registry_common::chunks::INLINE;
use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use registry_proto::v1::VersionState;
use tonic::Status;

use super::caller::Caller;
use super::error::Error;
use crate::call;
use crate::refusal::Refusal;

/// Fills a version with the files of another one, and finalizes it. If that fails, the version says why.
pub(super) async fn copy_files(caller: &Caller, from: &pb::Version, to: pb::Version) -> Result<pb::Version, Error> {
    let mut finalize = pb::FinalizeVersionRequest { name: to.name.clone(), ..Default::default() };
    let filled = fill(caller, &from.name, &to.name).await;
    if let Err(refusal) = &filled {
        finalize.state = VersionState::Failed.into();
        finalize.failure_reason = format!("{} could not be copied: {refusal}", from.name);
    }
    let made = caller.call(&finalize).await;
    filled?;
    Ok(made?)
}

async fn fill(caller: &Caller, from: &str, to: &str) -> Result<(), Refusal> {
    let list = pb::ListArtifactsRequest { parent: from.to_owned(), page_size: 1000, ..Default::default() };
    for artifact in caller.all(list).await? {
        let mut create = pb::CreateArtifactRequest { parent: to.to_owned(), ..Default::default() };
        match usize::try_from(artifact.size_bytes) {
            Ok(size) if size <= INLINE => create.data = small(caller, &artifact.name).await?,
            _ => {
                let list = pb::ListChunksRequest { parent: artifact.name.clone(), ..Default::default() };
                create.chunks = caller.all(list).await?;
            }
        }
        create.artifact = Some(artifact);
        caller.call(&create).await?;
    }
    Ok(())
}

/// The bytes of an artifact that are kept with its record.
async fn small(caller: &Caller, name: &str) -> Result<Bytes, Refusal> {
    let download = pb::DownloadArtifactRequest { name: name.to_owned(), ..Default::default() };
    let message = call::one(&download.encode_to_vec());
    let request = call::request(&caller.parts, pb::DownloadArtifactRequest::PATH, message)?;
    let mut frames = call::call(caller.service(), request).await?;
    let mut bytes = BytesMut::new();
    while let Some(message) = frames.next().await? {
        let piece = pb::DownloadArtifactResponse::decode(message).map_err(|_| Status::internal("no bytes"))?;
        bytes.extend_from_slice(&piece.data);
    }
    Ok(bytes.freeze())
}
