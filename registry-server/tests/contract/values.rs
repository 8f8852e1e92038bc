//! Values for the fields of requests, by what the descriptors say of them: most of the time such as make sense in the prepared
//! registry, and otherwise such as nobody should send.

use std::collections::HashMap;

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use crate::descriptors::{IDENTIFIER, REQUIRED, behaviors, reference, resources};
use crate::fixtures::{CHUNKS, UPLOAD, long_id, long_namespace, long_path};

/// Requests of a type.
pub(crate) fn messages(of: &MessageDescriptor) -> BoxedStrategy<DynamicMessage> {
    match of.full_name() {
        "google.protobuf.Timestamp" => {
            spans(of, &[-62_135_596_801, 253_402_300_800, i64::MIN, i64::MAX, 1_750_000_000])
        }
        "google.protobuf.Duration" => spans(of, &[-1, 315_576_000_001, i64::MIN, i64::MAX, 3600]),
        "google.protobuf.Struct" => structs(of),
        "google.protobuf.FieldMask" => masks(of),
        _ => fields(of),
    }
}

fn fields(of: &MessageDescriptor) -> BoxedStrategy<DynamicMessage> {
    let mut parts: Vec<BoxedStrategy<Option<(FieldDescriptor, Value)>>> = Vec::new();
    let set = |field: FieldDescriptor| values(&field).prop_map(move |value| (field.clone(), value)).boxed();
    for field in of.fields().filter(|field| field.containing_oneof().is_none()) {
        let needed = behaviors(&field).iter().any(|behavior| [REQUIRED, IDENTIFIER].contains(behavior));
        let often = if needed { 0.95 } else { 0.2 };
        parts.push(proptest::option::weighted(often, set(field)).boxed());
    }
    for oneof in of.oneofs() {
        let one = proptest::strategy::Union::new(oneof.fields().map(set));
        parts.push(proptest::option::weighted(0.95, one).boxed());
    }
    let of = of.clone();
    let made = move |fields: Vec<Option<_>>| {
        let mut message = DynamicMessage::new(of.clone());
        fields.into_iter().flatten().for_each(|(field, value)| message.set_field(&field, value));
        message
    };
    parts.prop_map(made).boxed()
}

/// Values of a field.
fn values(field: &FieldDescriptor) -> BoxedStrategy<Value> {
    if let Kind::Message(entry) = field.kind()
        && field.is_map()
    {
        let keys = texts(&entry.map_entry_key_field());
        let entries = hash_map(keys.prop_map(MapKey::String), one(&entry.map_entry_value_field()), 0..4);
        return entries.prop_map(Value::Map).boxed();
    }
    let one = one(field);
    match field.is_list() {
        true => prop_oneof![30 => vec(one.clone(), 0..4), 1 => vec(one, 100..103)].prop_map(Value::List).boxed(),
        false => one,
    }
}

fn one(field: &FieldDescriptor) -> BoxedStrategy<Value> {
    match field.kind() {
        Kind::String => texts(field).prop_map(Value::String).boxed(),
        Kind::Bytes => bytes(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Int32 => prop_oneof![6 => 0..4, 1 => select(vec![-1, i32::MIN, i32::MAX])].prop_map(Value::I32).boxed(),
        Kind::Int64 => {
            prop_oneof![6 => 0..9i64, 1 => select(vec![-1, i64::MIN, i64::MAX])].prop_map(Value::I64).boxed()
        }
        Kind::Double => numbers().prop_map(Value::F64).boxed(),
        Kind::Enum(of) => enums(&of),
        Kind::Message(of) => messages(&of).prop_map(Value::Message).boxed(),
        kind => panic!("no values of the kind {kind:?}"),
    }
}

fn numbers() -> impl Strategy<Value = f64> {
    select(vec![0.0, -0.0, 0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX])
}

fn enums(of: &EnumDescriptor) -> BoxedStrategy<Value> {
    let known = of.values().map(|value| value.number()).collect::<Vec<_>>();
    prop_oneof![8 => select(known), 1 => select(vec![-1, 99, i32::MIN, i32::MAX])].prop_map(Value::EnumNumber).boxed()
}

fn bytes() -> BoxedStrategy<Value> {
    let mut known: Vec<_> = CHUNKS.iter().map(|chunk| chunk.to_vec()).collect();
    known.extend(CHUNKS.iter().map(|chunk| blake3::hash(chunk).as_bytes().to_vec()));
    known.extend([Vec::new(), b"bytes".to_vec(), vec![0; 16 * 1024 + 1], vec![7; 32]]);
    select(known).prop_map(|bytes| Value::Bytes(bytes.into())).boxed()
}

/// Times and lengths of time.
fn spans(of: &MessageDescriptor, seconds: &[i64]) -> BoxedStrategy<DynamicMessage> {
    let [of_seconds, of_nanos] = ["seconds", "nanos"].map(|name| of.get_field_by_name(name).expect("a known field"));
    let nanos = select(vec![0, 0, 1, 999_999_999, 1_000_000_000, -1, i32::MIN, i32::MAX]);
    let of = of.clone();
    let made = move |(seconds, nanos)| {
        let mut message = DynamicMessage::new(of.clone());
        message.set_field(&of_seconds, Value::I64(seconds));
        message.set_field(&of_nanos, Value::I32(nanos));
        message
    };
    (prop_oneof![0..9i64, select(seconds.to_vec())], nanos).prop_map(made).boxed()
}

fn with(of: &MessageDescriptor, field: &str, value: Value) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    message.set_field_by_name(field, value);
    message
}

/// JSON, also far too deep, and with values of no kind.
fn structs(of: &MessageDescriptor) -> BoxedStrategy<DynamicMessage> {
    let of = of.clone();
    let pool = of.parent_pool().clone();
    let [value, list] = ["Value", "ListValue"]
        .map(|name| pool.get_message_by_name(&format!("google.protobuf.{name}")).expect("a known type"));
    let leaf = {
        let value = value.clone();
        let empty = DynamicMessage::new(value.clone());
        prop_oneof![
            4 => Just(with(&value, "string_value", Value::String("leaf".to_owned()))),
            4 => Just(with(&value, "null_value", Value::EnumNumber(0))),
            1 => Just(empty),
            1 => Just(with(&value, "null_value", Value::EnumNumber(7))),
            4 => numbers().prop_map(move |number| with(&value, "number_value", Value::F64(number))),
        ]
    };
    let layers = prop_oneof![6 => vec(any::<bool>(), 0..4), 1 => vec(any::<bool>(), 10..50)];
    let nested = (leaf, layers, texts_of(vec!["key".to_owned()])).prop_map(move |(leaf, layers, key)| {
        let object = |inner| {
            let entries = HashMap::from([(MapKey::String(key.clone()), Value::Message(inner))]);
            with(&of, "fields", Value::Map(entries))
        };
        let nested = layers.into_iter().fold(leaf, |inner, is_list| match is_list {
            true => {
                let inner = with(&list, "values", Value::List(vec![Value::Message(inner)]));
                with(&value, "list_value", Value::Message(inner))
            }
            false => with(&value, "struct_value", Value::Message(object(inner))),
        });
        object(nested)
    });
    nested.boxed()
}

fn masks(of: &MessageDescriptor) -> BoxedStrategy<DynamicMessage> {
    let fields = resources().into_iter().flat_map(|resource| resource.fields().collect::<Vec<_>>());
    let mut known: Vec<_> = fields.map(|field| field.name().to_owned()).collect();
    known.extend(["*", "metrics.train", "metrics.", "tags.key", "policy.stages"].map(str::to_owned));
    let of = of.clone();
    let paths = texts_of(known).prop_map(Value::String);
    vec(paths, 0..4).prop_map(move |paths| with(&of, "paths", Value::List(paths))).boxed()
}

fn texts(field: &FieldDescriptor) -> BoxedStrategy<String> {
    let known = match reference(field) {
        Some((of, of_children)) => names(&of, of_children),
        None => known(field.name()).iter().map(|text| (*text).to_owned()).collect(),
    };
    texts_of(known)
}

/// Known texts most of the time, otherwise odd ones.
fn texts_of(known: Vec<String>) -> BoxedStrategy<String> {
    const AFTER: &[&str] = &[
        "/",
        "@",
        "@latest",
        "@champion",
        "/versions/0",
        "/versions/1",
        "/versions/-1",
        "/versions/01",
        "/artifacts/..",
        "/versions/99999999999999999999",
        "/models/-",
        "-",
        "\0",
        " ",
        "%2F",
        "*",
        ".x",
        "\u{301}",
    ];
    let almost = (select(known.clone()), select(AFTER)).prop_map(|(known, after)| known + after);
    let odd = prop_oneof![
        Just(String::new()),
        Just("x".repeat(64 * 1024)),
        Just("\u{10ffff}".repeat(200)),
        Just("line\nline\r\0\u{1b}[31m\u{202e}".to_owned()),
        ".{0,40}",
    ];
    prop_oneof![16 => select(known), 2 => almost, 1 => odd].boxed()
}

/// Names of resources of a type, or of what resources of a type lie in.
fn names(of: &str, of_children: bool) -> Vec<String> {
    let namespaces = ["namespaces/default", "namespaces/risk", ""];
    let models =
        ["models/fraud", "models/spare", "models/old", "models/gone", "models/-", "namespaces/risk/models/score"];
    let versions = [
        "models/fraud/versions/1",
        "models/fraud/versions/2",
        "models/fraud/versions/3",
        "models/fraud/versions/4",
        "models/fraud/versions/5",
        "models/fraud/versions/1.3",
        "models/fraud@champion",
        "models/fraud@production",
        "models/fraud/versions/@latest",
        "namespaces/risk/models/score/versions/1",
    ];
    let artifacts = [
        "models/fraud/versions/3/artifacts/a.bin",
        "models/fraud/versions/1.3/artifacts/b/c.bin",
        "models/fraud/versions/3/artifacts/chunks.bin",
        "models/fraud/versions/4/artifacts/a.bin",
    ];
    let instances = ["models/fraud/instances/a", "models/fraud/instances/new", "models/gone/instances/a"];
    let approvals = ["models/eyes/approvals/a", "models/eyes/approvals/new", "models/gone/approvals/a"];
    let locks = ["models/kept/locks/a", "models/kept/locks/new", "models/gone/locks/a"];
    let subscriptions = ["subscriptions/a", "subscriptions/new", "subscriptions/b"];
    let policies = ["policies/spare", "policies/new", "policies/old", "namespaces/risk/policies/spare", "spare"];
    let webhooks = ["webhooks/spare", "webhooks/new", "webhooks/old"];
    let events = [
        "events/1-0",
        "events/0-0",
        "events/1-2147483647",
        "events/9223372036854775808-0",
        "events/18446744073709551615-0",
    ];
    let (names, parts): (&[&str], usize) = match (of.strip_prefix("modelregistry.dev/"), of_children) {
        (Some("Model" | "Policy"), true) | (Some("Namespace"), false) => (&namespaces, 1),
        (Some("Model"), false) | (Some("Version" | "Instance" | "Approval" | "Lock"), true) => (&models, 2),
        (Some("Instance"), false) => (&instances, 2),
        (Some("Approval"), false) => (&approvals, 2),
        (Some("Lock"), false) => (&locks, 2),
        (Some("Version"), false) | (Some("Artifact"), true) => (&versions, 3),
        (Some("Artifact"), false) => (&artifacts, 4),
        (Some("Event"), false) => (&events, 0),
        (Some("Subscription"), false) => (&subscriptions, 0),
        (Some("Policy"), false) => (&policies, 0),
        (Some("Webhook"), false) => (&webhooks, 0),
        (Some("Group"), false) => (&["groups/spare", "groups/new", "groups/old"], 0),
        (Some("Role"), false) => (&["roles/spare", "roles/new", "roles/viewer"], 0),
        (Some("Binding"), false) => (&["bindings/spare", "bindings/new", "bindings/old"], 0),
        (Some("Token"), false) => (&["tokens/spare", "tokens/new", "tokens/old"], 0),
        _ if of == "*" => (&[&namespaces[..], &models, &versions].concat(), 3),
        _ => panic!("no names of the type {of}"),
    };
    // As long as names get.
    let (namespace, id, path) = (long_namespace(), long_id(), long_path());
    let long = [("namespaces", &namespace), ("models", &id), ("versions", &"1".to_owned()), ("artifacts", &path)];
    let long = long.iter().take(parts).map(|(segment, id)| format!("{segment}/{id}")).collect::<Vec<_>>().join("/");
    names.iter().map(|name| (*name).to_owned()).chain([long]).collect()
}

/// What makes sense in a field that holds no name.
fn known(field: &str) -> &'static [&'static str] {
    match field {
        "principal" | "members" => &["users/ana", "services/trainer", "groups/spare", "allAuthenticated", "ana"],
        "permission" | "permissions" => &["models.get", "models.*", "*", "models.fly"],
        "request_id" => &["", "", "0191e4c0-7b2a-7000-8000-000000000001", "0191E4C0-7B2A-7000-8000-000000000002"],
        "upload_id" => &["", "", UPLOAD],
        "etag" => &["", "", "", "1"],
        "filter" => &["", "", "", "", "true"],
        "page_token" => &["", "", "", "AAAA", "CggAAAAAAAAAABIBeA"],
        "order_by" => &["", "", "name desc", "create_time", "revision desc", "number desc", "path", "position"],
        "version_id" => &["", "1.3", "2.0", "20260126_103000", "7"],
        id if id.ends_with("_id") => &["fraud", "gone", "new", "\u{444}\u{440}\u{43e}\u{434}", "7"],
        "condition" => &[
            "true",
            "now < timestamp('2027-01-01T00:00:00Z')",
            "version.number > 1",
            "version.metrics.test.auc > incumbent.metrics.test.auc",
            "x",
        ],
        "start" => &["09:00", "9"],
        "end" => &["17:00", "24:00"],
        "time_zone" => &["UTC", "Europe/Berlin", "x"],
        "target" => &["", "@production", "@champion", "7", "1.3"],
        "alias" => &["champion", "champion", "stable", "latest"],
        "types" => &["version.*", "model.created", "artifact.*", "sweep.started"],
        "type" => &["model", "plot", "log", "other"],
        "path" => &["a.bin", "b/c.bin", "new.bin", "chunks.bin"],
        "media_type" => &["", "", "text/plain", "x"],
        // The last one is that of `bytes`.
        "sha256" => &["", "", "x", "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9"],
        "framework" | "model_type" => &["", "sklearn", "llm"],
        "source_uri" => &["", "", "s3://bucket/model"],
        _ => &["", "x", "a text", "\u{444}\u{440}\u{43e}\u{434}"],
    }
}
