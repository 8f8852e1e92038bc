//! Who writes a field: what the annotations say holds for every method that takes a resource.

use std::collections::HashMap;

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor,
    ReflectMessage as _, Value,
};
use registry_proto::v1::ErrorReason::FieldInvalid;
use serde_json::{Value as Json, json};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::descriptors::{
    IDENTIFIER, IMMUTABLE, OPTIONAL, OUTPUT_ONLY, behaviors, fields_within, is_resource, message, message_in, method,
    methods, request, set, takes,
};
use crate::fixtures::{KINDS, name_of, prepared, sha256, with_id};
use crate::server::{TestServer, refused};

/// The field of a request that holds a resource to be written.
fn resource_in(method: &MethodDescriptor) -> Option<FieldDescriptor> {
    let fields = fields_within(&method.input()).into_iter().map(|(_, field)| field);
    let mut resources = fields.filter(|field| message_in(field).is_some_and(|message| is_resource(&message)));
    resources.next()
}

/// For every method that takes a resource: a request without it, and the fields of it for which not every value will do.
fn writers() -> Vec<(&'static str, Json, Json)> {
    let file = json!({
        "name": "x", "path": "forged.bin", "type": "plot", "mediaType": "text/plain", "sizeBytes": 5,
        "sha256": sha256("bytes"),
    });
    let special = |kind: &str| match kind {
        "Model" => json!({ "policy": "namespaces/default/policies/spare" }),
        _ => json!({}),
    };
    let policy = json!({
        "transitions": [{ "fromStage": "STAGE_DEVELOPMENT", "toStage": "STAGE_PRODUCTION" }],
        "stages": [{ "stage": "STAGE_STAGING", "gates": [{ "name": "a", "condition": "true" }] }],
        "aliases": [{ "alias": "champion", "approvals": { "count": 1, "group": "groups/spare" } }],
    });
    let version = json!({
        "sourceUri": "s3://forged", "baseVersions": ["namespaces/default/models/fraud/versions/1"],
    });
    let named = |mut resource: Json, name: &str| {
        resource["name"] = json!(name);
        resource["etag"] = json!("");
        resource
    };
    let instance = json!({
        "name": "models/fraud/instances/forged",
        "desiredVersion": "namespaces/default/models/fraud/versions/1",
        "observedVersion": "namespaces/default/models/fraud/versions/2",
    });
    let standard = KINDS.iter().flat_map(|kind| {
        let update = named(special(kind), &name_of(kind, "spare"));
        let create: &str = format!("Create{kind}").leak();
        [(create, with_id(kind, "new"), special(kind)), (format!("Update{kind}").leak(), json!({}), update)]
    });
    let chosen = json!({ "parent": "", "types": ["version.created"], "filter": "" });
    let webhook = |url: &str| {
        let mut webhook = chosen.clone();
        webhook["url"] = json!(url);
        webhook
    };
    let secret = json!(format!("whsec_{}", "BwcH".repeat(8)));
    let mut signed = webhook("http://127.0.0.1:9/");
    (signed["secret"], signed["signing"]) = (secret, json!("WEBHOOK_SIGNING_HMAC_SHA256"));
    (signed["format"], signed["types"]) = (json!("WEBHOOK_FORMAT_MLFLOW"), json!(["model_version.created"]));
    let mut subscription = chosen.clone();
    subscription["leaseDuration"] = json!("7s");
    let members = json!({ "members": ["users/ana"] });
    let role = json!({ "permissions": ["models.get"] });
    // It is on one or the other.
    let to_ana = |role: &str, resource: &str, tags: Json, condition: &str| json!({ "role": role, "members": ["users/ana"], "resource": resource, "namespaceTags": tags, "condition": condition });
    let binding = to_ana("roles/viewer", "namespaces/default", json!({}), "true");
    let elsewhere = to_ana("roles/admin", "", json!({ "team": "risk" }), "principal != ''");
    let token = json!({
        "principal": "users/ana", "roles": ["roles/viewer"], "resource": "namespaces/default",
        "expireTime": "2100-01-01T00:00:00Z",
    });
    let lock = json!({ "version": "namespaces/default/models/kept/versions/1" });
    let own = [
        ("CreateGroup", json!({ "groupId": "new" }), members.clone()),
        ("UpdateGroup", json!({}), named(members, "groups/spare")),
        ("CreateRole", json!({ "roleId": "new" }), role.clone()),
        ("UpdateRole", json!({}), named(role, "roles/spare")),
        ("CreateBinding", json!({ "bindingId": "new" }), binding.clone()),
        ("UpdateBinding", json!({}), named(elsewhere, "bindings/spare")),
        ("CreateToken", json!({ "tokenId": "new" }), token),
        ("CreateSubscription", json!({ "subscriptionId": "new" }), subscription.clone()),
        ("UpdateSubscription", json!({}), named(subscription, "subscriptions/a")),
        ("CreateWebhook", json!({ "webhookId": "new" }), signed),
        ("UpdateWebhook", json!({}), named(webhook("http://127.0.0.1:10/"), "webhooks/spare")),
        ("CreatePolicy", json!({ "policyId": "new" }), policy.clone()),
        ("UpdatePolicy", json!({}), named(policy, "namespaces/default/policies/spare")),
        ("CreateLock", json!({ "parent": "models/kept", "lockId": "new" }), lock),
        ("CreateVersion", json!({ "parent": "models/fraud" }), version.clone()),
        ("UpdateVersion", json!({}), named(version, "namespaces/default/models/fraud/versions/5")),
        ("ReportInstance", json!({}), instance),
        ("CreateArtifact", json!({ "parent": "models/fraud/versions/3", "data": "Ynl0ZXM=" }), file.clone()),
        (
            "UploadArtifact",
            json!([{ "metadata": { "parent": "namespaces/risk/models/score/versions/1" } }, { "data": "Ynl0ZXM=" }]),
            file,
        ),
    ];
    standard.chain(own).collect()
}

fn value(kind: &Kind) -> Value {
    match kind {
        Kind::Double => Value::F64(0.5),
        Kind::Int32 => Value::I32(77),
        // No revision that the registry comes to here.
        Kind::Int64 => Value::I64(777),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String("forged".to_owned()),
        Kind::Bytes => Value::Bytes("forged".into()),
        // The first values are where things begin.
        Kind::Enum(of) => Value::EnumNumber(last(of)),
        Kind::Message(of) => Value::Message(filled(DynamicMessage::new(of.clone()), &Json::Null)),
        kind => panic!("no value of the kind {kind:?}"),
    }
}

fn last(of: &EnumDescriptor) -> i32 {
    of.values().map(|value| value.number()).max().unwrap_or_default()
}

/// A message with something in every field, except for those that are given.
fn filled(mut filled: DynamicMessage, given: &Json) -> DynamicMessage {
    for field in filled.descriptor().fields() {
        let oneof = field.containing_oneof();
        let taken = oneof.is_some_and(|oneof| oneof.fields().any(|field| filled.has_field(&field)));
        if taken || given.get(field.json_name()).is_some() {
            continue;
        }
        let value = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let of = value(&entry.map_entry_value_field().kind());
                Value::Map(HashMap::from([(MapKey::String("forged".to_owned()), of)]))
            }
            kind if field.is_list() => Value::List(vec![value(&kind)]),
            kind => value(&kind),
        };
        filled.set_field(&field, value);
    }
    filled
}

#[test]
fn every_method_that_takes_a_resource_has_a_case() {
    let cases: Vec<_> = writers().iter().map(|(method, ..)| *method).collect();
    for method in methods() {
        let there = cases.iter().filter(|case| **case == method.name()).count();
        assert_eq!(there, usize::from(resource_in(&method).is_some()), "{}: cases in `writers`", method.full_name());
    }
}

#[tokio::test]
async fn callers_write_their_fields_and_no_others() {
    let server = prepared().await;
    for (name, json, given) in writers() {
        let method = method(name);
        let field = resource_in(&method).expect("a resource");
        let resource = filled(message(&message_in(&field).expect("a message"), &given), &given);
        let mut messages = request(&method, &json);
        set(&mut messages[0], field.name(), Value::Message(resource.clone()));
        let answers = server.call(&method, messages, MetadataMap::new()).await;
        let answer = answers.unwrap_or_else(|status| panic!("{name}: {status:?}")).remove(0);
        let updates = takes(&method, "update_mask");
        for field in resource.descriptor().fields() {
            let behaviors = behaviors(&field);
            let is = |behavior| behaviors.contains(&behavior);
            let same = answer.get_field(&field) == resource.get_field(&field);
            let theirs = match field.name() {
                "etag" => false,
                _ if is(OUTPUT_ONLY) || is(IDENTIFIER) && !updates => false,
                _ => !(updates && is(IMMUTABLE)),
            };
            assert_eq!(same, theirs, "{name}: {} is {:?} now", field.full_name(), answer.get_field(&field));
        }
    }
}

async fn masked(
    server: &TestServer,
    method: &MethodDescriptor,
    json: &Json,
    field: &FieldDescriptor,
) -> Result<(), Status> {
    let mut messages = request(method, json);
    set(&mut messages[0], "update_mask", Value::Message(message(&mask(method), &json!(field.json_name()))));
    set(&mut messages[0], "validate_only", Value::Bool(true));
    server.call(method, messages, MetadataMap::new()).await.map(drop)
}

fn mask(method: &MethodDescriptor) -> MessageDescriptor {
    let field = method.input().get_field_by_name("update_mask").expect("a mask");
    message_in(&field).expect("a message")
}

#[tokio::test]
async fn a_mask_names_fields_that_callers_may_change() {
    let server = prepared().await;
    for (name, _, given) in writers() {
        let method = method(name);
        if !takes(&method, "update_mask") {
            continue;
        }
        let resource = resource_in(&method).expect("a resource");
        let json = json!({ resource.json_name(): { "name": given["name"] } });
        for field in message_in(&resource).expect("a message").fields() {
            let behaviors = behaviors(&field);
            let theirs = behaviors == [OPTIONAL] && field.name() != "etag";
            let answer = masked(&server, &method, &json, &field).await;
            match theirs {
                true => assert!(answer.is_ok(), "{name}: {}: {answer:?}", field.full_name()),
                false => refused(field.full_name(), answer, Code::InvalidArgument, &[FieldInvalid]),
            }
        }
    }
}
