//! Messages of the contract in protobuf's JSON form.

use std::fmt::Write as _;
use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, ReflectMessage as _, SerializeOptions};
use registry_common::shown;
use serde::Serialize;
use serde_json::Value as Json;

use crate::Failure;

static DESCRIPTORS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(registry_proto::DESCRIPTORS).ok());

/// The largest double below which every whole number is one: these are written without a fraction.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// The JSON form of a message, with its defaults left out as grpcurl does: fields in the order of their numbers, maps by their keys.
pub(crate) fn message(name: &str, message: &impl Message) -> Result<String, Failure> {
    let pool = DESCRIPTORS.as_ref().ok_or("the contract's descriptors are damaged")?;
    let descriptor =
        pool.get_message_by_name(&format!("modelregistry.v1.{name}")).ok_or("the contract has no such message")?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let json = dynamic.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())?;
    value(&InOrder { json: &json, kind: Kind::Message(dynamic.descriptor()) })
}

/// What a message calls itself; otherwise what it is.
pub(crate) fn name_of(name: &str, message: &impl Message) -> String {
    let descriptor =
        DESCRIPTORS.as_ref().and_then(|pool| pool.get_message_by_name(&format!("modelregistry.v1.{name}")));
    let dynamic = descriptor.and_then(|known| DynamicMessage::decode(known, message.encode_to_vec().as_slice()).ok());
    let own = dynamic.and_then(|dynamic| Some(dynamic.get_field_by_name("name")?.as_str()?.to_owned()));
    own.unwrap_or_else(|| name.to_owned())
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

/// JSON of something of the contract. serde_json has sorted all keys, and those of a message go by the numbers of its fields.
struct InOrder<'a> {
    json: &'a Json,
    kind: Kind,
}

impl Serialize for InOrder<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let within = |json, kind: &Kind| InOrder { json, kind: kind.clone() };
        match (self.json, &self.kind) {
            (Json::Object(entries), Kind::Message(map)) if map.is_map_entry() => {
                let kind = map.map_entry_value_field().kind();
                serializer.collect_map(entries.iter().map(|(key, json)| (key, within(json, &kind))))
            }
            // Those have a form of their own, and no fields in it.
            (Json::Object(entries), Kind::Message(known)) if known.package_name() == "google.protobuf" => {
                serializer.collect_map(entries.iter().map(|(key, json)| (key, within(json, &self.kind))))
            }
            (Json::Object(entries), Kind::Message(message)) => {
                serializer.collect_map(message.fields().filter_map(|field| {
                    let (name, json) = entries.get_key_value(field.json_name())?;
                    Some((name, within(json, &field.kind())))
                }))
            }
            (Json::Array(items), kind) => serializer.collect_seq(items.iter().map(|json| within(json, kind))),
            (Json::Number(number), _) => match number.as_f64() {
                Some(whole) if number.is_f64() && is_whole(whole) => serializer.serialize_i64(whole as i64),
                _ => number.serialize(serializer),
            },
            (json, _) => json.serialize(serializer),
        }
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
