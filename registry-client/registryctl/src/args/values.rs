//! Values that completions and the help know.

use std::ffi::OsStr;

use clap::builder::{NonEmptyStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};

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
}
