//! The contract's descriptors, and messages without generated code.

use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage as _,
    ServiceDescriptor, Value,
};
use serde_json::Value as Json;

const PACKAGE: &str = "modelregistry.v1";

pub(crate) const OPTIONAL: i32 = 1;
pub(crate) const REQUIRED: i32 = 2;
pub(crate) const OUTPUT_ONLY: i32 = 3;
pub(crate) const IMMUTABLE: i32 = 5;
pub(crate) const IDENTIFIER: i32 = 8;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(registry_proto::DESCRIPTORS).expect("descriptors that can be read"));

pub(crate) fn services() -> Vec<ServiceDescriptor> {
    POOL.services().filter(|service| service.package_name() == PACKAGE).collect()
}

pub(crate) fn methods() -> Vec<MethodDescriptor> {
    services().iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// A method by its name, which is unique over all services.
pub(crate) fn method(name: &str) -> MethodDescriptor {
    let mut named = methods().into_iter().filter(|method| method.name() == name);
    let method = named.next().unwrap_or_else(|| panic!("there is no method {name}"));
    assert!(named.next().is_none(), "several services have a method {name}");
    method
}

/// The value of an annotation.
pub(crate) fn option(options: DynamicMessage, name: &str) -> Option<Value> {
    let extension = POOL.get_extension_by_name(name).expect("a known annotation");
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

/// What a caller of a method has to be allowed.
pub(crate) fn permission(method: &MethodDescriptor) -> String {
    let permission = option(method.options(), "modelregistry.v1.permission");
    permission.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Who writes a field.
pub(crate) fn behaviors(field: &FieldDescriptor) -> Vec<i32> {
    let values = option(field.options(), "google.api.field_behavior");
    values.iter().filter_map(Value::as_list).flatten().filter_map(Value::as_enum_number).collect()
}

/// The type of the resource whose name a field holds, with whether it is that of the children of the one named.
pub(crate) fn reference(field: &FieldDescriptor) -> Option<(String, bool)> {
    let reference = match behaviors(field).contains(&IDENTIFIER) {
        true => option(field.parent_message().options(), "google.api.resource"),
        false => option(field.options(), "google.api.resource_reference"),
    };
    let text = |name: &str| {
        let value = reference.as_ref()?.as_message()?.get_field_by_name(name)?;
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    text("type").map(|of| (of, false)).or_else(|| text("child_type").map(|of| (of, true)))
}

pub(crate) fn resources() -> Vec<MessageDescriptor> {
    POOL.all_messages().filter(is_resource).collect()
}

pub(crate) fn is_resource(message: &MessageDescriptor) -> bool {
    option(message.options(), "google.api.resource").is_some()
}

/// The message in a field that holds one, or a list of them.
pub(crate) fn message_in(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if !field.is_map() => Some(message),
        _ => None,
    }
}

/// The fields of a message and of the messages right in it, each with the one that it is in. An upload has what others have in
/// their requests in its first message.
pub(crate) fn fields_within(message: &MessageDescriptor) -> Vec<(Option<FieldDescriptor>, FieldDescriptor)> {
    let own = message.fields().map(|field| (None, field));
    let outer = message.fields().filter(|outer| outer.containing_oneof().is_some());
    let inner = outer.filter_map(|outer| Some((message_in(&outer)?, outer)));
    let inner = inner.flat_map(|(message, outer)| {
        let fields = message.fields().collect::<Vec<_>>();
        fields.into_iter().map(move |field| (Some(outer.clone()), field))
    });
    own.chain(inner).collect()
}

/// Whether a request has such a field.
pub(crate) fn takes(method: &MethodDescriptor, name: &str) -> bool {
    fields_within(&method.input()).iter().any(|(_, field)| field.name() == name)
}

/// Sets a field of a request.
pub(crate) fn set(request: &mut DynamicMessage, name: &str, value: Value) {
    let found = fields_within(&request.descriptor()).into_iter().find(|(_, field)| field.name() == name);
    let (outer, field) = found.unwrap_or_else(|| panic!("{} has no {name}", request.descriptor().full_name()));
    let holder = match &outer {
        Some(outer) => request.get_field_mut(outer).as_message_mut().expect("a message"),
        None => request,
    };
    holder.set_field(&field, value);
}

/// The value of a field of a message, or nothing if there is no such field.
pub(crate) fn get(message: &DynamicMessage, name: &str) -> Option<Value> {
    message.get_field_by_name(name).map(std::borrow::Cow::into_owned)
}

/// A message from what it is in JSON.
pub(crate) fn message(of: &MessageDescriptor, json: &Json) -> DynamicMessage {
    DynamicMessage::deserialize(of.clone(), json.clone())
        .unwrap_or_else(|error| panic!("{json} is no {}: {error}", of.full_name()))
}

/// The messages of a request: several if the JSON is a list.
pub(crate) fn request(method: &MethodDescriptor, json: &Json) -> Vec<DynamicMessage> {
    match json {
        Json::Array(messages) => messages.iter().map(|json| message(&method.input(), json)).collect(),
        json => vec![message(&method.input(), json)],
    }
}
