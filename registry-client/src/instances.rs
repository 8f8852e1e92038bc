//! Instances.

use crate::call::setters;
use crate::names::complete;
use crate::{Call, RegistryClient, pb};

/// Instances: the processes that run a model, as they report it. [Followers](crate::Follower) do so by themselves.
impl RegistryClient {
    /// Says what an instance runs: all of it, each time, also if nothing has changed, three times within its `ttl`. The first report
    /// makes the instance; one that is not heard of for its `ttl` is removed.
    ///
    /// [`is_failed_precondition`](crate::Error::is_failed_precondition) if its model is deleted.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use registry_client::pb;
    ///
    /// let version = "namespaces/default/models/fraud/versions/7";
    /// let instance = pb::Instance {
    ///     name: "fraud/instances/web-1".to_owned(),
    ///     target: "@production".to_owned(),
    ///     desired_version: version.to_owned(),
    ///     observed_version: version.to_owned(),
    ///     state: pb::InstanceState::Serving.into(),
    ///     ..Default::default()
    /// };
    /// client.report_instance(instance).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn report_instance(&self, mut instance: pb::Instance) -> Call<pb::ReportInstanceRequest> {
        for name in [&mut instance.name, &mut instance.desired_version, &mut instance.observed_version] {
            *name = complete(std::mem::take(name));
        }
        self.call(pb::ReportInstanceRequest { instance: Some(instance), ..Default::default() })
    }

    /// One instance: `fraud/instances/web-1`.
    pub fn get_instance(&self, name: impl Into<String>) -> Call<pb::GetInstanceRequest> {
        self.call(pb::GetInstanceRequest { name: complete(name) })
    }

    /// The instances of a model, or of all models of a namespace (`namespaces/risk/models/-`).
    pub fn list_instances(&self, model: impl Into<String>) -> Call<pb::ListInstancesRequest> {
        self.call(pb::ListInstancesRequest { parent: complete(model), ..Default::default() })
    }

    /// Removes an instance. If it goes on reporting it is there again.
    pub fn delete_instance(&self, name: impl Into<String>) -> Call<pb::DeleteInstanceRequest> {
        self.call(pb::DeleteInstanceRequest { name: complete(name), ..Default::default() })
    }
}

setters!(ListInstancesRequest {
    /// Only those that meet this condition, in CEL: `instance.state == "FAILED"`. A page may be short or empty and not be the last; `stream()` goes on.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// `name` (the default), also with ` desc`.
    order_by(order: impl Into<String>) |r| r.order_by = order.into();
});

setters!(DeleteInstanceRequest {
    /// Only if this is still the instance's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});
