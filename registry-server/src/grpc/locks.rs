//! `LockService`.

use registry_proto::v1 as pb;
use registry_proto::v1::lock_service_server::LockService;
use tonic::Request;

use super::Services;
use super::call::{List, Reply};
use super::models::version_of;
use crate::error::Violations;
use crate::registry::locks::{CreateLock, DeleteLock};
use crate::registry::resource::Resource as _;
use crate::rules::names::{LOCKS, MODELS, Name, check_id};

#[tonic::async_trait]
impl LockService for Services {
    async fn create_lock(&self, request: Request<pb::CreateLockRequest>) -> Reply<pb::Lock> {
        self.change(request, |request, found| {
            let model = found.name("parent", &MODELS, &request.parent);
            found.parsed("lock_id", check_id(&request.lock_id));
            let Some(lock) = request.lock else {
                found.required("lock");
                return None;
            };
            let version = found.within("lock", |found| {
                pb::Lock::check(&lock, found);
                match lock.version.as_str() {
                    "" => None,
                    version => version_of(model.as_ref(), version, found),
                }
            });
            Some(CreateLock { name: model?.child(&LOCKS, &request.lock_id), version, lock })
        })
        .await
    }

    async fn get_lock(&self, request: Request<pb::GetLockRequest>) -> Reply<pb::Lock> {
        self.read(
            request,
            |request, found| found.name("name", &LOCKS, &request.name),
            |registry, name| async move { registry.get::<pb::Lock>(&name).await },
        )
        .await
    }

    async fn list_locks(&self, request: Request<pb::ListLocksRequest>) -> Reply<pb::ListLocksResponse> {
        self.list(
            request,
            List::by(&["name"]),
            |request, found| found.parsed("parent", Name::parse_parent(&MODELS, &request.parent)),
            |registry, parent, page| async move { registry.list_locks(&parent, &page).await },
        )
        .await
    }

    async fn delete_lock(&self, request: Request<pb::DeleteLockRequest>) -> Reply<pb::Lock> {
        self.change(request, |request: pb::DeleteLockRequest, found: &mut Violations| {
            Some(DeleteLock { name: found.name("name", &LOCKS, &request.name)?, etag: request.etag })
        })
        .await
    }
}
