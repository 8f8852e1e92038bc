//! `ArtifactService`.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use registry_common::chunks::Chunk;
use registry_proto::v1 as pb;
use registry_proto::v1::artifact_service_server::ArtifactService;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::paging::{self, Query};
use super::request::{both, name, no_filter, order, required};
use super::uploads::commit;
use crate::error::{Error, Violations};
use crate::registry::artifacts::DeleteArtifact;
use crate::registry::lists::Page;
use crate::rules::names::{ArtifactName, VersionName};
use crate::status::status;

/// How many bytes a message of a download has at most: tonic copies each, and many may be under way.
const MESSAGE: usize = 256 * 1024;
/// In how many chunks a request may be interested.
const LOOKED_FOR: usize = 10_000;

#[tonic::async_trait]
impl ArtifactService for Services {
    async fn upload_artifact(
        &self,
        request: Request<Streaming<pb::UploadArtifactRequest>>,
    ) -> Result<Response<pb::Artifact>, Status> {
        let (headers, _, parts) = request.into_parts();
        let services = self.clone();
        // A task of its own: on the connection's, the bytes would wait while others are hashed and written.
        let uploaded = tokio::spawn(async move { services.receive(headers, parts).await });
        Ok(Response::new(uploaded.await.map_err(|error| Status::from(Error::internal(error)))??))
    }

    async fn find_missing_chunks(
        &self,
        request: Request<pb::FindMissingChunksRequest>,
    ) -> Result<Response<pb::FindMissingChunksResponse>, Status> {
        let request = request.into_inner();
        let mut found = Violations::default();
        let parent = found.name("parent", VersionName::parse(&request.parent));
        if request.blake3.len() > LOOKED_FOR {
            found.invalid(
                "blake3",
                format!("has {} chunks, and at most {LOOKED_FOR} are looked for", request.blake3.len()),
            );
        }
        let mut chunks = Vec::with_capacity(request.blake3.len());
        for (place, blake3) in request.blake3.iter().enumerate() {
            match blake3.as_ref().try_into() {
                Ok(blake3) => chunks.push(blake3),
                Err(_) => found.invalid(format!("blake3[{place}]"), "must be 32 bytes"),
            }
        }
        found.check()?;
        let parent = required("parent", parent)?;
        let missing = self.registry.missing_chunks(&parent, chunks).await?;
        Ok(Response::new(pb::FindMissingChunksResponse { missing }))
    }

    async fn upload_chunks(
        &self,
        request: Request<Streaming<pb::UploadChunksRequest>>,
    ) -> Result<Response<pb::UploadChunksResponse>, Status> {
        let messages = request.into_inner();
        let services = self.clone();
        // As above.
        let stored = tokio::spawn(async move { services.receive_chunks(messages).await });
        Ok(Response::new(stored.await.map_err(|error| Status::from(Error::internal(error)))??))
    }

    async fn commit_artifact(
        &self,
        request: Request<pb::CommitArtifactRequest>,
    ) -> Result<Response<pb::Artifact>, Status> {
        let (headers, _, request) = request.into_parts();
        let order = order(&headers, "CommitArtifact", &request, &request.request_id, request.validate_only);
        let (order, (upload, source)) = both(order, commit(request))?;
        Ok(Response::new(self.registry.commit_artifact(order, upload, source).await?))
    }

    async fn get_manifest(&self, request: Request<pb::GetManifestRequest>) -> Result<Response<pb::Manifest>, Status> {
        let name = name("name", ArtifactName::parse(&request.get_ref().name))?;
        let (artifact, content) = self.registry.manifest(&name).await?;
        let chunks = content.chunks.into_iter().map(Chunk::to_message).collect();
        Ok(Response::new(pb::Manifest { artifact: Some(artifact), chunks }))
    }

    type DownloadArtifactStream = Pin<Box<dyn Stream<Item = Result<pb::DownloadArtifactResponse, Status>> + Send>>;

    async fn download_artifact(
        &self,
        request: Request<pb::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let request = request.into_inner();
        let mut found = Violations::default();
        let artifact = found.name("name", ArtifactName::parse(&request.name));
        let mut number = |field: &str, value: i64| {
            u64::try_from(value).map_err(|_| found.invalid(field, "must not be negative")).unwrap_or_default()
        };
        let (offset, length) = (number("offset", request.offset), number("length", request.length));
        found.check()?;
        let artifact = required("name", artifact)?;
        let pieces = self.registry.read_artifact(&artifact, offset, length).await?;
        let messages = pieces.map_ok(|mut piece| {
            let next = move || (!piece.is_empty()).then(|| piece.split_to(MESSAGE.min(piece.len())));
            stream::iter(std::iter::from_fn(next)).map(|data| Ok(pb::DownloadArtifactResponse { data }))
        });
        Ok(Response::new(Box::pin(messages.try_flatten().map_err(|error: Error| status(&error)))))
    }

    async fn get_artifact(&self, request: Request<pb::GetArtifactRequest>) -> Result<Response<pb::Artifact>, Status> {
        let artifact = name("name", ArtifactName::parse(&request.get_ref().name))?;
        Ok(Response::new(self.registry.artifact(&artifact).await?))
    }

    async fn list_artifacts(
        &self,
        request: Request<pb::ListArtifactsRequest>,
    ) -> Result<Response<pb::ListArtifactsResponse>, Status> {
        let mut request = request.into_inner();
        no_filter(&request.filter)?;
        let size = paging::size(std::mem::take(&mut request.page_size))?;
        let token = std::mem::take(&mut request.page_token);
        let query = Query::new("ListArtifacts", &request);
        let version = name("parent", VersionName::parse(&request.parent))?;
        let page = Page { size, after: query.position(&token)?, reverse: false, show_deleted: false };
        let listed = self.registry.list_artifacts(&version, &page).await?;
        let next_page_token = listed.next.map(|next| query.token(&next)).unwrap_or_default();
        Ok(Response::new(pb::ListArtifactsResponse { artifacts: listed.items, next_page_token }))
    }

    async fn delete_artifact(
        &self,
        request: Request<pb::DeleteArtifactRequest>,
    ) -> Result<Response<pb::Artifact>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "DeleteArtifact", &request, &request.request_id, request.validate_only);
        let (order, name) = both(order, name("name", ArtifactName::parse(&request.name)))?;
        Ok(Response::new(self.registry.delete_artifact(order, DeleteArtifact { name }).await?))
    }
}
