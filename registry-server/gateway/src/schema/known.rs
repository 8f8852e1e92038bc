//! The types of protobuf's own library that JSON has a form of its own for.

use std::collections::HashSet;
use std::fmt;

use prost::Message as _;
use prost::encoding::{double, int32, string as text};
use prost_types::value::Kind;
use prost_types::{Duration, FieldMask, ListValue, Struct, Timestamp, Value};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Malformed;
use super::read::{Reading, nested};
use super::write::string;

/// One of them: those that the contract uses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
}

/// The years that a time may be in, as its definition has it.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;
/// The longest time, as its definition has it.
const LONGEST: i64 = 315_576_000_000;

impl Known {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("google.protobuf.")? {
            "Timestamp" => Self::Timestamp,
            "Duration" => Self::Duration,
            "FieldMask" => Self::FieldMask,
            "Struct" => Self::Struct,
            "Value" => Self::Value,
            "ListValue" => Self::ListValue,
            _ => return None,
        })
    }

    /// Whether its form is a text.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Timestamp | Self::Duration | Self::FieldMask)
    }

    /// Reads it from JSON.
    pub(super) fn read<'de, D: Deserializer<'de>>(
        self,
        reading: &Reading<'_>,
        out: &mut Vec<u8>,
        deserializer: D,
    ) -> Result<(), D::Error> {
        match self {
            Self::Timestamp | Self::Duration | Self::FieldMask => {
                deserializer.deserialize_str(Text { known: self, out })
            }
            Self::Struct => deserializer.deserialize_map(InJson { reading, form: Form::Object, out }),
            Self::ListValue => deserializer.deserialize_seq(InJson { reading, form: Form::List, out }),
            Self::Value => deserializer.deserialize_any(InJson { reading, form: Form::Any, out }),
        }
    }

    pub(super) fn write(self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::Timestamp => {
                let time = Timestamp::decode(bytes)?;
                if !(FIRST_SECOND..=LAST_SECOND).contains(&time.seconds) || !(0..1_000_000_000).contains(&time.nanos) {
                    return Err(Malformed);
                }
                string(out, time.to_string().as_bytes())
            }
            Self::Duration => string(out, Duration::decode(bytes)?.to_string().as_bytes()),
            Self::FieldMask => {
                let paths = FieldMask::decode(bytes)?.paths;
                let paths: Vec<_> = paths.iter().map(|path| camel(path)).collect();
                string(out, paths.join(",").as_bytes())
            }
            Self::Struct => object(out, &Struct::decode(bytes)?),
            Self::Value => value(out, &Value::decode(bytes)?),
            Self::ListValue => list(out, &ListValue::decode(bytes)?),
        }
    }
}

/// `update_time` as `updateTime`.
fn camel(snake: &str) -> String {
    let mut camel = String::with_capacity(snake.len());
    let mut upper = false;
    for letter in snake.chars() {
        match letter {
            '_' => upper = true,
            letter if std::mem::take(&mut upper) => camel.extend(letter.to_uppercase()),
            letter => camel.push(letter),
        }
    }
    camel
}

fn object(out: &mut Vec<u8>, of: &Struct) -> Result<(), Malformed> {
    out.push(b'{');
    for (at, (key, member)) in of.fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, key.as_bytes())?;
        out.push(b':');
        value(out, member)?;
    }
    out.push(b'}');
    Ok(())
}

fn list(out: &mut Vec<u8>, of: &ListValue) -> Result<(), Malformed> {
    out.push(b'[');
    for (at, item) in of.values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        value(out, item)?;
    }
    out.push(b']');
    Ok(())
}

/// Beyond that, not every whole number is one that a double can be.
const WHOLE: f64 = 9_007_199_254_740_992.0;

fn is_negative_zero(number: f64) -> bool {
    number == 0.0 && number.is_sign_negative()
}

fn value(out: &mut Vec<u8>, of: &Value) -> Result<(), Malformed> {
    match &of.kind {
        // Hyper-parameters are whole numbers, often, and some languages tell 100 from 100.0.
        Some(Kind::NumberValue(number))
            if number.fract() == 0.0 && number.abs() < WHOLE && !is_negative_zero(*number) =>
        {
            out.extend((*number as i64).to_string().as_bytes());
        }
        // What is no number has no form in JSON; the server takes none.
        Some(Kind::NumberValue(number)) if number.is_finite() => {
            out.extend(serde_json::to_vec(number).map_err(|_| Malformed)?);
        }
        Some(Kind::StringValue(text)) => string(out, text.as_bytes())?,
        Some(Kind::BoolValue(truth)) => out.extend(if *truth { &b"true"[..] } else { b"false" }),
        Some(Kind::StructValue(of)) => object(out, of)?,
        Some(Kind::ListValue(of)) => list(out, of)?,
        None | Some(Kind::NullValue(_) | Kind::NumberValue(_)) => out.extend(b"null"),
    }
    Ok(())
}

/// A text that stands for a message.
struct Text<'o> {
    known: Known,
    out: &'o mut Vec<u8>,
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.known {
            Known::Timestamp => "a time such as \"2026-01-31T12:00:00Z\", in the years 1 to 9999",
            Known::Duration => "a length of time such as \"3.5s\"",
            _ => "names of fields with commas between them, such as \"owner,displayName\"",
        })
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<(), E> {
        let invalid = || E::invalid_value(serde::de::Unexpected::Str(given), &self);
        let bytes = match self.known {
            Known::Timestamp => {
                // A day alone would be read, too.
                let time = given.parse::<Timestamp>().ok().filter(|_| given.contains(['T', 't']));
                let time = time.filter(|time| (FIRST_SECOND..=LAST_SECOND).contains(&time.seconds));
                time.ok_or_else(invalid)?.encode_to_vec()
            }
            Known::Duration => {
                let time = given.parse::<Duration>().ok().filter(|time| time.seconds.abs() <= LONGEST);
                time.ok_or_else(invalid)?.encode_to_vec()
            }
            _ => {
                let paths: Option<Vec<_>> = match given {
                    "" => Some(Vec::new()),
                    given => given.split(',').map(snake).collect(),
                };
                FieldMask { paths: paths.ok_or_else(invalid)? }.encode_to_vec()
            }
        };
        self.out.extend(bytes);
        Ok(())
    }
}

/// `updateTime` as `update_time`, and what is written like that already as it is, as is what is no name. `None` if it is nothing.
fn snake(path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    let mut snake = String::with_capacity(path.len() + 4);
    for letter in path.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    Some(snake)
}

/// What of JSON a message stands for.
#[derive(Debug, Clone, Copy)]
enum Form {
    Any,
    Object,
    List,
}

/// Any JSON as a `Struct`, a `ListValue` or a `Value`.
struct InJson<'a, 'o> {
    reading: &'a Reading<'a>,
    form: Form,
    out: &'o mut Vec<u8>,
}

// The fields of `Value` and of the entries of `Struct`.
const NULL: u32 = 1;
const NUMBER: u32 = 2;
const STRING: u32 = 3;
const BOOL: u32 = 4;
const OBJECT: u32 = 5;
const LIST: u32 = 6;
const ENTRY: u32 = 1;
const KEY: u32 = 1;
const MEMBER: u32 = 2;
const ITEM: u32 = 1;

impl<'de> DeserializeSeed<'de> for InJson<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for InJson<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.form {
            Form::Any => "JSON",
            Form::Object => "an object",
            Form::List => "a list",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        int32::encode(NULL, &0, self.out);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        prost::encoding::bool::encode(BOOL, &value, self.out);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        double::encode(NUMBER, &value, self.out);
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        text::encode(STRING, &value.to_owned(), self.out);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let reading = self.reading;
        let mut write = |out: &mut Vec<u8>| {
            // The key of an item is only written when there is one.
            loop {
                let before = out.len();
                let mut there = false;
                nested(reading, ITEM, out, |out| {
                    there = items.next_element_seed(InJson { reading, form: Form::Any, out })?.is_some();
                    Ok::<_, A::Error>(())
                })?;
                if !there {
                    out.truncate(before);
                    return Ok(());
                }
            }
        };
        match self.form {
            Form::List => write(self.out),
            _ => nested(reading, LIST, self.out, write),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.reading;
        let mut write = |out: &mut Vec<u8>| {
            let mut keys = HashSet::new();
            while let Some(key) = map.next_key::<String>()? {
                let entry = nested(reading, ENTRY, out, |out| {
                    text::encode(KEY, &key, out);
                    nested(reading, MEMBER, out, |out| map.next_value_seed(InJson { reading, form: Form::Any, out }))
                });
                reading.at(&key, entry)?;
                if let Some(again) = keys.replace(key) {
                    return reading.at(&again, Err(A::Error::custom("is given twice")));
                }
            }
            Ok(())
        };
        match self.form {
            Form::Object => write(self.out),
            _ => nested(reading, OBJECT, self.out, write),
        }
    }
}
