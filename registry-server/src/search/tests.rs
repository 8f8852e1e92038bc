//! What the index finds and how it orders it, beside looking at one record after the other.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option::of as maybe;
use proptest::prelude::*;
use prost::Message as _;
use prost_types::{Struct, Timestamp, Value, value::Kind as Json};
use registry_proto::v1 as pb;

use super::order::Order;
use super::table::Table;
use super::words::Spoken;
use crate::rules::expression::{Expression, Named, Sorting, VERSION};
use crate::rules::names::{Name, VERSIONS};

const MODELS: [&str; 3] = ["a", "ab", "b"];

fn name(model: usize, number: i64) -> Name {
    Name::canonical(&VERSIONS, &format!("namespaces/n/models/{}/versions/{number}", MODELS[model]))
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(-1.5),
        Just(0.5),
        Just(9e15),
        -2.0..2.0
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("onnx".to_owned()),
        Just("onnx-2".to_owned()),
        Just("xgboost".to_owned()),
        Just("x\u{e9}".to_owned()),
        Just("onnx-2 and more".to_owned()),
        Just("long ".repeat(120)),
    ]
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        number().prop_map(Json::NumberValue),
        text().prop_map(Json::StringValue),
        any::<bool>().prop_map(Json::BoolValue),
        Just(Json::NullValue(0)),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let member = inner.prop_map(|kind| Value { kind: Some(kind) });
        btree_map(prop_oneof![Just("depth"), Just("b")].prop_map(str::to_owned), member, 0..3)
            .prop_map(|fields| Json::StructValue(Struct { fields }))
    })
}

prop_compose! {
    fn version()(
        framework in text(), tags in btree_map(prop_oneof![Just("team"), Just("pci")], text(), 0..3),
        auc in maybe(number()), rmse in maybe(number()), size in prop_oneof![Just(0), 1..50_i64, Just(1 << 60)],
        stage in 0..5_i32, purged in any::<bool>(), time in maybe((-3..3_i64, 0..2000_i32)),
        depth in maybe(json()), environment in maybe(text()),
    ) -> pb::Version {
        let metrics = [("auc", auc), ("rmse", rmse)].into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let metrics = pb::MetricSet { values: metrics.collect() };
        let depth = depth.map(|kind| BTreeMap::from([("depth".to_owned(), Value { kind: Some(kind) })]));
        pb::Version {
            framework,
            tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            metrics: [("validation".to_owned(), metrics)].into(),
            size_bytes: size,
            stage,
            purged,
            create_time: time.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
            hyperparameters: depth.map(|fields| Struct { fields }),
            environment: environment.map(|language_version| pb::Environment { language_version, ..Default::default() }),
            ..Default::default()
        }
    }
}

/// Versions are written, written again, and some removed.
fn writes() -> impl Strategy<Value = Vec<(usize, i64, Option<pb::Version>)>> {
    vec((0..MODELS.len(), 1..12_i64, prop_oneof![9 => version().prop_map(Some), 1 => Just(None)]), 0..60)
}

fn test() -> impl Strategy<Value = String> {
    let values = prop_oneof![
        Just("version.metrics[\"validation\"][\"auc\"]"),
        Just("version.metrics.validation.rmse"),
        Just("version.size_bytes"),
        Just("version.hyperparameters.depth"),
        Just("version.hyperparameters.depth.b"),
        Just("version.hyperparameters.depth.depth"),
    ];
    let numbers = prop_oneof![
        Just("0.5"),
        Just("0"),
        Just("-1.5"),
        Just("7"),
        Just("9000000000000000.0"),
        Just("1152921504606846976")
    ];
    let operators = prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
    let texts = prop_oneof![
        Just("version.framework"),
        Just("version.tags.team"),
        Just("version.tags[\"pci\"]"),
        Just("version.hyperparameters.depth"),
        Just("version.environment.language_version"),
    ];
    let words = prop_oneof![Just("\"onnx\""), Just("\"\""), Just("\"on\""), Just("\"2\""), Just("\"zz\"")];
    prop_oneof![
        (values.clone(), operators.clone(), numbers.clone())
            .prop_map(|(value, operator, number)| format!("{value} {operator} {number}")),
        (values, operators.clone(), numbers)
            .prop_map(|(value, operator, number)| format!("{number} {operator} {value}")),
        (texts.clone(), operators.clone(), words.clone())
            .prop_map(|(text, operator, word)| format!("{text} {operator} {word}")),
        (texts.clone(), prop_oneof![Just("contains"), Just("startsWith"), Just("endsWith")], words.clone())
            .prop_map(|(text, function, word)| format!("{text}.{function}({word})")),
        (texts, vec(words, 0..3)).prop_map(|(text, words)| format!("{text} in [{}]", words.join(", "))),
        prop_oneof![Just("PRODUCTION"), Just("STAGING"), Just("UNSPECIFIED")]
            .prop_map(|stage| format!("version.stage == \"{stage}\"")),
        Just("version.stage != \"PRODUCTION\"".to_owned()),
        Just("version.stage in [\"PRODUCTION\", \"STAGING\"]".to_owned()),
        prop_oneof![Just("version.purged"), Just("!version.purged"), Just("version.purged == false")]
            .prop_map(str::to_owned),
        (
            operators,
            prop_oneof![
                Just("1970-01-01T00:00:00Z"),
                Just("1970-01-01T00:00:01.000001Z"),
                Just("1969-12-31T23:59:59.0000015Z")
            ]
        )
            .prop_map(|(operator, time)| format!("version.create_time {operator} timestamp(\"{time}\")")),
        Just("has(version.create_time)".to_owned()),
        Just("version.number % 2 == 0".to_owned()),
    ]
}

fn filter() -> impl Strategy<Value = String> {
    test().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|terms| format!("({})", terms.join(" && "))),
            vec(inner.clone(), 2..4).prop_map(|terms| format!("({})", terms.join(" || "))),
            inner.prop_map(|term| format!("!({term})")),
        ]
    })
}

/// The table, and what is in the records by their keys.
fn written(writes: &[(usize, i64, Option<pb::Version>)]) -> (Table, BTreeMap<Vec<u8>, pb::Version>) {
    let (mut table, mut records) = (Table::new(VERSION, 2), BTreeMap::new());
    for (model, number, version) in writes {
        let key = name(*model, *number).key();
        match version {
            Some(version) => {
                let version = pb::Version { number: *number, ..version.clone() };
                table.put(&key, &version.encode_to_vec(), true, &Spoken::default());
                records.insert(key, version);
            }
            None => {
                table.remove(&key);
                records.remove(&key);
            }
        }
    }
    (table, records)
}

/// How a value orders a version: what is missing comes last.
fn compare<T: PartialOrd>(left: Option<T>, right: Option<T>, descending: bool) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => {
            let order = left.partial_cmp(&right).unwrap();
            if descending { order.reverse() } else { order }
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

fn auc(version: &pb::Version) -> Option<f64> {
    version.metrics["validation"].values.get("auc").copied().filter(|auc| !auc.is_nan())
}

fn team(version: &pb::Version) -> Option<&str> {
    version.tags.get("team").map(String::as_str).filter(|team| team.len() < 500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_look_at_every_record_finds(writes in writes(), filter in filter(), model in maybe(0..MODELS.len())) {
        let (table, records) = written(&writes);
        let expression = Expression::parse(&filter, &VERSION).unwrap();
        let scope = match model {
            Some(model) => name(model, 1).parent().prefix(),
            None => name(0, 1).parent().parent().prefix(),
        };
        let found = table.find(expression.condition(), table.scope(&scope, false));
        let keys: Vec<_> = found.records.iter().map(|serial| table.key(serial).to_vec()).collect();
        let wanted: Vec<_> = records
            .iter()
            .filter(|(key, version)| key.starts_with(&scope) && expression.matches(&version.encode_to_vec()))
            .map(|(key, _)| key)
            .collect();
        for key in &wanted {
            prop_assert!(keys.contains(key), "{filter} leaves out {:?}", records[*key]);
        }
        if found.exact {
            prop_assert_eq!(keys.len(), wanted.len(), "{} is not exact", filter);
        }
    }

    #[test]
    fn pages_in_any_order_are_the_whole_in_that_order(writes in writes(), size in 1..7_usize, by_auc in any::<bool>(), down in any::<[bool; 2]>()) {
        let (table, records) = written(&writes);
        let sorting = |text: &str, descending| Sorting { path: Named::parse(text, &VERSION).unwrap().path, descending };
        let mut sortings = vec![sorting("metrics.validation.auc", down[0]), sorting("tags.team", down[1])];
        if !by_auc {
            sortings.reverse();
        }
        let mut expected: Vec<_> = records.iter().collect();
        expected.sort_by(|(left_key, left), (right_key, right)| {
            let auc = compare(auc(left), auc(right), down[0]);
            let team = compare(team(left), team(right), down[1]);
            let by = if by_auc { auc.then(team) } else { team.then(auc) };
            by.then(left_key.cmp(right_key))
        });
        let scope = table.scope(&name(0, 1).parent().parent().prefix(), false);
        for (order, expected) in [
            (Order::Values(sortings), expected.iter().map(|(key, _)| (*key).clone()).collect::<Vec<_>>()),
            (Order::Keys { reverse: false }, records.keys().cloned().collect()),
            (Order::Keys { reverse: true }, records.keys().rev().cloned().collect()),
        ] {
            let (mut after, mut listed) = (None, Vec::new());
            loop {
                let page = table.first(&scope, &order, after.as_deref(), size).unwrap();
                listed.extend(page.iter().map(|placed| table.key(placed.serial).to_vec()));
                match page.last() {
                    Some(last) if page.len() == size => after = Some(last.position.clone()),
                    _ => break,
                }
            }
            prop_assert_eq!(&listed, &expected, "{:?}", order);
        }
    }
}
