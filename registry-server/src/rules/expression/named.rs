//! Single values of resources by their names: what lists are ordered by, and what is counted.

use chrono::{DateTime, SecondsFormat};

use super::leaves::{Leaf, Part, Path, number_of, time_of};
use super::plan::place;
use super::types::{self, Type};
use super::{Fault, Subject, check, syntax};

/// The number of `Version.metrics`.
const METRICS: u32 = 31;
/// And of `MetricSet.values`.
const VALUES: u32 = 1;

/// A value that was named.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) path: Path,
    of: Type,
}

impl Named {
    /// A value of a subject, written like `metrics.validation.auc`, without the variable.
    pub(crate) fn parse(text: &str, of: &Subject) -> Result<Self, Fault> {
        let variable = format!("{}.", of.variable);
        let found = syntax::parse(&format!("{variable}{text}")).and_then(|term| check::value(&term, of));
        let (node, r#type) = found.map_err(|mut wrong| {
            wrong.at = wrong.at.map(|at| at.saturating_sub(variable.len()));
            wrong.placed(text)
        })?;
        match of.part().and_then(|part| place(&node, part)) {
            Some((path, Part::Number(_) | Part::Time | Part::Text | Part::Choice(_) | Part::Json)) => {
                Ok(Self { path, of: r#type })
            }
            _ => Err(Fault { place: None, message: "is no single value that the index has".to_owned() }),
        }
    }

    /// A metric of a version, whatever characters are in its name.
    pub(crate) fn metric(split: &str, name: &str) -> Self {
        let mut path = Path::default();
        path.push_field(METRICS);
        path.push_key(split);
        path.push_field(VALUES);
        path.push_key(name);
        Self { path, of: Type::Double }
    }

    /// A value of it, for people and programs: a text as it is, an enum's by its short name, a number as JSON has it, a time in RFC 3339.
    pub(crate) fn show(&self, leaf: Leaf<'_>) -> String {
        match (leaf, &self.of) {
            (Leaf::Text(text), _) => text.to_owned(),
            (Leaf::Number(value), Type::Time) => {
                let time = DateTime::from_timestamp_micros(time_of(value)).unwrap_or_default();
                time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
            }
            (Leaf::Number(value), _) => number_of(value).to_string(),
            (Leaf::Choice(value), Type::Bool) => (value != 0).to_string(),
            (Leaf::Choice(value), Type::Enum(of)) => {
                let name = types::values(of).find(|(_, number)| i64::from(*number) == value);
                name.map_or_else(|| value.to_string(), |(name, _)| name)
            }
            (Leaf::Choice(value), _) => value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::VERSION;
    use super::super::leaves::{of_number, of_time};
    use super::*;

    #[test]
    fn a_metric_is_where_its_path_is() {
        let named = Named::parse("metrics.validation.auc", &VERSION).unwrap();
        assert_eq!(Named::metric("validation", "auc").path, named.path);
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        let show = |name: &str, leaf| Named::parse(name, &VERSION).unwrap().show(leaf);
        assert_eq!(show("tags.team", Leaf::Text("risk")), "risk");
        assert_eq!(show("stage", Leaf::Choice(3)), "PRODUCTION");
        assert_eq!(show("stage", Leaf::Choice(77)), "77");
        assert_eq!(show("purged", Leaf::Choice(1)), "true");
        for (value, shown) in [(0.5, "0.5"), (-3.0, "-3"), (0.0, "0"), (1e300, &1e300_f64.to_string())] {
            assert_eq!(show("metrics.test.auc", Leaf::Number(of_number(value))), shown);
        }
        assert_eq!(show("create_time", Leaf::Number(of_time(-1, 500_000_000))), "1969-12-31T23:59:59.500Z");
    }
}
