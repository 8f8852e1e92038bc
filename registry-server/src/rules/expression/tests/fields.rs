//! The fields that the client's guide to filters lists are those that there are.

use std::collections::VecDeque;
use std::fmt::Write as _;

use prost_reflect::MessageDescriptor;

use super::super::types::{self, Type};
use super::super::{ARTIFACT, EVENT, MODEL, NAMESPACE, Subject, VERSION};

const GUIDE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../registry-client/docs/filters.md"));

/// What a field is, in the guide.
fn of(r#type: &Type) -> String {
    match r#type {
        Type::Enum(of) => {
            let values = types::values(of).filter(|(_, number)| *number != 0).map(|(name, _)| format!("`\"{name}\"`"));
            format!("{}: {}", of.name(), values.collect::<Vec<_>>().join(", "))
        }
        Type::Message(of) => match types::wrapped(of) {
            Some((map, _)) => self::of(&map),
            None => of.name().to_owned(),
        },
        Type::List(item) => format!("list of {}", self::of(item)),
        Type::Map(value) => format!("map of {}", self::of(value)),
        Type::Any => "JSON".to_owned(),
        other => other.name().trim_start_matches("a ").trim_start_matches("an ").to_owned(),
    }
}

/// The fields of a message by their types, in their order. Notes the messages in it.
fn fields(message: &MessageDescriptor, waiting: &mut VecDeque<MessageDescriptor>) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for field in message.fields() {
        let (r#type, _) = types::field(message, field.name()).unwrap();
        let mut inner = &r#type;
        while let Type::List(item) | Type::Map(item) = inner {
            inner = item;
        }
        if let Type::Message(of) = inner
            && types::wrapped(of).is_none()
        {
            waiting.push_back(of.clone());
        }
        let (of, name) = (of(&r#type), format!("`{}`", field.name()));
        match fields.iter_mut().find(|(known, _)| *known == of) {
            Some((_, names)) => *names += &format!(", {name}"),
            None => fields.push((of, name)),
        }
    }
    fields
}

#[test]
fn the_guide_lists_all_fields() {
    let mut seen = Vec::new();
    for Subject { variable, message } in [VERSION, MODEL, ARTIFACT, NAMESPACE, EVENT] {
        let mut waiting = VecDeque::new();
        let message = types::message(message).unwrap();
        let mut expected = format!("| of `{variable}` | |\n|---|---|\n");
        for (of, names) in fields(&message, &mut waiting) {
            let _ = writeln!(expected, "| {of} | {names} |");
        }
        seen.push(message);
        while let Some(next) = waiting.pop_front() {
            if seen.contains(&next) {
                continue;
            }
            let inside = fields(&next, &mut waiting);
            let inside: Vec<_> = inside.into_iter().map(|(of, names)| format!("{names} ({of})")).collect();
            let _ = writeln!(expected, "| in {} | {} |", next.name(), inside.join("; "));
            seen.push(next);
        }
        assert!(GUIDE.contains(&format!("\n{expected}\n")), "registry-client/docs/filters.md should have:\n{expected}");
    }
}
