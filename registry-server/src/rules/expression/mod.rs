//! Conditions that callers write, in the Common Expression Language (CEL): `version.metrics["validation"]["auc"] > 0.9`.
//!
//! A text is parsed within limits (`syntax`): what is too long or too deep is refused before anything can grow or recurse with it.
//! A condition whose types are known (`program`) is evaluated (`eval`) over the bytes of a record where they are (`wire`): nothing is
//! decoded but what it asks for.

mod eval;
mod program;
mod syntax;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

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
