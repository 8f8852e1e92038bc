//! Models: making, reading, changing them.

use async_trait::async_trait;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use uuid::Uuid;

use super::kinds;
use super::records::{ModelRow, Records as _};
use super::transaction::{Tx, check_etag, model_after, model_event};
use super::updates::ModelMask;
use super::{Mutation, Order, Registry, keys};
use crate::error::Error;
use crate::rules::names::ModelName;
use crate::store::Kind;

impl Registry {
    /// The model, deleted or not.
    pub(crate) async fn model(&self, name: &ModelName) -> Result<pb::Model, Error> {
        Ok(self.store.model(name).await?.model)
    }

    pub(crate) async fn create_model(&self, order: Order, create: CreateModel) -> Result<pb::Model, Error> {
        model_after(self.commit(order, create).await?.into_event(pb::EventType::ModelCreated)?)
    }

    pub(crate) async fn update_model(&self, order: Order, update: UpdateModel) -> Result<pb::Model, Error> {
        model_after(self.commit(order, update).await?.into_event(pb::EventType::ModelUpdated)?)
    }
}

/// A model to be made; its content was checked.
pub(crate) struct CreateModel {
    pub(crate) name: ModelName,
    pub(crate) model: pb::Model,
}

#[async_trait]
impl Mutation for CreateModel {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        if tx.store.get(kinds::MODEL, &keys::model(&self.name)).await?.is_some() {
            let name = self.name.to_string();
            return Err(Error::AlreadyExists { reason: ErrorReason::ModelAlreadyExists, name });
        }
        let model = pb::Model {
            name: self.name.to_string(),
            uid: Uuid::new_v4().to_string(),
            aliases: Default::default(),
            stages: Vec::new(),
            latest_version: String::new(),
            version_count: 0,
            create_time: Some(tx.now),
            update_time: Some(tx.now),
            delete_time: None,
            etag: tx.etag(),
            create_revision: tx.revision(),
            ..self.model.clone()
        };
        tx.log(model_event(pb::EventType::ModelCreated, None, &model));
        tx.put_model(&self.name, &ModelRow { model, ..Default::default() }).await
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        vec![(kinds::MODEL, keys::model(&self.name))]
    }
}

/// New values for some fields of a model; they were checked.
pub(crate) struct UpdateModel {
    pub(crate) name: ModelName,
    pub(crate) model: pb::Model,
    pub(crate) mask: ModelMask,
}

#[async_trait]
impl Mutation for UpdateModel {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row = tx.live_model(&self.name).await?;
        check_etag(&row.model.name, &row.model.etag, &self.model.etag)?;
        let before = row.model.clone();
        self.mask.apply(&self.model, &mut row.model);
        touch(tx, &mut row.model);
        tx.log(model_event(pb::EventType::ModelUpdated, Some(&before), &row.model));
        tx.put_model(&self.name, &row).await
    }
}

/// Notes that a model changes in this revision.
pub(crate) fn touch(tx: &Tx<'_>, model: &mut pb::Model) {
    model.update_time = Some(tx.now);
    model.etag = tx.etag();
}
