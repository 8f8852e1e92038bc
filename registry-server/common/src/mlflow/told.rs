//! What MLflow's own webhooks tell of a change: its types of events, and their data, as in `mlflow/webhooks/types.py` of MLflow 3.17.

use std::collections::BTreeMap;

use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::resource::Resource;
use registry_proto::v1::{Stage, StageChangeCause, VersionState};
use serde_json::{Value, json};

use super::tags::{IS_PROMPT, is_prompt};
use super::{Kept, alias_of_stage, last, model_id, name_of, tags};

/// The tag with a prompt's kind, and the one with its text.
const PROMPT_TYPE: &str = "_mlflow_prompt_type";
const PROMPT_TEXT: &str = "mlflow.prompt.text";

/// MLflow's types of events as far as the registry has them, and those of ours that may be one.
const TYPES: &[(&str, &[&str])] = &[
    ("registered_model.created", MODEL_CREATED),
    ("model_version.created", VERSION_CREATED),
    ("model_version_tag.set", VERSION_UPDATED),
    ("model_version_tag.deleted", VERSION_UPDATED),
    ("model_version_alias.created", ALIAS_CREATED),
    ("model_version_alias.deleted", ALIAS_DELETED),
    ("prompt.created", MODEL_CREATED),
    ("prompt_version.created", VERSION_CREATED),
    ("prompt_tag.set", MODEL_UPDATED),
    ("prompt_tag.deleted", MODEL_UPDATED),
    ("prompt_version_tag.set", VERSION_UPDATED),
    ("prompt_version_tag.deleted", VERSION_UPDATED),
    ("prompt_alias.created", ALIAS_CREATED),
    ("prompt_alias.deleted", ALIAS_DELETED),
];
const MODEL_CREATED: &[&str] = &[event_type::MODEL_CREATED];
const MODEL_UPDATED: &[&str] = &[event_type::MODEL_UPDATED];
const VERSION_CREATED: &[&str] = &[event_type::VERSION_CREATED, event_type::VERSION_FINALIZED];
const VERSION_UPDATED: &[&str] = &[event_type::VERSION_UPDATED];
const ALIAS_CREATED: &[&str] = &[event_type::ALIAS_SET, event_type::VERSION_STAGE_TRANSITIONED];
const ALIAS_DELETED: &[&str] = &[event_type::ALIAS_DELETED, event_type::VERSION_STAGE_TRANSITIONED];

/// Something that MLflow's webhooks tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The entity and what became of it: `model_version_tag.set`.
    pub r#type: &'static str,
    /// What stands under `data`.
    pub data: Value,
}

/// MLflow's types of events, as far as the registry has them.
pub fn types() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(known, _)| *known)
}

/// Our types of events that may be one of MLflow's; `None` if that is none that the registry has.
pub fn ours(r#type: &str) -> Option<&'static [&'static str]> {
    TYPES.iter().find(|(known, _)| *known == r#type).map(|(_, ours)| *ours)
}

/// What MLflow's webhooks tell of an event, in order; nothing if it is none of theirs. Of a version that was there before, `of_prompt` says
/// whether its model is a prompt.
pub fn told(event: &pb::Event, of_prompt: bool) -> Vec<Told> {
    let after = event.after.as_ref().and_then(|after| after.resource.as_ref());
    let before = event.before.as_ref().and_then(|before| before.resource.as_ref());
    match (&*event.r#type, before, after) {
        (event_type::MODEL_CREATED, _, Some(Resource::Model(model))) => vec![model_created(model)],
        (event_type::MODEL_UPDATED, Some(Resource::Model(before)), Some(Resource::Model(model))) => {
            model_tags(&event.changed_fields, before, model)
        }
        (event_type::VERSION_CREATED | event_type::VERSION_FINALIZED, _, Some(Resource::Version(version))) => {
            // Whoever loads what is told has to find it whole.
            Vec::from_iter((version.state() == VersionState::Ready).then(|| version_created(version)))
        }
        (event_type::VERSION_UPDATED, Some(Resource::Version(before)), Some(Resource::Version(version))) => {
            version_tags(&event.changed_fields, before, version, of_prompt)
        }
        (event_type::VERSION_STAGE_TRANSITIONED, _, Some(Resource::Version(version))) => {
            event.stage_change.iter().flat_map(|change| stage_aliases(change, version, of_prompt)).collect()
        }
        (event_type::ALIAS_SET | event_type::ALIAS_DELETED, _, Some(Resource::Model(model))) => {
            let of = Of::model(model);
            event.alias_changes.iter().map(|change| of.alias(&change.alias, last(&change.to_version))).collect()
        }
        _ => Vec::new(),
    }
}

/// The example that MLflow sends to test a webhook.
pub fn example(r#type: &str) -> Value {
    let (entity, action) = r#type.split_once('.').unwrap_or_default();
    let is_prompt = entity.starts_with("prompt");
    let name = if is_prompt { "example_prompt" } else { "example_model" };
    let tags = json!({ "example_key": "example_value" });
    match (entity, action) {
        ("registered_model", _) => json!({ "name": name, "tags": tags, "description": "An example registered model" }),
        ("prompt", _) => json!({ "name": name, "tags": tags, "description": "An example prompt" }),
        ("model_version", _) => json!({
            "name": name,
            "version": "1",
            "source": "models:/123",
            "run_id": "abcd1234abcd5678",
            "tags": tags,
            "description": "An example model version",
        }),
        ("prompt_version", _) => json!({
            "name": name,
            "version": "1",
            "template": "Hello {{name}}!",
            "tags": tags,
            "description": "An example prompt version",
        }),
        (_, "created") => json!({ "name": name, "alias": "example_alias", "version": "1" }),
        ("model_version_alias" | "prompt_alias", _) => json!({ "name": name, "alias": "example_alias" }),
        ("prompt_tag", "set") => json!({ "name": name, "key": "example_key", "value": "example_value" }),
        ("prompt_tag", _) => json!({ "name": name, "key": "example_key" }),
        (_, "set") => json!({ "name": name, "version": "1", "key": "example_key", "value": "example_value" }),
        _ => json!({ "name": name, "version": "1", "key": "example_key" }),
    }
}

/// What a change is about.
struct Of {
    /// What MLflow calls the model.
    name: String,
    is_prompt: bool,
}

impl Of {
    fn model(model: &pb::Model) -> Self {
        Self { name: name_of(last(&model.name)).into_owned(), is_prompt: is_prompt(&tags::of_model(model)) }
    }

    fn version(version: &pb::Version, is_prompt: bool) -> Self {
        Self { name: name_of(model_id(version)).into_owned(), is_prompt }
    }

    /// An alias that is on a version now, or, without one, on none any more.
    fn alias(&self, alias: &str, version: &str) -> Told {
        let Self { name, is_prompt } = self;
        match (version, is_prompt) {
            ("", false) => told_of("model_version_alias.deleted", json!({ "name": name, "alias": alias })),
            ("", true) => told_of("prompt_alias.deleted", json!({ "name": name, "alias": alias })),
            (version, is_prompt) => {
                let r#type = if *is_prompt { "prompt_alias.created" } else { "model_version_alias.created" };
                told_of(r#type, json!({ "name": name, "alias": alias, "version": version }))
            }
        }
    }
}

fn told_of(r#type: &'static str, data: Value) -> Told {
    Told { r#type, data }
}

fn model_created(model: &pb::Model) -> Told {
    let of = Of::model(model);
    let r#type = if of.is_prompt { "prompt.created" } else { "registered_model.created" };
    let tags = shown(tags::of_model(model), of.is_prompt);
    told_of(r#type, json!({ "name": of.name, "tags": tags, "description": model.description }))
}

/// As MLflow has it, a new version is what it says of itself.
fn version_created(version: &pb::Version) -> Told {
    let of = Of::version(version, is_prompt(&tags::of_version(version)));
    let number = version.number.to_string();
    let description = some(&version.description);
    let mut tags = shown(tags::of_version(version), of.is_prompt);
    if of.is_prompt {
        let template = tags.remove(PROMPT_TEXT).unwrap_or_default();
        let data = json!({
            "name": of.name, "version": number, "template": template, "tags": tags, "description": description,
        });
        return told_of("prompt_version.created", data);
    }
    let kept = Kept::of(version);
    // Files that are here have no address that is the same for everybody: this one MLflow's clients resolve.
    let here = format!("models:/{}/{number}", of.name);
    let source = [kept.text("source"), &version.source_uri, &here].into_iter().find(|source| !source.is_empty());
    let data = json!({
        "name": of.name,
        "version": number,
        "source": source,
        "run_id": some(kept.text("run_id")),
        "tags": tags,
        "description": description,
    });
    told_of("model_version.created", data)
}

/// The tags without those that make a prompt of something.
fn shown(mut tags: BTreeMap<String, String>, is_prompt: bool) -> BTreeMap<String, String> {
    tags.retain(|key, _| !is_prompt || ![IS_PROMPT, PROMPT_TYPE].contains(&&**key));
    tags
}

/// Tags of models are told of prompts only.
fn model_tags(changed: &[String], before: &pb::Model, after: &pb::Model) -> Vec<Told> {
    let Of { name, is_prompt: true } = Of::model(after) else { return Vec::new() };
    let was = |field: &str| changed.iter().any(|changed| changed == field);
    let old = pb::Model {
        tags: if was("tags") { &before.tags } else { &after.tags }.clone(),
        annotations: if was("annotations") { &before.annotations } else { &after.annotations }.clone(),
        ..Default::default()
    };
    let changes = changes(&tags::of_model(&old), &tags::of_model(after));
    tags_told(["prompt_tag.set", "prompt_tag.deleted"], &json!({ "name": name }), changes)
}

fn version_tags(changed: &[String], before: &pb::Version, after: &pb::Version, of_prompt: bool) -> Vec<Told> {
    let Of { name, is_prompt } = Of::version(after, of_prompt);
    let was = |field: &str| changed.iter().any(|changed| changed == field);
    let metadata = if was("additional_metadata") { before } else { after };
    let old = pb::Version {
        tags: if was("tags") { &before.tags } else { &after.tags }.clone(),
        additional_metadata: metadata.additional_metadata.clone(),
        ..Default::default()
    };
    let types = match is_prompt {
        true => ["prompt_version_tag.set", "prompt_version_tag.deleted"],
        false => ["model_version_tag.set", "model_version_tag.deleted"],
    };
    let changes = changes(&tags::of_version(&old), &tags::of_version(after));
    tags_told(types, &json!({ "name": name, "version": after.number.to_string() }), changes)
}

/// Changes of the tags of something, as what is told when one is set and when one is deleted.
fn tags_told([set, deleted]: [&'static str; 2], of: &Value, changes: Vec<(String, Option<String>)>) -> Vec<Told> {
    let told = |(key, value): (String, Option<String>)| {
        let r#type = if value.is_some() { set } else { deleted };
        let mut data = of.clone();
        data["key"] = key.into();
        if let Some(value) = value {
            data["value"] = value.into();
        }
        told_of(r#type, data)
    };
    changes.into_iter().map(told).collect()
}

/// The tags that have another value now, and those that are gone.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<(String, Option<String>)> {
    let set = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    let set = set.map(|(key, value)| (key.clone(), Some(value.clone())));
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), None));
    set.chain(gone).collect()
}

/// The aliases that stand for stages. That one is gone is told of PRODUCTION only, which holds one version: in STAGING others may be left.
fn stage_aliases(change: &pb::StageChange, version: &pb::Version, of_prompt: bool) -> Vec<Told> {
    let of = Of::version(version, of_prompt);
    let is_gone = change.from_stage() == Stage::Production && change.cause() != StageChangeCause::Displaced;
    let left = alias_of_stage(change.from_stage()).filter(|_| is_gone).map(|alias| of.alias(alias, ""));
    let number = version.number.to_string();
    let entered = alias_of_stage(change.to_stage()).map(|alias| of.alias(alias, &number));
    left.into_iter().chain(entered).collect()
}

/// A text, or null in place of none.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
