//! `ArtifactService`.

use registry_proto::v1 as pb;
use registry_proto::v1::artifact_service_server::ArtifactService;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::beside::messages;
use super::call::{List, Reply};
use super::moments::moment;
use super::paging::Sizes;
use super::uploads::MadeOf;
use super::{parts, uploads};
use crate::error::Error;
use crate::registry::artifacts::DeleteArtifact;
use crate::rules::expression::ARTIFACT;
use crate::rules::names::{ARTIFACTS, VERSIONS};

/// In how many chunks a request may be interested.
const LOOKED_FOR: usize = 10_000;

#[tonic::async_trait]
impl ArtifactService for Services {
    async fn upload_artifact(&self, request: Request<Streaming<pb::UploadArtifactRequest>>) -> Reply<pb::Artifact> {
        let (headers, extensions, parts) = request.into_parts();
        let services = self.clone();
        // A task of its own: on the connection's, the bytes would wait while others are hashed and written.
        // It goes when the call does: what nobody waits for any more must not become an artifact.
        let uploaded =
            AbortOnDropHandle::new(tokio::spawn(async move { services.receive(headers, extensions, parts).await }));
        Ok(Response::new(uploaded.await.map_err(|error| Status::from(Error::internal(error)))??))
    }

    async fn find_missing_chunks(
        &self,
        request: Request<pb::FindMissingChunksRequest>,
    ) -> Reply<pb::FindMissingChunksResponse> {
        self.read(
            request,
            |request, found| {
                let parent = found.name("parent", &VERSIONS, &request.parent);
                if request.blake3.len() > LOOKED_FOR {
                    let many = format!("has {} chunks, and at most {LOOKED_FOR} are looked for", request.blake3.len());
                    found.invalid("blake3", many);
                }
                let mut chunks = Vec::with_capacity(request.blake3.len());
                for (place, blake3) in request.blake3.iter().enumerate() {
                    match blake3.as_ref().try_into() {
                        Ok(blake3) => chunks.push(blake3),
                        Err(_) => found.invalid(format!("blake3[{place}]"), "must be 32 bytes"),
                    }
                }
                Some((parent?, chunks))
            },
            |registry, (parent, chunks)| async move {
                let missing = registry.missing_chunks(&parent, chunks).await?;
                let missing = missing.into_iter().map(u32::cast_signed).collect();
                Ok(pb::FindMissingChunksResponse { missing })
            },
        )
        .await
    }

    async fn upload_chunks(
        &self,
        request: Request<Streaming<pb::UploadChunksRequest>>,
    ) -> Reply<pb::UploadChunksResponse> {
        let (headers, extensions, messages) = request.into_parts();
        let services = self.clone();
        // As above.
        let stored = AbortOnDropHandle::new(tokio::spawn(async move {
            services.receive_chunks(headers, extensions, messages).await
        }));
        Ok(Response::new(stored.await.map_err(|error| Status::from(Error::internal(error)))??))
    }

    async fn upload_part(&self, request: Request<Streaming<pb::UploadPartRequest>>) -> Reply<pb::Part> {
        let (headers, extensions, messages) = request.into_parts();
        let services = self.clone();
        // As above.
        let stored =
            AbortOnDropHandle::new(tokio::spawn(
                async move { services.receive_part(headers, extensions, messages).await },
            ));
        Ok(Response::new(stored.await.map_err(|error| Status::from(Error::internal(error)))??))
    }

    async fn list_parts(&self, request: Request<pb::ListPartsRequest>) -> Reply<pb::ListPartsResponse> {
        const SIZES: Sizes = Sizes { default: 1000, most: 1000 };
        let list = List { orders: &["number"], sizes: SIZES, filter: None, sorted: false, narrowed: false };
        self.list(
            request,
            list,
            |request, found| {
                let parent = found.name("parent", &VERSIONS, &request.parent);
                let id = parts::upload_id(&request.upload_id, found);
                Some((parent?, id?))
            },
            |registry, (parent, id), page| async move { registry.list_parts(&parent, id, &page).await },
        )
        .await
    }

    async fn create_artifact(&self, request: Request<pb::CreateArtifactRequest>) -> Reply<pb::Artifact> {
        self.act(request, uploads::create, |registry, intent, (upload, made_of)| async move {
            match made_of {
                MadeOf::Parts(parts) => registry.create_of_parts(intent, upload, parts).await,
                MadeOf::Stored(source) => registry.create_artifact(intent, upload, source).await,
            }
        })
        .await
    }

    async fn list_chunks(&self, request: Request<pb::ListChunksRequest>) -> Reply<pb::ListChunksResponse> {
        const SIZES: Sizes = Sizes { default: 10_000, most: 50_000 };
        let list = List { orders: &["position"], sizes: SIZES, filter: None, sorted: false, narrowed: false };
        self.list(
            request,
            list,
            |request, found| found.name("parent", &ARTIFACTS, &request.parent),
            |registry, artifact, page| async move { registry.list_chunks(&artifact, &page).await },
        )
        .await
    }

    type DownloadArtifactStream = Streaming<pb::DownloadArtifactResponse>;

    async fn download_artifact(
        &self,
        request: Request<pb::DownloadArtifactRequest>,
    ) -> Reply<Self::DownloadArtifactStream> {
        messages(self.downloaded(request).await?)
    }

    async fn get_artifact(&self, request: Request<pb::GetArtifactRequest>) -> Reply<pb::Artifact> {
        self.get(
            request,
            |request, found| {
                let moment = moment(request.revision, request.read_time.as_ref(), found);
                Some((found.name("name", &ARTIFACTS, &request.name)?, moment))
            },
            |registry, (name, moment)| async move { registry.get_at::<pb::Artifact>(&name, moment).await },
        )
        .await
    }

    async fn list_artifacts(&self, request: Request<pb::ListArtifactsRequest>) -> Reply<pb::ListArtifactsResponse> {
        self.list_parts(
            request,
            List::by(&["path"]).of(&ARTIFACT),
            |request, found| {
                let moment = moment(request.revision, request.read_time.as_ref(), found);
                Some((found.name("parent", &VERSIONS, &request.parent)?, moment))
            },
            |registry, (version, moment), page| async move {
                let listed = match moment {
                    None => registry.list_artifacts(&version, &page).await?,
                    Some(moment) => registry.list_artifacts_at(moment, &version, &page).await?,
                };
                Ok(((), listed))
            },
            |(), artifacts, next_page_token| pb::ListArtifactsResponse { artifacts, next_page_token },
        )
        .await
    }

    async fn delete_artifact(&self, request: Request<pb::DeleteArtifactRequest>) -> Reply<pb::Artifact> {
        self.change(request, |request, found| {
            let name = found.name("name", &ARTIFACTS, &request.name)?;
            Some(DeleteArtifact { name, etag: request.etag })
        })
        .await
    }
}
