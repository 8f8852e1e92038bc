//! Models and versions as MLflow has them.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use registry_common::mlflow::{Kept, STAGES, alias_of_stage, name_of, tags};
pub(super) use registry_common::mlflow::{last, model_id};
use registry_proto::v1 as pb;
use registry_proto::v1::{Stage, VersionState};
use serde::Serialize;

/// Where artifacts are.
const ARTIFACTS: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// A registered model.
#[derive(Debug, Serialize)]
pub(super) struct Registered {
    pub(super) name: String,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    user_id: String,
    description: String,
    latest_versions: Vec<ModelVersion>,
    #[serde(serialize_with = "pairs")]
    pub(super) tags: BTreeMap<String, String>,
    aliases: Vec<Alias>,
}

#[derive(Debug, Serialize)]
struct Alias {
    alias: String,
    version: String,
}

/// A version of a model.
#[derive(Debug, Serialize)]
pub(super) struct ModelVersion {
    pub(super) name: String,
    /// The number.
    pub(super) version: String,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    user_id: String,
    current_stage: &'static str,
    description: String,
    pub(super) source: String,
    pub(super) run_id: String,
    run_link: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    model_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    status_message: String,
    #[serde(serialize_with = "pairs")]
    pub(super) tags: BTreeMap<String, String>,
    aliases: Vec<String>,
    #[serde(skip)]
    pub(super) number: i64,
}

/// The aliases of a model, with the versions' numbers.
pub(super) type Aliases = BTreeMap<String, String>;

fn pairs<S: serde::Serializer>(tags: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Tag<'a> {
        key: &'a str,
        value: &'a str,
    }
    serializer.collect_seq(tags.iter().map(|(key, value)| Tag { key, value }))
}

impl Registered {
    pub(super) fn of(model: &pb::Model, latest_versions: Vec<ModelVersion>) -> Self {
        Self {
            name: name_of(last(&model.name)).into_owned(),
            creation_timestamp: millis(&model.create_time),
            last_updated_timestamp: millis(&model.update_time),
            user_id: model.creator.clone(),
            description: model.description.clone(),
            latest_versions,
            tags: tags::of_model(model),
            aliases: aliases(model).into_iter().map(|(alias, version)| Alias { alias, version }).collect(),
        }
    }
}

/// Those that were set, and those that say what is in a stage.
pub(super) fn aliases(model: &pb::Model) -> Aliases {
    let set = model.aliases.iter().map(|(alias, version)| (alias.clone(), last(version).to_owned()));
    let in_stages = model
        .stages
        .iter()
        .filter_map(|held| Some((alias_of_stage(held.stage())?.to_owned(), last(&held.version).to_owned())));
    set.chain(in_stages).collect()
}

impl ModelVersion {
    /// A version, with those of its model's aliases that are on it.
    pub(super) fn of(version: &pb::Version, aliases: &Aliases, base: &str) -> Self {
        let mut shown = Self::without_aliases(version, base);
        shown.take_aliases(aliases);
        shown
    }

    pub(super) fn take_aliases(&mut self, of_model: &Aliases) {
        let on_this = of_model.iter().filter(|(_, held)| **held == self.version);
        self.aliases = on_this.map(|(alias, _)| alias.clone()).collect();
    }

    pub(super) fn without_aliases(version: &pb::Version, base: &str) -> Self {
        let kept = Kept::of(version);
        Self {
            name: name_of(model_id(version)).into_owned(),
            creation_timestamp: millis(&version.create_time),
            last_updated_timestamp: millis(&version.update_time),
            user_id: version.creator.clone(),
            current_stage: stage_name(version.stage()),
            description: version.description.clone(),
            source: match kept.text("source") {
                "" => download_uri(version, base),
                source => source.to_owned(),
            },
            run_id: kept.text("run_id").to_owned(),
            run_link: kept.text("run_link").to_owned(),
            model_id: kept.text("model_id").to_owned(),
            status: match version.state() {
                VersionState::Ready => "READY",
                VersionState::Failed => "FAILED_REGISTRATION",
                _ => "PENDING_REGISTRATION",
            },
            status_message: version.failure_reason.clone(),
            tags: tags::of_version(version),
            aliases: Vec::new(),
            version: version.number.to_string(),
            number: version.number,
        }
    }
}

/// Where the files of a version are: here, or where its source says.
pub(super) fn download_uri(version: &pb::Version, base: &str) -> String {
    let kept = Kept::of(version);
    let elsewhere = [&*version.source_uri, kept.text("source")].into_iter().find(|uri| !uri.is_empty());
    match elsewhere.filter(|_| version.artifact_count == 0) {
        Some(uri) => uri.to_owned(),
        None => format!("{base}{ARTIFACTS}/{}/{}", model_id(version), version.number),
    }
}

fn stage_name(stage: Stage) -> &'static str {
    STAGES.iter().find(|(_, known)| *known == stage).map_or("None", |(name, _)| name)
}

/// In milliseconds since 1970; 0 if there is none.
pub(super) fn millis(time: &Option<Timestamp>) -> i64 {
    time.as_ref().map_or(0, |time| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
}
