//! What people see of a record when they look into a database with its own tools. A payload that can't be read has empty facts:
//! this is no place to fail.

use std::time::SystemTime;

use crate::stored::{ModelFacts, TokenRecord, VersionFacts, WebhookRecord};
use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use registry_proto::resource::{Meta, Resource};
use registry_proto::v1 as pb;

use crate::store::{Fact, FactType, FactValue, Facts};

pub(super) const NAME: Fact = Fact { name: "name", r#type: FactType::Text, about: "The resource name" };
pub(super) const CREATED: Fact = Fact { name: "created", r#type: FactType::Time, about: "When it was made" };
const UPDATED: Fact = Fact { name: "updated", r#type: FactType::Time, about: "When it was changed last" };
pub(super) const DELETED: Fact =
    Fact { name: "deleted", r#type: FactType::Time, about: "When it was deleted, if it is" };

/// The facts of models.
pub(super) const MODEL: &[Fact] =
    &[NAME, Fact { name: "team", r#type: FactType::Text, about: "Whose it is" }, CREATED, UPDATED, DELETED];

/// The facts of versions.
pub(super) const VERSION: &[Fact] = &[
    NAME,
    Fact { name: "stage", r#type: FactType::Text, about: "Its stage: development, staging, production or archived" },
    Fact { name: "framework", r#type: FactType::Text, about: "What it was made with" },
    CREATED,
    UPDATED,
    DELETED,
];

/// The facts of what is made, and not deleted but removed.
pub(super) const MADE: &[Fact] = &[NAME, CREATED];

/// The facts of a record of a kind that has none of its own.
pub(super) fn standard<R: Resource + Message + Default>(payload: &Bytes) -> Facts {
    let resource = R::decode(payload.clone()).unwrap_or_default();
    let Meta { name, create_time, delete_time, .. } = resource.meta();
    list([
        ("name", text(name.to_owned())),
        ("created", time(create_time.copied())),
        ("deleted", time(delete_time.copied())),
    ])
}

pub(super) fn of_model(payload: &Bytes) -> Facts {
    let model = ModelFacts::decode(payload.clone()).unwrap_or_default().model.unwrap_or_default();
    list([
        ("name", text(model.name)),
        ("team", text(model.team)),
        ("created", time(model.create_time)),
        ("updated", time(model.update_time)),
        ("deleted", time(model.delete_time)),
    ])
}

pub(super) fn of_version(payload: &Bytes) -> Facts {
    let version = VersionFacts::decode(payload.clone()).unwrap_or_default();
    let stage = pb::Stage::try_from(version.stage).ok();
    list([
        ("name", text(version.name)),
        ("stage", stage.and_then(|stage| word(stage.as_str_name(), "STAGE_"))),
        ("framework", text(version.framework)),
        ("created", time(version.create_time)),
        ("updated", time(version.update_time)),
        ("deleted", time(version.delete_time)),
    ])
}

pub(super) fn of_webhook(payload: &Bytes) -> Facts {
    let webhook = WebhookRecord::decode(payload.clone()).unwrap_or_default().webhook.unwrap_or_default();
    list([("name", text(webhook.name)), ("created", time(webhook.create_time))])
}

pub(super) fn of_token(payload: &Bytes) -> Facts {
    let token = TokenRecord::decode(payload.clone()).unwrap_or_default().token.unwrap_or_default();
    list([("name", text(token.name)), ("created", time(token.create_time))])
}

/// Those facts that there are.
fn list<const N: usize>(facts: [(&'static str, Option<FactValue>); N]) -> Facts {
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn text(text: String) -> Option<FactValue> {
    (!text.is_empty()).then_some(FactValue::Text(text))
}

/// An enum's value as people say it; an unspecified one is nothing.
fn word(name: &str, prefix: &str) -> Option<FactValue> {
    let word = name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase();
    (word != "unspecified").then_some(FactValue::Text(word))
}

fn time(timestamp: Option<Timestamp>) -> Option<FactValue> {
    SystemTime::try_from(timestamp?).ok().map(FactValue::Time)
}
