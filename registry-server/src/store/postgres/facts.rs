//! The facts of a record as JSON, in the column that the views read.

use bytes::Bytes;
use prost_types::Timestamp;
use serde_json::{Map, Value};

use crate::store::{FactValue, Kind, Layout};

/// The seconds that a `timestamptz` takes and that are written with four digits for the year: from 0001 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The facts of a record; `None` if its kind has none.
pub(super) fn json(layout: &Layout, kind: Kind, payload: &Bytes) -> Option<String> {
    let view = layout.kind(kind)?.view.as_ref()?;
    let facts = (view.facts_of)(payload).into_iter().filter_map(|(name, fact)| Some((name.to_owned(), value(fact)?)));
    Some(Value::Object(Map::from_iter(facts)).to_string())
}

/// What a view can show without failing.
fn value(fact: FactValue) -> Option<Value> {
    match fact {
        // The one character that PostgreSQL has no place for.
        FactValue::Text(text) => Some(Value::String(text.replace('\0', "\u{fffd}"))),
        FactValue::Time(time) => {
            let time = Timestamp::from(time);
            SECONDS.contains(&time.seconds).then(|| Value::String(time.to_string()))
        }
    }
}
