//! Models: what is kept of one, and its own rules.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::kinds::{kind, slot};
use super::resource::{BY_AGE, LIVE, LIVE_BY_AGE, Resource, Row, Standard, standard_places, time_key};
use super::stages::{stage, stage_number};
use super::transaction::{Tx, decode};
use super::{deletion, facts, policies, validate};
use crate::error::{Error, Violations};
use crate::rules::expression::embedded;
use crate::rules::names::{Collection, Computed, MODELS, Name, POLICIES, computed};
use crate::rules::retention::{self, Standing};
use crate::rules::stages::Stage;
use crate::store::{FactView, Index, Kind, KindLayout, Place, Record, Source};
use crate::stored::{ModelRecord, StageHeight};

const MODEL: Kind = Kind(1);
/// The number of `ModelRecord.model`.
const RECORD_MODEL: u32 = 1;
/// Models that are deleted and not purged, by when they are to be.
pub(crate) const DELETED: Index = Index { kind: MODEL, slot: 4 };
/// Models that are not purged, by the policy that they name.
pub(crate) const UNDER_POLICY: Index = Index { kind: MODEL, slot: 5 };

/// A model, and what is counted for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelRow {
    pub(crate) model: pb::Model,
    /// The highest version number given out.
    pub(crate) last_number: i64,
    /// How high the stack of holders of each stage is.
    pub(crate) heights: BTreeMap<Stage, u64>,
    /// How many locks it has, with those of its versions.
    pub(crate) locks: usize,
}

impl Row for ModelRow {
    type Message = pb::Model;

    fn decode(record: &Record) -> Result<Self, Error> {
        let stored: ModelRecord = decode(record)?;
        let heights = stored.stage_heights.iter().filter_map(|entry| Some((stage(entry.stage)?, entry.height)));
        Ok(Self {
            last_number: stored.last_number,
            heights: heights.collect(),
            locks: usize::try_from(stored.lock_count).unwrap_or(usize::MAX),
            model: stored.model.unwrap_or_default(),
        })
    }

    fn encoded(record: &Record) -> &[u8] {
        embedded(&record.payload, RECORD_MODEL)
    }

    fn encode(&self) -> Bytes {
        let heights = self.heights.iter();
        let record = ModelRecord {
            model: Some(self.model.clone()),
            last_number: self.last_number,
            stage_heights: heights
                .map(|(stage, height)| StageHeight { stage: stage_number(*stage), height: *height })
                .collect(),
            lock_count: self.locks as u64,
        };
        Bytes::from(record.encode_to_vec())
    }

    fn message(&self) -> &pb::Model {
        &self.model
    }

    fn message_mut(&mut self) -> &mut pb::Model {
        &mut self.model
    }

    fn into_message(self) -> pb::Model {
        self.model
    }
}

impl ModelRow {
    /// The name of the model in a record.
    pub(crate) fn name_in(record: &Record) -> Result<String, Error> {
        Ok(Self::decode(record)?.model.name)
    }

    /// What the model says of a stage, if the stage holds a version.
    pub(crate) fn stage(&self, stage: Stage) -> Option<&pb::StageSummary> {
        let number = stage_number(stage);
        self.model.stages.iter().find(|summary| summary.stage == number)
    }
}

#[async_trait]
impl Resource for ModelRow {
    const LAYOUT: KindLayout = KindLayout {
        slots: &[
            LIVE,
            LIVE_BY_AGE,
            BY_AGE,
            slot(DELETED.slot, "deleted and not purged, by purge time"),
            slot(UNDER_POLICY.slot, "not purged, by the policy that they name"),
        ],
        view: Some(FactView { about: "The models, deleted ones too", facts: facts::MODEL, facts_of: facts::of_model }),
        ..kind(MODEL, "models")
    };
    const LISTED: Source = Source::Index(Self::LIVE);
    const OF: &'static Collection = &MODELS;

    fn places(&self, name: &Name) -> Vec<Place> {
        let mut places = standard_places(name, self.meta());
        if let (Some(_), Some(time), false) = (&self.model.delete_time, &self.model.purge_time, self.model.purged) {
            places.push(Place { slot: DELETED.slot, value: time_key(time) });
        }
        if !self.model.policy.is_empty() && !self.model.purged {
            let policy = Name::canonical(&POLICIES, &self.model.policy);
            places.push(Place { slot: UNDER_POLICY.slot, value: policy.prefix() });
        }
        places
    }

    fn check(message: &pb::Model, found: &mut Violations) {
        validate::model(message, found);
    }

    fn purged(&self) -> Option<&'static str> {
        self.model.purged.then_some("was purged: its name is free for a new model")
    }

    /// A purged model's: the next one's versions are counted on after its own.
    fn heir(&self) -> Option<Self> {
        self.model.purged.then(|| Self { last_number: self.last_number, ..Self::default() })
    }

    /// Its policy is one of its namespace.
    async fn admit(&mut self, tx: &Tx<'_>) -> Result<(), Error> {
        if !self.model.policy.is_empty() {
            let name = Name::canonical(&MODELS, &self.model.name);
            self.model.policy = policies::admit(tx, &name, &self.model.policy).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Standard for ModelRow {
    /// Not while a version is in production or carries an alias.
    async fn may_delete(&self, _: &Tx<'_>, force: bool) -> Result<(), Error> {
        let standing = Standing {
            in_production: self.stage(Stage::Production).is_some(),
            aliased: !self.model.aliases.is_empty(),
            ..Standing::default()
        };
        refuse_protected(&self.model.name, &standing, force)
    }

    /// Aliases, and the stages that somebody may serve.
    async fn let_go(self, tx: &mut Tx<'_>) -> Result<Self, Error> {
        deletion::let_go_of_all(tx, self).await
    }
}

/// Fails if something speaks against a deletion, unless it is forced.
pub(super) fn refuse_protected(name: &str, standing: &Standing, force: bool) -> Result<(), Error> {
    match retention::protected_from_deletion(standing) {
        Some(why) if !force => Err(Error::precondition(ErrorReason::ResourceProtected, name, why)),
        _ => Ok(()),
    }
}

/// The number that an alias of a model, set or computed, points at.
pub(crate) fn aliased(row: &ModelRow, alias: &str) -> Option<i64> {
    let name = match computed(alias) {
        Some(Computed::Latest) => Some(&row.model.latest_version),
        Some(Computed::In(stage)) => row.stage(stage).map(|summary| &summary.version),
        None => row.model.aliases.get(alias),
    };
    number_in(name?)
}

/// The number at the end of a version's canonical name.
pub(crate) fn number_in(name: &str) -> Option<i64> {
    name.rsplit_once('/').and_then(|(_, number)| number.parse().ok())
}
