//! Values in encoded messages, read where they are.

use std::cmp::Ordering;

use prost::encoding::{WireType, decode_key, decode_varint};

/// How a field's value is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order in which they are written. What is malformed ends them.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Wire<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.0;
        self.0 = &[];
        if rest.is_empty() {
            return None;
        }
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        let wire = match wire_type {
            WireType::Varint => Wire::Varint(decode_varint(&mut rest).ok()?),
            WireType::SixtyFourBit => {
                let (bytes, behind) = rest.split_first_chunk()?;
                rest = behind;
                Wire::Fixed64(u64::from_le_bytes(*bytes))
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let (bytes, behind) = rest.split_at_checked(length)?;
                rest = behind;
                Wire::Bytes(bytes)
            }
            // The contract has no such fields.
            WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => return None,
        };
        self.0 = rest;
        Some((number, wire))
    }
}

/// The value of a field, which is the last one that is written.
pub(super) fn last(message: &[u8], field: u32) -> Option<Wire<'_>> {
    Fields(message).filter(|(number, _)| *number == field).last().map(|(_, wire)| wire)
}

/// What is in a field, or in an element of a list, or the value in an entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Bool,
    /// Of any width; enums are written like them.
    Int,
    Double,
    Text,
    Bytes,
    Time,
    Duration,
    Message,
    /// A field of this number has an entry for each key.
    Map(Box<Repeated>),
    /// A field of this number has the elements.
    List(Box<Repeated>),
    /// `google.protobuf.Struct`, `Value` and `ListValue`.
    Object,
    Json,
    Array,
}

/// A field that is there several times.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Repeated {
    pub(super) field: u32,
    pub(super) item: Shape,
}

static MEMBERS: Repeated = Repeated { field: 1, item: Shape::Json };

/// A value. What is not a scalar is still where it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Seconds since 1970, and nanoseconds.
    Time(i64, i32),
    /// Nanoseconds.
    Duration(i128),
    Message(&'a [u8]),
    /// In a message.
    Map(&'a [u8], &'a Repeated),
    List(&'a [u8], &'a Repeated),
}

/// The value of a field in a message. `None`: it has none.
pub(super) fn field<'a>(message: &'a [u8], number: u32, shape: &'a Shape, optional: bool) -> Option<Value<'a>> {
    match shape {
        Shape::Map(entries) => Some(Value::Map(message, entries)),
        Shape::List(items) => Some(Value::List(message, items)),
        _ => match last(message, number) {
            Some(wire) => read(shape, wire),
            None if optional => None,
            None => default(shape),
        },
    }
}

/// Whether a field has a value other than what it has by itself.
pub(super) fn has_field(message: &[u8], number: u32) -> bool {
    Fields(message).any(|(found, _)| found == number)
}

/// What a field has that is not written; messages and times are absent then.
fn default(shape: &Shape) -> Option<Value<'static>> {
    match shape {
        Shape::Bool => Some(Value::Bool(false)),
        Shape::Int => Some(Value::Int(0)),
        Shape::Double => Some(Value::Double(0.0)),
        Shape::Text => Some(Value::Text("")),
        Shape::Bytes => Some(Value::Bytes(&[])),
        _ => None,
    }
}

pub(super) fn read<'a>(shape: &'a Shape, wire: Wire<'a>) -> Option<Value<'a>> {
    Some(match (shape, wire) {
        (Shape::Bool, Wire::Varint(value)) => Value::Bool(value != 0),
        // As the standard has it, a negative number of 32 bits is written as one of 64.
        (Shape::Int, Wire::Varint(value)) => Value::Int(value.cast_signed()),
        (Shape::Double, Wire::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
        (Shape::Text, Wire::Bytes(bytes)) => Value::Text(str::from_utf8(bytes).ok()?),
        (Shape::Bytes, Wire::Bytes(bytes)) => Value::Bytes(bytes),
        (Shape::Time, Wire::Bytes(bytes)) => {
            let (seconds, nanos) = seconds_and_nanos(bytes)?;
            Value::Time(seconds, nanos)
        }
        (Shape::Duration, Wire::Bytes(bytes)) => {
            let (seconds, nanos) = seconds_and_nanos(bytes)?;
            Value::Duration(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
        }
        (Shape::Message, Wire::Bytes(bytes)) => Value::Message(bytes),
        (Shape::Object, Wire::Bytes(bytes)) => Value::Map(bytes, &MEMBERS),
        (Shape::Array, Wire::Bytes(bytes)) => Value::List(bytes, &MEMBERS),
        (Shape::Json, Wire::Bytes(bytes)) => json(bytes)?,
        _ => return None,
    })
}

/// What a `Timestamp` or a `Duration` says.
fn seconds_and_nanos(message: &[u8]) -> Option<(i64, i32)> {
    let number = |field| match last(message, field) {
        Some(Wire::Varint(value)) => value.cast_signed(),
        _ => 0,
    };
    Some((number(1), i32::try_from(number(2)).ok()?))
}

/// What a `google.protobuf.Value` holds.
pub(super) fn json(message: &[u8]) -> Option<Value<'_>> {
    let (number, wire) = Fields(message).last()?;
    let shape = match number {
        1 => return Some(Value::Null),
        2 => &Shape::Double,
        3 => &Shape::Text,
        4 => &Shape::Bool,
        5 => &Shape::Object,
        6 => &Shape::Array,
        _ => return None,
    };
    read(shape, wire)
}

impl Repeated {
    /// The value of a key in a map.
    pub(super) fn get<'a>(&'a self, message: &'a [u8], key: &str) -> Option<Value<'a>> {
        let entry = self.entries(message).filter(|(found, _)| *found == key).last();
        match entry?.1 {
            Some(wire) => read(&self.item, wire),
            // An entry leaves out what is empty, and has it all the same.
            None => default(&self.item).or_else(|| read(&self.item, Wire::Bytes(&[]))),
        }
    }

    pub(super) fn has(&self, message: &[u8], key: &str) -> bool {
        self.entries(message).any(|(found, _)| found == key)
    }

    fn entries<'a>(&self, message: &'a [u8]) -> impl Iterator<Item = (&'a str, Option<Wire<'a>>)> {
        let field = self.field;
        Fields(message).filter_map(move |(number, wire)| match wire {
            Wire::Bytes(entry) if number == field => match last(entry, 1) {
                Some(Wire::Bytes(key)) => Some((str::from_utf8(key).ok()?, last(entry, 2))),
                _ => Some(("", last(entry, 2))),
            },
            _ => None,
        })
    }

    /// The elements of a list. `None`: an element that can't be read.
    pub(super) fn items<'a>(&'a self, message: &'a [u8]) -> impl Iterator<Item = Option<Value<'a>>> {
        let wires = Fields(message).filter(|(number, _)| *number == self.field).map(|(_, wire)| wire);
        wires.flat_map(|wire| Packed::of(wire, &self.item)).map(|wire| read(&self.item, wire))
    }

    /// How many entries or elements there are.
    pub(super) fn size(&self, message: &[u8]) -> i64 {
        let wires = Fields(message).filter(|(number, _)| *number == self.field).map(|(_, wire)| wire);
        wires.map(|wire| Packed::of(wire, &self.item).count() as i64).sum()
    }
}

/// Numbers of a list are written together, without their keys.
enum Packed<'a> {
    One(Option<Wire<'a>>),
    Varints(&'a [u8]),
    Doubles(&'a [u8]),
}

impl<'a> Packed<'a> {
    fn of(wire: Wire<'a>, item: &Shape) -> Self {
        match (wire, item) {
            (Wire::Bytes(bytes), Shape::Int | Shape::Bool) => Self::Varints(bytes),
            (Wire::Bytes(bytes), Shape::Double) => Self::Doubles(bytes),
            _ => Self::One(Some(wire)),
        }
    }
}

impl<'a> Iterator for Packed<'a> {
    type Item = Wire<'a>;

    fn next(&mut self) -> Option<Wire<'a>> {
        match self {
            Self::One(wire) => wire.take(),
            Self::Varints([]) => None,
            Self::Varints(rest) => decode_varint(rest).ok().map(Wire::Varint),
            Self::Doubles(rest) => {
                let (bytes, behind) = rest.split_first_chunk()?;
                *rest = behind;
                Some(Wire::Fixed64(u64::from_le_bytes(*bytes)))
            }
        }
    }
}

impl Value<'_> {
    /// Which of two values comes first. `None`: they can't be compared.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Value::Null, Value::Null) => Some(Ordering::Equal),
            (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
            (Value::Int(one), Value::Int(other)) => Some(one.cmp(other)),
            (Value::Double(one), Value::Double(other)) => one.partial_cmp(other),
            (Value::Int(one), Value::Double(other)) => order(*one, *other),
            (Value::Double(one), Value::Int(other)) => order(*other, *one).map(Ordering::reverse),
            (Value::Text(one), Value::Text(other)) => Some(one.cmp(other)),
            (Value::Bytes(one), Value::Bytes(other)) => Some(one.cmp(other)),
            (Value::Time(..), Value::Time(..)) => Some(self.nanos()?.cmp(&other.nanos()?)),
            (Value::Duration(one), Value::Duration(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    /// Whether two values are the same. Those of different types are not; of what holds others it is not known.
    pub(super) fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Value::Message(_) | Value::Map(..) | Value::List(..), _)
            | (_, Value::Message(_) | Value::Map(..) | Value::List(..)) => None,
            (Value::Double(number), _) | (_, Value::Double(number)) if number.is_nan() => None,
            _ => Some(self.order(other) == Some(Ordering::Equal)),
        }
    }

    /// Of a time, since 1970.
    pub(super) fn nanos(&self) -> Option<i128> {
        match self {
            Value::Time(seconds, nanos) => Some(i128::from(*seconds) * 1_000_000_000 + i128::from(*nanos)),
            _ => None,
        }
    }
}

/// Compares as numbers, not as what one of them is rounded to.
fn order(int: i64, double: f64) -> Option<Ordering> {
    /// The first number beyond all of 64 bits.
    const END: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        None
    } else if double >= END {
        Some(Ordering::Less)
    } else if double < -END {
        Some(Ordering::Greater)
    } else {
        let whole = double.trunc();
        Some(int.cmp(&(whole as i64)).then_with(|| whole.total_cmp(&double)))
    }
}

#[cfg(test)]
mod tests {
    use Ordering::{Equal, Greater, Less};

    use super::*;

    #[test]
    fn numbers_are_compared_as_they_are() {
        for (int, double, expected) in [
            (1, 1.0, Some(Equal)),
            (1, 1.5, Some(Less)),
            (-1, -1.5, Some(Greater)),
            (0, -0.0, Some(Equal)),
            (0, -0.5, Some(Greater)),
            // Rounded to a double, these would be the same.
            (i64::MAX, 9_223_372_036_854_775_808.0, Some(Less)),
            (9_007_199_254_740_993, 9_007_199_254_740_992.0, Some(Greater)),
            (i64::MIN, -9_223_372_036_854_775_808.0, Some(Equal)),
            (i64::MIN, -1e300, Some(Greater)),
            (i64::MAX, f64::INFINITY, Some(Less)),
            (0, f64::NAN, None),
        ] {
            let (int, double) = (Value::Int(int), Value::Double(double));
            assert_eq!(int.order(&double), expected, "{int:?} {double:?}");
            assert_eq!(double.order(&int), expected.map(Ordering::reverse), "{double:?} {int:?}");
        }
    }

    #[test]
    fn the_last_value_counts_and_what_is_malformed_ends_the_message() {
        let message = [0x08, 1, 0x08, 2, 0x10, 3, 0xff];
        assert_eq!(last(&message, 1), Some(Wire::Varint(2)));
        assert_eq!(last(&message, 2), Some(Wire::Varint(3)));
        assert_eq!(last(&message, 3), None);
        // A length beyond the end.
        assert_eq!(last(&[0x0a, 200, 1, 0], 1), None);
        assert_eq!(Fields(&[0x0b, 0x0c]).count(), 0);
    }
}
