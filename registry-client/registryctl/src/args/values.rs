//! Values that completions and the help know.

use std::ffi::OsStr;

use clap::builder::{NonEmptyStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::numbers;
use crate::values::{Named, names, open, parse};

/// Reads a value of an open set: the well-known ones are offered, and any other text is taken; the registry says which ones are
/// values.
#[derive(Debug, Clone)]
pub(crate) struct Open(Vec<&'static str>);

impl Open {
    pub(crate) fn new(known: impl IntoIterator<Item = &'static str>) -> Self {
        Self(known.into_iter().collect())
    }
}

impl TypedValueParser for Open {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        Ok(open(&NonEmptyStringValueParser::new().parse_ref(command, argument, value)?, &self.0))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// Reads how many there are to be at most: there is no use in none.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number from 1".to_owned())
}

/// Reads an enum of the contract, by the end of its value's name: `production` for `STAGE_PRODUCTION`.
pub(crate) fn one_of<E: Named + Clone + Send + Sync>() -> impl TypedValueParser<Value = E> {
    let values = names::<E>().map(|name| PossibleValue::new(name.clone()).alias(name.replace('_', "-")));
    PossibleValuesParser::new(values).try_map(|text| parse(&text))
}

/// Reads `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads a metric, which a double holds.
pub(crate) fn metric(text: &str) -> Result<(String, String, f64), String> {
    let form = "expected SPLIT.NAME=VALUE, for example validation.rmse=0.42";
    let (name, value) = text.split_once('=').ok_or(form)?;
    let (split, name) = name.split_once('.').ok_or(form)?;
    let number = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
    if value.contains(|c: char| c.is_ascii_digit()) && !numbers::fits(value) {
        return Err(format!("{value} can't be a metric: as a double it would be {number:?}"));
    }
    Ok((split.to_owned(), name.to_owned(), number))
}

/// The help of an option that takes a value of an open set.
pub(crate) fn known_values(what: &str, known: &[&str]) -> String {
    format!("{what}: {}, or any other value", known.join(", "))
}

#[cfg(test)]
mod tests {
    use registry_client::{known, pb};

    use super::*;

    fn read<P: TypedValueParser>(parser: P, text: &str) -> Result<P::Value, clap::Error> {
        parser.parse_ref(&clap::Command::new("x"), None, OsStr::new(text))
    }

    #[test]
    fn values_of_open_sets_are_offered_and_others_taken() {
        let types = || Open::new(known::model_type::ALL.iter().copied());
        assert_eq!(read(types(), "Anomaly-Detection").unwrap(), "anomaly_detection");
        assert_eq!(read(types(), "graph-2").unwrap(), "graph-2");
        assert!(types().possible_values().unwrap().any(|value| value.get_name() == "llm"));
    }

    #[test]
    fn enums_are_read_by_their_short_names() {
        assert_eq!(read(one_of::<pb::Stage>(), "production").unwrap(), pb::Stage::Production);
        assert_eq!(read(one_of::<pb::IncumbentAction>(), "to-staging").unwrap(), pb::IncumbentAction::ToStaging);
        assert!(read(one_of::<pb::Stage>(), "live").is_err());
        assert!(read(one_of::<pb::Stage>(), "unspecified").is_err());
    }

    #[test]
    fn values_are_read() {
        assert_eq!(metric("validation.rmse=0.42"), Ok(("validation".into(), "rmse".into(), 0.42)));
        assert_eq!(metric("test.top.5=1"), Ok(("test".into(), "top.5".into(), 1.0)));
        for wrong in
            ["rmse=1", "validation.rmse", "validation.rmse=x", "a.b=9007199254740993", "a.b=1e-400", "a.b=1e400"]
        {
            assert!(metric(wrong).is_err(), "{wrong}");
        }
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
    }
}
