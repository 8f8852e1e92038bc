//! The types of the contract's fields, from its descriptors.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::program::Field;
use super::wire::{Repeated, Shape};

/// The type of a part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Null,
    Bool,
    Int,
    Double,
    Text,
    Bytes,
    Time,
    Duration,
    Enum(EnumDescriptor),
    Message(MessageDescriptor),
    List(Box<Type>),
    /// By text.
    Map(Box<Type>),
    /// What JSON holds is known when it is read.
    Any,
}

/// The contract. `None`: it can't be read, which a test rules out.
static CONTRACT: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(registry_proto::DESCRIPTORS).ok());

/// A message of the contract.
pub(crate) fn message(name: &str) -> Option<MessageDescriptor> {
    CONTRACT.as_ref()?.get_message_by_name(name)
}

impl Type {
    /// What it is called in an error.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool => "a bool".to_owned(),
            Self::Int => "an int".to_owned(),
            Self::Double => "a double".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::Time => "a timestamp".to_owned(),
            Self::Duration => "a duration".to_owned(),
            Self::Enum(of) => format!("a value of {}", of.name()),
            Self::Message(of) => format!("a {}", of.name()),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
            Self::Any => "a JSON value".to_owned(),
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// How a value of it is written.
    fn shape(&self, field: u32) -> Shape {
        match self {
            Self::Bool => Shape::Bool,
            Self::Int | Self::Enum(_) => Shape::Int,
            Self::Double => Shape::Double,
            Self::Text => Shape::Text,
            Self::Bytes => Shape::Bytes,
            Self::Time => Shape::Time,
            Self::Duration => Shape::Duration,
            Self::Message(_) => Shape::Message,
            Self::List(item) => Shape::List(Box::new(Repeated { field, item: item.element() })),
            Self::Map(item) => Shape::Map(Box::new(Repeated { field, item: item.element() })),
            Self::Any | Self::Null => Shape::Json,
        }
    }

    /// How it is written as an element, which is never a repeated field itself.
    fn element(&self) -> Shape {
        match self {
            Self::Map(_) => Shape::Object,
            Self::List(_) => Shape::Array,
            other => other.shape(0),
        }
    }
}

/// The type of a field of a message, and how to read it.
pub(super) fn field(message: &MessageDescriptor, name: &str) -> Option<(Type, Field)> {
    let descriptor = message.get_field_by_name(name)?;
    let (number, optional) = (descriptor.number(), descriptor.supports_presence());
    let of_kind = of_kind(&descriptor.kind());
    let (r#type, shape) = if descriptor.is_map() {
        let value = of_kind_of_value(&descriptor)?;
        let r#type = Type::Map(Box::new(value));
        let shape = r#type.shape(number);
        (r#type, shape)
    } else if descriptor.is_list() {
        let r#type = Type::List(Box::new(of_kind?));
        let shape = r#type.shape(number);
        (r#type, shape)
    } else {
        let r#type = of_kind?;
        let shape = r#type.element();
        (r#type, shape)
    };
    Some((r#type, Field { number, shape, optional }))
}

fn of_kind_of_value(field: &FieldDescriptor) -> Option<Type> {
    let Kind::Message(entry) = field.kind() else { return None };
    of_kind(&entry.map_entry_value_field().kind())
}

fn of_kind(kind: &Kind) -> Option<Type> {
    Some(match kind {
        Kind::Bool => Type::Bool,
        Kind::Int32 | Kind::Int64 => Type::Int,
        Kind::Double => Type::Double,
        Kind::String => Type::Text,
        Kind::Bytes => Type::Bytes,
        Kind::Enum(of) => Type::Enum(of.clone()),
        Kind::Message(of) => match of.full_name() {
            "google.protobuf.Timestamp" => Type::Time,
            "google.protobuf.Duration" => Type::Duration,
            "google.protobuf.Struct" => Type::Map(Box::new(Type::Any)),
            "google.protobuf.ListValue" => Type::List(Box::new(Type::Any)),
            "google.protobuf.Value" => Type::Any,
            _ => Type::Message(of.clone()),
        },
        // The contract has none of these.
        _ => return None,
    })
}

/// The map that a message wraps, if it has nothing else.
pub(super) fn wrapped(message: &MessageDescriptor) -> Option<(Type, Field)> {
    let mut fields = message.fields();
    match (fields.next(), fields.next()) {
        (Some(only), None) if only.is_map() => field(message, only.name()),
        _ => None,
    }
}

/// The names of the values of an enum, without what all of them begin with.
pub(super) fn values(of: &EnumDescriptor) -> impl Iterator<Item = (String, i32)> {
    let prefix = of.values().next().map(|zero| zero.name().trim_end_matches("UNSPECIFIED").to_owned());
    let prefix = prefix.unwrap_or_default();
    let short = move |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
    of.values().map(|value| (short(value.name()), value.number())).collect::<Vec<_>>().into_iter()
}

/// `; did you mean "stage"?`, if one of the names is like what was written.
pub(crate) fn did_you_mean<T: AsRef<str>>(written: &str, names: impl IntoIterator<Item = T>) -> String {
    const SIMILAR: f64 = 0.75;
    // A name is shorter, and what a caller wrote may be as long as a request.
    const BYTES: usize = 256;
    if written.len() > BYTES {
        return String::new();
    }
    let written = written.to_lowercase();
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(&written, &name.as_ref().to_lowercase()), name));
    let nearest = scored.filter(|(score, _)| *score > SIMILAR).max_by(|(one, _), (other, _)| one.total_cmp(other));
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean {:?}?", name.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::super::{ARTIFACT, EVENT, GATE, MODEL, NAMESPACE, VERSION};
    use super::*;

    /// Every field that an expression can reach has a type.
    #[test]
    fn all_fields_have_types() {
        let mut waiting: Vec<_> = [VERSION, MODEL, ARTIFACT, NAMESPACE, EVENT, GATE]
            .iter()
            .map(|of| message(of.message).expect(of.message))
            .collect();
        let mut seen = Vec::new();
        while let Some(next) = waiting.pop() {
            if seen.contains(&next) {
                continue;
            }
            for descriptor in next.fields() {
                let (r#type, _) = field(&next, descriptor.name()).unwrap_or_else(|| panic!("{descriptor:?}"));
                match r#type {
                    Type::Message(of) => waiting.push(of),
                    Type::List(of) | Type::Map(of) => {
                        if let Type::Message(of) = *of {
                            waiting.push(of);
                        }
                    }
                    _ => {}
                }
            }
            seen.push(next);
        }
        assert!(seen.len() > 10, "{seen:?}");
    }
}
