//! Conditions that callers write, in the Common Expression Language (CEL): `version.metrics["validation"]["auc"] > 0.9`.
//!
//! A text becomes an [`Expression`] once: it is parsed within limits (`syntax`), and every name, type and value in it is checked
//! against the contract's descriptors (`check`, `types`), so that a typo is an error with its column and never a condition that
//! nothing meets. What comes out is evaluated (`eval`) over the bytes of a record where they are (`wire`): nothing is decoded but what
//! the expression asks for.
//!
//! It is a subset of CEL: one condition, without comprehensions, regular expressions and what makes new texts, so that
//! an evaluation costs about as much as the record is long. Where it differs, it is for those who look for something:
//!
//! - an enum's values are written by their short names: `version.stage == "PRODUCTION"`;
//! - what is not there has no value: an absent message or time, a missing key. A comparison with it, or with what is not a number (NaN),
//!   has no verdict, negated or not, and what has none does not match. `&&` and `||` go by their other side, if that decides;
//! - `has()` is false whichever part of the path is not there;
//! - `in` looks among the elements of a list that are there: another one that has no value does not hide them;
//! - JSON knows no ints: an int beside one of its numbers is a double, also in arithmetic;
//! - types that can't be equal are not compared: `version.number == "7"` is refused;
//! - a message that only wraps a map is that map: `version.metrics["test"]["auc"]`.
//!
//! A filter is over one variable. The condition of a gate is over several (`GATE`), and is a `Question`: it tells what it saw, and what had
//! no value (`question`).
//!
//! All else is as in CEL: `tests/cel.rs` holds some hundred conditions against another implementation, and lists the differences.

mod advice;
mod check;
mod eval;
mod leaves;
mod named;
mod plan;
mod program;
mod question;
mod syntax;
#[cfg(test)]
mod tests;
mod times;
mod types;
mod wire;

use std::fmt;

pub(crate) use self::leaves::{Leaf, Path, number_of, time_of};
pub(crate) use self::named::Named;
pub(crate) use self::plan::{Condition, Sorting, Test, TextTest};
use self::program::Node;
pub(crate) use self::question::{Question, Reading};
pub(crate) use self::types::{did_you_mean, message};
use self::wire::Value;

/// What an expression is over: a variable, and the message that it stands for; or, without a name, each field of the message as a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    variable: &'static str,
    message: &'static str,
}

/// Versions of models.
pub(crate) const VERSION: Subject = Subject { variable: "version", message: "modelregistry.v1.Version" };
/// Models.
pub(crate) const MODEL: Subject = Subject { variable: "model", message: "modelregistry.v1.Model" };
/// Events.
pub(crate) const EVENT: Subject = Subject { variable: "event", message: "modelregistry.v1.Event" };
/// Artifacts of versions.
pub(crate) const ARTIFACT: Subject = Subject { variable: "artifact", message: "modelregistry.v1.Artifact" };
/// Instances of models.
pub(crate) const INSTANCE: Subject = Subject { variable: "instance", message: "modelregistry.v1.Instance" };
/// Namespaces: CEL reserves the word.
pub(crate) const NAMESPACE: Subject = Subject { variable: "resource", message: "modelregistry.v1.Namespace" };

/// What gates are asked about.
pub(crate) const GATE: Subject = Subject { variable: "", message: "modelregistry.v1.GateInput" };
/// What bindings are asked about.
pub(crate) const ACCESS: Subject = Subject { variable: "", message: "modelregistry.v1.AccessInput" };

/// A condition that was checked.
#[derive(Debug)]
pub(crate) struct Expression {
    condition: Node,
    /// What an index can answer of it.
    indexed: Condition,
}

impl Expression {
    /// Parses a condition over something and checks it.
    pub(crate) fn parse(text: &str, of: &Subject) -> Result<Self, Fault> {
        let condition = syntax::parse(text).and_then(|term| check::condition(&term, of));
        condition
            .map(|condition| Self { indexed: plan::indexed(&condition, of), condition })
            .map_err(|error| error.placed(text))
    }

    /// What an index can answer of it.
    pub(crate) fn condition(&self) -> &Condition {
        &self.indexed
    }

    /// Whether a message, as it is encoded, meets the condition.
    pub(crate) fn matches(&self, message: &[u8]) -> bool {
        matches!(self.condition.value(message), Some(Value::Bool(true)))
    }
}

/// The message that a field of another one holds, as it is encoded there; empty if it is absent.
pub(crate) fn embedded(message: &[u8], field: u32) -> &[u8] {
    match wire::last(message, field) {
        Some(wire::Wire::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

/// Whether a field of a message is set, as it is encoded.
pub(crate) fn has(message: &[u8], field: u32) -> bool {
    wire::has_field(message, field)
}

/// The text in a field of a message, as it is encoded.
pub(crate) fn text(message: &[u8], field: u32) -> &str {
    str::from_utf8(embedded(message, field)).unwrap_or_default()
}

/// The keys and values of a map of texts in a message, as it is encoded.
pub(crate) fn texts(message: &[u8], field: u32) -> impl Iterator<Item = &str> {
    let entries = wire::Fields(message).filter_map(move |(number, wire)| match wire {
        wire::Wire::Bytes(entry) if number == field => Some(entry),
        _ => None,
    });
    entries.flat_map(|entry| [text(entry, 1), text(entry, 2)])
}

/// Why a text is no condition, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line and the column, in characters, from 1. `None`: the text as a whole.
    pub(crate) place: Option<(usize, usize)>,
    /// For people.
    pub(crate) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((1, column)) => write!(f, "column {column}: ")?,
            Some((line, column)) => write!(f, "line {line}, column {column}: ")?,
            None => {}
        }
        f.write_str(&self.message)
    }
}

/// The same, with the place in bytes.
#[derive(Debug)]
struct Wrong {
    at: Option<usize>,
    message: String,
}

impl Wrong {
    fn at(at: usize, message: impl Into<String>) -> Self {
        Self { at: Some(at), message: message.into() }
    }

    fn whole(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into() }
    }

    fn placed(self, text: &str) -> Fault {
        let place = self.at.map(|at| {
            let before = text.get(..at).unwrap_or(text);
            let line_begins = before.rfind('\n').map_or(0, |newline| newline + 1);
            (before.matches('\n').count() + 1, before[line_begins..].chars().count() + 1)
        });
        Fault { place, message: self.message }
    }
}
