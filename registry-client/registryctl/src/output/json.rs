//! Messages of the contract in protobuf's JSON form.

use std::fmt::Write as _;
use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _, SerializeOptions};
use registry_common::shown;
use serde::Serialize;
use serde_json::Value as Json;

use crate::Failure;

static DESCRIPTORS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(registry_proto::DESCRIPTORS).ok());

/// The field of an event that has nothing but what the change took.
const TAKEN: &str = "before";

/// The largest double below which every whole number is one: these are written without a fraction.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// What the contract says of a message.
pub(crate) fn descriptor(name: &str) -> Result<MessageDescriptor, Failure> {
    let pool = DESCRIPTORS.as_ref().ok_or("the contract's descriptors are damaged")?;
    Ok(pool.get_message_by_name(&format!("modelregistry.v1.{name}")).ok_or("the contract has no such message")?)
}

/// A message as it is printed: fields in the order of their numbers, maps by their keys.
#[derive(Debug)]
pub(crate) enum Tree {
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
    Leaf(Json),
}

/// A message in its JSON form. Fields that have their default are in it, so that a script finds them; messages that are absent are
/// not, and of what an event's change took, only what it took.
pub(crate) fn tree(name: &str, message: &impl Message) -> Result<Tree, Failure> {
    let dynamic = DynamicMessage::decode(descriptor(name)?, message.encode_to_vec().as_slice())?;
    let json = |defaults: bool, dynamic: &DynamicMessage| {
        let options = SerializeOptions::new().skip_default_fields(!defaults);
        dynamic.serialize_with_options(serde_json::value::Serializer, &options)
    };
    let mut whole = json(true, &dynamic)?;
    if let Some(before) = whole.get_mut(TAKEN)
        && let Some(taken) = dynamic.get_field_by_name(TAKEN)
        && let Some(taken) = taken.as_message()
    {
        *before = json(false, taken)?;
    }
    Ok(in_order(whole, &Kind::Message(dynamic.descriptor())))
}

/// What a message calls itself; otherwise what it is.
pub(crate) fn name_of(name: &str, message: &impl Message) -> String {
    let descriptor =
        DESCRIPTORS.as_ref().and_then(|pool| pool.get_message_by_name(&format!("modelregistry.v1.{name}")));
    let dynamic = descriptor.and_then(|known| DynamicMessage::decode(known, message.encode_to_vec().as_slice()).ok());
    dynamic.and_then(|dynamic| name_in(&dynamic)).unwrap_or_else(|| name.to_owned())
}

/// The name of a message, or that of a resource in it.
fn name_in(message: &DynamicMessage) -> Option<String> {
    let own = message.get_field_by_name("name").and_then(|name| Some(name.as_str()?.to_owned()));
    own.or_else(|| message.fields().find_map(|(_, value)| name_in(value.as_message()?)))
}

/// A value as one line of JSON. What a terminal would not show is escaped; to a program that is the same text.
pub(crate) fn value(value: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(value)?;
    let mut seen = String::with_capacity(json.len());
    for character in json.chars() {
        if shown::is_plain(character) {
            seen.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(seen, "\\u{unit:04x}")?;
            }
        }
    }
    Ok(seen)
}

impl Tree {
    /// Leaves out what is in none of these fields of the contract.
    pub(crate) fn keep(&mut self, name: &str, fields: &[&str]) -> Result<(), Failure> {
        let message = descriptor(name)?;
        let kept = |key: &str| message.get_field_by_json_name(key).is_some_and(|field| fields.contains(&field.name()));
        if let Self::Map(entries) = self {
            entries.retain(|(key, _)| kept(key));
        }
        Ok(())
    }

    /// Whether it has nothing in it that would take a line of its own.
    pub(crate) fn is_flat(&self) -> bool {
        match self {
            Self::Map(entries) => entries.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Leaf(_) => true,
        }
    }
}

impl From<Json> for Tree {
    fn from(json: Json) -> Self {
        match json {
            Json::Object(entries) => Self::Map(entries.into_iter().map(|(key, json)| (key, json.into())).collect()),
            Json::Array(items) => Self::List(items.into_iter().map(Into::into).collect()),
            leaf => Self::Leaf(leaf),
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Map(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
            Self::List(items) => serializer.collect_seq(items),
            Self::Leaf(json) => json.serialize(serializer),
        }
    }
}

/// JSON of something of the contract. serde_json has sorted all keys, and those of a message go by the numbers of its fields.
pub(super) fn in_order(json: Json, kind: &Kind) -> Tree {
    let all = |entries: serde_json::Map<String, Json>, kind: &Kind| {
        Tree::Map(entries.into_iter().map(|(key, json)| (key, in_order(json, kind))).collect())
    };
    match (json, kind) {
        (Json::Object(entries), Kind::Message(map)) if map.is_map_entry() => {
            all(entries, &map.map_entry_value_field().kind())
        }
        // Those have a form of their own, and no fields in it.
        (Json::Object(entries), Kind::Message(known)) if known.package_name() == "google.protobuf" => {
            all(entries, kind)
        }
        (Json::Object(mut entries), Kind::Message(message)) => {
            let entry = |field: prost_reflect::FieldDescriptor| {
                let json = entries.remove(field.json_name())?;
                Some((field.json_name().to_owned(), in_order(json, &field.kind())))
            };
            Tree::Map(message.fields().filter_map(entry).collect())
        }
        (Json::Array(items), kind) => Tree::List(items.into_iter().map(|json| in_order(json, kind)).collect()),
        (Json::Number(number), _) => match number.as_f64() {
            Some(whole) if number.is_f64() && is_whole(whole) => Tree::Leaf(Json::from(whole as i64)),
            _ => Tree::Leaf(Json::Number(number)),
        },
        (json, _) => Tree::Leaf(json),
    }
}

/// Whether a double is a whole number that an integer says as well; -0 is none.
fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= WHOLE && (number != 0.0 || number.is_sign_positive())
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind as Value;
    use registry_client::pb;

    use super::*;

    fn message(name: &str, message: &impl Message) -> Result<String, Failure> {
        value(&tree(name, message)?)
    }

    fn version(params: impl IntoIterator<Item = (&'static str, f64)>) -> pb::Version {
        let number = |(name, number): (&str, f64)| {
            (name.to_owned(), prost_types::Value { kind: Some(Value::NumberValue(number)) })
        };
        let hyperparameters = Some(prost_types::Struct { fields: params.into_iter().map(number).collect() });
        pb::Version { name: "namespaces/default/models/m/versions/1".to_owned(), hyperparameters, ..Default::default() }
    }

    #[test]
    fn fields_are_in_the_contracts_order_and_maps_by_their_keys() {
        let letters: Vec<_> = ('a'..='z').map(|letter| (letter.to_string(), "x".to_owned())).collect();
        let mut version = version([("z", 0.5), ("a", 0.5), ("m", 0.5)]);
        version.tags = letters.iter().cloned().collect();
        version.etag = "e".to_owned();
        let json = message("Version", &version).unwrap();
        let at = |text: &str| json.find(text).unwrap_or_else(|| panic!("{text}: {json}"));
        let tags: Vec<_> = letters.iter().map(|(letter, _)| at(&format!("\"{letter}\":\"x\""))).collect();
        assert!(tags.is_sorted(), "{json}");
        assert!(at("\"a\":0.5") < at("\"m\":0.5") && at("\"m\":0.5") < at("\"z\":0.5"), "{json}");
        assert!(json.starts_with(r#"{"name":"#), "{json}");
        for _ in 0..20 {
            assert_eq!(message("Version", &version).unwrap(), json);
        }
    }

    #[test]
    fn defaults_are_there_and_absent_messages_are_not() {
        let json: Json = serde_json::from_str(&message("Model", &pb::Model::default()).unwrap()).unwrap();
        assert_eq!((&json["versionCount"], &json["description"]), (&"0".into(), &"".into()));
        assert_eq!((&json["tags"], &json["stages"]), (&serde_json::json!({}), &serde_json::json!([])));
        assert_eq!((json.get("createTime"), json.get("stagePolicy")), (None, None));
        let resource = |version: &pb::Version| {
            let resource = pb::resource::Resource::Version(version.clone());
            Some(pb::Resource { resource: Some(resource) })
        };
        let taken = pb::Version { stage: pb::Stage::Staging.into(), ..Default::default() };
        let event =
            pb::Event { before: resource(&taken), after: resource(&pb::Version::default()), ..Default::default() };
        let json: Json = serde_json::from_str(&message("Event", &event).unwrap()).unwrap();
        assert_eq!(json["before"], serde_json::json!({"version": {"stage": "STAGE_STAGING"}}));
        assert_eq!(json["after"]["version"]["sizeBytes"], "0");
    }

    #[test]
    fn whole_doubles_are_written_without_a_fraction() {
        for (number, text) in [
            (100.0, "100"),
            (-3.0, "-3"),
            (0.0, "0"),
            (-0.0, "-0.0"),
            (0.5, "0.5"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e300, "1e+300"),
        ] {
            let json = message("Version", &version([("n", number)])).unwrap();
            assert!(json.contains(&format!("{{\"n\":{text}}}")), "{json}");
            let back: Json = serde_json::from_str(&json).unwrap();
            assert_eq!(back["hyperparameters"]["n"].as_f64().map(f64::to_bits), Some(number.to_bits()));
        }
    }

    #[test]
    fn json_hides_nothing_and_stays_the_same_text() {
        let description = "fine\u{9b}31m\u{202e}\u{200b}\u{e0041}\u{1b}[2K\nnext";
        let model = pb::Model { description: description.to_owned(), ..Default::default() };
        let json = message("Model", &model).unwrap();
        assert!(json.chars().all(shown::is_plain), "{json}");
        assert_eq!(serde_json::from_str::<Json>(&json).unwrap()["description"], description);
    }
}
