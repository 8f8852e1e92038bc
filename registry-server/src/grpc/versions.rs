//! `VersionService`.

use registry_proto::v1 as pb;
use registry_proto::v1::version_service_server::VersionService;
use tonic::Request;

use super::Services;
use super::call::Reply;
use crate::error::Violations;
use crate::registry::aliases::{DeleteAlias, SetAlias};
use crate::registry::deletion::{DeleteVersion, UndeleteVersion};
use crate::registry::finalize::Finalize;
use crate::registry::purge::PurgeVersion;
use crate::registry::records;
use crate::registry::standard::Update;
use crate::registry::validate;
use crate::registry::versions::CreateVersion;
use crate::rules::names::{MODELS, Name, VERSIONS, check_alias};

/// How many names a request may hold.
const NAMES: usize = 100;

#[tonic::async_trait]
impl VersionService for Services {
    async fn create_version(&self, request: Request<pb::CreateVersionRequest>) -> Reply<pb::Version> {
        self.change(request, |request, found| {
            let model = found.name("parent", &MODELS, &request.parent);
            let version = request.version.unwrap_or_default();
            let parents = names("version.parents", &version.parents, found);
            found.within("version", |found| validate::version(&version, found));
            Some(CreateVersion { model: model?, version, parents, finalize: request.finalize })
        })
        .await
    }

    // `encoded` answers this call before it comes here; the service's trait wants the method all the same.
    async fn get_version(&self, request: Request<pb::GetVersionRequest>) -> Reply<pb::Version> {
        let record = self.version_record(request).await?.into_inner();
        Ok(tonic::Response::new(records::decode(&record)?))
    }

    async fn list_versions(&self, request: Request<pb::ListVersionsRequest>) -> Reply<pb::ListVersionsResponse> {
        self.list(
            request,
            &["number"],
            |request, found| found.parsed("parent", Name::parse_parent(&MODELS, &request.parent)),
            |registry, parent, page| async move { registry.list_versions(&parent, &page).await },
        )
        .await
    }

    async fn batch_get_versions(
        &self,
        request: Request<pb::BatchGetVersionsRequest>,
    ) -> Reply<pb::BatchGetVersionsResponse> {
        self.read(
            request,
            |request, found| some_names(&request.names, 1, found),
            |registry, names| async move {
                let mut versions = Vec::with_capacity(names.len());
                for name in &names {
                    versions.push(registry.version(name).await?);
                }
                Ok(pb::BatchGetVersionsResponse { versions })
            },
        )
        .await
    }

    async fn update_version(&self, request: Request<pb::UpdateVersionRequest>) -> Reply<pb::Version> {
        self.change(request, |request, found| {
            Update::<pb::Version>::new(request.version, request.update_mask.as_ref(), found)
        })
        .await
    }

    async fn finalize_version(&self, request: Request<pb::FinalizeVersionRequest>) -> Reply<pb::Version> {
        let finalize = |request: pb::FinalizeVersionRequest, found: &mut Violations| {
            let name = found.name("name", &VERSIONS, &request.name);
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
            validate::comment(found, "failure_reason", &request.failure_reason);
            Some(Finalize { name: name?, failure: failed.then_some(request.failure_reason), etag: request.etag })
        };
        self.act(
            request,
            finalize,
            |registry, intent, finalize| async move { registry.finalize(intent, finalize).await },
        )
        .await
    }

    async fn delete_version(&self, request: Request<pb::DeleteVersionRequest>) -> Reply<pb::Version> {
        self.change(request, |request, found| {
            let name = found.name("name", &VERSIONS, &request.name)?;
            Some(DeleteVersion { name, etag: request.etag, force: request.force })
        })
        .await
    }

    async fn undelete_version(&self, request: Request<pb::UndeleteVersionRequest>) -> Reply<pb::Version> {
        self.change(request, |request, found| {
            let name = found.name("name", &VERSIONS, &request.name)?;
            Some(UndeleteVersion { name, etag: request.etag })
        })
        .await
    }

    async fn purge_version(&self, request: Request<pb::PurgeVersionRequest>) -> Reply<pb::Version> {
        let purge = |request: pb::PurgeVersionRequest, found: &mut Violations| {
            Some(PurgeVersion { name: found.name("name", &VERSIONS, &request.name)?, etag: request.etag })
        };
        self.act(request, purge, |registry, intent, purge| async move { registry.purge(intent, purge).await }).await
    }

    async fn compare_versions(
        &self,
        request: Request<pb::CompareVersionsRequest>,
    ) -> Reply<pb::CompareVersionsResponse> {
        self.read(
            request,
            |request, found| some_names(&request.names, 2, found),
            |registry, names| async move { registry.compare(&names).await },
        )
        .await
    }

    async fn prune_versions(&self, request: Request<pb::PruneVersionsRequest>) -> Reply<pb::PruneVersionsResponse> {
        self.act(
            request,
            |request, found| {
                let model = found.name("parent", &MODELS, &request.parent);
                let keep = usize::try_from(request.keep).unwrap_or(0);
                if keep == 0 {
                    found.invalid("keep", "must be at least 1");
                }
                Some((model?, keep, request.dry_run))
            },
            |registry, mut intent, (model, keep, dry_run)| async move {
                intent.validate_only |= dry_run;
                registry.prune(intent, model, keep).await
            },
        )
        .await
    }

    async fn set_alias(&self, request: Request<pb::SetAliasRequest>) -> Reply<pb::Model> {
        self.change(request, |request, found| {
            let model = found.name("name", &MODELS, &request.name);
            found.parsed("alias", check_alias(&request.alias));
            let model = model?;
            // A whole name or only its last part.
            let version = match request.version.contains('/') {
                true => found.name("version", &VERSIONS, &request.version)?,
                false => found.name("version", &VERSIONS, &format!("{model}/versions/{}", request.version))?,
            };
            if version.parent() != model {
                found.invalid("version", format!("must be a version of {model}"));
            }
            Some(SetAlias { version, alias: request.alias, etag: request.etag })
        })
        .await
    }

    async fn delete_alias(&self, request: Request<pb::DeleteAliasRequest>) -> Reply<pb::Model> {
        self.change(request, |request, found| {
            let model = found.name("name", &MODELS, &request.name);
            found.parsed("alias", check_alias(&request.alias));
            Some(DeleteAlias { model: model?, alias: request.alias, etag: request.etag })
        })
        .await
    }
}

fn names(field: &str, texts: &[String], found: &mut Violations) -> Vec<Name> {
    let named = |(i, text): (usize, &String)| found.name(format!("{field}[{i}]"), &VERSIONS, text);
    texts.iter().enumerate().filter_map(named).collect()
}

/// The names in a request for several versions.
fn some_names(texts: &[String], least: usize, found: &mut Violations) -> Option<Vec<Name>> {
    if !(least..=NAMES).contains(&texts.len()) {
        found.invalid("names", format!("has {} names; {least} to {NAMES} are allowed", texts.len()));
        return None;
    }
    Some(names("names", texts, found))
}
