//! `ArtifactService`.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::artifact_service_server::ArtifactService;
use registry_proto::v1::upload_artifact_request::Request as Part;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::paging::{self, Query};
use super::request::{both, name, no_filter, order, required};
use crate::error::{Error, Violations};
use crate::registry::artifacts::{DeleteArtifact, Upload};
use crate::registry::lists::Page;
use crate::rules::names::{self, ArtifactName, VersionName};
use crate::status::{plain, status};

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
        let stream = pieces.map(|piece| match piece {
            Ok(data) => Ok(pb::DownloadArtifactResponse { data }),
            Err(error) => Err(status(&error)),
        });
        Ok(Response::new(Box::pin(stream)))
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

impl Services {
    async fn receive(
        &self,
        headers: tonic::metadata::MetadataMap,
        mut parts: Streaming<pb::UploadArtifactRequest>,
    ) -> Result<pb::Artifact, Status> {
        let first = self.next_part(&mut parts, 0).await?.and_then(|part| part.request);
        let Some(Part::Metadata(metadata)) = first else {
            return Err(Error::field("metadata", ErrorReason::FieldRequired, "must come in the first message").into());
        };
        let order = order(&headers, "UploadArtifact", &metadata, &metadata.request_id, false);
        let (order, upload) = both(order, upload(metadata))?;
        let mut incoming = self.registry.begin_upload(&upload).await?;
        while let Some(part) = self.next_part(&mut parts, incoming.size()).await? {
            match part.request {
                Some(Part::Data(data)) => incoming.write(data).await?,
                Some(Part::Metadata(_)) => {
                    let twice = "must come in the first message only";
                    return Err(Error::field("metadata", ErrorReason::FieldInvalid, twice).into());
                }
                None => return Err(Error::field("data", ErrorReason::FieldRequired, "is required").into()),
            }
            if let Some(announced) = upload.size_bytes.filter(|announced| incoming.size() > *announced) {
                let more = format!("{announced} bytes were announced, and more came");
                return Err(Error::field("metadata.size_bytes", ErrorReason::SizeMismatch, more).into());
            }
        }
        Ok(self.registry.finish_upload(order, upload, incoming).await?)
    }

    /// The next message of an upload, `None` at its end.
    async fn next_part(
        &self,
        parts: &mut Streaming<pb::UploadArtifactRequest>,
        received: u64,
    ) -> Result<Option<pb::UploadArtifactRequest>, Status> {
        let mut draining = self.draining.clone();
        let next = tokio::select! {
            next = tokio::time::timeout(self.idle, parts.message()) => next,
            _ = draining.wait_for(|draining| *draining) => return Err(Error::Draining.into()),
        };
        match next {
            Ok(Ok(part)) => Ok(part),
            // The message was too large for the decoder: the layer above says so in the service's own terms.
            Ok(Err(error)) if error.code() == tonic::Code::OutOfRange => Err(error),
            Ok(Err(_)) => Err(Error::UploadIncomplete { received }.into()),
            Err(_) => {
                let idle = format!("no bytes came for {} s; nothing was kept", self.idle.as_secs());
                Err(plain(tonic::Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, &idle))
            }
        }
    }
}

fn upload(metadata: pb::UploadMetadata) -> Result<Upload, Error> {
    let mut found = Violations::default();
    let parent = found.name("metadata.parent", VersionName::parse(&metadata.parent));
    found.name("metadata.path", names::check_path(&metadata.path));
    let r#type = match pb::ArtifactType::try_from(metadata.r#type) {
        Ok(pb::ArtifactType::Unspecified) => {
            found.required("metadata.type");
            pb::ArtifactType::Unspecified
        }
        Ok(r#type) => r#type,
        Err(_) => {
            found.invalid("metadata.type", format!("has no value {}", metadata.r#type));
            pb::ArtifactType::Unspecified
        }
    };
    let media_type = match metadata.media_type.as_str() {
        "" => mime_guess::from_path(&metadata.path).first_or_octet_stream().to_string(),
        media_type => {
            if media_type.parse::<mime_guess::Mime>().is_err() {
                found.invalid("metadata.media_type", format!("{media_type:?} is not a media type"));
            }
            metadata.media_type
        }
    };
    let size_bytes = metadata.size_bytes.map(|size| {
        u64::try_from(size).unwrap_or_else(|_| {
            found.invalid("metadata.size_bytes", "must not be negative");
            0
        })
    });
    let sha256 = Some(metadata.sha256.to_ascii_lowercase()).filter(|sha256| !sha256.is_empty());
    if sha256.as_ref().is_some_and(|hex| hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        found.invalid("metadata.sha256", "must be 64 hex digits");
    }
    found.check()?;
    let parent = required("metadata.parent", parent)?;
    Ok(Upload { parent, path: metadata.path, r#type, media_type, size_bytes, sha256 })
}
