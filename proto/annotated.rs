//! The contract's descriptors have the annotations that tools, and the server, build on.

use std::sync::LazyLock;

use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

const PACKAGE: &str = "modelregistry.v1";

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(crate::DESCRIPTORS).expect("descriptors that can be read"));

fn option(options: DynamicMessage, name: &str) -> Option<Value> {
    let extension = POOL.get_extension_by_name(name).unwrap_or_else(|| panic!("no extension {name}"));
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

fn methods() -> impl Iterator<Item = MethodDescriptor> {
    let services = POOL.services().filter(|service| service.package_name() == PACKAGE).collect::<Vec<_>>();
    services.into_iter().flat_map(|service| service.methods().collect::<Vec<_>>())
}

fn resources() -> Vec<MessageDescriptor> {
    POOL.all_messages().filter(|message| option(message.options(), "google.api.resource").is_some()).collect()
}

/// The messages that callers write, with all that they hold, and the resources.
fn written() -> Vec<MessageDescriptor> {
    let mut found: Vec<_> = methods().map(|method| method.input()).chain(resources()).collect();
    // What an event holds is no more than what it tells of.
    let told = |message: &MessageDescriptor| message.full_name() == "modelregistry.v1.Event";
    let mut seen = 0;
    while let Some(message) = found.get(seen).cloned() {
        seen += 1;
        for field in message.fields().filter(|_| !told(&message)) {
            if let Kind::Message(inner) = field.kind()
                && inner.package_name() == PACKAGE
                && !inner.is_map_entry()
                && !found.contains(&inner)
            {
                found.push(inner);
            }
        }
    }
    found
}

fn behaviors(field: &FieldDescriptor) -> Vec<i32> {
    let values = option(field.options(), "google.api.field_behavior");
    values.iter().flat_map(|values| values.as_list().expect("a list")).filter_map(Value::as_enum_number).collect()
}

#[test]
fn every_method_has_a_permission_and_unless_it_carries_bytes_a_path() {
    for method in methods() {
        let name = method.full_name();
        let permission = option(method.options(), "modelregistry.v1.permission");
        let permission = permission.as_ref().and_then(Value::as_str).unwrap_or_default();
        assert!(permission.split_once('.').is_some_and(|(kind, verb)| !kind.is_empty() && !verb.is_empty()), "{name}");
        // Over HTTP, bytes are files.
        let carries_bytes = method.is_client_streaming() || method.name() == "DownloadArtifact";
        let expected =
            [("google.api.http", !carries_bytes), ("google.api.method_signature", !method.is_client_streaming())];
        for (annotation, expected) in expected {
            assert_eq!(option(method.options(), annotation).is_some(), expected, "{name}");
        }
    }
}

#[test]
fn paths_and_signatures_name_fields_that_exist() {
    for method in methods() {
        let has = |path: &str| {
            let mut message = Some(method.input());
            path.split('.').all(|part| {
                let field = message.take().and_then(|message| message.get_field_by_name(part));
                message = field.as_ref().and_then(|field| field.kind().as_message().cloned());
                field.is_some()
            })
        };
        let signatures = option(method.options(), "google.api.method_signature");
        for signature in signatures.iter().flat_map(|signatures| signatures.as_list().expect("a list")) {
            let signature = signature.as_str().expect("a text");
            assert!(signature.split(',').all(|field| field.is_empty() || has(field)), "{}", method.full_name());
        }
        let Some(Value::Message(rule)) = option(method.options(), "google.api.http") else { continue };
        let texts =
            rule.fields().filter_map(|(field, value)| Some((field.name().to_owned(), value.as_str()?.to_owned())));
        for (kind, text) in texts.collect::<Vec<_>>() {
            let fields = match kind.as_str() {
                "body" if text == "*" => Vec::new(),
                "body" => vec![text],
                _ => text.split('{').skip(1).filter_map(|part| Some(part.split_once('=')?.0.to_owned())).collect(),
            };
            assert!(fields.iter().all(|field| has(field)), "{}", method.full_name());
        }
    }
}

#[test]
fn every_field_that_callers_see_says_who_writes_it() {
    const OPTIONAL: i32 = 1;
    const OUTPUT_ONLY: i32 = 3;
    const IDENTIFIER: i32 = 8;
    for field in written().iter().flat_map(MessageDescriptor::fields).collect::<Vec<_>>() {
        let behaviors = behaviors(&field);
        let one_of_oneof = field.containing_oneof().is_some();
        let who = behaviors
            .iter()
            .filter(|behavior| (OPTIONAL..=OUTPUT_ONLY).contains(*behavior) || **behavior == IDENTIFIER);
        assert!(one_of_oneof || who.count() == 1, "{}", field.full_name());
    }
}

#[test]
fn every_name_says_what_it_is_the_name_of() {
    for field in methods().flat_map(|method| method.input().fields().collect::<Vec<_>>()) {
        let refers = option(field.options(), "google.api.resource_reference").is_some();
        assert!(refers || !["name", "names", "parent"].contains(&field.name()), "{}", field.full_name());
    }
}

#[test]
fn every_resource_has_the_fields_that_all_have() {
    for resource in resources() {
        for (name, number) in [("name", 1), ("uid", 2), ("revision", 4), ("create_time", 6)] {
            let field = resource.get_field_by_name(name).map(|field| field.number());
            assert_eq!(field, Some(number), "{} of {}", name, resource.full_name());
        }
    }
}

#[test]
fn every_number_is_signed() {
    let unsigned =
        |field: &FieldDescriptor| matches!(field.kind(), Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64);
    for message in POOL.all_messages().filter(|message| message.package_name() == PACKAGE) {
        for field in message.fields() {
            assert!(!unsigned(&field), "{}", field.full_name());
            if field.name() == "revision" {
                assert!(field.kind() == Kind::Int64 && field.cardinality() != Cardinality::Repeated);
            }
        }
    }
}

/// The fields of requests that refer to something that the request is not about. Each is checked where it is used.
const BESIDE: &[&str] = &[
    // Have to be versions of the model that the request names.
    "SetAliasRequest.version",
    "RequestApprovalRequest.version",
];

#[test]
fn every_request_says_what_it_is_about_where_permissions_are_decided() {
    for message in methods().filter(|method| !method.is_client_streaming()).map(|method| method.input()) {
        for field in message.fields() {
            let refers = option(field.options(), "google.api.resource_reference").is_some();
            let naming = ["name", "names", "parent", "resource"].contains(&field.name());
            let field = format!("{}.{}", message.name(), field.name());
            assert!(!refers || naming || BESIDE.contains(&field.as_str()), "{field}");
        }
        let messages = message.fields().filter_map(|field| Some((field.kind().as_message()?.clone(), field)));
        for (inner, field) in messages.filter(|(inner, _)| inner.package_name() == PACKAGE && !inner.is_map_entry()) {
            let is_resource = option(inner.options(), "google.api.resource").is_some();
            let refers = inner.fields().any(|field| option(field.options(), "google.api.resource_reference").is_some());
            assert!(is_resource != field.is_list() || !(is_resource || refers), "{}", field.full_name());
        }
    }
}
