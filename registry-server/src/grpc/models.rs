//! `ModelService`.

use registry_proto::v1 as pb;
use registry_proto::v1::model_service_server::ModelService;
use tonic::Request;

use super::Services;
use super::call::Reply;
use crate::registry::models::ModelRow;
use crate::registry::standard::{Create, Delete, Undelete, Update};
use crate::rules::names::{MODELS, NAMESPACES, check_id};

#[tonic::async_trait]
impl ModelService for Services {
    async fn create_model(&self, request: Request<pb::CreateModelRequest>) -> Reply<pb::Model> {
        self.change(request, |request, found| {
            let namespace = found.name("parent", &NAMESPACES, &request.parent);
            if request.model_id.is_empty() {
                found.required("model_id");
            } else {
                found.parsed("model_id", check_id(&request.model_id));
            }
            Create::<ModelRow>::new(namespace?.child(&MODELS, request.model_id), request.model, found)
        })
        .await
    }

    async fn get_model(&self, request: Request<pb::GetModelRequest>) -> Reply<pb::Model> {
        self.read(
            request,
            |request, found| found.name("name", &MODELS, &request.name),
            |registry, name| async move { registry.get::<ModelRow>(&name).await },
        )
        .await
    }

    async fn list_models(&self, request: Request<pb::ListModelsRequest>) -> Reply<pb::ListModelsResponse> {
        self.list(
            request,
            &["name", "create_time"],
            |request, found| found.name("parent", &NAMESPACES, &request.parent),
            |registry, namespace, page| async move { registry.list::<ModelRow>(&namespace, &page).await },
        )
        .await
    }

    async fn update_model(&self, request: Request<pb::UpdateModelRequest>) -> Reply<pb::Model> {
        self.change(request, |request, found| {
            Update::<ModelRow>::new(request.model, request.update_mask.as_ref(), found)
        })
        .await
    }

    async fn delete_model(&self, request: Request<pb::DeleteModelRequest>) -> Reply<pb::Model> {
        self.change(request, |request, found| {
            let name = found.name("name", &MODELS, &request.name)?;
            Some(Delete::<ModelRow>::new(name, request.etag, request.force))
        })
        .await
    }

    async fn undelete_model(&self, request: Request<pb::UndeleteModelRequest>) -> Reply<pb::Model> {
        self.change(request, |request, found| {
            let name = found.name("name", &MODELS, &request.name)?;
            Some(Undelete::<ModelRow>::new(name, request.etag))
        })
        .await
    }
}
