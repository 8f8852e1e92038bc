//! Locks: what is kept of them, and the check that no commit gets past.

use std::collections::BTreeSet;

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use registry_proto::v1::resource::Resource as Of;

use super::kinds::kind;
use super::lists::{Listed, Page};
use super::models::{ModelRow, number_in};
use super::resource::{Resource, Row as _, check_etag, exists};
use super::transaction::{Records as _, Tx, decode, event_of};
use super::{Committed, Mutation, Registry, facts, validate};
use crate::error::{Error, Violations};
use crate::rules::locks::{Change, Lock};
use crate::rules::names::{Collection, LOCKS, MODELS, Name};
use crate::store::{FactView, Kind, KindLayout, Place, Range, Read, Source};

/// How many locks a model has at most, with those of its versions: all of them are looked at in each of its commits.
const MOST: usize = 100;
/// What is deleted or purged by its event.
const DELETIONS: [&str; 5] = [
    event_type::MODEL_DELETED,
    event_type::MODEL_PURGED,
    event_type::VERSION_DELETED,
    event_type::VERSION_PURGED,
    event_type::ARTIFACT_DELETED,
];

#[async_trait]
impl Resource for pb::Lock {
    const LAYOUT: KindLayout = KindLayout {
        view: Some(FactView {
            about: "The locks of models and versions",
            facts: facts::MADE,
            facts_of: facts::standard::<Self>,
        }),
        ..kind(Kind(10), "locks")
    };
    const LISTED: Source = Source::Kind(Self::KIND);
    const OF: &'static Collection = &LOCKS;

    fn places(&self, _: &Name) -> Vec<Place> {
        Vec::new()
    }

    fn check(message: &Self, found: &mut Violations) {
        match message.reason.as_str() {
            "" => found.required("reason"),
            reason => validate::long(found, "reason", reason, validate::TEXT_BYTES),
        }
        match pb::LockScope::try_from(message.scope) {
            Ok(pb::LockScope::Unspecified) => found.required("scope"),
            Ok(_) => {}
            Err(_) => found.invalid("scope", format!("has no value {}", message.scope)),
        }
    }
}

/// A lock as the rules have it.
fn rule(lock: &pb::Lock) -> Lock {
    let version = Some(&lock.version).filter(|version| !version.is_empty());
    Lock {
        // One of which the version can't be read holds for all of them.
        version: version.and_then(|version| number_in(version)),
        deletions_only: lock.scope() == pb::LockScope::Deletion,
    }
}

/// What an event changes, if it is something that locks keep.
fn change(event: &pb::Event) -> Option<Change> {
    let resource = event.after.as_ref().or(event.before.as_ref())?.resource.as_ref()?;
    let version = match resource {
        Of::Model(_) => None,
        Of::Version(version) => Some(version.number),
        Of::Artifact(artifact) => number_in(artifact.name.split("/artifacts/").next()?),
        _ => return None,
    };
    Some(Change { version, deletes: DELETIONS.contains(&event.r#type.as_str()) })
}

/// All locks of a model.
async fn all<R: Read + ?Sized>(records: &R, row: &ModelRow) -> Result<Vec<pb::Lock>, Error> {
    if row.locks == 0 {
        return Ok(Vec::new());
    }
    let name = Name::canonical(&MODELS, &row.model.name);
    let hits = records.scan(Source::Kind(pb::Lock::KIND), &Range::first(name.prefix(), MOST)).await?;
    hits.iter().map(|hit| decode(&hit.record)).collect()
}

/// The versions of a model that have locks of their own: those who delete what is old pass them over.
pub(super) async fn locked_versions<R: Read + ?Sized>(records: &R, row: &ModelRow) -> Result<BTreeSet<i64>, Error> {
    Ok(all(records, row).await?.iter().filter_map(|lock| rule(lock).version).collect())
}

/// Fails if a lock forbids something that has been done.
pub(super) async fn check(tx: &Tx<'_>) -> Result<(), Error> {
    for model in tx.models_touched() {
        let name = Name::canonical(&MODELS, &model);
        let Some(record) = tx.store.get(ModelRow::KIND, &name.key()).await? else { continue };
        let locks = all(&*tx.store, &ModelRow::decode(&record)?).await?;
        if locks.is_empty() {
            continue;
        }
        let below = format!("{model}/");
        let of_model = |event: &&pb::Event| event.resource_name == model || event.resource_name.starts_with(&below);
        for event in tx.events.iter().filter(of_model) {
            let Some(change) = change(event) else { continue };
            if let Some(lock) = locks.iter().find(|lock| rule(lock).forbids(change)) {
                return Err(locked(lock, &event.resource_name));
            }
        }
    }
    Ok(())
}

/// Whether a lock keeps a version of a model from being purged.
pub(super) async fn keep(tx: &Tx<'_>, row: &ModelRow, version: &pb::Version) -> Result<bool, Error> {
    let purge = Change { version: Some(version.number), deletes: true };
    Ok(all(&*tx.store, row).await?.iter().any(|lock| rule(lock).forbids(purge)))
}

fn locked(lock: &pb::Lock, what: &str) -> Error {
    let pb::Lock { name, creator, reason, .. } = lock;
    Error::precondition(ErrorReason::ResourceLocked, what, format!("is locked by {name} of {creator}: {reason}"))
}

/// A model or a version to be locked; its fields were checked.
pub(crate) struct CreateLock {
    pub(crate) name: Name,
    /// The version, unless it is the model.
    pub(crate) version: Option<Name>,
    pub(crate) lock: pb::Lock,
}

#[async_trait]
impl Mutation for CreateLock {
    type Answer = pb::Lock;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut row: ModelRow = tx.live(&self.name.parent()).await?;
        let version = match &self.version {
            Some(name) => tx.live::<pb::Version>(name).await?.name,
            None => String::new(),
        };
        if let Some(record) = tx.store.get(pb::Lock::KIND, &self.name.key()).await? {
            return Err(exists(self.name.as_str(), &decode::<pb::Lock>(&record)?));
        }
        if row.locks >= MOST {
            return Err(Error::TooLarge(format!("{} has {MOST} locks, and no model has more", row.model.name)));
        }
        let lock = pb::Lock { name: self.name.to_string(), version, ..self.lock.given() };
        tx.write(event_of::<pb::Lock>("created"), None, lock).await?;
        row.locks += 1;
        tx.keep(row).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<pb::Lock>("created")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads = pb::Lock::reads(&self.name);
        reads.push((ModelRow::KIND, self.name.parent().key()));
        reads
    }
}

/// A lock to be released.
pub(crate) struct DeleteLock {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for DeleteLock {
    type Answer = pb::Lock;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let lock: pb::Lock = tx.any(&self.name).await?;
        check_etag(&lock, &self.etag)?;
        tx.remove(event_of::<pb::Lock>("deleted"), lock).await?;
        let mut row: ModelRow = tx.any(&self.name.parent()).await?;
        row.locks = row.locks.saturating_sub(1);
        tx.keep(row).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<pb::Lock>("deleted")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads = pb::Lock::reads(&self.name);
        reads.push((ModelRow::KIND, self.name.parent().key()));
        reads
    }
}

impl Registry {
    /// A page of the locks of a model, or of all models of a namespace.
    pub(crate) async fn list_locks(&self, parent: &Name, page: &Page) -> Result<Listed<pb::Lock>, Error> {
        self.store.parent_must_exist(parent).await?;
        self.page::<pb::Lock, _>(pb::Lock::LISTED, parent.prefix(), page, |record| decode(&record)).await
    }
}
