//! The messages of the contract between their two forms, the bytes of the wire and JSON (ProtoJSON), without building them.
//!
//! <https://protobuf.dev/programming-guides/json/>

mod known;
mod read;
mod write;

pub(crate) use self::read::Problem;

use std::collections::HashMap;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use self::known::Known;

/// Bytes that are not the message that they should be, or one that JSON has no form for: a time that is not in the years 1 to 9999.
#[derive(Debug)]
pub(crate) struct Malformed;

impl From<prost::DecodeError> for Malformed {
    fn from(_: prost::DecodeError) -> Self {
        Self
    }
}

/// All messages of a pool, as they are needed for that.
#[derive(Debug)]
pub(crate) struct Schema {
    messages: Vec<Message>,
    enums: Vec<Choice>,
    by_name: HashMap<String, MessageAt>,
}

/// What a field is to a query.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) number: u32,
    /// In the contract.
    pub(crate) proto_name: String,
    pub(crate) is_list: bool,
    pub(crate) is_map: bool,
    pub(crate) is_bool: bool,
    /// Its values have a form as text.
    pub(crate) is_text: bool,
    /// That it is there is all that it says.
    pub(crate) is_mark: bool,
    pub(crate) oneof: Option<i32>,
    /// The message that it is.
    pub(crate) inside: Option<MessageAt>,
}

/// Where a message is in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MessageAt(usize);

#[derive(Debug)]
struct Message {
    /// In JSON it is something else than an object of its fields.
    known: Option<Known>,
    /// By number.
    fields: Vec<Field>,
    /// Where each is in that, by both of its names.
    by_name: HashMap<String, usize>,
}

/// The values of an enum.
#[derive(Debug)]
struct Choice {
    names: HashMap<i32, String>,
    by_name: HashMap<String, i32>,
}

#[derive(Debug)]
struct Field {
    number: u32,
    /// In JSON, and in the contract.
    name: String,
    proto_name: String,
    /// That and the colon behind it.
    key: Vec<u8>,
    /// One of several of which one is set, in the message.
    oneof: Option<i32>,
    many: Many,
    scalar: Scalar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Many {
    One,
    List,
    Map,
}

/// What a value is; of a map, the message of its entries.
#[derive(Debug, Clone, Copy)]
enum Scalar {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(usize),
    Message(MessageAt),
}

impl Schema {
    pub(crate) fn new(pool: &DescriptorPool) -> Self {
        let messages: Vec<_> = pool.all_messages().collect();
        let by_name = messages.iter().enumerate().map(|(at, message)| (message.full_name().to_owned(), MessageAt(at)));
        let by_name: HashMap<_, _> = by_name.collect();
        let enums: Vec<_> = pool.all_enums().collect();
        let enum_at: HashMap<_, _> = enums.iter().enumerate().map(|(at, one)| (one.full_name(), at)).collect();
        let scalar = |field: &FieldDescriptor| match field.kind() {
            Kind::Double => Scalar::Double,
            Kind::Float => Scalar::Float,
            Kind::Int32 => Scalar::Int32,
            Kind::Int64 => Scalar::Int64,
            Kind::Uint32 => Scalar::Uint32,
            Kind::Uint64 => Scalar::Uint64,
            Kind::Sint32 => Scalar::Sint32,
            Kind::Sint64 => Scalar::Sint64,
            Kind::Fixed32 => Scalar::Fixed32,
            Kind::Fixed64 => Scalar::Fixed64,
            Kind::Sfixed32 => Scalar::Sfixed32,
            Kind::Sfixed64 => Scalar::Sfixed64,
            Kind::Bool => Scalar::Bool,
            Kind::String => Scalar::String,
            Kind::Bytes => Scalar::Bytes,
            Kind::Enum(of) => Scalar::Enum(enum_at[of.full_name()]),
            Kind::Message(of) => Scalar::Message(by_name[of.full_name()]),
        };
        let field = |field: FieldDescriptor| Field {
            number: field.number(),
            name: field.json_name().to_owned(),
            proto_name: field.name().to_owned(),
            key: format!("\"{}\":", field.json_name()).into_bytes(),
            oneof: field
                .containing_oneof()
                .filter(|oneof| !oneof.is_synthetic())
                .and_then(|oneof| oneof.path().last().copied()),
            many: match (field.is_map(), field.is_list()) {
                (true, _) => Many::Map,
                (_, true) => Many::List,
                _ => Many::One,
            },
            scalar: scalar(&field),
        };
        let of = |message: &MessageDescriptor| Message {
            known: Known::of(message.full_name()),
            fields: message.fields().map(field).collect(),
            by_name: message
                .fields()
                .enumerate()
                .flat_map(|(at, field)| [(field.json_name().to_owned(), at), (field.name().to_owned(), at)])
                .collect(),
        };
        Self { messages: messages.iter().map(of).collect(), enums: enums.iter().map(choice).collect(), by_name }
    }

    /// Where a field is in its message, by either of its names.
    pub(crate) fn field(&self, of: MessageAt, name: &str) -> Option<usize> {
        self.messages[of.0].by_name.get(name).copied()
    }

    /// What a query says of a field.
    pub(crate) fn shape(&self, of: MessageAt, field: usize) -> Shape {
        let field = &self.messages[of.0].fields[field];
        let inside = match field.scalar {
            Scalar::Message(at) => Some(at),
            _ => None,
        };
        Shape {
            number: field.number,
            proto_name: field.proto_name.clone(),
            is_list: field.many == Many::List,
            is_map: field.many == Many::Map,
            is_bool: matches!(field.scalar, Scalar::Bool),
            is_text: inside.is_none_or(|at| self.messages[at.0].known.is_some_and(Known::is_text)),
            is_mark: inside
                .is_some_and(|at| self.messages[at.0].known.is_none() && self.messages[at.0].fields.is_empty()),
            oneof: field.oneof,
            inside: inside.filter(|at| self.messages[at.0].known.is_none()),
        }
    }

    /// Whether null is a value.
    fn is_json(&self, scalar: Scalar) -> bool {
        matches!(scalar, Scalar::Message(at) if matches!(self.messages[at.0].known, Some(Known::Value)))
    }

    pub(crate) fn message(&self, name: &str) -> Option<MessageAt> {
        self.by_name.get(name).copied()
    }

    /// The first field of a message, if that is a message itself.
    pub(crate) fn only(mut message: &[u8]) -> Option<(u32, &[u8])> {
        let (number, wire) = decode_key(&mut message).ok()?;
        (wire == WireType::LengthDelimited).then(|| Some((number, take(&mut message).ok()?)))?
    }

    /// The text of a field in a message, by the names of those that it lies in.
    pub(crate) fn text_at<'p>(
        &self,
        of: MessageAt,
        mut message: &[u8],
        mut path: impl Iterator<Item = &'p str>,
    ) -> Option<String> {
        let first = self.shape(of, self.field(of, path.next()?)?);
        let mut found: &[u8] = &[];
        while !message.is_empty() {
            match decode_key(&mut message).ok()? {
                (number, WireType::LengthDelimited) if number == first.number => found = take(&mut message).ok()?,
                (other, wire) => skip_field(wire, other, &mut message, DecodeContext::default()).ok()?,
            }
        }
        match first.inside {
            Some(inside) => self.text_at(inside, found, path),
            None => Some(str::from_utf8(found).ok()?.to_owned()),
        }
    }

    /// A field of a message that is a number.
    pub(crate) fn varint(message: &[u8], number: u32) -> Option<u64> {
        Self::field_of(message, number, WireType::Varint, |rest| decode_varint(rest).ok())
    }

    /// A field of a message that is bytes.
    pub(crate) fn bytes(message: &[u8], number: u32) -> Option<&[u8]> {
        Self::field_of(message, number, WireType::LengthDelimited, |rest| take(rest).ok())
    }

    fn field_of<'a, T>(
        mut message: &'a [u8],
        number: u32,
        of: WireType,
        read: impl FnOnce(&mut &'a [u8]) -> Option<T>,
    ) -> Option<T> {
        while !message.is_empty() {
            match decode_key(&mut message).ok()? {
                (found, wire) if found == number && wire == of => return read(&mut message),
                (other, wire) => skip_field(wire, other, &mut message, DecodeContext::default()).ok()?,
            }
        }
        None
    }
}

fn choice(of: &EnumDescriptor) -> Choice {
    // Of two names of one number the first is written.
    let mut names = HashMap::new();
    for value in of.values() {
        names.entry(value.number()).or_insert_with(|| value.name().to_owned());
    }
    Choice { names, by_name: of.values().map(|value| (value.name().to_owned(), value.number())).collect() }
}

fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(decode_varint(bytes)?).map_err(|_| Malformed)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    Ok(taken)
}
