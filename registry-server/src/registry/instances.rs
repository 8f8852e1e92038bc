//! Instances: what processes report of the versions that they run.
//!
//! What an instance says is its record, changed through the door like any other, with an event. That it is still there is a time in the
//! store's slate: it is said far more often, and matters only while things run.

pub(crate) mod expiry;
mod heard;

use std::time::Duration;

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::kinds::kind;
use super::lists::{Listed, Page};
use super::models::ModelRow;
use super::purge_models::Deletion;
use super::resource::{Resource, Row as _, check_etag, must_live};
use super::transaction::{Records as _, Tx, decode, event, resource_of};
use super::{Committed, Intent, Mutation, Registry, validate};
use crate::error::{Error, Violations};
use crate::rules::instances::{DEFAULT_TTL, Report, Said, TTLS, report};
use crate::rules::names::{Collection, INSTANCES, Name, VERSIONS, VersionRef};
use crate::store::{Kind, KindLayout, Pages, Place, Source};

/// How long the text of an error may be.
const ERROR_BYTES: usize = 4 * 1024;

#[async_trait]
impl Resource for pb::Instance {
    const LAYOUT: KindLayout = kind(Kind(7), "instances");
    const LISTED: Source = Source::Kind(Self::KIND);
    const OF: &'static Collection = &INSTANCES;

    fn places(&self, _: &Name) -> Vec<Place> {
        Vec::new()
    }

    fn check(message: &Self, found: &mut Violations) {
        validate::pairs(found, "labels", &message.labels);
        if !message.target.is_empty() {
            found.parsed("target", VersionRef::parse(&message.target));
        }
        match pb::InstanceState::try_from(message.state) {
            Ok(pb::InstanceState::Unspecified) => found.required("state"),
            Ok(_) => {}
            Err(_) => found.invalid("state", format!("has no value {}", message.state)),
        }
        validate::long(found, "error", &message.error, ERROR_BYTES);
        if let Some(ttl) = &message.ttl
            && !TTLS.contains(&validate::duration(found, "ttl", ttl))
        {
            found.invalid("ttl", "must be 5 seconds to 1 hour");
        }
    }

    async fn live_above(tx: &Tx<'_>, name: &Name) -> Result<(), Error> {
        tx.live::<ModelRow>(&name.parent()).await.map(drop)
    }
}

/// What an instance reports; it was checked.
#[derive(Debug, Clone)]
pub(crate) struct ReportInstance {
    name: Name,
    /// What callers write, under its canonical name, and with canonical names of versions.
    instance: pb::Instance,
}

impl ReportInstance {
    /// Checks what a caller gave.
    pub(crate) fn new(instance: Option<pb::Instance>, found: &mut Violations) -> Option<Self> {
        let Some(given) = instance else {
            found.required(INSTANCES.singular);
            return None;
        };
        found.within(INSTANCES.singular, |found| {
            pb::Instance::check(&given, found);
            let name = found.name("name", &INSTANCES, &given.name);
            let mut instance = given.given();
            for (field, version) in [
                ("desired_version", &mut instance.desired_version),
                ("observed_version", &mut instance.observed_version),
            ] {
                if !version.is_empty()
                    && let Some(named) = found.name(field, &VERSIONS, version)
                {
                    if !named.is_by_number() {
                        found.invalid(field, "must name the version by its number, not by an id or an alias");
                    } else if let Some(of) = name.as_ref().map(Name::parent)
                        && named.parent() != of
                    {
                        found.invalid(field, format!("must be a version of {of}"));
                    }
                    *version = named.to_string();
                }
            }
            let name = name?;
            instance.name = name.to_string();
            instance
                .ttl
                .get_or_insert(prost_types::Duration { seconds: DEFAULT_TTL.as_secs().cast_signed(), nanos: 0 });
            Some(Self { name, instance })
        })
    }

    fn against(&self, known: Option<&pb::Instance>) -> Report {
        report(known.map(said).as_ref(), &said(&self.instance))
    }
}

fn said(instance: &pb::Instance) -> Said<'_> {
    Said {
        state: instance.state,
        desired: &instance.desired_version,
        observed: &instance.observed_version,
        error: &instance.error,
        target: &instance.target,
        labels: &instance.labels,
        ttl: ttl(instance),
    }
}

/// For how long it may be silent.
fn ttl(instance: &pb::Instance) -> Duration {
    instance.ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or(DEFAULT_TTL)
}

#[async_trait]
impl Mutation for ReportInstance {
    /// `None` if it says nothing new.
    type Answer = Option<pb::Instance>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        pb::Instance::live_above(tx, &self.name).await?;
        let record = tx.store.get(pb::Instance::KIND, &self.name.key()).await?;
        let before = record.map(|record| decode::<pb::Instance>(&record)).transpose()?;
        let now = Some(tx.now);
        match (self.against(before.as_ref()), before) {
            (Report::Heartbeat, _) => Ok(()),
            (Report::News { moved }, Some(before)) => {
                let mut after = before.clone();
                for field in pb::Instance::UPDATABLE {
                    after.take(field, &self.instance);
                }
                if moved {
                    after.state_time = now;
                }
                tx.write(event(event_type::INSTANCE_UPDATED), Some(before), after).await.map(drop)
            }
            (Report::First | Report::News { .. }, _) => {
                let after = pb::Instance { state_time: now, ..self.instance.clone() };
                tx.write(event(event_type::INSTANCE_CREATED), None, after).await.map(drop)
            }
        }
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        // It is the only one.
        committed.events.into_iter().next().map(resource_of::<pb::Instance>).transpose()
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        let mut reads = ModelRow::reads(&self.name.parent());
        reads.extend(pb::Instance::reads(&self.name));
        reads
    }
}

/// An instance to be removed.
pub(crate) struct DeleteInstance {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for DeleteInstance {
    type Answer = pb::Instance;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let instance: pb::Instance = tx.any(&self.name).await?;
        check_etag(&instance, &self.etag)?;
        tx.remove(event(event_type::INSTANCE_DELETED), instance).await
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.resource::<pb::Instance>(event_type::INSTANCE_DELETED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Instance::reads(&self.name)
    }
}

/// An instance that goes with its model, as long as that is deleted by this deletion.
struct RemoveWithModel {
    name: Name,
    deletion: Deletion,
}

#[async_trait]
impl Mutation for RemoveWithModel {
    type Answer = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let row: ModelRow = tx.any(&self.name.parent()).await?;
        let record = tx.store.get(pb::Instance::KIND, &self.name.key()).await?;
        match record.filter(|_| self.deletion.lasts(&row)) {
            Some(record) => tx.remove(event(event_type::INSTANCE_DELETED), decode::<pb::Instance>(&record)?).await,
            None => Ok(()),
        }
    }

    fn answer(_: Committed) -> Result<(), Error> {
        Ok(())
    }
}

impl Registry {
    /// Takes a report. One that says nothing new does not go through the lane.
    pub(crate) async fn report_instance(&self, intent: Intent, report: ReportInstance) -> Result<pb::Instance, Error> {
        loop {
            let (key, of) = (report.name.key(), report.name.parent().key());
            let (record, model) =
                futures::try_join!(self.store.get(pb::Instance::KIND, &key), self.store.get(ModelRow::KIND, &of))?;
            let known = record.map(|record| decode::<pb::Instance>(&record)).transpose()?;
            let is_heartbeat = report.against(known.as_ref()) == Report::Heartbeat;
            if let (true, Some(known), Some(model)) = (is_heartbeat, known, model) {
                must_live(&ModelRow::decode(&model)?)?;
                return match intent.validate_only {
                    true => self.with_heard(known).await,
                    false => self.heartbeat(&report.name, known).await,
                };
            }
            // Otherwise somebody else has just reported the same.
            if let Some(instance) = self.commit(intent.clone(), report.clone()).await? {
                return Ok(heard::at_update(instance));
            }
        }
    }

    /// One instance.
    pub(crate) async fn instance(&self, name: &Name) -> Result<pb::Instance, Error> {
        self.with_heard(self.get::<pb::Instance>(name).await?).await
    }

    /// The instances of a model, or of all models of a namespace.
    pub(crate) async fn list_instances(&self, parent: &Name, page: &Page) -> Result<Listed<pb::Instance>, Error> {
        self.store.parent_must_exist(parent).await?;
        let source = Source::Kind(pb::Instance::KIND);
        let mut listed = self.page::<pb::Instance, _>(source, parent.prefix(), page, |hit| decode(&hit)).await?;
        listed.items = self.all_with_heard(listed.items).await?;
        Ok(listed)
    }

    /// Removes an instance.
    pub(crate) async fn delete_instance(&self, intent: Intent, delete: DeleteInstance) -> Result<pb::Instance, Error> {
        let (name, validate_only) = (delete.name.clone(), intent.validate_only);
        let instance = self.commit(intent, delete).await?;
        if !validate_only {
            self.forget_heartbeat(&name).await?;
        }
        Ok(heard::at_update(instance))
    }

    /// Removes the instances of a model as long as its deletion lasts, each in a commit of its own.
    pub(super) async fn remove_instances_of(
        &self,
        intent: &Intent,
        model: &Name,
        deletion: &Deletion,
    ) -> Result<(), Error> {
        let mut all = Pages::under(Source::Kind(pb::Instance::KIND), model.prefix());
        while let Some(hit) = all.next(&*self.store).await? {
            let name = Name::canonical(&INSTANCES, &decode::<pb::Instance>(&hit.record)?.name);
            self.commit(intent.clone(), RemoveWithModel { name: name.clone(), deletion: deletion.clone() }).await?;
            self.forget_heartbeat(&name).await?;
        }
        Ok(())
    }
}
