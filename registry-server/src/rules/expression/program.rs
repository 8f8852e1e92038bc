//! What a checked expression is made of.

use super::wire::{Shape, Value};

/// A part of an expression whose type is known.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Constant),
    /// The message that the expression is over.
    Subject,
    Field(Box<Node>, Field),
    HasField(Box<Node>, Field),
    /// The value of a key in a map, or the element of a list at an index.
    At(Box<[Node; 2]>),
    HasKey(Box<[Node; 2]>),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Choice(Box<[Node; 3]>),
    Compare(Comparison, Box<[Node; 2]>),
    /// Whether a value is one of these.
    OneOf(Box<Node>, Vec<Node>),
    /// Whether a list has an element, or a map a key.
    In(Box<[Node; 2]>),
    Negative(Box<Node>),
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    Size(Box<Node>),
    /// Whether a double is not a number.
    IsNan(Box<Node>),
    Search(Search, Box<[Node; 2]>),
}

/// A field of a message.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) shape: Shape,
    /// It may have no value, rather than an empty one.
    pub(super) optional: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Time(i64, i32),
    Duration(i128),
}

impl Constant {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(value) => Value::Text(value),
            Self::Bytes(value) => Value::Bytes(value),
            Self::Time(seconds, nanos) => Value::Time(*seconds, *nanos),
            Self::Duration(nanos) => Value::Duration(*nanos),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
}

/// How a text is looked for in another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Contains,
    StartsWith,
    EndsWith,
}
