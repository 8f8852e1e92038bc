//! Locks.

use crate::call::setters;
use crate::names::{complete, model_and_version};
use crate::{Call, RegistryClient, pb};

/// Locks: what keeps a model or a version as it is until they are released.
impl RegistryClient {
    /// Locks a model (`fraud`) or one of its versions (`fraud/versions/7`), and says why: nothing of it changes any more. `id` names the
    /// lock; a model may have several.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let lock = client.create_lock("fraud", "incident-7", "wrong scores since Tuesday").await?;
    /// // A hold: it only is not deleted.
    /// client.create_lock("fraud/versions/7", "case-12", "the supervisor asks for it").deletions_only().await?;
    /// client.delete_lock(&lock.name).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_lock(
        &self,
        name: impl Into<String>,
        id: impl Into<String>,
        reason: impl Into<String>,
    ) -> Call<pb::CreateLockRequest> {
        let (parent, version) = model_and_version(name);
        let scope = pb::LockScope::Writes.into();
        let lock = pb::Lock { version, scope, reason: reason.into(), ..Default::default() };
        self.call(pb::CreateLockRequest { parent, lock_id: id.into(), lock: Some(lock), ..Default::default() })
    }

    /// One lock: `fraud/locks/incident-7`.
    pub fn get_lock(&self, name: impl Into<String>) -> Call<pb::GetLockRequest> {
        self.call(pb::GetLockRequest { name: complete(name) })
    }

    /// The locks of a model and its versions, or of all models of a namespace (`models/-`).
    pub fn list_locks(&self, model: impl Into<String>) -> Call<pb::ListLocksRequest> {
        self.call(pb::ListLocksRequest { parent: complete(model), ..Default::default() })
    }

    /// Releases a lock.
    pub fn delete_lock(&self, name: impl Into<String>) -> Call<pb::DeleteLockRequest> {
        self.call(pb::DeleteLockRequest { name: complete(name), ..Default::default() })
    }
}

setters!(CreateLockRequest {
    /// Only deletions and purges are kept from happening: a hold.
    deletions_only() |r| r.lock.get_or_insert_default().scope = pb::LockScope::Deletion.into();
});

setters!(ListLocksRequest {
    /// `name` (the default), also with ` desc`.
    order_by(order: impl Into<String>) |r| r.order_by = order.into();
});

setters!(DeleteLockRequest {
    /// Only if this is still the lock's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});
