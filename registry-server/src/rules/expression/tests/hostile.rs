//! Texts that are made to do harm: each is answered at once, on the stack that a worker of the server has.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::{Expression, VERSION};
use super::version;

/// The stack of a worker of tokio.
const STACK: usize = 2 * 1024 * 1024;
/// In a debug build on a busy machine; it takes some milliseconds.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Does something with as much stack as a worker has.
fn on_a_worker<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, what).expect("a thread");
        worker.join().expect("no panic")
    })
}

/// Parses a text and, if that can be done, evaluates it.
fn answered(text: &str) -> Result<bool, String> {
    let start = Instant::now();
    let answer = on_a_worker(|| Expression::parse(text, &VERSION).map(|expression| expression.matches(&version())));
    assert!(start.elapsed() < AT_ONCE, "{:?} for {} bytes", start.elapsed(), text.len());
    answer.map_err(|fault| fault.to_string())
}

#[test]
fn what_is_long_or_deep_is_refused() {
    const BYTES: &str = "bytes; at most 4096 are allowed";
    const TERMS: &str = "has more than 64 names, values and operators";
    const DEPTH: &str = "is nested deeper than 16 levels";
    let nested =
        |open: &str, inner: &str, close: &str, depth| format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
    let list = (0..500_000).fold(String::from("version.number in [0"), |mut list, number| {
        let _ = write!(list, ",{number}");
        list
    }) + "]";
    for (text, expected) in [
        (nested("(", "true", ")", 10_000), BYTES),
        (nested("[", "1", "]", 10_000), BYTES),
        ("x".repeat(1024 * 1024), BYTES),
        (list, BYTES),
        (nested("(", "true", ")", 2_000), TERMS),
        (nested("(", "true", ")", 125), ""),
        (nested("(true && ", "true", ")", 60), DEPTH),
        (nested("[", "1", "]", 120), DEPTH),
        (nested("version.tags[", "''", "]", 50) + " == ''", DEPTH),
        (nested("size(", "version.name", ")", 60) + " == 1", DEPTH),
        (nested("has(version.tags[", "''", "].x)", 20), DEPTH),
        ("!".repeat(4_000) + "true", TERMS),
        ("!".repeat(200) + "true", ""),
        ("-".repeat(200) + "1 == 1", ""),
        ("!-".repeat(100) + "1", DEPTH),
        (format!("0{} == 0", "+0".repeat(2_000)), TERMS),
        (format!("0{} == 0", "+0".repeat(100)), DEPTH),
        (format!("0{} == 0", "+0".repeat(25)), DEPTH),
        (format!("true{}", "&&true".repeat(62)), ""),
        (format!("true{}", "&&true".repeat(63)), TERMS),
        (format!("version{} == 1", ".name".repeat(800)), TERMS),
        (format!("version{} == 1", ".name".repeat(60)), DEPTH),
        (format!("true{}", "?true:true".repeat(60)), DEPTH),
        (format!("version.number in [0{}]", ",1".repeat(70)), TERMS),
        (format!("version.number in [0{}]", ",1".repeat(50)), ""),
        (format!("version.name == '{}'", "a".repeat(4_000)), ""),
        ("\u{0}".repeat(4_000), "column 1: unexpected character"),
        ("\"".to_owned() + &"\\".repeat(4_000), "unterminated"),
    ] {
        match answered(&text) {
            Ok(_) => assert_eq!(expected, "", "{:.80}", text),
            Err(fault) => assert!(!expected.is_empty() && fault.contains(expected), "{text:.80}: {fault}"),
        }
    }
}

#[test]
fn comprehensions_are_refused() {
    let bomb = |macro_name: &str, depth: usize| {
        (0..depth).fold("version.base_versions".to_owned(), |inner, level| {
            format!(
                "{inner}.{macro_name}(x{level}, version.base_versions.{macro_name}(y{level}, y{level} == x{level}))"
            )
        })
    };
    for name in ["all", "exists", "exists_one", "map", "filter"] {
        for depth in [1, 2, 5] {
            let fault = answered(&bomb(name, depth)).expect_err(name);
            let refused = fault.contains("can't be used here") || fault.contains("has more than 64");
            assert!(refused || fault.contains("nested deeper"), "{name}, {depth}: {fault}");
        }
    }
}

/// What expressions are made of, so that random ones get far.
const PIECES: &[&str] = &[
    "version",
    ".",
    "number",
    "tags",
    "metrics",
    "hyperparameters",
    "stage",
    "[",
    "]",
    "(",
    ")",
    "'auc'",
    "\"PRODUCTION\"",
    "0",
    "1",
    "-",
    "9223372036854775807",
    "1.5",
    "1e308",
    "/",
    "%",
    "*",
    "+",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "!",
    "?",
    ":",
    ",",
    "in",
    "has",
    "size",
    "contains",
    "timestamp",
    "duration",
    "'1h'",
    "null",
    "true",
    "b'x'",
    "r'\\'",
    "{",
    "}",
    " ",
    "\n",
    "//",
    "`a`",
    "namespace",
    "all",
    "map",
    "'",
    "\"\"\"",
    "é",
    ".5",
    "0x1f",
    "7u",
];

#[test]
fn whatever_comes_is_answered() {
    let config = Config { cases: 3_000, failure_persistence: None, ..Config::default() };
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat());
    let chains =
        (prop::sample::select(PIECES), prop::sample::select(PIECES), prop::sample::select(PIECES), 1..1_500_usize)
            .prop_map(|(one, two, last, times)| [one, two].concat().repeat(times) + last);
    let texts = prop_oneof![3 => pieces, 1 => chains, 1 => any::<String>()];
    on_a_worker(|| {
        let ran = TestRunner::new(config).run(&texts, |text| {
            let start = Instant::now();
            if let Ok(expression) = Expression::parse(&text, &VERSION) {
                expression.matches(&version());
            }
            prop_assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
            Ok(())
        });
        ran.unwrap_or_else(|failed| panic!("{failed}"));
    });
}

#[test]
fn whatever_is_stored_is_read() {
    let expressions = [
        "version.number == 1 || version.metrics['a']['b'] > 1 || version.tags.a == 'b' || version.features[3].shape[1] == 1",
        "has(version.hyperparameters.a.b) || version.create_time > timestamp('2026-01-01T00:00:00Z')",
        "size(version.metrics) == 3 || size(version.standardization_params.mean) == 2 || 'a' in version.base_versions",
    ]
    .map(|text| Expression::parse(text, &VERSION).expect(text));
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let damaged = (any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>());
    let ran = TestRunner::new(config).run(&damaged, |(place, byte, end)| {
        let mut bytes = version();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(end.index(bytes.len()) + 1);
        for expression in &expressions {
            expression.matches(&bytes);
        }
        Ok(())
    });
    ran.unwrap_or_else(|failed| panic!("{failed}"));
}
