//! What of an expression an index can answer: tests of single values, joined by `&&` and `||`.

use std::ops::RangeInclusive;

use super::Subject;
use super::leaves::{Part, Path, of_number, of_time};
use super::program::{Comparison, Constant, Node, Search};
use super::wire::Shape;

/// A condition as an index sees it. Whatever meets the expression meets this; what meets this may not meet the expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    Test(Path, Test),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    /// Only the record tells.
    Unknown,
}

/// What a value has to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// One of these numbers or times. Not `exact`: more may be found than is meant, by the nearest number.
    Numbers {
        range: RangeInclusive<u64>,
        exact: bool,
    },
    Text(TextTest),
    Choice(i64),
    /// Any other choice.
    OtherChoice(i64),
}

/// What a text has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextTest {
    Equal(String),
    NotEqual(String),
    Less(String),
    LessOrEqual(String),
    Greater(String),
    GreaterOrEqual(String),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
}

impl TextTest {
    /// Whether a text is meant.
    pub(crate) fn takes(&self, text: &str) -> bool {
        match self {
            Self::Equal(other) => text == other,
            Self::NotEqual(other) => text != other,
            Self::Less(other) => text < other.as_str(),
            Self::LessOrEqual(other) => text <= other.as_str(),
            Self::Greater(other) => text > other.as_str(),
            Self::GreaterOrEqual(other) => text >= other.as_str(),
            Self::Contains(part) => text.contains(part.as_str()),
            Self::StartsWith(part) => text.starts_with(part.as_str()),
            Self::EndsWith(part) => text.ends_with(part.as_str()),
        }
    }
}

/// Numbers beyond this are not exact as doubles.
const EXACT: i64 = 1 << 53;

/// What an index can answer of a condition over something.
pub(super) fn indexed(node: &Node, of: &Subject) -> Condition {
    of.part().map_or(Condition::Unknown, |part| condition(node, part))
}

/// A value by which a list is ordered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sorting {
    pub(crate) path: Path,
    pub(crate) descending: bool,
}

fn condition(node: &Node, root: &'static Part) -> Condition {
    match node {
        Node::All(terms) => {
            let known: Vec<_> = terms.iter().map(|term| condition(term, root)).collect();
            match known.iter().all(|term| *term == Condition::Unknown) {
                true => Condition::Unknown,
                false => Condition::All(known),
            }
        }
        Node::Any(terms) => {
            let known: Vec<_> = terms.iter().map(|term| condition(term, root)).collect();
            match known.contains(&Condition::Unknown) {
                true => Condition::Unknown,
                false => Condition::Any(known),
            }
        }
        Node::Compare(comparison, both) => match &**both {
            [of, Node::Constant(constant)] => test(of, *comparison, constant, root),
            [Node::Constant(constant), of] => test(of, mirrored(*comparison), constant, root),
            _ => Condition::Unknown,
        },
        Node::OneOf(of, values) => {
            let tests = values.iter().map(|value| match value {
                Node::Constant(constant) => test(of, Comparison::Equal, constant, root),
                _ => Condition::Unknown,
            });
            let tests: Vec<_> = tests.collect();
            match tests.contains(&Condition::Unknown) {
                true => Condition::Unknown,
                false => Condition::Any(tests),
            }
        }
        Node::Search(search, both) => match &**both {
            [of, Node::Constant(Constant::Text(part))] => {
                let part = part.clone();
                let test = match search {
                    Search::Contains => TextTest::Contains(part),
                    Search::StartsWith => TextTest::StartsWith(part),
                    Search::EndsWith => TextTest::EndsWith(part),
                };
                of_text(of, test, root)
            }
            _ => Condition::Unknown,
        },
        // A bool by itself.
        Node::Field(..) => test(node, Comparison::Equal, &Constant::Bool(true), root),
        _ => Condition::Unknown,
    }
}

fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

fn test(of: &Node, comparison: Comparison, constant: &Constant, root: &'static Part) -> Condition {
    if let Constant::Text(text) = constant {
        let text = text.clone();
        let test = match comparison {
            Comparison::Equal => TextTest::Equal(text),
            Comparison::NotEqual => TextTest::NotEqual(text),
            Comparison::Less => TextTest::Less(text),
            Comparison::LessOrEqual => TextTest::LessOrEqual(text),
            Comparison::Greater => TextTest::Greater(text),
            Comparison::GreaterOrEqual => TextTest::GreaterOrEqual(text),
        };
        return of_text(of, test, root);
    }
    let Some((path, part)) = place(of, root) else { return Condition::Unknown };
    let by_itself = by_itself(of);
    let test = match (part, constant) {
        (Part::Number(_) | Part::Json, Constant::Int(value)) => {
            // Near the edge an int and its neighbour are one double.
            numbers(comparison, of_number(*value as f64), (-EXACT + 1..EXACT).contains(value))
        }
        (Part::Number(_) | Part::Json, Constant::Double(value)) if !value.is_nan() => {
            numbers(comparison, of_number(*value), value.abs() < EXACT as f64)
        }
        (Part::Time, Constant::Time(seconds, nanos)) => {
            let whole = nanos % 1000 == 0 && matches!(comparison, Comparison::Less | Comparison::GreaterOrEqual);
            numbers(comparison, of_time(*seconds, *nanos), whole)
        }
        (Part::Choice(_), Constant::Int(value)) => choice(comparison, *value),
        (Part::Choice(_), Constant::Bool(value)) => choice(comparison, i64::from(*value)),
        _ => None,
    };
    let Some(test) = test else { return Condition::Unknown };
    // What is not written has the value of the type by itself, and no index has it.
    let also_unwritten = match (&test, by_itself) {
        (_, false) => false,
        (Test::Numbers { range, .. }, true) => range.contains(&of_number(0.0)),
        (Test::Choice(value), true) => *value == 0,
        (Test::OtherChoice(value), true) => *value != 0,
        (Test::Text(test), true) => test.takes(""),
    };
    match also_unwritten {
        true => Condition::Unknown,
        false => Condition::Test(path, test),
    }
}

fn of_text(of: &Node, test: TextTest, root: &'static Part) -> Condition {
    match place(of, root) {
        // What JSON has may be of another type, and so another value.
        Some((_, Part::Json)) if matches!(test, TextTest::NotEqual(_)) => Condition::Unknown,
        Some((path, Part::Text | Part::Json)) if !(by_itself(of) && test.takes("")) => {
            Condition::Test(path, Test::Text(test))
        }
        _ => Condition::Unknown,
    }
}

fn choice(comparison: Comparison, value: i64) -> Option<Test> {
    match comparison {
        Comparison::Equal => Some(Test::Choice(value)),
        Comparison::NotEqual => Some(Test::OtherChoice(value)),
        _ => None,
    }
}

/// `exact`: different numbers on either side of the value are different here too.
fn numbers(comparison: Comparison, value: u64, exact: bool) -> Option<Test> {
    let (below, above) = match exact {
        true => (value.checked_sub(1)?, value.checked_add(1)?),
        false => (value, value),
    };
    let range = match comparison {
        Comparison::Equal => value..=value,
        Comparison::Less => 0..=below,
        Comparison::LessOrEqual => 0..=value,
        Comparison::Greater => above..=u64::MAX,
        Comparison::GreaterOrEqual => value..=u64::MAX,
        // All but one is no less to look at than all.
        Comparison::NotEqual => return None,
    };
    Some(Test::Numbers { range, exact })
}

/// Where a value is, and what it is, if an index has it.
pub(super) fn place(node: &Node, root: &'static Part) -> Option<(Path, &'static Part)> {
    match node {
        Node::Subject => Some((Path::default(), root)),
        Node::Field(of, field) => {
            let (mut path, part) = place(of, root)?;
            path.push_field(field.number);
            Some((path, part.field(field.number)?))
        }
        Node::At(both) => {
            let [of, Node::Constant(Constant::Text(key))] = &**both else { return None };
            let (mut path, part) = place(of, root)?;
            path.push_key(key);
            Some((path, part.key()?))
        }
        _ => None,
    }
}

/// Whether a value is there that was not written: that of a field which is not optional.
fn by_itself(node: &Node) -> bool {
    let Node::Field(_, field) = node else { return false };
    !field.optional && !matches!(field.shape, Shape::Time | Shape::Message | Shape::Duration)
}
