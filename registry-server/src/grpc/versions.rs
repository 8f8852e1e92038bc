//! `VersionService`.

use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::version_service_server::VersionService;
use tonic::{Request, Response, Status};

use super::Services;
use super::paging::{self, Query};
use super::request::{both, name, no_filter, order, required};
use crate::error::{Error, Violations};
use crate::registry::aliases::{DeleteAlias, SetAlias};
use crate::registry::deletion::{DeleteVersion, UndeleteVersion};
use crate::registry::finalize::Finalize;
use crate::registry::lists::Page;
use crate::registry::purge::PurgeVersion;
use crate::registry::updates::VersionMask;
use crate::registry::validate;
use crate::registry::versions::{CreateVersion, UpdateVersion};
use crate::rules::names::{self, ModelName, VersionName, VersionRef, parse_version_parent};

/// How many names a request may hold.
const NAMES: usize = 100;

#[tonic::async_trait]
impl VersionService for Services {
    async fn create_version(
        &self,
        request: Request<pb::CreateVersionRequest>,
    ) -> Result<Response<pb::Version>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "CreateVersion", &request, &request.request_id, request.validate_only);
        let version = request.version.unwrap_or_default();
        let mut found = Violations::default();
        let model = found.name("parent", ModelName::parse(&request.parent));
        let parents: Vec<_> = (0..)
            .zip(&version.parents)
            .filter_map(|(i, parent): (usize, _)| {
                found.name(format!("version.parents[{i}]"), VersionName::parse(parent))
            })
            .collect();
        let ((order, ()), ()) = both(both(order, found.check()), validate::version(&version))?;
        let model = required("parent", model)?;
        let ready = request.finalize || !version.source_uri.is_empty();
        let create = CreateVersion { model, version, parents, ready };
        Ok(Response::new(self.registry.create_version(order, create).await?))
    }

    // `encoded` answers this call before it comes here; the service's trait wants the method all the same.
    async fn get_version(&self, request: Request<pb::GetVersionRequest>) -> Result<Response<pb::Version>, Status> {
        let version = name("name", VersionName::parse(&request.get_ref().name))?;
        Ok(Response::new(self.registry.version(&version).await?))
    }

    async fn list_versions(
        &self,
        request: Request<pb::ListVersionsRequest>,
    ) -> Result<Response<pb::ListVersionsResponse>, Status> {
        let mut request = request.into_inner();
        no_filter(&request.filter)?;
        let size = paging::size(std::mem::take(&mut request.page_size))?;
        let token = std::mem::take(&mut request.page_token);
        let query = Query::new("ListVersions", &request);
        let parent = name("parent", parse_version_parent(&request.parent))?;
        let (_, reverse) = paging::order(&request.order_by, &["number"])?;
        let page = Page { size, after: query.position(&token)?, reverse, show_deleted: request.show_deleted };
        let listed = self.registry.list_versions(&parent, &page).await?;
        let next_page_token = listed.next.map(|next| query.token(&next)).unwrap_or_default();
        Ok(Response::new(pb::ListVersionsResponse { versions: listed.items, next_page_token }))
    }

    async fn batch_get_versions(
        &self,
        request: Request<pb::BatchGetVersionsRequest>,
    ) -> Result<Response<pb::BatchGetVersionsResponse>, Status> {
        let names = version_names(&request.get_ref().names, 1)?;
        let mut versions = Vec::with_capacity(names.len());
        for name in &names {
            versions.push(self.registry.version(name).await?);
        }
        Ok(Response::new(pb::BatchGetVersionsResponse { versions }))
    }

    async fn update_version(
        &self,
        request: Request<pb::UpdateVersionRequest>,
    ) -> Result<Response<pb::Version>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "UpdateVersion", &request, &request.request_id, request.validate_only);
        let version = required("version", request.version)?;
        let name = name("version.name", VersionName::parse(&version.name));
        let mask = VersionMask::new(request.update_mask.as_ref(), &version);
        let (order, (name, mask)) = both(order, both(name, mask))?;
        Ok(Response::new(self.registry.update_version(order, UpdateVersion { name, version, mask }).await?))
    }

    async fn finalize_version(
        &self,
        request: Request<pb::FinalizeVersionRequest>,
    ) -> Result<Response<pb::Version>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "FinalizeVersion", &request, &request.request_id, request.validate_only);
        let mut found = Violations::default();
        let version = found.name("name", VersionName::parse(&request.name));
        let failed = match pb::VersionState::try_from(request.state) {
            Ok(pb::VersionState::Unspecified | pb::VersionState::Ready) => false,
            Ok(pb::VersionState::Failed) => true,
            _ => {
                found.invalid("state", "must be READY or FAILED");
                false
            }
        };
        if !failed && !request.failure_reason.is_empty() {
            found.invalid("failure_reason", "goes with FAILED only");
        }
        validate::comment(&mut found, "failure_reason", &request.failure_reason);
        let (order, ()) = both(order, found.check())?;
        let name = required("name", version)?;
        let finalize = Finalize { name, failure: failed.then_some(request.failure_reason), etag: request.etag };
        Ok(Response::new(self.registry.finalize_version(order, finalize).await?))
    }

    async fn delete_version(
        &self,
        request: Request<pb::DeleteVersionRequest>,
    ) -> Result<Response<pb::Version>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "DeleteVersion", &request, &request.request_id, request.validate_only);
        let (order, name) = both(order, name("name", VersionName::parse(&request.name)))?;
        let delete = DeleteVersion { name, etag: request.etag, force: request.force };
        Ok(Response::new(self.registry.delete_version(order, delete).await?))
    }

    async fn undelete_version(
        &self,
        request: Request<pb::UndeleteVersionRequest>,
    ) -> Result<Response<pb::Version>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "UndeleteVersion", &request, &request.request_id, request.validate_only);
        let (order, name) = both(order, name("name", VersionName::parse(&request.name)))?;
        Ok(Response::new(self.registry.undelete_version(order, UndeleteVersion { name, etag: request.etag }).await?))
    }

    async fn purge_version(&self, request: Request<pb::PurgeVersionRequest>) -> Result<Response<pb::Version>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "PurgeVersion", &request, &request.request_id, request.validate_only);
        let (order, name) = both(order, name("name", VersionName::parse(&request.name)))?;
        let purge = PurgeVersion { name, etag: request.etag, due: None };
        Ok(Response::new(self.registry.purge_version(order, purge).await?))
    }

    async fn compare_versions(
        &self,
        request: Request<pb::CompareVersionsRequest>,
    ) -> Result<Response<pb::CompareVersionsResponse>, Status> {
        let names = version_names(&request.get_ref().names, 2)?;
        Ok(Response::new(self.registry.compare(&names).await?))
    }

    async fn prune_versions(
        &self,
        request: Request<pb::PruneVersionsRequest>,
    ) -> Result<Response<pb::PruneVersionsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let dry = request.dry_run || request.validate_only;
        let order = order(&metadata, "PruneVersions", &request, &request.request_id, dry);
        let mut found = Violations::default();
        let model = found.name("parent", ModelName::parse(&request.parent));
        let keep = usize::try_from(request.keep).unwrap_or(0);
        if keep == 0 {
            found.invalid("keep", "must be at least 1");
        }
        let (order, ()) = both(order, found.check())?;
        let pruned = self.registry.prune(order, required("parent", model)?, keep).await?;
        let pb_pruned =
            pb::PruneVersionsResponse { versions: pruned.versions, more: pruned.more, revision: pruned.revision };
        Ok(Response::new(pb_pruned))
    }

    async fn set_alias(&self, request: Request<pb::SetAliasRequest>) -> Result<Response<pb::Model>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "SetAlias", &request, &request.request_id, request.validate_only);
        let mut found = Violations::default();
        let model = found.name("name", ModelName::parse(&request.name));
        found.name("alias", names::check_alias(&request.alias));
        let version = found.name("version", parse_alias_target(&request.version));
        let (order, ()) = both(order, found.check())?;
        let (model, (named, version)) = (required("name", model)?, required("version", version)?);
        if named.is_some_and(|named| named != model) {
            let other = format!("must be a version of {model}");
            return Err(Error::field("version", ErrorReason::FieldInvalid, other).into());
        }
        let set = SetAlias { model, alias: request.alias, version, etag: request.etag };
        Ok(Response::new(self.registry.set_alias(order, set).await?))
    }

    async fn delete_alias(&self, request: Request<pb::DeleteAliasRequest>) -> Result<Response<pb::Model>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "DeleteAlias", &request, &request.request_id, request.validate_only);
        let mut found = Violations::default();
        let model = found.name("name", ModelName::parse(&request.name));
        found.name("alias", names::check_alias(&request.alias));
        let (order, ()) = both(order, found.check())?;
        let model = required("name", model)?;
        let delete = DeleteAlias { model, alias: request.alias, etag: request.etag };
        Ok(Response::new(self.registry.delete_alias(order, delete).await?))
    }
}

/// What an alias is to point at: a version's whole name or only its last part.
fn parse_alias_target(version: &str) -> Result<(Option<ModelName>, VersionRef), names::NameError> {
    if version.contains('/') {
        let name = VersionName::parse(version)?;
        return Ok((Some(name.model), name.version));
    }
    Ok((None, VersionRef::parse(version)?))
}

fn version_names(names: &[String], least: usize) -> Result<Vec<VersionName>, Error> {
    if !(least..=NAMES).contains(&names.len()) {
        let count = format!("has {} names; {least} to {NAMES} are allowed", names.len());
        return Err(Error::field("names", ErrorReason::FieldInvalid, count));
    }
    let mut found = Violations::default();
    let parsed = (0..)
        .zip(names)
        .filter_map(|(i, name): (usize, _)| found.name(format!("names[{i}]"), VersionName::parse(name)))
        .collect();
    found.check()?;
    Ok(parsed)
}
