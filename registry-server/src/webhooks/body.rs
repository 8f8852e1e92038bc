//! The body of a message: an event in JSON.

use std::sync::LazyLock;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use registry_proto::v1 as pb;
use serde::Serialize;

use crate::rules::expression::message;

static EVENT: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| message("modelregistry.v1.Event"));

/// What Standard Webhooks has in a body.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: String,
    data: DynamicMessage,
}

/// The body that tells of an event; `None` if the event can't be read.
pub(super) fn body(encoded: &[u8]) -> Option<Bytes> {
    let event = pb::Event::decode(encoded).ok()?;
    let data = DynamicMessage::decode(EVENT.clone()?, encoded).ok()?;
    // What has no time stands for a revision that can't be read.
    let time = event.create_time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH);
    let timestamp = DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::AutoSi, true);
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
    use serde_json::{Value, json};

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
    fn every_event_has_an_id_of_its_own() {
        assert_eq!(id("events/7-0", "0193"), "msg_0193");
        assert_eq!(id("events/7-0", ""), "msg_events_7-0");
    }
}
