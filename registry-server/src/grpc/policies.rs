//! `PolicyService`.

use registry_proto::v1 as pb;
use registry_proto::v1::policy_service_server::PolicyService;
use tonic::Request;

use super::Services;
use super::call::{List, Reply};
use super::models::parent;
use crate::registry::policies::DeletePolicy;
use crate::registry::standard::{Create, Update};
use crate::rules::names::{POLICIES, check_id};

#[tonic::async_trait]
impl PolicyService for Services {
    async fn create_policy(&self, request: Request<pb::CreatePolicyRequest>) -> Reply<pb::Policy> {
        self.change(request, |request, found| {
            let namespace = parent(&request.parent, found);
            let id = request.policy_id;
            let checked = found.parsed("policy_id", check_id(&id));
            let name = namespace.zip(checked).map(|(namespace, ())| namespace.child(&POLICIES, id));
            Create::<pb::Policy>::new(name, request.policy, found)
        })
        .await
    }

    async fn get_policy(&self, request: Request<pb::GetPolicyRequest>) -> Reply<pb::Policy> {
        self.read(
            request,
            |request, found| found.name("name", &POLICIES, &request.name),
            |registry, name| async move { registry.get::<pb::Policy>(&name).await },
        )
        .await
    }

    async fn list_policies(&self, request: Request<pb::ListPoliciesRequest>) -> Reply<pb::ListPoliciesResponse> {
        self.list(
            request,
            List::by(&["name"]),
            |request, found| parent(&request.parent, found),
            |registry, namespace, page| async move { registry.list_policies(&namespace, &page).await },
        )
        .await
    }

    async fn update_policy(&self, request: Request<pb::UpdatePolicyRequest>) -> Reply<pb::Policy> {
        self.change(request, |request, found| {
            Update::<pb::Policy>::new(request.policy, request.update_mask.as_ref(), found)
        })
        .await
    }

    async fn delete_policy(&self, request: Request<pb::DeletePolicyRequest>) -> Reply<pb::Policy> {
        self.change(request, |request, found| {
            Some(DeletePolicy { name: found.name("name", &POLICIES, &request.name)?, etag: request.etag })
        })
        .await
    }
}
