//! `InstanceService`.

use registry_proto::rpc::Request as _;
use registry_proto::v1 as pb;
use registry_proto::v1::instance_service_server::InstanceService;
use tonic::{Request, Response};

use super::Services;
use super::admitting::needs;
use super::call::{List, Reply, actor};
use crate::error::Violations;
use crate::registry::Intent;
use crate::registry::access::came::caller_of;
use crate::registry::instances::{DeleteInstance, ReportInstance};
use crate::rules::expression::INSTANCE;
use crate::rules::names::{INSTANCES, MODELS, Name};

#[tonic::async_trait]
impl InstanceService for Services {
    async fn report_instance(&self, request: Request<pb::ReportInstanceRequest>) -> Reply<pb::Instance> {
        // Without a request id: most reports leave nothing in the log that could be found again.
        let (headers, extensions, request) = request.into_parts();
        let wish = self.admit(&extensions, || needs(&request))?.wish();
        let pb::ReportInstanceRequest { instance, validate_only } = request;
        let mut found = Violations::default();
        let actor = actor(&headers, &mut found);
        let caller = Some(caller_of(headers.as_ref(), &extensions));
        let rpc = pb::ReportInstanceRequest::METHOD;
        let intent = Intent { rpc, actor, caller, validate_only, wish, ..Intent::default() };
        let report = ReportInstance::new(instance, &mut found);
        let report = found.unless_any(report)?;
        Ok(Response::new(self.registry.report_instance(intent, report).await?))
    }

    async fn get_instance(&self, request: Request<pb::GetInstanceRequest>) -> Reply<pb::Instance> {
        self.read(
            request,
            |request, found| found.name("name", &INSTANCES, &request.name),
            |registry, name| async move { registry.instance(&name).await },
        )
        .await
    }

    async fn list_instances(&self, request: Request<pb::ListInstancesRequest>) -> Reply<pb::ListInstancesResponse> {
        self.list(
            request,
            List::by(&["name"]).of(&INSTANCE),
            |request, found| found.parsed("parent", Name::parse_parent(&MODELS, &request.parent)),
            |registry, parent, page| async move { registry.list_instances(&parent, &page).await },
        )
        .await
    }

    async fn delete_instance(&self, request: Request<pb::DeleteInstanceRequest>) -> Reply<pb::Instance> {
        let delete = |request: pb::DeleteInstanceRequest, found: &mut Violations| {
            Some(DeleteInstance { name: found.name("name", &INSTANCES, &request.name)?, etag: request.etag })
        };
        self.act(
            request,
            delete,
            |registry, intent, delete| async move { registry.delete_instance(intent, delete).await },
        )
        .await
    }
}
