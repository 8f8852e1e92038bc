//! MLflow's filters: `name LIKE 'fra%' AND tags.team = 'risk'`.
//!
//! A filter is decided here, on what MLflow is shown. The part of it that our filters can say is said to the service, too, so that it reads
//! less.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use registry_common::mlflow::id_of;
use registry_common::mlflow::tags::{IS_PROMPT, is_prompt};

use super::error::Error;

/// How many conditions a filter may have.
const MOST: usize = 64;
/// How many bytes, and how many names, values and operators the part of it may have that is passed on: fewer than a filter of ours.
const PASSED_BYTES: usize = 3072;
const PASSED_TERMS: usize = 60;

/// What is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Models,
    Versions,
}

/// One condition of a filter.
#[derive(Debug, Clone, PartialEq)]
struct Clause {
    field: Field,
    comparator: Comparator,
    value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Name,
    RunId,
    SourcePath,
    VersionNumber,
    Tag(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    ILike,
    In,
    NotIn,
}

/// How comparators are written.
const WORDS: [(&str, Comparator); 10] = [
    ("=", Comparator::Equal),
    ("!=", Comparator::NotEqual),
    ("<", Comparator::Less),
    ("<=", Comparator::LessOrEqual),
    (">", Comparator::Greater),
    (">=", Comparator::GreaterOrEqual),
    ("LIKE", Comparator::Like),
    ("ILIKE", Comparator::ILike),
    ("IN", Comparator::In),
    ("NOT IN", Comparator::NotIn),
];

impl Comparator {
    fn of(word: &str) -> Option<Self> {
        WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, comparator)| *comparator)
    }

    fn word(self) -> &'static str {
        WORDS.iter().find(|(_, comparator)| *comparator == self).map_or("", |(word, _)| word)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Number(i64),
    List(Vec<String>),
}

/// A filter that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    of: Of,
    clauses: Vec<Clause>,
}

/// What a filter is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) tags: &'a BTreeMap<String, String>,
    pub(super) run_id: &'a str,
    pub(super) source: &'a str,
    pub(super) number: i64,
}

mod parse;

impl Filter {
    pub(super) fn matches(&self, facts: Facts<'_>) -> bool {
        // Prompts are shown to those only who ask for them.
        is_prompt(facts.tags) == self.wants_prompts() && self.clauses.iter().all(|clause| clause.matches(facts))
    }

    /// Only prompts, or only what is none.
    fn wants_prompts(&self) -> bool {
        self.clauses.iter().any(|clause| match (&clause.field, clause.comparator, &clause.value) {
            (Field::Tag(tag), Comparator::Equal, Value::Text(text)) => {
                tag == IS_PROMPT && text.eq_ignore_ascii_case("true")
            }
            (Field::Tag(tag), Comparator::NotEqual, Value::Text(text)) => {
                tag == IS_PROMPT && text.eq_ignore_ascii_case("false")
            }
            _ => false,
        })
    }

    /// The only name that what matches can have.
    pub(super) fn name(&self) -> Option<&str> {
        self.clauses.iter().find_map(|clause| match (&clause.field, clause.comparator, &clause.value) {
            (Field::Name, Comparator::Equal, Value::Text(name)) => Some(&**name),
            _ => None,
        })
    }

    /// A filter of ours that lets pass all that this one does, for the models of this namespace or their versions.
    pub(super) fn passed_on(&self, namespace: &str) -> String {
        let mut all = String::new();
        let mut terms = 0;
        for clause in &self.clauses {
            let Some(one) = clause.passed_on(self.of, namespace) else { continue };
            terms += clause.terms();
            if all.len() + one.len() > PASSED_BYTES || terms > PASSED_TERMS {
                break;
            }
            let and = if all.is_empty() { "" } else { " && " };
            let _ = write!(all, "{and}({one})");
        }
        all
    }
}

impl Clause {
    fn matches(&self, facts: Facts<'_>) -> bool {
        let text = match &self.field {
            Field::Name => facts.name,
            Field::RunId => facts.run_id,
            Field::SourcePath => facts.source,
            Field::VersionNumber => return self.is_met_by(facts.number),
            // It was said by whether prompts are wanted.
            Field::Tag(tag) if tag == IS_PROMPT => return true,
            Field::Tag(tag) => match facts.tags.get(tag) {
                Some(value) => value,
                None => return false,
            },
        };
        match (&self.value, self.comparator) {
            (Value::Text(value), Comparator::Equal) => text == value,
            (Value::Text(value), Comparator::NotEqual) => text != value,
            (Value::Text(value), Comparator::Like) => is_like(text, value),
            (Value::Text(value), Comparator::ILike) => is_like(&text.to_lowercase(), &value.to_lowercase()),
            (Value::List(values), Comparator::In) => values.iter().any(|value| value == text),
            (Value::List(values), Comparator::NotIn) => values.iter().all(|value| value != text),
            _ => false,
        }
    }

    fn is_met_by(&self, number: i64) -> bool {
        let Value::Number(value) = self.value else { return false };
        match self.comparator {
            Comparator::Equal => number == value,
            Comparator::NotEqual => number != value,
            Comparator::Less => number < value,
            Comparator::LessOrEqual => number <= value,
            Comparator::Greater => number > value,
            Comparator::GreaterOrEqual => number >= value,
            _ => false,
        }
    }

    /// How many names, values and operators it has at most when it is passed on, and the one before it.
    fn terms(&self) -> usize {
        match (&self.field, &self.value) {
            (Field::Tag(_), _) => 14,
            (_, Value::List(values)) => values.len() + 7,
            _ => 7,
        }
    }

    /// A condition of ours that lets pass all that this one does, if there is one that says more than nothing.
    fn passed_on(&self, of: Of, namespace: &str) -> Option<String> {
        // Both have the same escapes.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (resource, elsewhere) = match of {
            Of::Models => ("model", "model.annotations"),
            Of::Versions => ("version", "version.additional_metadata.mlflow.tags"),
        };
        Some(match (&self.field, self.comparator, &self.value) {
            (Field::Tag(tag), Comparator::Equal, Value::Text(value)) if tag != IS_PROMPT => {
                let (tag, value) = (quoted(tag), quoted(value));
                format!("{resource}.tags[{tag}] == {value} || {elsewhere}[{tag}] == {value}")
            }
            (Field::Name, Comparator::In, Value::List(names)) if of == Of::Models => {
                let names = names.iter().map(|name| quoted(&format!("{namespace}/models/{}", id_of(name))));
                format!("model.name in [{}]", names.collect::<Vec<_>>().join(", "))
            }
            (Field::RunId, Comparator::Equal, Value::Text(run)) if !run.is_empty() => {
                format!("version.additional_metadata.mlflow.run_id == {}", quoted(run))
            }
            (Field::RunId, Comparator::In, Value::List(runs)) if runs.iter().all(|run| !run.is_empty()) => {
                let runs = runs.iter().map(|run| quoted(run));
                format!("version.additional_metadata.mlflow.run_id in [{}]", runs.collect::<Vec<_>>().join(", "))
            }
            (Field::VersionNumber, comparator, Value::Number(number)) => {
                let sign = if comparator == Comparator::Equal { "==" } else { comparator.word() };
                format!("version.number {sign} {number}")
            }
            _ => return None,
        })
    }
}

/// Whether a text is like a pattern of SQL, in which `%` is any text and `_` any character.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut in_pattern) = (0, 0);
    // Behind the last `%`, and where in the text it was tried last: going back further would find nothing else.
    let mut again: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(in_pattern) {
            Some('%') => {
                in_pattern += 1;
                again = Some((in_pattern, at));
            }
            Some(c) if *c == '_' || *c == text[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => match &mut again {
                Some((behind, tried)) => {
                    *tried += 1;
                    (in_pattern, at) = (*behind, *tried);
                }
                None => return false,
            },
        }
    }
    pattern[in_pattern..].iter().all(|c| *c == '%')
}

#[cfg(test)]
mod tests;
