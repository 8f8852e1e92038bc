//! Models and aliases.

use crate::call::setters;
use crate::names::{complete, namespace_and_id, version_of_model};
use crate::{Call, RegistryClient, pb};

/// Models, and the aliases of their versions.
impl RegistryClient {
    /// Makes a model: `models/fraud`, `namespaces/risk/models/fraud`, or just `fraud` for one of the default namespace.
    ///
    /// [`is_already_exists`](crate::Error::is_already_exists) if the name is taken, also by a deleted model: then the metadata of
    /// its [`status`](crate::Error::status) has `deleted`, and [`purge_model`](Self::purge_model) frees the name.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use registry_client::known::model_type;
    ///
    /// client.create_model("fraud").model_type(model_type::CLASSIFICATION).team("risk").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_model(&self, model: impl Into<String>) -> Call<pb::CreateModelRequest> {
        let (parent, model_id) = namespace_and_id(model);
        self.call(pb::CreateModelRequest { parent, model_id, ..Default::default() })
    }

    /// One model, also a deleted one.
    pub fn get_model(&self, name: impl Into<String>) -> Call<pb::GetModelRequest> {
        self.call(pb::GetModelRequest { name: complete(name), ..Default::default() })
    }

    /// The models of the default namespace, or of [`parent`](Call::parent): [`is_not_found`](crate::Error::is_not_found) if there is
    /// no such namespace.
    pub fn list_models(&self) -> Call<pb::ListModelsRequest> {
        self.call(pb::ListModelsRequest::default())
    }

    /// Changes a model: those of its changeable fields that are not empty, or those that [`fields`](Call::fields) names.
    ///
    /// If the model has an etag, [`is_conflict`](crate::Error::is_conflict) unless it is still the current one.
    pub fn update_model(&self, mut model: pb::Model) -> Call<pb::UpdateModelRequest> {
        model.name = complete(model.name);
        self.call(pb::UpdateModelRequest { model: Some(model), ..Default::default() })
    }

    /// Marks a model as deleted. It loses its aliases, and what it has in production and staging leaves.
    pub fn delete_model(&self, name: impl Into<String>) -> Call<pb::DeleteModelRequest> {
        self.call(pb::DeleteModelRequest { name: complete(name), ..Default::default() })
    }

    /// Takes a deletion back. Aliases, and what was in production and staging, do not come back by it.
    pub fn undelete_model(&self, name: impl Into<String>) -> Call<pb::UndeleteModelRequest> {
        self.call(pb::UndeleteModelRequest { name: complete(name), ..Default::default() })
    }

    /// Gives up a deleted model with all of its versions at once, and for good. Its name is free for another model, whose versions
    /// are numbered on from there.
    pub fn purge_model(&self, name: impl Into<String>) -> Call<pb::PurgeModelRequest> {
        self.call(pb::PurgeModelRequest { name: complete(name), ..Default::default() })
    }

    /// Points an alias of a model, without its `@`, at a version: a full name or only its last part.
    pub fn set_alias(
        &self,
        model: impl Into<String>,
        alias: impl Into<String>,
        version: impl Into<String>,
    ) -> Call<pb::SetAliasRequest> {
        self.call(pb::SetAliasRequest {
            name: complete(model),
            alias: alias.into(),
            version: version_of_model(version),
            ..Default::default()
        })
    }

    /// Removes an alias of a model.
    pub fn delete_alias(&self, model: impl Into<String>, alias: impl Into<String>) -> Call<pb::DeleteAliasRequest> {
        self.call(pb::DeleteAliasRequest { name: complete(model), alias: alias.into(), ..Default::default() })
    }
}

setters!(CreateModelRequest {
    /// Everything that is known of the model at once, in place of what was set before.
    model(model: pb::Model) |r| r.model = Some(model);
    /// A name for people.
    display_name(name: impl Into<String>) |r| draft(r).display_name = name.into();
    /// What the model is, for people.
    description(text: impl Into<String>) |r| draft(r).description = text.into();
    /// What the model does, for example [`CLASSIFICATION`](crate::known::model_type::CLASSIFICATION).
    model_type(model_type: impl Into<String>) |r| draft(r).model_type = model_type.into();
    /// Who answers for it.
    owner(owner: impl Into<String>) |r| draft(r).owner = owner.into();
    /// Whose team it belongs to.
    team(team: impl Into<String>) |r| draft(r).team = team.into();
    /// The project it belongs to.
    project(project: impl Into<String>) |r| draft(r).project = project.into();
    /// The business that it is for.
    business_domain(domain: impl Into<String>) |r| draft(r).business_domain = domain.into();
    /// What it is for.
    purpose(purpose: impl Into<String>) |r| draft(r).purpose = purpose.into();
    /// Adds an annotation, for tools.
    annotation(key: impl Into<String>, value: impl Into<String>) |r| {
        draft(r).annotations.insert(key.into(), value.into());
    };
    /// Adds a tag, for selecting.
    tag(key: impl Into<String>, value: impl Into<String>) |r| {
        draft(r).tags.insert(key.into(), value.into());
    };
    /// The policy that it is under, one of its namespace: `strict`. Without it, the namespace's policy `default`, if there is one.
    policy(policy: impl Into<String>) |r| draft(r).policy = policy.into();
    /// Which of two values of a metric is better, where the registry does not know it or this model differs.
    metric_direction(metric: impl Into<String>, direction: pb::MetricDirection) |r| {
        draft(r).metric_directions.insert(metric.into(), direction.into());
    };
});

setters!(ListModelsRequest {
    /// Of this namespace: `namespaces/risk`.
    parent(namespace: impl Into<String>) |r| r.parent = namespace.into();
    /// Only those that meet this condition, in CEL: `model.team == "risk"`. A page may be short or empty and not be the last; `stream()` goes on.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// `name` (the default) or any other values, each also with ` desc`: `team, create_time desc`.
    order_by(order: impl Into<String>) |r| r.order_by = order.into();
    /// Deleted models as well.
    show_deleted(show: bool) |r| r.show_deleted = show;
    /// Count what the whole list has.
    count(count: bool) |r| r.count = count;
    /// Say how the page came about.
    explain(explain: bool) |r| r.explain = explain;
});

setters!(UpdateModelRequest {
    /// Which fields to take, also if they are empty: `description`, `tags`, ...; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
});

setters!(DeleteModelRequest {
    /// Only if this is still the model's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
    /// Even if a version is in production or carries an alias.
    force(force: bool) |r| r.force = force;
});

setters!(UndeleteModelRequest {
    /// Only if this is still the model's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(PurgeModelRequest {
    /// Only if this is still the model's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(SetAliasRequest {
    /// Only if this is still the model's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(DeleteAliasRequest {
    /// Only if this is still the model's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

fn draft(request: &mut pb::CreateModelRequest) -> &mut pb::Model {
    request.model.get_or_insert_default()
}

pub(crate) fn mask(fields: impl IntoIterator<Item = impl Into<String>>) -> prost_types::FieldMask {
    prost_types::FieldMask { paths: fields.into_iter().map(Into::into).collect() }
}
