//! The body of a message: an event in JSON.

use std::sync::LazyLock;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use registry_common::mlflow::told::{Told, told};
use registry_proto::v1 as pb;
use registry_proto::v1::WebhookFormat;
use serde::Serialize;
use serde_json::Value;

use super::Outside;
use crate::rules::expression::message;

static EVENT: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| message("modelregistry.v1.Event"));

/// What Standard Webhooks has in a body.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: String,
    data: DynamicMessage,
}

/// What is sent in one POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    /// Tells it from others, whenever it is sent.
    pub(super) id: String,
    /// What it tells, for people.
    pub(super) r#type: String,
    /// `None` if it can't be written.
    pub(super) body: Option<Bytes>,
}

/// What MLflow has in a body.
#[derive(Serialize)]
struct MlflowBody<'a> {
    entity: &'a str,
    action: &'a str,
    timestamp: String,
    data: &'a Value,
}

/// The posts that tell of an event, in order: one in the registry's own format; in MLflow's as many as there are of these types, all if
/// there is none. `of_prompt` says whether it is about a version of a prompt of MLflow's.
pub(crate) fn posts(format: WebhookFormat, types: &[String], encoded: &[u8], of_prompt: bool) -> Vec<Post> {
    let outside = Outside::decode(encoded).unwrap_or_default();
    if format != WebhookFormat::Mlflow {
        let id = id(&outside.name, &outside.uid);
        return vec![Post { id, r#type: outside.r#type, body: body(encoded) }];
    }
    let Ok(event) = pb::Event::decode(encoded) else { return Vec::new() };
    let told = told(&event, of_prompt).into_iter().enumerate();
    let told = told.filter(|(_, told)| types.is_empty() || types.iter().any(|r#type| *r#type == told.r#type));
    told.map(|(at, told)| mlflow(&format!("{}-{at}", event.uid), &told, time(&event))).collect()
}

/// A post in MLflow's format.
pub(super) fn mlflow(id: &str, told: &Told, time: SystemTime) -> Post {
    let (entity, action) = told.r#type.split_once('.').unwrap_or_default();
    let timestamp = DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Micros, false);
    let body = MlflowBody { entity, action, timestamp, data: &told.data };
    let body = serde_json::to_vec(&body).ok().map(Bytes::from);
    Post { id: id.to_owned(), r#type: told.r#type.to_owned(), body }
}

/// When an event happened. What has no time stands for a revision that can't be read.
fn time(event: &pb::Event) -> SystemTime {
    event.create_time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The body that tells of an event; `None` if the event can't be read.
pub(super) fn body(encoded: &[u8]) -> Option<Bytes> {
    let event = pb::Event::decode(encoded).ok()?;
    let data = DynamicMessage::decode(EVENT.clone()?, encoded).ok()?;
    let timestamp = DateTime::<Utc>::from(time(&event)).to_rfc3339_opts(SecondsFormat::AutoSi, true);
    serde_json::to_vec(&Body { r#type: &event.r#type, timestamp, data }).ok().map(Bytes::from)
}

/// The `webhook-id` of an event: the same one whenever it is sent.
pub(super) fn id(event: &str, uid: &str) -> String {
    match uid {
        // The stand-in for a revision that can't be read.
        "" => format!("msg_{}", event.replace('/', "_")),
        uid => format!("msg_{uid}"),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_body_has_the_event_as_protobuf_writes_json() {
        let model = pb::Model { name: "namespaces/default/models/fraud".to_owned(), revision: 7, ..Default::default() };
        let event = pb::Event {
            name: "events/7-0".to_owned(),
            uid: "0193".to_owned(),
            revision: 7,
            r#type: "model.created".to_owned(),
            create_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            after: Some(pb::Resource { resource: Some(pb::resource::Resource::Model(model)) }),
            hash: Bytes::from_static(&[255; 3]),
            ..Default::default()
        };
        let found: Value = serde_json::from_slice(&body(&event.encode_to_vec()).unwrap()).unwrap();
        let expected = json!({
            "type": "model.created",
            "timestamp": "2023-11-14T22:13:20.005Z",
            "data": {
                "name": "events/7-0",
                "uid": "0193",
                "revision": "7",
                "createTime": "2023-11-14T22:13:20.005Z",
                "type": "model.created",
                "after": {"model": {"name": "namespaces/default/models/fraud", "revision": "7"}},
                "hash": "////",
            },
        });
        assert_eq!(found, expected);
        assert_eq!(body(b"\xff"), None);
    }

    #[test]
    fn mlflows_receivers_get_a_post_for_each_thing_that_they_asked_for() {
        let version = |tags: &[&str]| {
            let tags = tags.iter().map(|tag| ((*tag).to_owned(), "x".to_owned())).collect();
            let version = pb::Version {
                name: "namespaces/default/models/fraud/versions/7".to_owned(),
                number: 7,
                tags,
                ..Default::default()
            };
            Some(pb::Resource { resource: Some(pb::resource::Resource::Version(version)) })
        };
        let event = pb::Event {
            uid: "0193".to_owned(),
            r#type: "version.updated".to_owned(),
            create_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            changed_fields: vec!["tags".to_owned()],
            before: version(&["a"]),
            after: version(&["b", "c"]),
            ..Default::default()
        };
        let found = |types: &[&str]| {
            let types: Vec<_> = types.iter().map(|r#type| (*r#type).to_owned()).collect();
            let posts = posts(WebhookFormat::Mlflow, &types, &event.encode_to_vec(), false);
            posts.into_iter().map(|post| (post.id, post.r#type)).collect::<Vec<_>>()
        };
        let told = [("0193-0", "set"), ("0193-1", "set"), ("0193-2", "deleted")];
        let told = told.map(|(id, what)| (id.to_owned(), format!("model_version_tag.{what}")));
        assert_eq!(found(&[]), told);
        // The same one has the same id, whatever else is asked for.
        assert_eq!(found(&["model_version_tag.deleted"]), told[2..]);
        assert_eq!(found(&["model_version.created"]), []);
        let body = &posts(WebhookFormat::Mlflow, &[], &event.encode_to_vec(), false)[0].body;
        let body: Value = serde_json::from_slice(body.as_ref().unwrap()).unwrap();
        let expected = json!({
            "entity": "model_version_tag",
            "action": "set",
            "timestamp": "2023-11-14T22:13:20.005000+00:00",
            "data": { "name": "fraud", "version": "7", "key": "b", "value": "x" },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn every_event_has_an_id_of_its_own() {
        assert_eq!(id("events/7-0", "0193"), "msg_0193");
        assert_eq!(id("events/7-0", ""), "msg_events_7-0");
    }
}
