//! What is added, subtracted, multiplied and divided.

use super::super::Wrong;
use super::super::program::{Arithmetic, Node};
use super::super::types::Type;
use super::{Typed, boxed};

pub(super) fn arithmetic(operator: Arithmetic, left: Typed, right: Typed) -> Result<(Type, Node), Wrong> {
    let r#type = match (operator, &left.r#type, &right.r#type) {
        (_, Type::Int, Type::Int) => Some(Type::Int),
        (Arithmetic::Modulo, ..) => None,
        (_, Type::Double, Type::Double) => Some(Type::Double),
        (_, Type::Any, other) | (_, other, Type::Any) if other.is_number() || *other == Type::Any => Some(Type::Any),
        (Arithmetic::Plus | Arithmetic::Minus, Type::Duration, Type::Duration) => Some(Type::Duration),
        (Arithmetic::Minus, Type::Time, Type::Time) => Some(Type::Duration),
        (Arithmetic::Plus | Arithmetic::Minus, Type::Time, Type::Duration) => Some(Type::Time),
        (Arithmetic::Plus, Type::Duration, Type::Time) => Some(Type::Time),
        _ => None,
    };
    let Some(r#type) = r#type else {
        let sign = match operator {
            Arithmetic::Plus => "+",
            Arithmetic::Minus => "-",
            Arithmetic::Times => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Modulo => "%",
        };
        let both_numbers = left.r#type.is_number() && right.r#type.is_number();
        let hint = if both_numbers { ": write the int as a double, such as 2.0" } else { "" };
        let message = format!("there is no {sign} of {} and {}{hint}", left.r#type.name(), right.r#type.name());
        return Err(right.wrong(message));
    };
    Ok((r#type, Node::Arithmetic(operator, boxed(left, right))))
}
