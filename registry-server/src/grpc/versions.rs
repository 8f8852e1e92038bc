//! `VersionService`.

use std::sync::Arc;

use registry_proto::v1 as pb;
use registry_proto::v1::version_service_server::VersionService;
use tonic::Request;

use super::Services;
use super::admitting::{needs, permission};
use super::call::{List, Reply, check_comment};
use super::encoded::EncodedPage;
use super::moments::moment;
use super::paging::Sizes;
use crate::error::{Error, Violations};
use crate::registry::access::wishes::Need;
use crate::registry::checks::{self, ReportCheck};
use crate::registry::deletion::{DeleteVersion, UndeleteVersion};
use crate::registry::finalize::Finalize;
use crate::registry::prune::Which;
use crate::registry::purge::PurgeVersion;
use crate::registry::standard::Update;
use crate::registry::transaction::decode;
use crate::registry::versions::CreateVersion;
use crate::registry::withdrawal::{ReinstateVersion, WithdrawVersion};
use crate::registry::{Intent, validate};
use crate::rules::expression::VERSION;
use crate::rules::names::{MODELS, Name, VERSIONS, check_id, check_version_id};
use crate::store;

/// How many bytes of versions a response holds: with what stands around them, it fits the 4 MiB that clients take.
const RESPONSE_BYTES: usize = 4 * 1024 * 1024 - 16 * 1024;
/// How many names a request may hold.
const NAMES: usize = 100;

#[tonic::async_trait]
impl VersionService for Services {
    async fn create_version(&self, request: Request<pb::CreateVersionRequest>) -> Reply<pb::Version> {
        // What it was made from is named for those alone who may see it.
        let needs = |request: &pb::CreateVersionRequest| {
            let bases = request.version.iter().flat_map(|version| &version.base_versions);
            let seen = permission::<pb::GetVersionRequest>();
            Ok(needs(request)?.into_iter().chain(bases.map(|base| Need::on(seen, base))).collect())
        };
        let create = |request: pb::CreateVersionRequest, found: &mut Violations| {
            let model = found.name("parent", &MODELS, &request.parent);
            let version_id = request.version_id;
            if !version_id.is_empty() {
                found.parsed("version_id", check_version_id(&version_id));
            }
            let version = request.version.unwrap_or_default();
            let base_versions = names("version.base_versions", &version.base_versions, found);
            found.within("version", |found| validate::version(&version, found));
            Some(CreateVersion { model: model?, version_id, version, base_versions, finalize: request.finalize })
        };
        self.act_needing(request, needs, create, |registry, intent, create| async move {
            registry.commit(intent, create).await
        })
        .await
    }

    // `encoded` answers this call and the next before they come here; the service's trait wants the methods all the same.
    async fn get_version(&self, request: Request<pb::GetVersionRequest>) -> Reply<pb::Version> {
        let version = self.encoded_version(request).await?.into_inner();
        Ok(tonic::Response::new(store::decode(version).map_err(Error::from)?))
    }

    async fn list_versions(&self, request: Request<pb::ListVersionsRequest>) -> Reply<pb::ListVersionsResponse> {
        let EncodedPage { versions, next_page_token, total_size, explanation } =
            self.version_page(request).await?.into_inner();
        let versions = versions.into_iter().map(store::decode).collect::<Result<_, _>>().map_err(Error::from)?;
        Ok(tonic::Response::new(pb::ListVersionsResponse { versions, next_page_token, total_size, explanation }))
    }

    async fn batch_get_versions(
        &self,
        request: Request<pb::BatchGetVersionsRequest>,
    ) -> Reply<pb::BatchGetVersionsResponse> {
        self.read(
            request,
            |request, found| {
                let moment = moment(request.revision, request.read_time.as_ref(), found);
                Some((some_names(&request.names, 1, found)?, moment))
            },
            |registry, (names, moment)| async move {
                let mut response = pb::BatchGetVersionsResponse::default();
                let mut bytes = 0;
                // All of them from one revision.
                let past = match moment {
                    None => None,
                    Some(moment) => Some(registry.past(moment).await?),
                };
                for name in &names {
                    let record = match &past {
                        None => registry.version_record(name).await?,
                        Some(past) => past.version_record(name).await?,
                    };
                    bytes += record.payload.len();
                    if bytes > RESPONSE_BYTES {
                        let many = "these versions are more than fit a message of 4 MiB: ask for fewer at once";
                        return Err(Error::TooLarge(many.to_owned()));
                    }
                    response.versions.push(decode(&record)?);
                }
                Ok(response)
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
                    found.invalid("state", "must be ready or failed");
                    false
                }
            };
            if !failed && !request.failure_reason.is_empty() {
                found.invalid("failure_reason", "goes with a failed version only");
            }
            check_comment("failure_reason", &request.failure_reason, found);
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

    async fn withdraw_version(&self, request: Request<pb::WithdrawVersionRequest>) -> Reply<pb::Version> {
        let withdraw = |request: pb::WithdrawVersionRequest, found: &mut Violations| {
            let name = found.name("name", &VERSIONS, &request.name);
            check_comment("reason", &request.reason, found);
            let pb::WithdrawVersionRequest { reason, etag, force, .. } = request;
            Some(WithdrawVersion { name: name?, reason, etag, force })
        };
        self.act(request, withdraw, |registry, intent, withdraw| async move {
            // It is said of each event of the revision.
            let intent = Intent { comment: withdraw.reason.clone(), ..intent };
            registry.commit(intent, withdraw).await
        })
        .await
    }

    async fn report_check(&self, request: Request<pb::ReportCheckRequest>) -> Reply<pb::Version> {
        self.change(request, |request, found| {
            let name = found.name("name", &VERSIONS, &request.name);
            let id = found.parsed("check_id", check_id(&request.check_id));
            let Some(check) = request.check else {
                found.required("check");
                return None;
            };
            found.within("check", |found| checks::check(&check, found));
            id?;
            Some(ReportCheck { name: name?, id: request.check_id, check, etag: request.etag })
        })
        .await
    }

    async fn reinstate_version(&self, request: Request<pb::ReinstateVersionRequest>) -> Reply<pb::Version> {
        self.change(request, |request, found| {
            let name = found.name("name", &VERSIONS, &request.name)?;
            Some(ReinstateVersion { name, etag: request.etag })
        })
        .await
    }

    async fn compare_versions(
        &self,
        request: Request<pb::CompareVersionsRequest>,
    ) -> Reply<pb::CompareVersionsResponse> {
        const LIST: List = List {
            orders: &["metric"],
            sizes: Sizes { default: 1000, most: 1000 },
            filter: None,
            sorted: false,
            narrowed: false,
        };
        self.list_with(
            request,
            LIST,
            |request, found| some_names(&request.names, 2, found),
            |registry, names, page| async move { registry.compare(&names, &page).await },
            |names, metrics, next_page_token| pb::CompareVersionsResponse { names, metrics, next_page_token },
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
                let older_than = request.pending_older_than;
                let older_than = older_than.map(|age| validate::duration(found, "pending_older_than", &age));
                let filter = found.condition("filter", &request.filter, &VERSION);
                let which = Which { pending_older_than: older_than, filter: filter.map(Arc::new) };
                Some((model?, keep, which))
            },
            |registry, intent, (model, keep, which)| async move { registry.prune(intent, model, keep, which).await },
        )
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
