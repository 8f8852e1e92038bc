//! Whether bytes are a message that every reader can decode, found out without making anything of them.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{Kind, MessageDescriptor};

use crate::rules::expression::message;

/// Readers take no more messages in each other.
const DEPTH: u32 = 100;

/// The messages of the contract that events are made of; the first one is `WatchedEvents`.
static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let mut forms = Forms::default();
    if let Some(events) = message("modelregistry.v1.WatchedEvents") {
        forms.add(&events);
    }
    forms.all
});

/// By the number of a field.
type Form = Vec<Option<Wire>>;

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wire {
    Varint,
    Fixed64,
    /// Several of them, perhaps in one.
    Packed64,
    Bytes,
    Text,
    /// A message, of which this is the form.
    Message(usize),
}

#[derive(Default)]
struct Forms {
    all: Vec<Form>,
    by_name: HashMap<String, usize>,
}

impl Forms {
    fn add(&mut self, message: &MessageDescriptor) -> usize {
        if let Some(known) = self.by_name.get(message.full_name()) {
            return *known;
        }
        let at = self.all.len();
        self.all.push(Vec::new());
        self.by_name.insert(message.full_name().to_owned(), at);
        let mut form = Vec::new();
        for field in message.fields() {
            let number = field.number() as usize;
            if form.len() <= number {
                form.resize(number + 1, None);
            }
            form[number] = match field.kind() {
                Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Enum(_) => {
                    Some(Wire::Varint)
                }
                Kind::Double if field.is_list() => Some(Wire::Packed64),
                Kind::Double => Some(Wire::Fixed64),
                Kind::Bytes => Some(Wire::Bytes),
                Kind::String => Some(Wire::Text),
                Kind::Message(of) => Some(Wire::Message(self.add(&of))),
                // The contract has none of these.
                _ => None,
            };
        }
        self.all[at] = form;
        at
    }
}

/// Whether these bytes surely are a `WatchedEvents`. False says little: it may be one all the same, written in another way than ours.
pub(super) fn is_events(bytes: &[u8]) -> bool {
    !FORMS.is_empty() && is(0, bytes, DEPTH)
}

fn is(form: usize, mut bytes: &[u8], depth: u32) -> bool {
    while !bytes.is_empty() {
        if !take_field(form, &mut bytes, depth).unwrap_or(false) {
            return false;
        }
    }
    true
}

/// Goes on behind the first field, if that is as it has to be.
fn take_field(form: usize, bytes: &mut &[u8], depth: u32) -> Option<bool> {
    let (number, wire_type) = decode_key(bytes).ok()?;
    let wire = *FORMS[form].get(number as usize)?.as_ref()?;
    match (wire, wire_type) {
        (Wire::Varint, WireType::Varint) => {
            decode_varint(bytes).ok()?;
            Some(true)
        }
        (Wire::Fixed64 | Wire::Packed64, WireType::SixtyFourBit) => {
            *bytes = bytes.get(8..)?;
            Some(true)
        }
        (Wire::Packed64 | Wire::Bytes | Wire::Text | Wire::Message(_), WireType::LengthDelimited) => {
            let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
            let (value, behind) = bytes.split_at_checked(length)?;
            *bytes = behind;
            match wire {
                Wire::Packed64 => Some(length % 8 == 0),
                Wire::Text => Some(str::from_utf8(value).is_ok()),
                Wire::Message(form) => Some(depth > 0 && is(form, value, depth - 1)),
                _ => Some(true),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use registry_proto::v1 as pb;

    use super::*;

    fn nested(depth: usize) -> prost_types::Value {
        (0..depth).fold(prost_types::Value::default(), |value, _| {
            let list = prost_types::ListValue { values: vec![value] };
            prost_types::Value { kind: Some(prost_types::value::Kind::ListValue(list)) }
        })
    }

    fn events(depth: usize) -> Vec<u8> {
        let mut version = pb::Version {
            name: "namespaces/default/models/fraud/versions/7".to_owned(),
            number: 7,
            create_time: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
            ..Default::default()
        };
        version.standardization_params = Some(pb::StandardizationParams { mean: vec![1.0, 2.0], ..Default::default() });
        version.tags.insert("team".to_owned(), "risk".to_owned());
        version.model_params = Some(prost_types::Struct { fields: [("deep".to_owned(), nested(depth))].into() });
        let after = Some(pb::Resource { resource: Some(pb::resource::Resource::Version(version)) });
        let event = pb::Event { index: -1, r#type: "version.created".to_owned(), after, ..Default::default() };
        pb::WatchedEvents { revision: 7, events: vec![event.clone(), event], ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn what_is_too_deep_for_readers_is_none() {
        let decodes = |bytes: &[u8]| pb::WatchedEvents::decode(bytes).is_ok();
        let depths = 0..120;
        let deepest = depths.rev().find(|depth| decodes(&events(*depth))).unwrap();
        for depth in deepest - 3..deepest + 3 {
            let bytes = events(depth);
            assert_eq!(is_events(&bytes), decodes(&bytes), "{depth} of {deepest}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever happens to the bytes: what passes can be decoded.
        #[test]
        fn what_passes_can_be_decoded(
            depth in 0_usize..3,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = events(depth);
            prop_assert!(is_events(&bytes));
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            prop_assert!(!is_events(&bytes) || pb::WatchedEvents::decode(bytes.as_slice()).is_ok());
        }
    }
}
