//! Evaluation. Each part has a value or none: what is missing, what can't be compared or computed.

use std::cmp::Ordering;

use super::program::{Arithmetic, Comparison, Node, Search};
use super::wire::{self, Value};

impl Node {
    /// The value over a message. It allocates nothing, and goes as deep as the expression.
    pub(super) fn value<'a>(&'a self, subject: &'a [u8]) -> Option<Value<'a>> {
        match self {
            Self::Constant(constant) => Some(constant.value()),
            Self::Subject => Some(Value::Message(subject)),
            Self::Field(of, field) => match of.value(subject)? {
                Value::Message(message) => wire::field(message, field.number, &field.shape, field.optional),
                _ => None,
            },
            Self::HasField(of, field) => {
                let of = of.value(subject);
                Some(Value::Bool(matches!(of, Some(Value::Message(message)) if wire::has_field(message, field.number))))
            }
            Self::At(both) => {
                let [of, key] = &**both;
                at(of.value(subject)?, key.value(subject)?)
            }
            Self::HasKey(both) => {
                let [of, key] = &**both;
                let (of, key) = (of.value(subject), key.value(subject));
                let (Some(Value::Map(message, entries)), Some(Value::Text(key))) = (of, key) else {
                    return Some(Value::Bool(false));
                };
                Some(Value::Bool(entries.has(message, key)))
            }
            Self::Not(term) => term.verdict(subject).map(|verdict| Value::Bool(!verdict)),
            Self::All(terms) => all(terms, subject, true),
            Self::Any(terms) => all(terms, subject, false),
            Self::Choice(three) => {
                let [condition, one, other] = &**three;
                if condition.verdict(subject)? { one.value(subject) } else { other.value(subject) }
            }
            Self::Compare(comparison, both) => {
                let [left, right] = &**both;
                compare(*comparison, left.value(subject)?, right.value(subject)?).map(Value::Bool)
            }
            Self::OneOf(value, others) => {
                let value = value.value(subject)?;
                one_of(value, others.iter().map(|other| other.value(subject)))
            }
            Self::In(both) => {
                let [value, of] = &**both;
                let value = value.value(subject)?;
                match (of.value(subject)?, value) {
                    (Value::List(message, items), value) => one_of(value, items.items(message)),
                    (Value::Map(message, entries), Value::Text(key)) => Some(Value::Bool(entries.has(message, key))),
                    _ => None,
                }
            }
            Self::Negative(term) => match term.value(subject)? {
                Value::Int(value) => value.checked_neg().map(Value::Int),
                Value::Double(value) => Some(Value::Double(-value)),
                Value::Duration(nanos) => nanos.checked_neg().map(Value::Duration),
                _ => None,
            },
            Self::Arithmetic(operator, both) => {
                let [left, right] = &**both;
                arithmetic(*operator, left.value(subject)?, right.value(subject)?)
            }
            Self::Size(of) => match of.value(subject)? {
                Value::Text(text) => i64::try_from(text.chars().count()).ok(),
                Value::Bytes(bytes) => i64::try_from(bytes.len()).ok(),
                Value::Map(message, of) | Value::List(message, of) => Some(of.size(message)),
                _ => None,
            }
            .map(Value::Int),
            Self::IsNan(of) => match of.value(subject)? {
                Value::Double(value) => Some(Value::Bool(value.is_nan())),
                _ => None,
            },
            Self::Search(search, both) => {
                let [text, part] = &**both;
                let (Value::Text(text), Value::Text(part)) = (text.value(subject)?, part.value(subject)?) else {
                    return None;
                };
                Some(Value::Bool(match search {
                    Search::Contains => text.contains(part),
                    Search::StartsWith => text.starts_with(part),
                    Search::EndsWith => text.ends_with(part),
                }))
            }
        }
    }

    /// The value of a condition.
    fn verdict(&self, subject: &[u8]) -> Option<bool> {
        match self.value(subject)? {
            Value::Bool(verdict) => Some(verdict),
            _ => None,
        }
    }
}

/// `&&` of conditions, or `||` if `neutral` is false. One of them may decide even if others have no verdict.
fn all(terms: &[Node], subject: &[u8], neutral: bool) -> Option<Value<'static>> {
    let mut known = true;
    for term in terms {
        match term.verdict(subject) {
            Some(verdict) if verdict != neutral => return Some(Value::Bool(verdict)),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(Value::Bool(neutral))
}

fn at<'a>(of: Value<'a>, key: Value<'a>) -> Option<Value<'a>> {
    match (of, key) {
        (Value::Map(message, entries), Value::Text(key)) => entries.get(message, key),
        (Value::List(message, items), Value::Int(index)) => {
            items.items(message).nth(usize::try_from(index).ok()?).flatten()
        }
        _ => None,
    }
}

fn one_of<'a>(value: Value<'a>, others: impl Iterator<Item = Option<Value<'a>>>) -> Option<Value<'static>> {
    let mut known = true;
    for other in others {
        match other.and_then(|other| value.equals(&other)) {
            Some(true) => return Some(Value::Bool(true)),
            Some(false) => {}
            None => known = false,
        }
    }
    known.then_some(Value::Bool(false))
}

fn compare(comparison: Comparison, left: Value<'_>, right: Value<'_>) -> Option<bool> {
    Some(match comparison {
        Comparison::Equal => left.equals(&right)?,
        Comparison::NotEqual => !left.equals(&right)?,
        Comparison::Less => left.order(&right)? == Ordering::Less,
        Comparison::LessOrEqual => left.order(&right)? != Ordering::Greater,
        Comparison::Greater => left.order(&right)? == Ordering::Greater,
        Comparison::GreaterOrEqual => left.order(&right)? != Ordering::Less,
    })
}

fn arithmetic(operator: Arithmetic, left: Value<'_>, right: Value<'_>) -> Option<Value<'static>> {
    Some(match (left, right) {
        (Value::Int(left), Value::Int(right)) => Value::Int(match operator {
            Arithmetic::Plus => left.checked_add(right)?,
            Arithmetic::Minus => left.checked_sub(right)?,
            Arithmetic::Times => left.checked_mul(right)?,
            Arithmetic::Divide => left.checked_div(right)?,
            Arithmetic::Modulo => left.checked_rem(right)?,
        }),
        (Value::Double(left), Value::Double(right)) => Value::Double(match operator {
            Arithmetic::Plus => left + right,
            Arithmetic::Minus => left - right,
            Arithmetic::Times => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::Modulo => return None,
        }),
        // One of them is out of JSON, which knows no ints: others were refused before.
        (Value::Int(left), right @ Value::Double(_)) => return arithmetic(operator, Value::Double(left as f64), right),
        (left @ Value::Double(_), Value::Int(right)) => return arithmetic(operator, left, Value::Double(right as f64)),
        (Value::Duration(left), Value::Duration(right)) => Value::Duration(match operator {
            Arithmetic::Plus => left.checked_add(right)?,
            Arithmetic::Minus => left.checked_sub(right)?,
            _ => return None,
        }),
        (Value::Time(..), Value::Time(..)) if operator == Arithmetic::Minus => {
            Value::Duration(left.nanos()?.checked_sub(right.nanos()?)?)
        }
        (Value::Time(..), Value::Duration(by)) => match operator {
            Arithmetic::Plus => time(left.nanos()?.checked_add(by)?)?,
            Arithmetic::Minus => time(left.nanos()?.checked_sub(by)?)?,
            _ => return None,
        },
        (Value::Duration(by), Value::Time(..)) if operator == Arithmetic::Plus => {
            time(right.nanos()?.checked_add(by)?)?
        }
        _ => return None,
    })
}

fn time(nanos: i128) -> Option<Value<'static>> {
    const SECOND: i128 = 1_000_000_000;
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).ok()?;
    Some(Value::Time(seconds, i32::try_from(nanos.rem_euclid(SECOND)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::program::Constant;
    use super::*;

    /// What has no value.
    fn missing() -> Node {
        Node::Arithmetic(Arithmetic::Divide, Box::new([int(1), int(0)]))
    }

    fn int(value: i64) -> Node {
        Node::Constant(Constant::Int(value))
    }

    fn bool(value: Option<bool>) -> Node {
        match value {
            Some(value) => Node::Constant(Constant::Bool(value)),
            None => Node::Compare(Comparison::Equal, Box::new([missing(), int(1)])),
        }
    }

    #[test]
    fn one_side_may_decide_without_the_other() {
        let (yes, no, unknown) = (Some(true), Some(false), None);
        for (left, right, and, or) in [
            (yes, yes, yes, yes),
            (yes, no, no, yes),
            (no, no, no, no),
            (yes, unknown, unknown, yes),
            (no, unknown, no, unknown),
            (unknown, unknown, unknown, unknown),
        ] {
            for (left, right) in [(left, right), (right, left)] {
                assert_eq!(Node::All(vec![bool(left), bool(right)]).verdict(&[]), and, "{left:?} && {right:?}");
                assert_eq!(Node::Any(vec![bool(left), bool(right)]).verdict(&[]), or, "{left:?} || {right:?}");
            }
            assert_eq!(Node::Not(Box::new(bool(left))).verdict(&[]), left.map(|left| !left));
        }
    }

    #[test]
    fn what_can_t_be_computed_has_no_value() {
        use Arithmetic::{Divide, Minus, Modulo, Plus, Times};
        let max = i64::MAX;
        for (operator, left, right, expected) in [
            (Plus, 1, 2, Some(3)),
            (Plus, max, 1, None),
            (Minus, i64::MIN, 1, None),
            (Times, max, 2, None),
            (Divide, 7, 2, Some(3)),
            (Divide, 7, 0, None),
            (Divide, i64::MIN, -1, None),
            (Modulo, -7, 2, Some(-1)),
            (Modulo, 7, 0, None),
            (Modulo, i64::MIN, -1, None),
        ] {
            let node = Node::Arithmetic(operator, Box::new([int(left), int(right)]));
            assert_eq!(node.value(&[]), expected.map(Value::Int), "{operator:?} {left} {right}");
        }
        assert_eq!(Node::Negative(Box::new(int(i64::MIN))).value(&[]), None);
    }
}
