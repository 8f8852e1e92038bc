//! What is written is what a library of protobuf writes.

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value};

use super::*;
use crate::schema::MessageAt;

/// How deep messages lie in each other.
const DEPTH: u32 = 3;

fn message(of: &MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    let time = |seconds: std::ops::Range<i64>| {
        let of = of.clone();
        (seconds, 0..1_000_000_000_i32).prop_map(move |(seconds, nanos)| {
            let mut message = DynamicMessage::new(of.clone());
            message.set_field_by_name("seconds", Value::I64(seconds));
            message.set_field_by_name("nanos", Value::I32(nanos));
            message
        })
    };
    match of.full_name() {
        "google.protobuf.Timestamp" => time(-62_135_596_800..253_402_300_799).boxed(),
        "google.protobuf.Duration" => time(0..315_576_000_000).boxed(),
        "google.protobuf.FieldMask" => {
            let (of, paths) = (of.clone(), proptest::collection::vec("[a-z]{1,3}(_[a-z]{1,3}){0,2}", 0..3));
            let mask = move |paths: Vec<String>| {
                let mut message = DynamicMessage::new(of.clone());
                message.set_field_by_name("paths", Value::List(paths.into_iter().map(Value::String).collect()));
                message
            };
            paths.prop_map(mask).boxed()
        }
        "google.protobuf.Value" => json(of).boxed(),
        _ => {
            let fields = of.fields().filter(|field| depth > 0 || !matches!(field.kind(), Kind::Message(_)));
            let (of, fields): (_, Vec<_>) = (of.clone(), fields.collect());
            let values: Vec<_> =
                fields.iter().map(|field| proptest::option::weighted(0.6, value(field, depth))).collect();
            let set = move |values: Vec<Option<Value>>| {
                let mut message = DynamicMessage::new(of.clone());
                for (field, value) in fields.iter().zip(values) {
                    if let Some(value) = value {
                        message.set_field(field, value);
                    }
                }
                message
            };
            values.prop_map(set).boxed()
        }
    }
}

/// A value of JSON, with others in it.
fn json(of: &MessageDescriptor) -> impl Strategy<Value = DynamicMessage> + use<> {
    use prost_types::value::Kind;
    let of = of.clone();
    let leaf = prop_oneof![
        Just(Kind::NullValue(0)),
        (-1e300..1e300).prop_map(Kind::NumberValue),
        any::<bool>().prop_map(Kind::BoolValue),
        "\\PC{0,4}".prop_map(Kind::StringValue),
    ];
    let value = leaf.prop_map(|kind| prost_types::Value { kind: Some(kind) });
    let nested = value.prop_recursive(2, 8, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..3);
        let object = proptest::collection::btree_map("\\PC{0,4}", inner, 0..3);
        let kind = prop_oneof![
            list.prop_map(|values| Kind::ListValue(prost_types::ListValue { values })),
            object.prop_map(|fields| Kind::StructValue(prost_types::Struct { fields })),
        ];
        kind.prop_map(|kind| prost_types::Value { kind: Some(kind) })
    });
    nested.prop_map(move |value| {
        let mut message = DynamicMessage::new(of.clone());
        message.transcode_from(&value).expect("it is such a message");
        message
    })
}

fn value(field: &FieldDescriptor, depth: u32) -> BoxedStrategy<Value> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("an entry is a message") };
        let key = "\\PC{0,4}".prop_map(MapKey::String);
        let of = entry.map_entry_value_field();
        return proptest::collection::hash_map(key, one(&of, depth), 0..3).prop_map(Value::Map).boxed();
    }
    if field.is_list() {
        return proptest::collection::vec(one(field, depth), 0..3).prop_map(Value::List).boxed();
    }
    one(field, depth)
}

fn one(field: &FieldDescriptor, depth: u32) -> BoxedStrategy<Value> {
    match field.kind() {
        Kind::Double => any::<f64>().prop_map(Value::F64).boxed(),
        Kind::Float => any::<f32>().prop_map(Value::F32).boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Value::I64).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Uint64 | Kind::Fixed64 => any::<u64>().prop_map(Value::U64).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::String => "\\PC{0,8}|[\\x00-\\x1f\"\\\\]{0,3}".prop_map(Value::String).boxed(),
        Kind::Bytes => any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        Kind::Enum(of) => {
            let known: Vec<_> = of.values().map(|value| value.number()).collect();
            prop_oneof![8 => proptest::sample::select(known), 1 => any::<i32>()].prop_map(Value::EnumNumber).boxed()
        }
        Kind::Message(of) => message(&of, depth.saturating_sub(1)).prop_map(Value::Message).boxed(),
    }
}

/// JSON in which 100 is 100.0: they are the same number.
fn as_doubles(json: serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::Number(number) => number.as_f64().into(),
        serde_json::Value::Array(items) => items.into_iter().map(as_doubles).collect(),
        serde_json::Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, as_doubles(value))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other,
    }
}

/// Holds something against any message of each type of the contract.
fn of_every_message(holds: impl Fn(&Schema, MessageAt, DynamicMessage) -> Result<(), TestCaseError>) {
    let pool = pool();
    let schema = Schema::new(&pool);
    for of in pool.all_messages().filter(|of| of.package_name() == PACKAGE && !of.is_map_entry()) {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(24));
        let at = schema.message(of.full_name()).expect("it is known");
        let ran = runner.run(&message(&of, DEPTH), |message| holds(&schema, at, message));
        ran.unwrap_or_else(|error| panic!("{}: {error}", of.full_name()));
    }
}

#[test]
fn what_is_written_is_what_the_library_writes_of_every_message() {
    of_every_message(|schema, at, message| {
        let mut written = Vec::new();
        schema.write(&mut written, at, &message.encode_to_vec()).expect("it has a form");
        let written: serde_json::Value = serde_json::from_slice(&written).expect("it is JSON");
        let expected = serde_json::to_value(&message).expect("it has a form");
        prop_assert_eq!(as_doubles(written), as_doubles(expected));
        Ok(())
    });
}

#[test]
fn what_is_read_is_what_the_library_reads_of_every_message() {
    of_every_message(|schema, at, message| {
        let json = serde_json::to_value(&message).expect("it has a form");
        let read = schema.read(at, json.to_string().as_bytes(), usize::MAX);
        let read = read.map_err(|problem| TestCaseError::fail(format!("{problem:?}: {json}")))?;
        let read = DynamicMessage::decode(message.descriptor(), &*read).expect("it is such a message");
        // In JSON, because what is no number is not equal to itself.
        prop_assert_eq!(serde_json::to_value(&read).expect("it has a form"), json);
        Ok(())
    });
}

#[test]
fn numbers_and_texts_have_every_form_that_protobuf_takes() {
    let schema = Schema::new(&pool());
    let read = |of: &str, json: &str| {
        let at = schema.message(of).expect("it is known");
        let mut out = Vec::new();
        let bytes = schema.read(at, json.as_bytes(), usize::MAX).map_err(|problem| problem.path)?;
        schema.write(&mut out, at, &bytes).expect("it was read");
        Ok::<_, String>(String::from_utf8(out).expect("it is text"))
    };
    let version = "modelregistry.v1.Version";
    for (given, expected) in [
        (r#"{"number":7}"#, r#"{"number":"7"}"#),
        (r#"{"number":"7"}"#, r#"{"number":"7"}"#),
        (r#"{"number":7.0}"#, r#"{"number":"7"}"#),
        (r#"{"number":"7e2"}"#, r#"{"number":"700"}"#),
        (r#"{"number":-9223372036854775808}"#, r#"{"number":"-9223372036854775808"}"#),
        (r#"{"state":"VERSION_STATE_READY"}"#, r#"{"state":"VERSION_STATE_READY"}"#),
        (r#"{"state":2}"#, r#"{"state":"VERSION_STATE_READY"}"#),
        (r#"{"state":99}"#, r#"{"state":99}"#),
        (
            r#"{"version_id":"a","createTime":"2026-01-31T12:00:00+01:00"}"#,
            r#"{"versionId":"a","createTime":"2026-01-31T11:00:00Z"}"#,
        ),
        (r#"{"description":null,"tags":null}"#, "{}"),
        (
            r#"{"metrics":{"val":{"values":{"a":"NaN","b":"-Infinity","c":"1.5","d":1}}}}"#,
            r#"{"metrics":{"val":{"values":{"a":"NaN","b":"-Infinity","c":1.5,"d":1.0}}}}"#,
        ),
        (
            r#"{"hyperparameters":{"a":[1,null,{"b":[]}],"c":true}}"#,
            r#"{"hyperparameters":{"a":[1,null,{"b":[]}],"c":true}}"#,
        ),
    ] {
        let given = read(version, given).unwrap_or_else(|path| panic!("{given}: {path}"));
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&given).unwrap(), expected);
    }
    for (given, path) in [
        (r#"{"number":9223372036854775808}"#, "number"),
        (r#"{"number":"9223372036854775808.0"}"#, "number"),
        (r#"{"number":7.5}"#, "number"),
        (r#"{"number":"+7"}"#, "number"),
        (r#"{"number":" 7"}"#, "number"),
        (r#"{"number":true}"#, "number"),
        (r#"{"state":"READY"}"#, "state"),
        (r#"{"state":2147483648}"#, "state"),
        (r#"{"createTime":"2026-01-31"}"#, "createTime"),
        (r#"{"createTime":"0000-01-01T00:00:00Z"}"#, "createTime"),
        (r#"{"metrics":{"val":{"values":{"a":"1e400"}}}}"#, "metrics.val.values.a"),
        (r#"{"metrics":{"val":{"values":{"a":"inf"}}}}"#, "metrics.val.values.a"),
        (r#"{"hyperparameters":{"a":{"b":1,"b":2}}}"#, "hyperparameters.a.b"),
        (r#"{"hyperparameters":[]}"#, "hyperparameters"),
        (r#"{"tags":{"a":null}}"#, "tags.a"),
        (r#"{"baseVersions":["a",1]}"#, "baseVersions.[1]"),
        (r#"{"versionId":"a","version_id":"a"}"#, "version_id"),
        (r#"{"versionId":null,"version_id":"a"}"#, "version_id"),
        (r#"{"nope":1}"#, "nope"),
        ("[]", ""),
        ("{} {}", ""),
    ] {
        assert_eq!(read(version, given), Err(path.to_owned()), "{given}");
    }
    let watch = "modelregistry.v1.WatchEventsRequest";
    assert_eq!(read(watch, r#"{"now":{},"afterRevision":1}"#), Err("afterRevision".to_owned()));
    let update = "modelregistry.v1.UpdateModelRequest";
    assert_eq!(read(update, r#"{"updateMask":"displayName,owner"}"#).unwrap(), r#"{"updateMask":"displayName,owner"}"#);
    for mask in ["owner,", ",", ",owner"] {
        assert_eq!(read(update, &format!(r#"{{"updateMask":"{mask}"}}"#)), Err("updateMask".to_owned()), "{mask}");
    }
}

#[test]
fn what_is_read_takes_no_more_than_a_message_may_have() {
    let schema = Schema::new(&pool());
    let at = schema.message("modelregistry.v1.Version").expect("it is known");
    let json = format!("{{\"hyperparameters\":{{\"a\":[{}0]}}}}", "0,".repeat(1 << 20));
    let problem = schema.read(at, json.as_bytes(), 1 << 20).expect_err("it has twelve times as many bytes");
    assert!(problem.is_too_large && problem.path == "hyperparameters.a", "{problem:?}");
}

#[test]
fn numbers_that_are_not_packed_and_zigzags_are_read() {
    // protobuf's own library of types has all kinds of numbers; those of the contract are few.
    let mut out = Vec::new();
    let schema = Schema::new(&pool());
    let at = schema.message("google.protobuf.SourceCodeInfo.Location").expect("it is known");
    // The field `path` = 1, twice by itself and once packed with two.
    schema.write(&mut out, at, &[0x08, 3, 0x08, 4, 0x0a, 2, 5, 6]).expect("it is such a message");
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"path":[3,4,5,6]}"#);
}

#[test]
fn bytes_that_are_no_such_message_are_refused() {
    let schema = Schema::new(&pool());
    let at = schema.message("modelregistry.v1.Model").expect("it is known");
    for bytes in [&[0x0a][..], &[0x0a, 5, b'x'], &[0x0a, 1, 0xff], &[0x08, 1], &[0x32, 2, 0x08, 0xff], &[0xff; 12]] {
        assert!(schema.write(&mut Vec::new(), at, bytes).is_err(), "{bytes:?}");
    }
    // What is not known is left out.
    let mut out = Vec::new();
    schema.write(&mut out, at, &[0xa2, 0x3e, 1, b'x']).expect("it may be newer");
    assert_eq!(out, b"{}");
}
