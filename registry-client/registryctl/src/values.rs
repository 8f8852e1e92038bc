//! Values between people and the contract.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Timestamp, Value};
use registry_client::pb;
use serde::{Serialize as _, Serializer};
use serde_json::Value as Json;

/// An enum of the contract whose values have names.
pub(crate) trait Named: Sized + Copy + TryFrom<i32> + 'static {
    /// What the name of every value begins with.
    const PREFIX: &'static str;

    fn name(self) -> &'static str;
}

macro_rules! named {
    ($($message:ident: $prefix:literal),+ $(,)?) => {
        $(impl Named for pb::$message {
            const PREFIX: &'static str = $prefix;

            fn name(self) -> &'static str {
                self.as_str_name()
            }
        })+
    };
}

named!(
    Stage: "STAGE_",
    VersionState: "VERSION_STATE_",
    IncumbentAction: "INCUMBENT_ACTION_",
    DayOfWeek: "DAY_OF_WEEK_",
    SearchKind: "SEARCH_KIND_",
    StoreType: "STORE_TYPE_",
    PlaceType: "PLACE_TYPE_",
    ConsumptionState: "CONSUMPTION_STATE_",
    InstanceState: "INSTANCE_STATE_",
    ApprovalState: "APPROVAL_STATE_",
    LockScope: "LOCK_SCOPE_",
    WebhookFormat: "WEBHOOK_FORMAT_",
    WebhookSigning: "WEBHOOK_SIGNING_",
    CheckState: "CHECK_STATE_",
);

/// All values but the unspecified one. Those of the contract have small numbers.
fn values<E: Named>() -> impl Iterator<Item = E> {
    (1..256).filter_map(|number| E::try_from(number).ok())
}

/// A value's short name: `production` for `STAGE_PRODUCTION`; empty for the unspecified one.
pub(crate) fn short<E: Named>(number: i32) -> String {
    match E::try_from(number) {
        Ok(_) if number == 0 => String::new(),
        Ok(value) => value.name().trim_start_matches(E::PREFIX).to_ascii_lowercase(),
        Err(_) => number.to_string(),
    }
}

/// The short names of all values.
pub(crate) fn names<E: Named>() -> impl Iterator<Item = String> {
    values::<E>().map(|value| value.name().trim_start_matches(E::PREFIX).to_ascii_lowercase())
}

/// The value with a short name, in any case.
pub(crate) fn parse<E: Named>(text: &str) -> Result<E, String> {
    let wanted = format!("{}{}", E::PREFIX, text.to_ascii_uppercase().replace('-', "_"));
    let found = values::<E>().find(|value| value.name() == wanted);
    found.ok_or_else(|| format!("expected one of {}", names::<E>().collect::<Vec<_>>().join(", ")))
}

/// A value of an open set: the well-known one that a text means, in whatever case it is written, otherwise the text.
pub(crate) fn open(text: &str, known: &[&str]) -> String {
    let folded = text.to_ascii_lowercase().replace('-', "_");
    known.iter().find(|value| **value == folded).map_or(text, |value| value).to_owned()
}

/// A time as protobuf keeps it.
pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    SystemTime::from(time).into()
}

/// A time in JSON.
pub(crate) fn rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.as_ref().map(ToString::to_string).serialize(serializer)
}

/// An int64 in protobuf's JSON form.
pub(crate) fn int64<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// JSON as protobuf keeps it; [`read`](crate::numbers::read) has made strings of numbers that no double holds.
pub(crate) fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(bool),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(string) => Kind::StringValue(string),
        Json::Array(list) => Kind::ListValue(ListValue { values: list.into_iter().map(value).collect() }),
        Json::Object(fields) => Kind::StructValue(structure(fields)),
    };
    Value { kind: Some(kind) }
}

/// A value of JSON as text: a string as it is, everything else as JSON.
pub(crate) fn text(value: &Value) -> String {
    match &value.kind {
        Some(Kind::StringValue(string)) => string.clone(),
        _ => json(value).to_string(),
    }
}

/// What protobuf keeps as JSON; a number that JSON does not have as a string.
pub(crate) fn json(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(bool)) => (*bool).into(),
        Some(Kind::NumberValue(number)) if number.is_finite() => {
            // Without a fraction that says nothing.
            serde_json::from_str(&crate::output::double(*number)).unwrap_or_else(|_| (*number).into())
        }
        Some(Kind::NumberValue(number)) => number.to_string().into(),
        Some(Kind::StringValue(string)) => string.clone().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(fields)) => {
            fields.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect()
        }
    }
}

/// A JSON object as protobuf keeps it.
pub(crate) fn structure(fields: serde_json::Map<String, Json>) -> Struct {
    Struct { fields: fields.into_iter().map(|(name, json)| (name, value(json))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_given() {
        for (given, shown) in
            [("6", "6"), ("0.1", "0.1"), ("\"gbtree\"", "gbtree"), (r#"{"a":[1,null,true]}"#, r#"{"a":[1,null,true]}"#)]
        {
            assert_eq!(text(&value(serde_json::from_str(given).unwrap())), shown);
        }
    }

    #[test]
    fn short_names_are_read_back() {
        for value in values::<pb::IncumbentAction>() {
            assert_eq!(parse(&short::<pb::IncumbentAction>(value.into())), Ok(value));
        }
        assert_eq!(parse("Production"), Ok(pb::Stage::Production));
        let wrong = parse::<pb::Stage>("live").unwrap_err();
        assert_eq!(wrong, "expected one of development, staging, production, archived");
        assert_eq!(short::<pb::Stage>(0), "");
        assert_eq!(short::<pb::Stage>(99), "99");
    }
}
