//! Conditions that tell what they saw: those of gates.

use chrono::{DateTime, SecondsFormat};

use super::program::Node;
use super::syntax::{self, Kind, Literal, Term};
use super::types::{self, Type};
use super::wire::Value;
use super::{Fault, Subject, check};

/// How many characters of a text are told.
const CHARACTERS: usize = 64;
/// Up to here a double tells one whole number from the next.
const EXACT: u64 = 1 << 53;

/// A condition, and every path in it that stands for one value.
#[derive(Debug)]
pub(crate) struct Question {
    condition: Node,
    paths: Vec<Path>,
}

#[derive(Debug)]
struct Path {
    /// As it is written.
    text: String,
    node: Node,
    of: Type,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// `None`: something that it needs has no value, or is no number.
    pub(crate) verdict: Option<bool>,
    /// The values that were there, by their paths, in the order of the condition.
    pub(crate) readings: Vec<(String, Reading)>,
    /// The paths that have no value.
    pub(crate) missing: Vec<String>,
}

/// One value that was seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
}

impl Question {
    /// Parses a condition over something and checks it.
    pub(crate) fn parse(text: &str, of: &Subject) -> Result<Self, Fault> {
        let parsed = syntax::parse(text).and_then(|term| {
            let condition = check::condition(&term, of)?;
            let mut paths = Vec::new();
            collect(&term, of, &mut paths);
            Ok(Self { condition, paths })
        });
        parsed.map_err(|error| error.placed(text))
    }

    /// Asks it about a message, as it is encoded.
    pub(crate) fn ask(&self, message: &[u8]) -> Answer {
        let verdict = match self.condition.value(message) {
            Some(Value::Bool(verdict)) => Some(verdict),
            _ => None,
        };
        let (mut readings, mut missing) = (Vec::new(), Vec::new());
        for path in &self.paths {
            match path.node.value(message) {
                Some(value) => readings.extend(reading(value, &path.of).map(|reading| (path.text.clone(), reading))),
                None => missing.push(path.text.clone()),
            }
        }
        Answer { verdict, readings, missing }
    }
}

/// Adds the longest paths in a term that are not there yet. What `has()` asks for may be missing, and a message is no value.
fn collect(term: &Term, of: &Subject, paths: &mut Vec<Path>) {
    if let Some(text) = written(term) {
        if paths.iter().all(|known| known.text != text)
            && let Ok((node, r#type)) = check::value(term, of)
            && !matches!(r#type, Type::Message(_))
        {
            paths.push(Path { text, node, of: r#type });
        }
        return;
    }
    match &term.kind {
        Kind::Literal(_) | Kind::Name(_) | Kind::Has(..) => {}
        Kind::Field(of_, _) => collect(of_, of, paths),
        Kind::Not(term) | Kind::Negative(term) => collect(term, of, paths),
        Kind::Index(of_, key) => [of_, key].into_iter().for_each(|term| collect(term, of, paths)),
        Kind::Binary(_, both) => both.iter().for_each(|term| collect(term, of, paths)),
        Kind::Choice(three) => three.iter().for_each(|term| collect(term, of, paths)),
        Kind::List(terms) | Kind::All(terms) | Kind::Any(terms) | Kind::Call(_, terms) => {
            terms.iter().for_each(|term| collect(term, of, paths));
        }
    }
}

/// A path as it is written; `None` if the term is none.
fn written(term: &Term) -> Option<String> {
    match &term.kind {
        Kind::Name(name) => Some(name.clone()),
        Kind::Field(of, name) => Some(format!("{}.{}", written(of)?, name.text)),
        Kind::Index(of, key) => {
            let key = match &key.kind {
                Kind::Literal(Literal::Text(key)) => format!("{key:?}"),
                Kind::Literal(Literal::Int(index)) => index.to_string(),
                _ => written(key)?,
            };
            Some(format!("{}[{key}]", written(of)?))
        }
        _ => None,
    }
}

/// A value as it is told; `None` of what holds others.
fn reading(value: Value<'_>, of: &Type) -> Option<Reading> {
    Some(match (value, of) {
        (Value::Null, _) => Reading::Null,
        (Value::Bool(value), _) => Reading::Bool(value),
        (Value::Int(number), Type::Enum(of)) => {
            let name = types::values(of).find(|(_, known)| i64::from(*known) == number);
            Reading::Text(name.map_or_else(|| number.to_string(), |(name, _)| name))
        }
        (Value::Int(number), _) if number.unsigned_abs() <= EXACT => Reading::Number(number as f64),
        (Value::Int(number), _) => Reading::Text(number.to_string()),
        (Value::Double(number), _) if number.is_finite() => Reading::Number(number),
        (Value::Double(number), _) => Reading::Text(number.to_string()),
        (Value::Text(text), _) => Reading::Text(match text.char_indices().nth(CHARACTERS) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.to_owned(),
        }),
        (Value::Time(seconds, nanos), _) => {
            let time = DateTime::from_timestamp(seconds, nanos.unsigned_abs())?;
            Reading::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        }
        (Value::Duration(nanos), _) => Reading::Text(format!("{}s", nanos as f64 / 1e9)),
        (Value::Bytes(_) | Value::Message(_) | Value::Map(..) | Value::List(..), _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::Timestamp;
    use registry_proto::v1 as pb;

    use super::super::GATE;
    use super::*;

    fn version(metrics: &[(&str, f64)]) -> pb::Version {
        let values = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let metrics = [("test".to_owned(), pb::MetricSet { values })].into();
        pb::Version { number: 7, stage: pb::Stage::Staging.into(), metrics, ..Default::default() }
    }

    fn input(incumbent: Option<pb::Version>) -> Vec<u8> {
        let input = pb::GateInput {
            version: Some(version(&[("auc", 0.75), ("loss", f64::NAN)])),
            incumbent,
            model: Some(pb::Model { team: "risk".to_owned(), ..Default::default() }),
            request: Some(pb::GateRequest { actor: "ana".to_owned(), ..Default::default() }),
            now: Some(Timestamp { seconds: 90, nanos: 0 }),
        };
        input.encode_to_vec()
    }

    #[test]
    fn a_question_has_three_answers_and_tells_what_it_saw() {
        let (none, old) = (None, || Some(version(&[("auc", 0.5)])));
        let number = |path: &str, value| (path.to_owned(), Reading::Number(value));
        let text = |path: &str, value: &str| (path.to_owned(), Reading::Text(value.to_owned()));
        let mine = || number("version.metrics[\"test\"][\"auc\"]", 0.75);
        let theirs = || number("incumbent.metrics.test.auc", 0.5);
        for (condition, incumbent, verdict, readings, missing) in [
            (
                "version.metrics[\"test\"][\"auc\"] > incumbent.metrics.test.auc",
                old(),
                Some(true),
                vec![mine(), theirs()],
                vec![],
            ),
            (
                "version.metrics[\"test\"][\"auc\"] < incumbent.metrics.test.auc * 0.98",
                old(),
                Some(false),
                vec![mine(), theirs()],
                vec![],
            ),
            (
                "version.metrics[\"test\"][\"auc\"] > incumbent.metrics.test.auc",
                none.clone(),
                None,
                vec![mine()],
                vec!["incumbent.metrics.test.auc"],
            ),
            ("version.metrics.test.rmse < 1.0", none.clone(), None, vec![], vec!["version.metrics.test.rmse"]),
            // Not a number has no order, and is told.
            (
                "version.metrics.test.loss < 1.0",
                none.clone(),
                None,
                vec![text("version.metrics.test.loss", "NaN")],
                vec![],
            ),
            ("incumbent == null", none.clone(), Some(true), vec![], vec![]),
            ("null != incumbent", none.clone(), Some(false), vec![], vec![]),
            ("incumbent == null", old(), Some(false), vec![], vec![]),
            ("has(incumbent.name)", none.clone(), Some(false), vec![], vec![]),
            (
                "incumbent == null || version.number > incumbent.number",
                none.clone(),
                Some(true),
                vec![number("version.number", 7.0)],
                vec!["incumbent.number"],
            ),
            (
                "model.team == request.actor",
                none.clone(),
                Some(false),
                vec![text("model.team", "risk"), text("request.actor", "ana")],
                vec![],
            ),
            ("version.stage == \"STAGING\"", none.clone(), Some(true), vec![text("version.stage", "STAGING")], vec![]),
            (
                "now > timestamp(\"1970-01-01T00:01:00Z\")",
                none.clone(),
                Some(true),
                vec![text("now", "1970-01-01T00:01:30Z")],
                vec![],
            ),
            (
                "size(version.metrics) == 1 && math.isNaN(version.metrics.test.loss)",
                none,
                Some(true),
                vec![text("version.metrics.test.loss", "NaN")],
                vec![],
            ),
        ] {
            let answer = Question::parse(condition, &GATE).unwrap_or_else(|fault| panic!("{condition}: {fault}"));
            let missing = missing.into_iter().map(str::to_owned).collect();
            assert_eq!(answer.ask(&input(incumbent)), Answer { verdict, readings, missing }, "{condition}");
        }
    }

    #[test]
    fn what_is_no_question_says_why() {
        for (text, why) in [
            (
                "versoin.number > 1",
                "the variables are version, incumbent, model, request, now; did you mean \"version\"?",
            ),
            ("version.number", "this is an int, and not a condition"),
            ("incumbent < null", "null has no order"),
            ("model.signature == null", "Model has no field"),
            ("version.signature == null", "a Signature, and can't be compared"),
            ("resource.number > 1", "there is no \"resource\""),
        ] {
            let fault = Question::parse(text, &GATE).unwrap_err().to_string();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }
}
