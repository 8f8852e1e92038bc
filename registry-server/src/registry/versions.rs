//! Versions: making and reading them, and their own rules.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::artifacts::manifest_of_nothing;
use super::kinds::{kind, slot};
use super::models::ModelRow;
use super::resource::{Resource, below, exists, missing, time_key};
use super::stages::stage_entry;
use super::transaction::{Records as _, Tx, decode, event, listed_stage};
use super::{Committed, Mutation, Registry, facts, kinds, validate};
use crate::error::{Error, Violations};
use crate::rules::names::{Collection, MODELS, Name, VERSIONS, VersionRef};
use crate::rules::stages;
use crate::store::{FactView, Index, Kind, KindLayout, Place, Record, Source};
use crate::stored::NumberRecord;

const VERSION: Kind = Kind(2);
/// Versions that are not deleted, by number.
pub(crate) const LIVE: Index = Index { kind: VERSION, slot: 1 };
/// Versions that are READY and neither deleted nor withdrawn, by number: those that may be the latest.
pub(crate) const READY: Index = Index { kind: VERSION, slot: 2 };
/// Versions in a stage, by when they entered it.
pub(crate) const STAGE_ENTRIES: Index = Index { kind: VERSION, slot: 3 };
/// Versions that are deleted and not purged, by when they are to be.
pub(crate) const DELETED: Index = Index { kind: VERSION, slot: 4 };

/// Versions that are deleted and not purged, by number.
pub(crate) const UNPURGED: Index = Index { kind: VERSION, slot: 5 };

/// How often a read by a moving name is tried when the name moves in between.
const READS: usize = 4;

#[async_trait]
impl Resource for pb::Version {
    const LAYOUT: KindLayout = KindLayout {
        slots: &[
            slot(LIVE.slot, "not deleted, by number"),
            slot(READY.slot, "READY and neither deleted nor withdrawn, by number"),
            slot(STAGE_ENTRIES.slot, "in a stage, by when they entered it"),
            slot(DELETED.slot, "deleted and not purged, by purge time"),
            slot(UNPURGED.slot, "deleted and not purged, by number"),
        ],
        view: Some(FactView {
            about: "The versions of all models, deleted ones too",
            facts: facts::VERSION,
            facts_of: facts::of_version,
        }),
        ..kind(VERSION, "versions")
    };
    const LISTED: Source = Source::Index(LIVE);
    const OF: &'static Collection = &VERSIONS;

    fn places(&self, name: &Name) -> Vec<Place> {
        let mut places = Vec::new();
        if self.delete_time.is_none() {
            // The key that follows the place sorts by number.
            places.push(Place { slot: LIVE.slot, value: Vec::new() });
            if self.state() == pb::VersionState::Ready && self.withdraw_time.is_none() {
                places.push(Place { slot: READY.slot, value: Vec::new() });
            }
            if let Some(stage) = listed_stage(self) {
                let value = stage_entry(&name.parent(), stage, Some(self.stage_revision.cast_unsigned()));
                places.push(Place { slot: STAGE_ENTRIES.slot, value });
            }
        }
        if self.delete_time.is_some() && !self.purged {
            places.push(Place { slot: UNPURGED.slot, value: Vec::new() });
            places.extend(self.purge_time.iter().map(|time| Place { slot: DELETED.slot, value: time_key(time) }));
        }
        places
    }

    fn check(message: &Self, found: &mut Violations) {
        validate::version(message, found);
    }

    fn purged(&self) -> Option<&'static str> {
        self.purged.then_some("was purged: its artifacts are gone for good")
    }

    fn reads(name: &Name) -> Vec<(Kind, Vec<u8>)> {
        let model = name.within(&MODELS);
        let version = name.within(&VERSIONS);
        let of_version = match VersionRef::parse(version.id()) {
            Ok(VersionRef::Number(_)) => Some((pb::Version::KIND, version.key())),
            Ok(VersionRef::Id(id)) => Some((kinds::VERSION_ID, version_id_key(&model, &id))),
            // Its number is not known yet.
            Ok(VersionRef::Alias(_)) | Err(_) => None,
        };
        of_version.into_iter().chain([(ModelRow::KIND, model.key())]).collect()
    }

    async fn live_above(tx: &Tx<'_>, name: &Name) -> Result<(), Error> {
        tx.live::<ModelRow>(&name.parent()).await.map(drop)
    }
}

impl Registry {
    /// The record of a version, which holds a `Version` as it goes over the wire.
    pub(crate) async fn version_record(&self, name: &Name) -> Result<Record, Error> {
        for _ in 0..READS {
            let named = self.store.resolve(name).await?;
            if let Some(record) = self.store.get(pb::Version::KIND, &named.key()).await? {
                // What `@production` pointed at a moment ago may have left the stage since: an answer that never was.
                if name.id().starts_with('@') && self.store.resolve(name).await? != named {
                    continue;
                }
                return Ok(record);
            }
            // Say so if it is the model that is missing.
            self.get::<ModelRow>(&name.parent()).await?;
            return Err(missing::<pb::Version>(name));
        }
        Err(Error::internal(format!("{name} keeps moving")))
    }

    /// The version, deleted or not.
    pub(crate) async fn version(&self, name: &Name) -> Result<pb::Version, Error> {
        decode(&self.version_record(name).await?)
    }
}

/// A version to be made; what its caller gave was checked.
pub(crate) struct CreateVersion {
    pub(crate) model: Name,
    pub(crate) version: pb::Version,
    /// The caller's name for it, or empty.
    pub(crate) version_id: String,
    /// The names in `version.base_versions`, in their order.
    pub(crate) base_versions: Vec<Name>,
    /// It is to be READY at once.
    pub(crate) finalize: bool,
}

#[async_trait]
impl Mutation for CreateVersion {
    type Answer = pb::Version;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row: ModelRow = tx.live(&self.model).await?;
        let number = row.last_number + 1;
        let name = self.model.child(&VERSIONS, number).to_string();
        // As they are called now: one of them may lose its id to this version.
        let base_versions = resolve_bases(tx, &self.base_versions).await?;
        if !self.version_id.is_empty() {
            let key = version_id_key(&self.model, &self.version_id);
            if let Some(record) = tx.store.get(kinds::VERSION_ID, &key).await? {
                let holder = decode::<NumberRecord>(&record)?.number;
                self.take_id_from(tx, &self.model.child(&VERSIONS, holder)).await?;
            }
            tx.put_number(kinds::VERSION_ID, key, number).await?;
        }
        let ready = stages::is_ready_at_once(self.finalize, &self.version.source_uri);
        let state = if ready { pb::VersionState::Ready } else { pb::VersionState::Pending };
        let version = pb::Version {
            name: name.clone(),
            version_id: self.version_id.clone(),
            number,
            state: state.into(),
            stage: pb::Stage::Development.into(),
            base_versions,
            manifest_sha256: if ready { manifest_of_nothing() } else { String::new() },
            stage_time: Some(tx.now),
            stage_revision: tx.revision().cast_signed(),
            ..self.version.given()
        };
        tx.write(event(event_type::VERSION_CREATED), None, version).await?;
        row.last_number = number;
        row.model.version_count += 1;
        if ready {
            row.model.latest_version = name;
        }
        // The etag stays: a new version does not get in the way of those who change the model.
        tx.keep(row).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Version, Error> {
        committed.resource::<pb::Version>(event_type::VERSION_CREATED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads: Vec<_> = self.base_versions.iter().flat_map(pb::Version::reads).collect();
        reads.push((ModelRow::KIND, self.model.key()));
        if !self.version_id.is_empty() {
            reads.push((kinds::VERSION_ID, version_id_key(&self.model, &self.version_id)));
        }
        reads
    }
}

impl CreateVersion {
    /// Takes the id from the version that has it, if nobody can use that one any more: what came to nothing must not keep the name of
    /// a release.
    async fn take_id_from(&self, tx: &mut Tx<'_>, holder: &Name) -> Result<(), Error> {
        let before: pb::Version = tx.any(holder).await?;
        if before.state() != pb::VersionState::Failed && !before.purged {
            return Err(exists(self.model.child(&VERSIONS, &self.version_id).as_str(), &before));
        }
        let after = pb::Version { version_id: String::new(), ..before.clone() };
        tx.write(event(event_type::VERSION_UPDATED), Some(before), after).await.map(drop)
    }
}

/// The canonical names of the versions that another one was derived from.
async fn resolve_bases(tx: &Tx<'_>, bases: &[Name]) -> Result<Vec<String>, Error> {
    let mut names = Vec::with_capacity(bases.len());
    for (i, base) in bases.iter().enumerate() {
        match tx.any::<pb::Version>(base).await {
            Ok(version) => names.push(version.name),
            Err(Error::NotFound { name, .. }) => {
                let missing = format!("{name} does not exist");
                return Err(Error::field(format!("version.base_versions[{i}]"), ErrorReason::FieldInvalid, missing));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}

/// Of a caller's name of a version.
pub(super) fn version_id_key(model: &Name, id: &str) -> Vec<u8> {
    below(model, id.as_bytes())
}
