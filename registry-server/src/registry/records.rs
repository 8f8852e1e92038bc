//! Typed reads of records, the same from the store, a transaction or a snapshot.

use super::kinds;
use super::versions;
use crate::stored::NumberRecord;
use async_trait::async_trait;
use prost::Message;
use registry_proto::v1 as pb;

use super::keys;
use super::models::{ModelRow, aliased};
use super::resource::{Resource, missing, must_live};
use crate::convert;
use crate::error::Error;
use crate::rules::names::{ARTIFACTS, Name, VERSIONS, VersionRef};
use crate::rules::stages::Stage;
use crate::store::{Index, Range, Read, Record, Source, StoreError};

/// The message in a record.
pub(crate) fn decode<M: Message + Default>(record: &Record) -> Result<M, Error> {
    Ok(M::decode(record.payload.clone()).map_err(|error| StoreError::Damaged(error.to_string()))?)
}

/// The type of an alias, which is a part of its model, in errors.
pub(crate) const ALIAS: &str = "modelregistry.dev/Alias";

/// The stage of a version if it is one that models list, which DEVELOPMENT is not.
pub(crate) fn listed_stage(version: &pb::Version) -> Option<Stage> {
    convert::stage(version.stage).filter(|stage| *stage != Stage::Development)
}

/// Records read by what they hold.
#[async_trait]
pub(crate) trait Records: Read {
    /// The resource with a name, deleted or not.
    async fn resource<R: Resource>(&self, name: &Name) -> Result<R, Error> {
        let named = self.resolve(name).await?;
        match self.get(R::KIND, &named.key()).await? {
            Some(record) => R::decode(&record),
            None => {
                // Say so if it is the model or the version that is missing.
                self.must_exist(&named.parent()).await?;
                Err(missing::<R>(name))
            }
        }
    }

    /// Fails if there is no model or version with this name.
    async fn must_exist(&self, name: &Name) -> Result<(), Error> {
        match name.of().segment {
            "models" => self.resource::<ModelRow>(name).await.map(drop),
            "versions" => self.resource::<pb::Version>(name).await.map(drop),
            _ => Ok(()),
        }
    }

    /// The name by which a record is kept: with the version's number. A number need not exist.
    async fn resolve(&self, name: &Name) -> Result<Name, Error> {
        if std::ptr::eq(name.of(), &ARTIFACTS) {
            return Ok(self.resolve(&name.parent()).await?.child(&ARTIFACTS, name.id()));
        }
        if !std::ptr::eq(name.of(), &VERSIONS) {
            return Ok(name.clone());
        }
        let model = name.parent();
        let number = match VersionRef::parse(name.id()).map_err(Error::internal)? {
            VersionRef::Number(_) => return Ok(name.clone()),
            VersionRef::Id(id) => match self.get(kinds::VERSION_ID, &keys::version_id(&model, &id)).await? {
                Some(record) => decode::<NumberRecord>(&record)?.number,
                None => {
                    // Say so if it is the model that is missing.
                    self.must_exist(&model).await?;
                    return Err(missing::<pb::Version>(name));
                }
            },
            VersionRef::Alias(alias) => {
                let row: ModelRow = self.resource(&model).await?;
                must_live(&row)?;
                let number = aliased(&row, &alias);
                number.ok_or_else(|| Error::NotFound { of: ALIAS, name: name.to_string() })?
            }
        };
        Ok(model.child(&VERSIONS, number))
    }

    /// The newest READY version's name, or empty.
    async fn latest(&self, model: &Name) -> Result<String, Error> {
        self.name_of_first(versions::READY, Range::last(model.prefix(), 1)).await
    }

    /// The name of the version that entered a stage last and is still there, or empty.
    async fn newest_in_stage(&self, model: &Name, stage: Stage) -> Result<String, Error> {
        let newest = Range::last(keys::stage_entry(model, stage, None), 1);
        self.name_of_first(versions::STAGE_ENTRIES, newest).await
    }

    /// The name of the first version in a range, or empty.
    async fn name_of_first(&self, index: Index, range: Range) -> Result<String, Error> {
        let hits = self.scan(Source::Index(index), &range).await?;
        let first = hits.first().map(|hit| decode::<pb::Version>(&hit.record)).transpose()?;
        Ok(first.map(|version| version.name).unwrap_or_default())
    }
}

impl<R: Read + ?Sized> Records for R {}
