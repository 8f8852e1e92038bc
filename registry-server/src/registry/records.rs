//! Typed reads of records, the same from the store, a transaction or a snapshot.

use std::collections::BTreeMap;

use async_trait::async_trait;
use prost::Message;
use prost_types::Timestamp;
use registry_proto::store::{ModelRecord, NumberRecord, StageHeight};
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::keys;
use super::kinds;
use super::transaction::no_version;
use crate::convert;
use crate::error::Error;
use crate::rules::names::{ModelName, VersionName, VersionRef};
use crate::rules::stages::Stage;
use crate::store::{Index, Range, Read, Record, Source, StoreError};

/// The message in a record.
pub(crate) fn decode<M: Message + Default>(record: &Record) -> Result<M, Error> {
    Ok(M::decode(record.payload.clone()).map_err(|error| StoreError::Damaged(error.to_string()))?)
}

/// Fails if the resource has a delete time.
pub(crate) fn must_live(name: &str, delete_time: Option<&Timestamp>) -> Result<(), Error> {
    match delete_time {
        None => Ok(()),
        Some(_) => Err(Error::precondition(ErrorReason::ResourceDeleted, name, "is deleted")),
    }
}

/// The stage of a version if it is one that models list, which DEVELOPMENT is not.
pub(crate) fn listed_stage(version: &pb::Version) -> Option<Stage> {
    convert::stage(version.stage).filter(|stage| *stage != Stage::Development)
}

/// A model, and what is counted for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelRow {
    pub(crate) model: pb::Model,
    /// The highest version number given out.
    pub(crate) last_number: i64,
    /// How high the stack of holders of each stage is.
    pub(crate) heights: BTreeMap<Stage, u64>,
}

impl ModelRow {
    pub(crate) fn decode(record: &Record) -> Result<Self, Error> {
        let stored: ModelRecord = decode(record)?;
        let heights =
            stored.stage_heights.iter().filter_map(|entry| Some((convert::stage(entry.stage)?, entry.height)));
        Ok(Self {
            last_number: stored.last_number,
            heights: heights.collect(),
            model: stored.model.unwrap_or_default(),
        })
    }

    /// The message that is kept.
    pub(crate) fn to_record(&self) -> ModelRecord {
        let heights = self.heights.iter();
        ModelRecord {
            model: Some(self.model.clone()),
            last_number: self.last_number,
            stage_heights: heights
                .map(|(stage, height)| StageHeight { stage: convert::stage_number(*stage), height: *height })
                .collect(),
        }
    }
}

/// Records reads by what they hold.
#[async_trait]
pub(crate) trait Records: Read {
    /// The model, deleted or not.
    async fn model(&self, name: &ModelName) -> Result<ModelRow, Error> {
        match self.get(kinds::MODEL, &keys::model(name)).await? {
            Some(record) => ModelRow::decode(&record),
            None => Err(Error::NotFound { reason: ErrorReason::ModelNotFound, name: name.to_string() }),
        }
    }

    /// The version, deleted or not.
    async fn version(&self, model: &ModelName, number: i64) -> Result<pb::Version, Error> {
        match self.get(kinds::VERSION, &keys::version(model, number)).await? {
            Some(record) => decode(&record),
            None => Err(no_version(model.version(number))),
        }
    }

    /// The number that a version's name stands for. A number need not exist.
    async fn resolve(&self, name: &VersionName) -> Result<i64, Error> {
        match &name.version {
            VersionRef::Number(number) => Ok(*number),
            VersionRef::Label(label) => match self.get(kinds::LABEL, &keys::label(&name.model, label)).await? {
                Some(record) => Ok(decode::<NumberRecord>(&record)?.number),
                None => {
                    // Say so if it is the model that is missing.
                    self.model(&name.model).await?;
                    Err(no_version(name))
                }
            },
            VersionRef::Alias(alias) => {
                let model = self.model(&name.model).await?.model;
                must_live(&model.name, model.delete_time.as_ref())?;
                aliased(&model, alias)
                    .ok_or_else(|| Error::NotFound { reason: ErrorReason::AliasNotFound, name: name.to_string() })
            }
        }
    }

    /// The newest READY version's name, or empty.
    async fn latest(&self, model: &ModelName) -> Result<String, Error> {
        let newest = Range::last(keys::model_prefix(model), 1);
        self.name_of_first(kinds::READY_VERSIONS, newest).await
    }

    /// The name of the version that entered a stage last and is still there, or empty.
    async fn newest_in_stage(&self, model: &ModelName, stage: Stage) -> Result<String, Error> {
        let newest = Range::last(keys::stage_entry(model, stage, None), 1);
        self.name_of_first(kinds::STAGE_ENTRIES, newest).await
    }

    /// The name of the first version in a range, or empty.
    async fn name_of_first(&self, index: Index, range: Range) -> Result<String, Error> {
        let hits = self.scan(Source::Index(index), &range).await?;
        let first = hits.first().map(|hit| decode::<pb::Version>(&hit.record)).transpose()?;
        Ok(first.map(|version| version.name).unwrap_or_default())
    }
}

impl<R: Read + ?Sized> Records for R {}

/// The number that an alias of a model, set or computed, points at.
pub(crate) fn aliased(model: &pb::Model, alias: &str) -> Option<i64> {
    let in_stage = |stage: Stage| {
        let summary = model.stages.iter().find(|summary| summary.stage == convert::stage_number(stage));
        summary.map(|summary| summary.version.as_str())
    };
    let name = match alias {
        "latest" => Some(model.latest_version.as_str()),
        "production" => in_stage(Stage::Production),
        "staging" => in_stage(Stage::Staging),
        alias => model.aliases.get(alias).map(String::as_str),
    };
    number_in(name?)
}

/// The number at the end of a version's canonical name.
pub(crate) fn number_in(name: &str) -> Option<i64> {
    name.rsplit_once('/').and_then(|(_, number)| number.parse().ok())
}
