//! `ModelService`.

use registry_proto::v1 as pb;
use registry_proto::v1::model_service_server::ModelService;
use tonic::{Request, Response, Status};

use super::Services;
use super::paging::{self, Query};
use super::request::{both, name, no_filter, order, required};
use crate::error::Violations;
use crate::registry::deletion::{DeleteModel, UndeleteModel};
use crate::registry::lists::{ModelOrder, Page};
use crate::registry::models::{CreateModel, UpdateModel};
use crate::registry::updates::ModelMask;
use crate::registry::validate;
use crate::rules::names::{self, ModelName, NamespaceName};

#[tonic::async_trait]
impl ModelService for Services {
    async fn create_model(&self, request: Request<pb::CreateModelRequest>) -> Result<Response<pb::Model>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "CreateModel", &request, &request.request_id, request.validate_only);
        let mut found = Violations::default();
        let namespace = found.name("parent", NamespaceName::parse(&request.parent));
        if request.model_id.is_empty() {
            found.required("model_id");
        } else {
            found.name("model_id", names::check_id(&request.model_id));
        }
        let model = request.model.unwrap_or_default();
        let ((order, ()), ()) = both(both(order, found.check()), validate::model(&model))?;
        let namespace = required("parent", namespace)?.0;
        let name = ModelName { namespace, model: request.model_id };
        Ok(Response::new(self.registry.create_model(order, CreateModel { name, model }).await?))
    }

    async fn get_model(&self, request: Request<pb::GetModelRequest>) -> Result<Response<pb::Model>, Status> {
        let model = name("name", ModelName::parse(&request.get_ref().name))?;
        Ok(Response::new(self.registry.model(&model).await?))
    }

    async fn list_models(
        &self,
        request: Request<pb::ListModelsRequest>,
    ) -> Result<Response<pb::ListModelsResponse>, Status> {
        let mut request = request.into_inner();
        no_filter(&request.filter)?;
        let size = paging::size(std::mem::take(&mut request.page_size))?;
        let token = std::mem::take(&mut request.page_token);
        let query = Query::new("ListModels", &request);
        let namespace = name("parent", NamespaceName::parse(&request.parent))?;
        let (field, reverse) = paging::order(&request.order_by, &["name", "create_time"])?;
        let by = if field == "name" { ModelOrder::Name } else { ModelOrder::CreateTime };
        let page = Page { size, after: query.position(&token)?, reverse, show_deleted: request.show_deleted };
        let listed = self.registry.list_models(&namespace.0, by, &page).await?;
        let next_page_token = listed.next.map(|next| query.token(&next)).unwrap_or_default();
        Ok(Response::new(pb::ListModelsResponse { models: listed.items, next_page_token }))
    }

    async fn update_model(&self, request: Request<pb::UpdateModelRequest>) -> Result<Response<pb::Model>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "UpdateModel", &request, &request.request_id, request.validate_only);
        let model = required("model", request.model)?;
        let names = both(name("model.name", ModelName::parse(&model.name)), validate::model(&model));
        let mask = ModelMask::new(request.update_mask.as_ref(), &model);
        let (order, ((name, ()), mask)) = both(order, both(names, mask))?;
        Ok(Response::new(self.registry.update_model(order, UpdateModel { name, model, mask }).await?))
    }

    async fn delete_model(&self, request: Request<pb::DeleteModelRequest>) -> Result<Response<pb::Model>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "DeleteModel", &request, &request.request_id, request.validate_only);
        let (order, name) = both(order, name("name", ModelName::parse(&request.name)))?;
        let delete = DeleteModel { name, etag: request.etag, force: request.force };
        Ok(Response::new(self.registry.delete_model(order, delete).await?))
    }

    async fn undelete_model(&self, request: Request<pb::UndeleteModelRequest>) -> Result<Response<pb::Model>, Status> {
        let (metadata, _, request) = request.into_parts();
        let order = order(&metadata, "UndeleteModel", &request, &request.request_id, request.validate_only);
        let (order, name) = both(order, name("name", ModelName::parse(&request.name)))?;
        Ok(Response::new(self.registry.undelete_model(order, UndeleteModel { name, etag: request.etag }).await?))
    }
}
