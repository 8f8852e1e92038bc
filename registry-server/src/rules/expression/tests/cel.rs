//! The same verdicts as another implementation of CEL, which are data: `tests/data/cel/generate.py` asks cel-python.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde::Deserialize;

use super::super::types;
use super::super::{Expression, VERSION};

const CASES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/cel/cases.json"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    versions: Vec<serde_json::Value>,
    cases: Vec<Case>,
}

/// A condition, with its verdict over each of the versions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    condition: String,
    cel: Vec<Verdict>,
    /// If they are others, and why: one of the differences that this module's comment explains, or of those of the generator.
    registry: Option<Vec<Verdict>>,
    why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    True,
    False,
    /// It has none.
    Error,
    /// It is no condition.
    Refused,
}

fn verdict(condition: &str, version: &[u8]) -> Verdict {
    let matches = |condition: &str| Expression::parse(condition, &VERSION).map(|condition| condition.matches(version));
    match matches(condition) {
        Err(_) => Verdict::Refused,
        Ok(true) => Verdict::True,
        // What has no verdict has none negated.
        Ok(false) if matches(&format!("!({condition}\n)")).expect("a condition can be negated") => Verdict::False,
        Ok(false) => Verdict::Error,
    }
}

#[test]
fn verdicts_are_those_of_cel() {
    let data: Data = serde_json::from_str(CASES).unwrap();
    let message = types::message("modelregistry.v1.Version").unwrap();
    let encoded = |version| DynamicMessage::deserialize(message.clone(), version).unwrap().encode_to_vec();
    let versions: Vec<_> = data.versions.into_iter().map(encoded).collect();
    let (mut same, mut others) = (0, BTreeMap::<_, usize>::new());
    let mut wrong = Vec::new();
    for Case { condition, cel, registry, why } in data.cases {
        let found: Vec<_> = versions.iter().map(|version| verdict(&condition, version)).collect();
        match (&registry, why) {
            (None, None) => same += 1,
            (Some(registry), Some(why)) if *registry != cel => *others.entry(why).or_default() += 1,
            other => panic!("{condition}: {other:?}"),
        }
        if found != *registry.as_ref().unwrap_or(&cel) {
            wrong.push(format!("{condition}: cel {cel:?}, registry {registry:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), same, wrong.join("\n"));
    assert!(same >= 400, "{same}");
    let known = ["absent", "in", "json", "nan", "theirs", "types"].map(str::to_owned);
    assert_eq!(others.into_keys().collect::<BTreeSet<_>>(), known.into());
}
