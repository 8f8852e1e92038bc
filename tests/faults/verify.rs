//! What has to be true of a registry, whatever happened to its process.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message as _;
use registry_client::known::event_type;
use registry_client::pb::resource::Resource;
use registry_client::pb::{Stage, VersionState};
use registry_client::{RegistryClient, pb};
use sha2::{Digest as _, Sha256};

use crate::writer::{Answer, Attempt, Change, Writer};

/// All events there are.
#[derive(Debug, PartialEq)]
pub(crate) struct Log {
    events: Vec<pb::Event>,
}

impl Log {
    pub(crate) async fn read(client: &RegistryClient) -> Self {
        let events: Vec<_> = client.list_events().page_size(1000).stream().try_collect().await.unwrap();
        Self { events }
    }

    /// The newest revision.
    pub(crate) fn head(&self) -> i64 {
        self.events.last().map_or(0, |event| event.revision)
    }

    /// The names of all events.
    pub(crate) fn names(&self) -> Vec<String> {
        self.events.iter().map(|event| event.name.clone()).collect()
    }

    /// Revisions and the events in them are contiguous, no id comes twice, time never goes back, and every hash follows from all
    /// before it.
    pub(crate) fn assert_is_whole(&self) {
        let mut expected = (1, 0);
        let mut hash = vec![0; 32];
        let mut ids = HashSet::new();
        let mut time = (0, 0);
        for event in &self.events {
            if event.index == 0 && expected.1 > 0 {
                expected = (expected.0 + 1, 0);
            }
            assert_eq!((event.revision, event.index), expected, "{event:?}");
            assert_eq!(event.name, format!("events/{}-{}", event.revision, event.index));
            assert!(ids.insert(&event.uid), "{} comes twice", event.uid);
            let created = event.create_time.map(|time| (time.seconds, time.nanos)).expect("it has a time");
            assert!(created >= time, "{} is older than the event before it", event.name);
            time = created;
            let unhashed = pb::Event { hash: Default::default(), ..event.clone() };
            hash = Sha256::new().chain_update(&hash).chain_update(unhashed.encode_to_vec()).finalize().to_vec();
            assert_eq!(event.hash, hash, "the chain breaks at {}", event.name);
            expected.1 += 1;
        }
    }

    /// Every write is in the log as one revision, and nothing else is but the making of the models.
    pub(crate) fn assert_holds_each_once(&self, writers: &[Writer], models: usize) {
        let mut by_request: HashMap<&str, Vec<&pb::Event>> = HashMap::new();
        for event in &self.events {
            by_request.entry(&event.request_id).or_default().push(event);
        }
        let mut writes = 0;
        for (attempt, answer) in writers.iter().flat_map(|writer| &writer.done) {
            let id = attempt.id.to_string();
            let events = by_request.get(id.as_str()).unwrap_or_else(|| panic!("{attempt:?} is lost: {answer:?}"));
            assert!(events.iter().all(|event| event.revision == events[0].revision), "done twice: {events:?}");
            assert_is(attempt, answer, events);
            writes += 1;
        }
        assert_eq!(self.head(), writes + models as i64, "nobody asked for some revisions");
    }

    /// A watch saw every revision once, in order, with all of its events.
    pub(crate) fn assert_was_seen(&self, seen: &[(i64, Vec<pb::Event>)]) {
        let revisions: Vec<_> = seen.iter().map(|(revision, _)| *revision).collect();
        assert!(revisions.iter().copied().eq(1..=self.head()), "{revisions:?}");
        for (revision, events) in seen {
            assert!(events.iter().all(|event| event.revision == *revision), "{events:?}");
        }
        assert!(
            seen.iter().flat_map(|(_, events)| events).eq(&self.events),
            "a watch saw other events than the log has"
        );
    }

    /// Each version of a model as its last event left it, by name.
    fn versions(&self, model: &str) -> BTreeMap<&str, &pb::Version> {
        let mut versions = BTreeMap::new();
        for event in &self.events {
            if let Some(Resource::Version(version)) = event.after.as_ref().and_then(|after| after.resource.as_ref())
                && event.resource_name.starts_with(&format!("{model}/"))
            {
                versions.insert(event.resource_name.as_str(), version);
            }
        }
        versions
    }

    /// The aliases of a model that its events amount to.
    fn aliases(&self, model: &str) -> BTreeMap<String, String> {
        let mut aliases = BTreeMap::new();
        for change in self.events.iter().filter(|event| event.resource_name == model).flat_map(|e| &e.alias_changes) {
            assert_eq!(change.from_version, aliases.get(&change.alias).cloned().unwrap_or_default(), "{change:?}");
            if change.to_version.is_empty() {
                aliases.remove(&change.alias);
            } else {
                aliases.insert(change.alias.clone(), change.to_version.clone());
            }
        }
        aliases
    }
}

/// The events of a revision are those of an attempt.
fn assert_is(attempt: &Attempt, answer: &Answer, events: &[&pb::Event]) {
    let (first, context) = (events[0], format!("{attempt:?}: {answer:?}: {events:?}"));
    match (&attempt.change, answer) {
        (Change::Create { version_id }, Answer::Created(version)) => {
            assert_eq!(
                (first.r#type.as_str(), &first.resource_name),
                (event_type::VERSION_CREATED, &version.name),
                "{context}"
            );
            assert_eq!(
                (events.len(), version_id, first.revision),
                (1, &version.version_id, version.revision),
                "{context}"
            );
        }
        (Change::Move { version, stage }, Answer::Moved(moved)) => {
            assert_eq!(
                (first.r#type.as_str(), &first.resource_name),
                (event_type::VERSION_STAGE_TRANSITIONED, version),
                "{context}"
            );
            assert_eq!((first.revision, &first.comment), (moved.revision, &attempt.id.to_string()), "{context}");
            assert_eq!(first.stage_change.as_ref().map(|change| change.to_stage()), Some(*stage), "{context}");
            let displaced = moved.displaced.iter().map(|version| &version.name);
            assert!(events[1..].iter().map(|event| &event.resource_name).eq(displaced), "{context}");
        }
        (Change::Alias { alias, to }, Answer::Aliased) => {
            let change = &first.alias_changes[0];
            let to = to.as_deref().unwrap_or_default();
            assert_eq!((events.len(), &change.alias, change.to_version.as_str()), (1, alias, to), "{context}");
        }
        _ => panic!("{context}"),
    }
}

/// What a client finds is what the log says and what was acknowledged.
pub(crate) async fn assert_all(client: &RegistryClient, log: &Log, writers: &[Writer], models: &[String]) {
    assert_acknowledged_is_there(client, writers).await;
    for model in models {
        assert_model_is_consistent(client, log, model).await;
    }
}

/// Every version that was acknowledged is there, and every writer's alias is where its last write left it.
async fn assert_acknowledged_is_there(client: &RegistryClient, writers: &[Writer]) {
    for writer in writers {
        for (attempt, answer) in &writer.done {
            let Answer::Created(made) = answer else { continue };
            let found = client.get_version(&made.name).await.unwrap();
            let content = |version: &pb::Version| pb::Version {
                // What later transitions change.
                stage: 0,
                stage_time: None,
                stage_revision: 0,
                update_time: None,
                etag: String::new(),
                revision: 0,
                ..version.clone()
            };
            assert_eq!(content(&found), content(made), "{attempt:?}");
            assert_eq!(found.tags.get("attempt"), Some(&attempt.id.to_string()));
            let by_id = client.get_version(format!("{}/versions/{}", writer.model(), made.version_id)).await.unwrap();
            assert_eq!((&by_id.name, &by_id.uid), (&made.name, &made.uid));
        }
        let aliased = client.get_version(format!("{}@{}", writer.model(), writer.alias_name())).await;
        match &writer.alias {
            Some(version) => assert_eq!(&aliased.unwrap().name, version),
            None => assert!(aliased.unwrap_err().is_not_found()),
        }
    }
}

/// A model, its versions and its indexes agree with each other and with the log.
async fn assert_model_is_consistent(client: &RegistryClient, log: &Log, name: &str) {
    let model = client.get_model(name).await.unwrap();
    let versions: Vec<_> = client.list_versions(name).page_size(1000).stream().try_collect().await.unwrap();

    let numbers: Vec<_> = versions.iter().map(|version| version.number).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as i64), "{name}: {numbers:?}");
    assert_eq!(model.version_count, numbers.len() as i64, "{name}");
    let ready = versions.iter().rfind(|version| version.state() == VersionState::Ready);
    assert_eq!(model.latest_version, ready.map(|version| version.name.clone()).unwrap_or_default(), "{name}");

    let logged = log.versions(name);
    assert_eq!(versions.len(), logged.len(), "{name}");
    for version in &versions {
        assert_eq!(version, logged[version.name.as_str()], "the last event says otherwise");
    }
    let aliases = log.aliases(name);
    assert!(model.aliases.iter().eq(&aliases), "{name}: {:?} instead of {aliases:?}", model.aliases);

    let summaries: Vec<_> = [Stage::Staging, Stage::Production, Stage::Archived]
        .into_iter()
        .filter_map(|stage| {
            let held = versions.iter().filter(|version| version.stage() == stage);
            let newest = held.clone().max_by_key(|version| version.stage_revision)?;
            let version_count = held.count() as i64;
            Some(pb::StageSummary { stage: stage.into(), version: newest.name.clone(), version_count })
        })
        .collect();
    let mut found = model.stages.clone();
    found.sort_by_key(|summary| summary.stage);
    assert_eq!(found, summaries, "{name}");
    assert!(summaries.iter().all(|summary| summary.stage() != Stage::Production || summary.version_count == 1));
    for (stage, alias) in [(Stage::Production, "production"), (Stage::Staging, "staging")] {
        let answered = client.get_version(format!("{name}@{alias}")).await.ok().map(|version| version.name);
        let expected = summaries.iter().find(|summary| summary.stage() == stage);
        assert_eq!(answered, expected.map(|summary| summary.version.clone()), "{name}@{alias}");
    }
}
