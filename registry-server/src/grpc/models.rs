//! `ModelService`.

use registry_proto::v1 as pb;
use registry_proto::v1::model_service_server::ModelService;
use tonic::Request;

use super::Services;
use super::call::{List, Reply};
use super::moments::moment;
use crate::error::Violations;
use crate::registry::aliases::{DeleteAlias, SetAlias};
use crate::registry::lists::Findings;
use crate::registry::models::ModelRow;
use crate::registry::purge_models::PurgeModel;
use crate::registry::standard::{Create, Delete, Undelete, Update};
use crate::rules::expression::MODEL;
use crate::rules::names::{DEFAULT_NAMESPACE, MODELS, NAMESPACES, Name, VERSIONS, VersionRef, check_alias, check_id};

#[tonic::async_trait]
impl ModelService for Services {
    async fn create_model(&self, request: Request<pb::CreateModelRequest>) -> Reply<pb::Model> {
        self.change(request, |request, found| {
            let namespace = parent(&request.parent, found);
            if request.model_id.is_empty() {
                found.required("model_id");
            } else {
                found.parsed("model_id", check_id(&request.model_id));
            }
            let name = namespace.map(|namespace| namespace.child(&MODELS, request.model_id));
            Create::<ModelRow>::new(name, request.model, found)
        })
        .await
    }

    async fn get_model(&self, request: Request<pb::GetModelRequest>) -> Reply<pb::Model> {
        self.get(
            request,
            |request, found| {
                let moment = moment(request.revision, request.read_time.as_ref(), found);
                Some((found.name("name", &MODELS, &request.name)?, moment))
            },
            |registry, (name, moment)| async move { registry.get_at::<ModelRow>(&name, moment).await },
        )
        .await
    }

    async fn list_models(&self, request: Request<pb::ListModelsRequest>) -> Reply<pb::ListModelsResponse> {
        self.list_parts(
            request,
            List::by(&["name", "create_time"]).of(&MODEL).sorted().narrowed(),
            |request, found| {
                let moment = moment(request.revision, request.read_time.as_ref(), found);
                Some((parent(&request.parent, found)?, moment))
            },
            |registry, (namespace, moment), page| async move {
                let listed = match moment {
                    None => registry.list_models(&namespace, &page).await?,
                    Some(moment) => registry.list_models_at(moment, &namespace, &page).await?,
                };
                Ok(listed.with_findings())
            },
            |Findings { total_size, explanation, .. }, models, next_page_token| pb::ListModelsResponse {
                models,
                next_page_token,
                total_size,
                explanation,
            },
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

    async fn purge_model(&self, request: Request<pb::PurgeModelRequest>) -> Reply<pb::Model> {
        let purge = |request: pb::PurgeModelRequest, found: &mut Violations| {
            Some(PurgeModel { name: found.name("name", &MODELS, &request.name)?, etag: request.etag })
        };
        self.act(request, purge, |registry, intent, purge| async move { registry.purge_model(intent, purge).await })
            .await
    }

    async fn set_alias(&self, request: Request<pb::SetAliasRequest>) -> Reply<pb::Model> {
        self.change(request, |request, found| {
            let model = found.name("name", &MODELS, &request.name);
            found.parsed("alias", check_alias(&request.alias));
            let version = version_of(model.as_ref(), &request.version, found)?;
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

/// A version of a model, by its whole name or only its last part.
pub(super) fn version_of(model: Option<&Name>, text: &str, found: &mut Violations) -> Option<Name> {
    let version = match text.contains('/') {
        true => found.name("version", &VERSIONS, text),
        false => found.parsed("version", VersionRef::parse(text)).and_then(|_| Some(model?.child(&VERSIONS, text))),
    };
    let (model, version) = (model?, version?);
    if version.parent() != *model {
        found.invalid("version", format!("must be a version of {model}"));
    }
    Some(version)
}

/// The namespace that models are in; without one, the default one.
pub(super) fn parent(text: &str, found: &mut Violations) -> Option<Name> {
    match text {
        "" => Some(Name::namespace_with(DEFAULT_NAMESPACE)),
        text => found.name("parent", &NAMESPACES, text),
    }
}
