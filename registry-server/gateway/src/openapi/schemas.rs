//! Messages and enums as JSON Schema.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde_json::{Map, Value as Json, json};

use super::comments::Comments;
use super::{OUTPUT_ONLY, REQUIRED};

/// The schemas that operations refer to.
pub(super) struct Schemas<'a> {
    comments: &'a Comments,
    done: BTreeMap<String, Json>,
}

/// Who writes a field, and whether it has to be there.
pub(super) fn behaviors(field: &FieldDescriptor) -> Vec<i32> {
    let pool = field.parent_pool();
    let behavior = pool.get_extension_by_name("google.api.field_behavior").expect("it is a known annotation");
    let options = field.options();
    let values = options.get_extension(&behavior);
    values.as_list().into_iter().flatten().filter_map(Value::as_enum_number).collect()
}

impl<'a> Schemas<'a> {
    pub(super) fn new(comments: &'a Comments) -> Self {
        Self { comments, done: BTreeMap::new() }
    }

    pub(super) fn into_json(self) -> Map<String, Json> {
        self.done.into_iter().collect()
    }

    pub(super) fn insert(&mut self, name: &str, schema: Json) {
        self.done.insert(name.to_owned(), schema);
    }

    /// A reference to the schema of a message, which is made if there is none yet.
    pub(super) fn reference(&mut self, of: &MessageDescriptor) -> Json {
        if let Some(known) = known(of.full_name()) {
            return known;
        }
        let name = name_of(of.full_name(), of.package_name());
        if !self.done.contains_key(&name) {
            // Messages may hold themselves.
            self.insert(&name, Json::Null);
            let schema = self.object(of, &[], false);
            self.insert(&name, schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// A request, without what its path says.
    pub(super) fn request(&mut self, of: &MessageDescriptor, captured: &[&str]) -> Json {
        self.object(of, captured, true)
    }

    fn object(&mut self, of: &MessageDescriptor, without: &[&str], is_request: bool) -> Json {
        let fields: Vec<_> = of.fields().filter(|field| !without.contains(&field.name())).collect();
        let mut properties = Map::new();
        for field in &fields {
            properties.insert(field.json_name().to_owned(), self.field(field));
        }
        let mut text = vec![self.comments.text(&of.parent_file(), of.path())];
        for oneof in of.oneofs().filter(|oneof| oneof.fields().len() > 1) {
            let names: Vec<_> = oneof.fields().map(|field| format!("`{}`", field.json_name())).collect();
            text.push(format!("At most one of {} is set.", names.join(", ")));
        }
        text.retain(|text| !text.is_empty());
        let mut schema = json!({ "type": "object", "description": text.join("\n\n"), "properties": properties });
        // Of a resource, some are required when it is made, and none when it is changed.
        let required = fields.iter().filter(|field| is_request && behaviors(field).contains(&REQUIRED));
        let required: Vec<_> = required.map(FieldDescriptor::json_name).collect();
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }

    /// What a field holds, with what is said of it.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Json {
        let mut schema = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                json!({ "type": "object", "additionalProperties": self.value(&entry.map_entry_value_field().kind()) })
            }
            kind if field.is_list() => json!({ "type": "array", "items": self.value(&kind) }),
            kind => self.value(&kind),
        };
        let text = self.comments.text(&field.parent_message().parent_file(), field.path());
        if !text.is_empty() {
            schema["description"] = text.into();
        }
        if behaviors(field).contains(&OUTPUT_ONLY) {
            schema["readOnly"] = true.into();
        }
        schema
    }

    fn value(&mut self, kind: &Kind) -> Json {
        match kind {
            Kind::Double | Kind::Float => json!({
                "anyOf": [{ "type": "number" }, { "type": "string", "enum": ["NaN", "Infinity", "-Infinity"] }],
            }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0 }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$" })
            }
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Enum(of) => self.choice(of),
            Kind::Message(of) => self.reference(of),
        }
    }

    fn choice(&mut self, of: &EnumDescriptor) -> Json {
        let name = name_of(of.full_name(), of.package_name());
        if !self.done.contains_key(&name) {
            let about = self.comments.text(&of.parent_file(), of.path());
            let values = of.values().map(|value| {
                let text = self.comments.text(&of.parent_file(), value.path());
                format!("- `{}`: {}", value.name(), text.replace('\n', " "))
            });
            let description = format!("{about}\n\n{}", values.collect::<Vec<_>>().join("\n"));
            let names: Vec<_> = of.values().map(|value| value.name().to_owned()).collect();
            self.insert(&name, json!({ "type": "string", "enum": names, "description": description.trim() }));
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

/// The name of a type without its package; of one inside another, with that.
fn name_of(full: &str, package: &str) -> String {
    full.strip_prefix(package).unwrap_or(full).trim_start_matches('.').replace('.', "_")
}

/// The types that JSON has a form of its own for.
fn known(name: &str) -> Option<Json> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "Duration" => json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$" }),
        "FieldMask" => json!({ "type": "string" }),
        "Struct" => json!({ "type": "object", "additionalProperties": true }),
        "ListValue" => json!({ "type": "array", "items": {} }),
        "Value" => json!({}),
        _ => return None,
    })
}
