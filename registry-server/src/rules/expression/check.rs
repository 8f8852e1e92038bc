//! Trees to programs: every name, type and value is checked here, so that nothing is left to go wrong for every record.

mod arithmetic;

use prost_reflect::{EnumDescriptor, MessageDescriptor};

use self::arithmetic::arithmetic;
use super::program::{Arithmetic, Comparison, Constant, Field, Node, Search};
use super::syntax::{Binary, Kind, Literal, Name, Term};
use super::times;
use super::types::{self, Type, did_you_mean};
use super::{Subject, Wrong, advice};
use crate::error::quoted;

/// The functions that there are.
const FUNCTIONS: [&str; 8] =
    ["contains", "duration", "endsWith", "has", "math.isNaN", "size", "startsWith", "timestamp"];

/// Checks a condition over something.
pub(super) fn condition(term: &Term, of: &Subject) -> Result<Node, Wrong> {
    checker(of)?.condition(term)
}

/// Checks an expression over something that gives any value.
pub(super) fn value(term: &Term, of: &Subject) -> Result<(Node, Type), Wrong> {
    let typed = checker(of)?.term(term)?;
    Ok((typed.node, typed.r#type))
}

fn checker(of: &Subject) -> Result<Checker, Wrong> {
    let message = types::message(of.message).ok_or_else(|| Wrong::whole("is over a message that does not exist"))?;
    Ok(Checker { of: *of, message })
}

struct Checker {
    of: Subject,
    message: MessageDescriptor,
}

/// A part of an expression with its type, and where it begins.
struct Typed {
    node: Node,
    r#type: Type,
    at: usize,
}

impl Typed {
    fn wrong(&self, message: impl Into<String>) -> Wrong {
        Wrong::at(self.at, message)
    }

    /// The text that it is, if it is written out.
    fn literal(&self) -> Option<&str> {
        match &self.node {
            Node::Constant(Constant::Text(text)) => Some(text),
            _ => None,
        }
    }
}

fn boxed(left: Typed, right: Typed) -> Box<[Node; 2]> {
    Box::new([left.node, right.node])
}

impl Checker {
    fn condition(&self, term: &Term) -> Result<Node, Wrong> {
        let typed = self.term(term)?;
        match typed.r#type {
            Type::Bool | Type::Any => Ok(typed.node),
            ref other => Err(typed.wrong(format!("this is {}, and not a condition", other.name()))),
        }
    }

    fn conditions(&self, terms: &[Term]) -> Result<Vec<Node>, Wrong> {
        terms.iter().map(|term| self.condition(term)).collect()
    }

    fn term(&self, term: &Term) -> Result<Typed, Wrong> {
        let at = term.at;
        let (r#type, node) = match &term.kind {
            Kind::Literal(literal) => constant(literal),
            Kind::Name(name) => self.variable(name).ok_or_else(|| self.no_variable(at, name))?,
            Kind::Field(of, name) => self.field(self.term(of)?, name)?,
            Kind::Has(of, name) => (Type::Bool, self.has(self.term(of)?, name)?),
            Kind::Index(of, key) => self.at(self.term(of)?, self.term(key)?)?,
            Kind::List(_) => return Err(Wrong::at(at, "a list can only stand behind \"in\"")),
            Kind::Not(term) => (Type::Bool, Node::Not(Box::new(self.condition(term)?))),
            Kind::All(terms) => (Type::Bool, Node::All(self.conditions(terms)?)),
            Kind::Any(terms) => (Type::Bool, Node::Any(self.conditions(terms)?)),
            Kind::Choice(three) => {
                let [condition, one, other] = &**three;
                let (condition, one, other) = (self.condition(condition)?, self.term(one)?, self.term(other)?);
                let r#type = match (&one.r#type, &other.r#type) {
                    // What JSON holds is known when it is read.
                    (Type::Any, _) | (_, Type::Any) => Type::Any,
                    (one, _) => one.clone(),
                };
                if r#type != Type::Any && one.r#type != other.r#type {
                    let types =
                        format!("this is {}, and the other choice is {}", other.r#type.name(), one.r#type.name());
                    return Err(other.wrong(types));
                }
                (r#type, Node::Choice(Box::new([condition, one.node, other.node])))
            }
            Kind::Negative(term) => {
                let typed = self.term(term)?;
                match typed.r#type {
                    Type::Int | Type::Double | Type::Duration | Type::Any => {
                        (typed.r#type, Node::Negative(Box::new(typed.node)))
                    }
                    ref other => return Err(typed.wrong(format!("this is {}, and has no negative", other.name()))),
                }
            }
            Kind::Binary(Binary::In, both) => {
                let [value, of] = &**both;
                (Type::Bool, self.is_in(self.term(value)?, of)?)
            }
            Kind::Binary(operator, both) => {
                let [left, right] = &**both;
                self.binary(*operator, self.term(left)?, self.term(right)?)?
            }
            Kind::Call(function, arguments) => self.call(function, arguments)?,
        };
        Ok(Typed { node, r#type, at })
    }

    fn variable(&self, name: &str) -> Option<(Type, Node)> {
        match self.of.variable {
            "" => {
                let (r#type, field) = types::field(&self.message, name)?;
                Some((r#type, inside(Node::Subject, field)))
            }
            variable => (name == variable).then(|| (Type::Message(self.message.clone()), Node::Subject)),
        }
    }

    fn no_variable(&self, at: usize, name: &str) -> Wrong {
        let variable = self.of.variable;
        let lower = name.to_lowercase();
        let hint = match types::field(&self.message, name) {
            _ if variable.is_empty() => {
                let known: Vec<_> = self.message.fields().map(|field| field.name().to_owned()).collect();
                format!("; the variables are {}{}", known.join(", "), did_you_mean(name, known))
            }
            Some(_) => format!("; write {variable}.{name}"),
            None if ["true", "false", "null"].contains(&lower.as_str()) => format!("; write {lower}"),
            None => format!("; the variable is {variable}"),
        };
        Wrong::at(at, format!("there is no {}{hint}", quoted(name)))
    }

    /// A field of a message, or a key of a map.
    fn field(&self, of: Typed, name: &Name) -> Result<(Type, Node), Wrong> {
        if let Type::Message(message) = &of.r#type {
            if let Some((r#type, field)) = types::field(message, &name.text) {
                return Ok((r#type, Node::Field(Box::new(of.node), field)));
            }
            if types::wrapped(message).is_none() {
                return Err(no_field(message, name));
            }
        }
        let key = Typed { node: Node::Constant(Constant::Text(name.text.clone())), r#type: Type::Text, at: name.at };
        self.at(of, key)
    }

    fn has(&self, of: Typed, name: &Name) -> Result<Node, Wrong> {
        if let Type::Message(message) = &of.r#type {
            if let Some((_, field)) = types::field(message, &name.text) {
                return Ok(Node::HasField(Box::new(of.node), field));
            }
            if types::wrapped(message).is_none() {
                return Err(no_field(message, name));
            }
        }
        let of = unwrapped(of);
        match of.r#type {
            Type::Map(_) | Type::Any => {
                Ok(Node::HasKey(Box::new([of.node, Node::Constant(Constant::Text(name.text.clone()))])))
            }
            ref other => Err(of.wrong(format!("this is {}, and has no fields", other.name()))),
        }
    }

    /// A value in a map or a list.
    fn at(&self, of: Typed, key: Typed) -> Result<(Type, Node), Wrong> {
        let of = unwrapped(of);
        let r#type = match (&of.r#type, &key.r#type) {
            (Type::Map(value), Type::Text | Type::Any) => (**value).clone(),
            (Type::List(item), Type::Int | Type::Any) => (**item).clone(),
            (Type::Any, Type::Text | Type::Int | Type::Any) => Type::Any,
            (Type::Map(_), other) => {
                return Err(key.wrong(format!("this is {}, and the keys are strings", other.name())));
            }
            (Type::List(_), other) => {
                return Err(key.wrong(format!("this is {}, and an index is an int", other.name())));
            }
            (Type::Any, other) => return Err(key.wrong(format!("this is {}, and not a key", other.name()))),
            (other, _) => return Err(of.wrong(format!("this is {}, and has nothing in it", other.name()))),
        };
        Ok((r#type, Node::At(boxed(of, key))))
    }

    fn is_in(&self, value: Typed, of: &Term) -> Result<Node, Wrong> {
        if let Kind::List(items) = &of.kind {
            let mut nodes = Vec::with_capacity(items.len());
            for item in items {
                let item = self.term(item)?;
                let item = if let Type::Enum(r#enum) = &value.r#type { named(item, r#enum)? } else { item };
                comparable(&value, &item, "compared")?;
                nodes.push(item.node);
            }
            return Ok(Node::OneOf(Box::new(value.node), nodes));
        }
        let of = unwrapped(self.term(of)?);
        let value = match &of.r#type {
            Type::Map(_) if !matches!(value.r#type, Type::Text | Type::Any) => {
                return Err(value.wrong(format!("this is {}, and the keys are strings", value.r#type.name())));
            }
            Type::Map(_) | Type::Any => value,
            Type::List(item) => {
                let value = if let Type::Enum(r#enum) = &**item { named(value, r#enum)? } else { value };
                // Of the elements only the type is known.
                let item = Typed { node: Node::Subject, r#type: (**item).clone(), at: of.at };
                comparable(&item, &value, "compared")?;
                value
            }
            other => return Err(of.wrong(format!("this is {}, and neither a list nor a map", other.name()))),
        };
        Ok(Node::In(boxed(value, of)))
    }

    fn binary(&self, operator: Binary, left: Typed, right: Typed) -> Result<(Type, Node), Wrong> {
        let comparison = match operator {
            Binary::Equal => Comparison::Equal,
            Binary::NotEqual => Comparison::NotEqual,
            Binary::Less => Comparison::Less,
            Binary::LessOrEqual => Comparison::LessOrEqual,
            Binary::Greater => Comparison::Greater,
            Binary::GreaterOrEqual => Comparison::GreaterOrEqual,
            Binary::Plus => return arithmetic(Arithmetic::Plus, left, right),
            Binary::Minus => return arithmetic(Arithmetic::Minus, left, right),
            Binary::Times => return arithmetic(Arithmetic::Times, left, right),
            Binary::Divide => return arithmetic(Arithmetic::Divide, left, right),
            Binary::Modulo => return arithmetic(Arithmetic::Modulo, left, right),
            Binary::In => return Err(left.wrong("this is not understood")),
        };
        if let Some(there) = self.is_there(&left, &right) {
            return match comparison {
                Comparison::Equal => Ok((Type::Bool, Node::Not(Box::new(there)))),
                Comparison::NotEqual => Ok((Type::Bool, there)),
                _ => Err(right.wrong("null has no order")),
            };
        }
        let (left, right) = match (&left.r#type, &right.r#type) {
            (Type::Enum(of), Type::Enum(other)) if of == other => (left, right),
            (Type::Enum(of), _) => {
                let right = named(right, of)?;
                (left, right)
            }
            (_, Type::Enum(of)) => (named(left, of)?, right),
            _ => (left, right),
        };
        if !matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
            if let Type::Enum(of) = &left.r#type {
                return Err(left.wrong(format!("this is {}: these have no order", Type::Enum(of.clone()).name())));
            }
            if left.r#type == Type::Null || right.r#type == Type::Null {
                return Err(right.wrong("null has no order"));
            }
        }
        comparable(&left, &right, "compared")?;
        Ok((Type::Bool, Node::Compare(comparison, boxed(left, right))))
    }

    /// If a variable is compared with null: whether it is there.
    fn is_there(&self, left: &Typed, right: &Typed) -> Option<Node> {
        let (variable, null) = if right.r#type == Type::Null { (left, right) } else { (right, left) };
        match (&variable.node, &variable.r#type, &null.r#type) {
            (Node::Field(of, field), Type::Message(_), Type::Null) if self.of.variable.is_empty() => match **of {
                Node::Subject => Some(Node::HasField(Box::new(Node::Subject), field.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    fn call(&self, Name { at, text: function }: &Name, arguments: &[Term]) -> Result<(Type, Node), Wrong> {
        let (at, function) = (*at, function.as_str());
        let search = match function {
            "contains" => Some(Search::Contains),
            "startsWith" => Some(Search::StartsWith),
            "endsWith" => Some(Search::EndsWith),
            _ => None,
        };
        let typed = || arguments.iter().map(|argument| self.term(argument)).collect::<Result<Vec<_>, _>>();
        match (function, search, arguments) {
            (_, Some(search), [_, _]) => {
                let mut texts = typed()?;
                for text in &texts {
                    if !matches!(text.r#type, Type::Text | Type::Any) {
                        return Err(
                            text.wrong(format!("this is {}, and {function} looks into strings", text.r#type.name()))
                        );
                    }
                }
                let (part, text) = (texts.pop(), texts.pop());
                let both = text.zip(part).ok_or_else(|| Wrong::at(at, "this is not understood"))?;
                Ok((Type::Bool, Node::Search(search, boxed(both.0, both.1))))
            }
            ("size", _, [of]) => {
                let of = unwrapped(self.term(of)?);
                match of.r#type {
                    Type::Text | Type::Bytes | Type::List(_) | Type::Map(_) | Type::Any => {
                        Ok((Type::Int, Node::Size(Box::new(of.node))))
                    }
                    ref other => Err(of.wrong(format!("this is {}, and has no size", other.name()))),
                }
            }
            // As in CEL's extension of this name.
            ("isNaN", _, [Term { kind: Kind::Name(math), .. }, of]) if math == "math" => {
                let of = self.term(of)?;
                match of.r#type {
                    Type::Double | Type::Any => Ok((Type::Bool, Node::IsNan(Box::new(of.node)))),
                    ref other => Err(of.wrong(format!("this is {}, and no double", other.name()))),
                }
            }
            ("isNaN", ..) => Err(Wrong::at(at, "write math.isNaN(version.metrics.test.auc)")),
            ("timestamp", _, [text]) => {
                let text = self.term(text)?;
                let time = text.literal().and_then(times::time);
                let form = "timestamp() takes a time such as \"2026-11-26T10:00:00Z\", written out";
                let (seconds, nanos) = time.ok_or_else(|| text.wrong(form))?;
                Ok((Type::Time, Node::Constant(Constant::Time(seconds, nanos))))
            }
            ("duration", _, [text]) => {
                let text = self.term(text)?;
                let nanos = text.literal().and_then(times::duration);
                let form = "duration() takes a length of time such as \"72h\" or \"1h30m\", written out, with the units h, m, s, \
                            ms, us and ns";
                Ok((Type::Duration, Node::Constant(Constant::Duration(nanos.ok_or_else(|| text.wrong(form))?))))
            }
            ("matches", ..) => Err(Wrong::at(
                at,
                "regular expressions can't be used here: there are contains, startsWith and endsWith",
            )),
            _ if FUNCTIONS.contains(&function) => {
                Err(Wrong::at(at, format!("{function}() has {} arguments", arguments.len())))
            }
            _ => {
                if let Some(advice) = advice::of_word(&function.to_lowercase()) {
                    return Err(Wrong::at(at, advice));
                }
                let hint = did_you_mean(function, FUNCTIONS);
                let known = FUNCTIONS.join(", ");
                Err(Wrong::at(at, format!("there is no function {}; there are {known}{hint}", quoted(function))))
            }
        }
    }
}

fn no_field(message: &MessageDescriptor, Name { at, text }: &Name) -> Wrong {
    let fields: Vec<_> = message.fields().map(|field| field.name().to_owned()).collect();
    Wrong::at(*at, format!("{} has no field {}{}", message.name(), quoted(text), did_you_mean(text, fields)))
}

/// The map that a message wraps, if it does.
fn unwrapped(of: Typed) -> Typed {
    let wrapped = if let Type::Message(message) = &of.r#type { types::wrapped(message) } else { None };
    match wrapped {
        Some((r#type, field)) => Typed { node: inside(of.node, field), r#type, at: of.at },
        None => of,
    }
}

fn inside(node: Node, field: Field) -> Node {
    Node::Field(Box::new(node), field)
}

/// A value of an enum that is written by its name.
fn named(value: Typed, of: &EnumDescriptor) -> Result<Typed, Wrong> {
    let Some(name) = value.literal() else {
        return Err(value.wrong(format!(
            "this is {}: a value of {} is written \"NAME\"",
            value.r#type.name(),
            of.name()
        )));
    };
    let values: Vec<_> = types::values(of).collect();
    let Some((_, number)) = values.iter().find(|(known, _)| known == name) else {
        let names: Vec<_> = values.iter().filter(|(_, number)| *number != 0).map(|(name, _)| name.as_str()).collect();
        let known = names.join(", ");
        let hint = did_you_mean(name, names);
        return Err(value.wrong(format!("{} is no {}; there are {known}{hint}", quoted(name), of.name())));
    };
    let node = Node::Constant(Constant::Int(i64::from(*number)));
    Ok(Typed { node, r#type: Type::Enum(of.clone()), at: value.at })
}

/// Fails if two values can't be compared.
fn comparable(left: &Typed, right: &Typed, what: &str) -> Result<(), Wrong> {
    for side in [left, right] {
        if let Type::Message(_) | Type::Map(_) | Type::List(_) = side.r#type {
            return Err(side.wrong(format!("this is {}, and can't be {what}", side.r#type.name())));
        }
    }
    let fit = match (&left.r#type, &right.r#type) {
        (Type::Any, _) | (_, Type::Any) => true,
        (left, right) if left.is_number() && right.is_number() => true,
        (left, right) => left == right,
    };
    if fit {
        return Ok(());
    }
    let hint = match (&left.r#type, &right.r#type) {
        (Type::Time, Type::Text) | (Type::Text, Type::Time) => ": write timestamp(\"...\")",
        (Type::Duration, Type::Text) | (Type::Text, Type::Duration) => ": write duration(\"...\")",
        (_, Type::Null) | (Type::Null, _) => ": has() tells whether a field is set",
        _ => "",
    };
    let message = format!("{} can't be {what} with {}{hint}", left.r#type.name(), right.r#type.name());
    Err(right.wrong(message))
}

fn constant(literal: &Literal) -> (Type, Node) {
    let (r#type, constant) = match literal {
        Literal::Null => (Type::Null, Constant::Null),
        Literal::Bool(value) => (Type::Bool, Constant::Bool(*value)),
        Literal::Int(value) => (Type::Int, Constant::Int(*value)),
        Literal::Double(value) => (Type::Double, Constant::Double(*value)),
        Literal::Text(value) => (Type::Text, Constant::Text(value.clone())),
        Literal::Bytes(value) => (Type::Bytes, Constant::Bytes(value.clone())),
    };
    (r#type, Node::Constant(constant))
}
