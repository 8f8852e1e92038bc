//! JSON to the bytes of a message, as it is read: what it takes is in proportion to what was sent, whatever that is.
//!
//! A field may have either of its names, and be given once. What is not known is refused.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use registry_common::shown::quoted;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::{Many, MessageAt, Scalar, Schema};

/// Base64 of either alphabet, with or without its padding.
const PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING);
/// The ends of the whole numbers of 64 bits, which the nearest floating-point numbers are at or beyond.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;
const BEYOND_U64: f64 = 18_446_744_073_709_551_616.0;

/// Why a text is no such message.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Where: `model.tags.a`; empty if it is the whole.
    pub(crate) path: String,
    pub(crate) text: String,
    /// It is larger than a message may be.
    pub(crate) is_too_large: bool,
}

/// What is known while a text is read.
pub(super) struct Reading<'a> {
    pub(super) schema: &'a Schema,
    /// The most bytes of the message.
    most: usize,
    /// Where it failed, from the inside out.
    trace: RefCell<Vec<String>>,
}

impl Schema {
    /// Reads a message from JSON.
    pub(crate) fn read(&self, of: MessageAt, json: &[u8], most: usize) -> Result<Vec<u8>, Problem> {
        let reading = Reading { schema: self, most, trace: RefCell::default() };
        let mut out = Vec::new();
        let mut reader = serde_json::Deserializer::from_slice(json);
        let read = InMessage { reading: &reading, of, out: &mut out }.deserialize(&mut reader);
        match read.and_then(|()| reader.end()) {
            Ok(()) => Ok(out),
            Err(error) => Err(reading.problem(&error, out.len())),
        }
    }

    /// Reads the values of a field, each from a text of its own, as paths and queries have them, and writes the field.
    pub(crate) fn read_texts(
        &self,
        of: MessageAt,
        field: usize,
        texts: &[String],
        out: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        let reading = Reading { schema: self, most: usize::MAX, trace: RefCell::default() };
        let field = &self.messages[of.0].fields[field];
        for text in texts {
            let one = One { reading: &reading, number: field.number, scalar: field.scalar, out };
            let deserializer = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text);
            one.deserialize(deserializer).map_err(|error| reading.problem(&error, 0))?;
        }
        Ok(())
    }
}

impl Reading<'_> {
    fn problem(&self, error: &dyn fmt::Display, length: usize) -> Problem {
        let mut trace = self.trace.take();
        trace.reverse();
        Problem { path: trace.join("."), text: error.to_string(), is_too_large: length > self.most }
    }

    /// Notes where an error was found.
    pub(super) fn at<T, E>(&self, place: &str, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.trace.borrow_mut().push(place.to_owned());
        }
        result
    }

    fn check_size<E: Error>(&self, out: &[u8]) -> Result<(), E> {
        if out.len() > self.most {
            return Err(E::custom(format!("makes a message of more than {} bytes", self.most)));
        }
        Ok(())
    }
}

/// Writes a message in a field.
pub(super) fn nested<E: Error>(
    reading: &Reading<'_>,
    number: u32,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    encode_key(number, WireType::LengthDelimited, out);
    let begin = out.len();
    write(out)?;
    let mut length = Vec::with_capacity(10);
    encode_varint((out.len() - begin) as u64, &mut length);
    out.splice(begin..begin, length);
    reading.check_size(out)
}

/// The members of an object as the fields of a message.
pub(super) struct InMessage<'a, 'o> {
    pub(super) reading: &'a Reading<'a>,
    pub(super) of: MessageAt,
    pub(super) out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for InMessage<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.reading.schema.messages[self.of.0].known {
            Some(known) => known.read(self.reading, self.out, deserializer),
            None => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for InMessage<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let message = &self.reading.schema.messages[self.of.0];
        let mut seen = vec![false; message.fields.len()];
        let mut given = seen.clone();
        while let Some(name) = map.next_key::<String>()? {
            let known = message.by_name.get(&name).copied();
            let fields = || message.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
            let unknown = || A::Error::custom(format!("is no field; there are: {}", fields()));
            let at = self.reading.at(&name, known.ok_or_else(unknown))?;
            if std::mem::replace(&mut seen[at], true) {
                return self.reading.at(&name, Err(A::Error::custom("is given twice")));
            }
            let field = &message.fields[at];
            let value = InField { reading: self.reading, field, out: self.out };
            given[at] = self.reading.at(&name, map.next_value_seed(value))?;
            let other = |other: usize| other != at && given[other] && message.fields[other].oneof == field.oneof;
            if given[at]
                && field.oneof.is_some()
                && let Some(other) = (0..given.len()).find(|&one| other(one))
            {
                let other = &message.fields[other].name;
                return self.reading.at(&name, Err(A::Error::custom(format!("can't be given with {other}"))));
            }
        }
        Ok(())
    }
}

/// The value of a field, with its number. Answers whether there is one: null stands for nothing.
struct InField<'a, 'o> {
    reading: &'a Reading<'a>,
    field: &'a super::Field,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for InField<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let InField { reading, field, out } = self;
        if field.many == Many::One && reading.schema.is_json(field.scalar) {
            One { reading, number: field.number, scalar: field.scalar, out }.deserialize(deserializer)?;
            return Ok(true);
        }
        deserializer.deserialize_option(InField { reading, field, out })
    }
}

impl<'de> Visitor<'de> for InField<'_, '_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let InField { reading, field, out } = self;
        let super::Field { number, scalar, .. } = *field;
        match field.many {
            Many::One => One { reading, number, scalar, out }.deserialize(deserializer)?,
            Many::List => deserializer.deserialize_seq(Items { reading, number, scalar, out })?,
            Many::Map => deserializer.deserialize_map(Entries { reading, number, scalar, out })?,
        }
        Ok(true)
    }
}

struct Items<'a, 'o> {
    reading: &'a Reading<'a>,
    number: u32,
    scalar: Scalar,
    out: &'o mut Vec<u8>,
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Items { reading, number, scalar, out } = self;
        for at in 0.. {
            let item = items.next_element_seed(One { reading, number, scalar, out: &mut *out });
            let item = if item.is_err() { reading.at(&format!("[{at}]"), item)? } else { item? };
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }
}

struct Entries<'a, 'o> {
    reading: &'a Reading<'a>,
    number: u32,
    scalar: Scalar,
    out: &'o mut Vec<u8>,
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Entries { reading, number, scalar, out } = self;
        let Scalar::Message(entry) = scalar else { return Err(A::Error::custom("is no map")) };
        let scalar = reading.schema.messages[entry.0].fields[1].scalar;
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let entry = nested(reading, number, out, |out| {
                prost::encoding::string::encode(1, &key, out);
                map.next_value_seed(One { reading, number: 2, scalar, out })
            });
            reading.at(&key, entry)?;
            if let Some(again) = keys.replace(key) {
                return reading.at(&again, Err(A::Error::custom("is given twice")));
            }
        }
        Ok(())
    }
}

/// One value, with the number of its field.
struct One<'a, 'o> {
    reading: &'a Reading<'a>,
    number: u32,
    scalar: Scalar,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for One<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let One { reading, number, scalar, out } = self;
        match scalar {
            Scalar::Message(of) => {
                nested(reading, number, out, |out| InMessage { reading, of, out }.deserialize(deserializer))
            }
            // Only strings are asked for by their type: numbers come as texts, too.
            Scalar::String | Scalar::Bytes => deserializer.deserialize_str(One { reading, number, scalar, out }),
            _ => deserializer.deserialize_any(One { reading, number, scalar, out }),
        }
    }
}

impl One<'_, '_> {
    /// A whole number, if it is one that the field can have.
    fn whole<E: Error>(self, value: i128, unexpected: Unexpected<'_>) -> Result<(), E> {
        let out = self.out;
        let (least, most) = match self.scalar {
            Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 | Scalar::Enum(_) => (i32::MIN.into(), i32::MAX.into()),
            Scalar::Uint32 | Scalar::Fixed32 => (0, u32::MAX.into()),
            Scalar::Uint64 | Scalar::Fixed64 => (0, u64::MAX.into()),
            _ => (i64::MIN.into(), i64::MAX.into()),
        };
        if !(least..=most).contains(&value) {
            return Err(E::invalid_value(unexpected, &"a number that the field can have"));
        }
        // In the bounds of 64 bits, of which the wire has the lower ones of what is negative as well.
        let (signed, number) = (value as i64, self.number);
        match self.scalar {
            Scalar::Int32 | Scalar::Enum(_) => prost::encoding::int32::encode(number, &(signed as i32), out),
            Scalar::Sint32 => prost::encoding::sint32::encode(number, &(signed as i32), out),
            Scalar::Sfixed32 => prost::encoding::sfixed32::encode(number, &(signed as i32), out),
            Scalar::Uint32 => prost::encoding::uint32::encode(number, &(signed as u32), out),
            Scalar::Fixed32 => prost::encoding::fixed32::encode(number, &(signed as u32), out),
            Scalar::Int64 => prost::encoding::int64::encode(number, &signed, out),
            Scalar::Sint64 => prost::encoding::sint64::encode(number, &signed, out),
            Scalar::Sfixed64 => prost::encoding::sfixed64::encode(number, &signed, out),
            Scalar::Uint64 => prost::encoding::uint64::encode(number, &(value as u64), out),
            Scalar::Fixed64 => prost::encoding::fixed64::encode(number, &(value as u64), out),
            Scalar::Double => prost::encoding::double::encode(number, &(value as f64), out),
            Scalar::Float => prost::encoding::float::encode(number, &(value as f32), out),
            Scalar::Bool | Scalar::String | Scalar::Bytes | Scalar::Message(_) => {
                return Err(E::invalid_type(unexpected, &expected(self.scalar)));
            }
        }
        Ok(())
    }
}

fn expected(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "true or false",
        Scalar::String => "a string",
        Scalar::Bytes => "a string of base64",
        Scalar::Enum(_) => "the name of a value",
        Scalar::Message(_) => "an object",
        Scalar::Double | Scalar::Float => "a number",
        _ => "a whole number",
    }
}

impl<'de> Visitor<'de> for One<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(expected(self.scalar))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        let Scalar::Bool = self.scalar else { return Err(E::invalid_type(Unexpected::Bool(value), &self)) };
        prost::encoding::bool::encode(self.number, &value, self.out);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.whole(value.into(), Unexpected::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.whole(value.into(), Unexpected::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.scalar {
            Scalar::Double => prost::encoding::double::encode(self.number, &value, self.out),
            Scalar::Float => prost::encoding::float::encode(self.number, &(value as f32), self.out),
            _ if value.fract() == 0.0 && (-BEYOND_I64..BEYOND_U64).contains(&value) => {
                return self.whole(value as i128, Unexpected::Float(value));
            }
            _ => return Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.scalar {
            Scalar::String => prost::encoding::string::encode(self.number, &text.to_owned(), self.out),
            Scalar::Bytes => {
                let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
                let bytes = bytes.map_err(|_| E::invalid_value(Unexpected::Str("..."), &self))?;
                prost::encoding::bytes::encode(self.number, &bytes, self.out);
            }
            Scalar::Enum(at) => {
                let known = self.reading.schema.enums[at].by_name.get(text).copied();
                let unknown = || {
                    let near =
                        self.reading.schema.enums[at].by_name.keys().find(|name| name.ends_with(&format!("_{text}")));
                    let meant = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                    E::custom(format!("has no value {}{meant}", quoted(text)))
                };
                prost::encoding::int32::encode(self.number, &known.ok_or_else(unknown)?, self.out);
            }
            Scalar::Double | Scalar::Float if ["NaN", "Infinity", "-Infinity"].contains(&text) => {
                let value = text.parse().unwrap_or(f64::NAN);
                return self.visit_f64(value);
            }
            Scalar::Bool | Scalar::Message(_) => return Err(E::invalid_type(Unexpected::Str(text), &self)),
            // Numbers as JSON writes them.
            _ => match serde_json::from_str::<serde_json::Number>(text) {
                Ok(number) if text.trim().len() == text.len() => match (number.as_i128(), number.as_f64()) {
                    (Some(whole), _) => return self.whole(whole, Unexpected::Str(text)),
                    (None, Some(value)) if value.is_finite() => return self.visit_f64(value),
                    _ => return Err(E::invalid_value(Unexpected::Str(text), &self)),
                },
                _ => return Err(E::invalid_value(Unexpected::Str(text), &self)),
            },
        }
        self.reading.check_size(self.out)
    }
}
