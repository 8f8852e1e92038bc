//! `NamespaceService`.

use registry_proto::v1 as pb;
use registry_proto::v1::namespace_service_server::NamespaceService;
use tonic::Request;

use super::Services;
use super::call::{List, Reply};
use crate::registry::standard::{Create, Delete, Undelete, Update};
use crate::rules::expression::NAMESPACE;
use crate::rules::names::{NAMESPACES, Name, check_namespace_id};

#[tonic::async_trait]
impl NamespaceService for Services {
    async fn create_namespace(&self, request: Request<pb::CreateNamespaceRequest>) -> Reply<pb::Namespace> {
        self.change(request, |request, found| {
            let name = found.parsed("namespace_id", check_namespace_id(&request.namespace_id));
            let name = name.map(|()| Name::namespace_with(&request.namespace_id));
            Create::<pb::Namespace>::new(name, request.namespace, found)
        })
        .await
    }

    async fn get_namespace(&self, request: Request<pb::GetNamespaceRequest>) -> Reply<pb::Namespace> {
        self.read(
            request,
            |request, found| found.name("name", &NAMESPACES, &request.name),
            |registry, name| async move { registry.get::<pb::Namespace>(&name).await },
        )
        .await
    }

    async fn list_namespaces(&self, request: Request<pb::ListNamespacesRequest>) -> Reply<pb::ListNamespacesResponse> {
        self.list(
            request,
            List::by(&["name", "create_time"]).of(&NAMESPACE).narrowed(),
            |_, _| Some(()),
            |registry, (), page| async move { registry.list::<pb::Namespace>(Vec::new(), &page).await },
        )
        .await
    }

    async fn update_namespace(&self, request: Request<pb::UpdateNamespaceRequest>) -> Reply<pb::Namespace> {
        self.change(request, |request, found| {
            Update::<pb::Namespace>::new(request.namespace, request.update_mask.as_ref(), found)
        })
        .await
    }

    async fn delete_namespace(&self, request: Request<pb::DeleteNamespaceRequest>) -> Reply<pb::Namespace> {
        self.change(request, |request, found| {
            let name = found.name("name", &NAMESPACES, &request.name)?;
            Some(Delete::<pb::Namespace>::new(name, request.etag, false))
        })
        .await
    }

    async fn undelete_namespace(&self, request: Request<pb::UndeleteNamespaceRequest>) -> Reply<pb::Namespace> {
        self.change(request, |request, found| {
            let name = found.name("name", &NAMESPACES, &request.name)?;
            Some(Undelete::<pb::Namespace>::new(name, request.etag))
        })
        .await
    }
}
