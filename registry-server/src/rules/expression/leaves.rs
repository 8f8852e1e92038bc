//! The single values of a message and where they are in it: what an index keeps of a record, by the same paths that conditions name.

use std::cmp::Ordering;
use std::sync::LazyLock;

use prost_reflect::MessageDescriptor;

use super::types::{self, Type};
use super::wire::{self, Fields, Shape, Value, Wire};
use super::{MODEL, Subject, VERSION};

/// Where a value is in a message: the fields and keys on the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Path(Vec<u8>);

impl Path {
    pub(super) fn push_field(&mut self, number: u32) {
        self.0.push(1);
        self.0.extend(number.to_be_bytes());
    }

    pub(super) fn push_key(&mut self, key: &str) {
        self.0.push(2);
        self.0.extend((key.len() as u64).to_be_bytes());
        self.0.extend(key.as_bytes());
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The field of the resource that it begins with.
    pub(crate) fn first(&self) -> u32 {
        let number = self.0.get(1..).and_then(<[u8]>::first_chunk);
        number.map_or(0, |number| u32::from_be_bytes(*number))
    }

    /// Whether a key is part of it: there may be any number of such paths.
    pub(crate) fn is_keyed(&self) -> bool {
        const FIELD: usize = 1 + size_of::<u32>();
        self.0.chunks(FIELD).any(|step| step[0] != 1)
    }
}

/// A value as an index keeps it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Leaf<'a> {
    /// A number or a time, so that it sorts: see [`number_of`] and [`time_of`].
    Number(u64),
    Text(&'a str),
    /// One of a few: an enum's value or a bool.
    Choice(i64),
}

/// A number, in the order of numbers. NaN is none.
pub(super) fn of_number(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    // There is one zero.
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

impl Leaf<'_> {
    /// Numbers before texts before choices, each in their own order.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.cmp(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Choice(one), Self::Choice(other)) => one.cmp(other),
            (Self::Number(_), _) | (Self::Text(_), Self::Choice(_)) => Ordering::Less,
            _ => Ordering::Greater,
        }
    }
}

/// The number again.
pub(crate) fn number_of(value: u64) -> f64 {
    const SIGN: u64 = 1 << 63;
    f64::from_bits(if value & SIGN == 0 { !value } else { value & !SIGN })
}

/// A time again, in microseconds since 1970.
pub(crate) fn time_of(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

/// A time, in microseconds: what is finer is cut off.
pub(super) fn of_time(seconds: i64, nanos: i32) -> u64 {
    let micros = seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos.div_euclid(1000)));
    micros.cast_unsigned() ^ (1 << 63)
}

/// What there is in a message of a type.
#[derive(Debug)]
pub(super) enum Part {
    Number(Shape),
    Time,
    Text,
    Choice(Shape),
    Message(Vec<(u32, Part)>),
    /// Keys to values; the field of the message that has the entries.
    Map(Box<Part>),
    /// What JSON holds: numbers, texts and objects of these.
    Object,
    Json,
}

/// Texts of their own for nearly every record, or long: too much to keep for what is asked of them.
const LEFT_OUT: [&str; 6] = ["name", "uid", "etag", "description", "manifest_sha256", "model_params"];

static OF_VERSION: LazyLock<Option<Part>> = LazyLock::new(|| of_subject(&VERSION));
static OF_MODEL: LazyLock<Option<Part>> = LazyLock::new(|| of_subject(&MODEL));

fn of_subject(of: &Subject) -> Option<Part> {
    let message = types::message(of.message)?;
    Some(Part::Message(parts(&message, &LEFT_OUT)))
}

fn parts(message: &MessageDescriptor, left_out: &[&str]) -> Vec<(u32, Part)> {
    let wanted = message.fields().filter(|field| !left_out.contains(&field.name()));
    let found = wanted.filter_map(|field| Some((field.number(), part(types::field(message, field.name())?.0)?)));
    found.collect()
}

fn part(of: Type) -> Option<Part> {
    Some(match of {
        Type::Bool => Part::Choice(Shape::Bool),
        Type::Enum(_) => Part::Choice(Shape::Int),
        Type::Int => Part::Number(Shape::Int),
        Type::Double => Part::Number(Shape::Double),
        Type::Text => Part::Text,
        Type::Time => Part::Time,
        Type::Message(of) => Part::Message(parts(&of, &[])),
        Type::Map(value) if *value == Type::Any => Part::Object,
        Type::Map(value) => Part::Map(Box::new(part(*value)?)),
        Type::Any => Part::Json,
        // A condition on an element is on all of a list.
        Type::List(_) | Type::Duration | Type::Bytes | Type::Null => return None,
    })
}

impl Subject {
    /// What of its messages an index keeps; `None` if none is kept of it.
    pub(super) fn part(&self) -> Option<&'static Part> {
        match self.message {
            message if message == VERSION.message => OF_VERSION.as_ref(),
            message if message == MODEL.message => OF_MODEL.as_ref(),
            _ => None,
        }
    }

    /// Calls `found` with each single value of a message, as it is encoded.
    pub(crate) fn leaves<'a>(&self, message: &'a [u8], found: &mut dyn FnMut(&Path, Leaf<'a>)) {
        let Some(Part::Message(parts)) = self.part() else { return };
        let mut path = Path::default();
        let seen = of_message(parts, message, &mut path, found);
        // What is not written is 0 or false, and has its place in an order.
        for (number, part) in parts.iter().filter(|(number, _)| seen & bit(*number) == 0) {
            path.push_field(*number);
            match part {
                Part::Number(_) => found(&path, Leaf::Number(of_number(0.0))),
                Part::Choice(_) => found(&path, Leaf::Choice(0)),
                _ => {}
            }
            path.0.clear();
        }
    }
}

impl Part {
    /// What a step leads to.
    pub(super) fn field(&self, number: u32) -> Option<&Self> {
        match self {
            Self::Message(parts) => parts.iter().find(|(found, _)| *found == number).map(|(_, part)| part),
            _ => None,
        }
    }

    pub(super) fn key(&self) -> Option<&Self> {
        const JSON: &Part = &Part::Json;
        match self {
            Self::Map(value) => Some(value),
            Self::Object | Self::Json => Some(JSON),
            _ => None,
        }
    }
}

fn walk<'a>(part: &'static Part, wire: Wire<'a>, path: &mut Path, found: &mut dyn FnMut(&Path, Leaf<'a>)) {
    let leaf = match (part, wire) {
        (Part::Message(parts), Wire::Bytes(message)) => {
            of_message(parts, message, path, found);
            return;
        }
        (Part::Object, Wire::Bytes(members)) => return of_entries(1, &Part::Json, members, path, found),
        (Part::Json, Wire::Bytes(value)) => match wire::json(value) {
            Some(Value::Map(members, _)) => return of_entries(1, &Part::Json, members, path, found),
            value => value.and_then(leaf_of),
        },
        (Part::Number(shape), wire) => wire::read(shape, wire).and_then(leaf_of),
        (Part::Time, wire) => wire::read(&Shape::Time, wire).and_then(leaf_of),
        (Part::Text, wire) => wire::read(&Shape::Text, wire).and_then(leaf_of),
        (Part::Choice(shape), wire) => wire::read(shape, wire).and_then(|value| match value {
            Value::Bool(value) => Some(Leaf::Choice(value.into())),
            Value::Int(value) => Some(Leaf::Choice(value)),
            _ => None,
        }),
        _ => None,
    };
    if let Some(leaf) = leaf {
        found(path, leaf);
    }
}

fn leaf_of(value: Value<'_>) -> Option<Leaf<'_>> {
    Some(match value {
        Value::Int(value) => Leaf::Number(of_number(value as f64)),
        Value::Double(value) if value.is_nan() => return None,
        Value::Double(value) => Leaf::Number(of_number(value)),
        Value::Time(seconds, nanos) => Leaf::Number(of_time(seconds, nanos)),
        Value::Text(text) => Leaf::Text(text),
        _ => return None,
    })
}

/// Answers which of the parts are written, each a [`bit`].
fn of_message<'a>(
    parts: &'static [(u32, Part)],
    message: &'a [u8],
    path: &mut Path,
    found: &mut dyn FnMut(&Path, Leaf<'a>),
) -> u128 {
    let mut seen = 0;
    for (number, wire) in Fields(message) {
        let Some((_, part)) = parts.iter().find(|(known, _)| *known == number) else { continue };
        seen |= bit(number);
        let before = path.0.len();
        path.push_field(number);
        match part {
            Part::Map(value) => {
                if let Wire::Bytes(entry) = wire {
                    of_entry(value, entry, path, found);
                }
            }
            part => walk(part, wire, path, found),
        }
        path.0.truncate(before);
    }
    seen
}

/// That of a field with a small number, as all have that are single values of resources.
fn bit(number: u32) -> u128 {
    1_u128.checked_shl(number).unwrap_or_default()
}

fn of_entries<'a>(
    field: u32,
    value: &'static Part,
    message: &'a [u8],
    path: &mut Path,
    found: &mut dyn FnMut(&Path, Leaf<'a>),
) {
    for (number, wire) in Fields(message) {
        if let (true, Wire::Bytes(entry)) = (number == field, wire) {
            of_entry(value, entry, path, found);
        }
    }
}

fn of_entry<'a>(value: &'static Part, entry: &'a [u8], path: &mut Path, found: &mut dyn FnMut(&Path, Leaf<'a>)) {
    let key = match wire::last(entry, 1) {
        Some(Wire::Bytes(key)) => str::from_utf8(key).unwrap_or_default(),
        _ => "",
    };
    let before = path.0.len();
    path.push_key(key);
    match (wire::last(entry, 2), value) {
        (Some(wire), value) => walk(value, wire, path, found),
        // An entry leaves out what is empty, and has it all the same.
        (None, Part::Text) => found(path, Leaf::Text("")),
        (None, Part::Number(_)) => found(path, Leaf::Number(of_number(0.0))),
        (None, Part::Choice(_)) => found(path, Leaf::Choice(0)),
        (None, _) => {}
    }
    path.0.truncate(before);
}
