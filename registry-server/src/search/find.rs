//! Which records meet a condition, as far as the values tell.

use roaring::RoaringBitmap;

use super::column::Serial;
use super::table::{Overflowed, Table};
use crate::rules::expression::{Condition, Path, Test};

/// A range is looked up record by record among so few, and otherwise in its whole column.
const FEW: u64 = 32;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) records: RoaringBitmap,
    /// All of them meet the condition, if nothing has changed since.
    pub(super) exact: bool,
    /// How many of the condition's tests were answered.
    pub(super) tests: usize,
}

impl Table {
    /// The records of a set that may meet a condition.
    pub(super) fn find(&self, condition: &Condition, within: RoaringBitmap) -> Found {
        match condition {
            Condition::Unknown => Found { records: within, exact: false, tests: 0 },
            Condition::Test(path, test) => self.test(path, test, within),
            Condition::All(terms) => {
                let (mut records, mut exact, mut tests) = (within, true, 0);
                // Numbers come last: among few records they cost less.
                let (last, first): (Vec<_>, Vec<_>) = terms.iter().partition(is_range);
                for term in first.into_iter().chain(last) {
                    let found = self.find(term, records);
                    records = found.records;
                    exact &= found.exact;
                    tests += found.tests;
                }
                Found { records, exact, tests }
            }
            Condition::Any(terms) => {
                let (mut records, mut exact, mut tests) = (RoaringBitmap::new(), true, 0);
                for term in terms {
                    let found = self.find(term, within.clone());
                    records |= found.records;
                    exact &= found.exact;
                    tests += found.tests;
                }
                Found { records, exact, tests }
            }
        }
    }

    /// Whether a record may meet a condition.
    pub(super) fn may_meet(&self, condition: &Condition, serial: Serial) -> bool {
        match condition {
            Condition::Unknown => true,
            Condition::All(terms) => terms.iter().all(|term| self.may_meet(term, serial)),
            Condition::Any(terms) => terms.iter().any(|term| self.may_meet(term, serial)),
            Condition::Test(path, test) => {
                let Ok(columns) = self.columns(path) else { return true };
                let Some(columns) = columns else { return false };
                let choice = |value: &i64| columns.choices.get(value).is_some_and(|holders| holders.contains(serial));
                match test {
                    Test::Text(test) => columns.texts.may_be(serial, test),
                    Test::Numbers { range, .. } => {
                        columns.numbers.get(serial).is_some_and(|value| range.contains(&value))
                    }
                    Test::Choice(value) => choice(value),
                    Test::OtherChoice(value) => columns.choices.keys().any(|other| other != value && choice(other)),
                }
            }
        }
    }

    fn test(&self, path: &Path, test: &Test, within: RoaringBitmap) -> Found {
        let columns = match self.columns(path) {
            Ok(Some(columns)) => columns,
            // Nothing has such a value.
            Ok(None) => return Found { records: RoaringBitmap::new(), exact: true, tests: 1 },
            Err(Overflowed) => return Found { records: within, exact: false, tests: 0 },
        };
        let (records, exact) = match test {
            Test::Text(test) => {
                let (records, exact) = columns.texts.find(test);
                (records & within, exact)
            }
            Test::Choice(value) => match columns.choices.get(value) {
                Some(holders) => (holders & within, true),
                None => (RoaringBitmap::new(), true),
            },
            Test::OtherChoice(value) => {
                let others = columns.choices.iter().filter(|(other, _)| *other != value);
                let found = others.fold(RoaringBitmap::new(), |found, (_, holders)| found | holders);
                (found & within, true)
            }
            Test::Numbers { range, exact } if within.len() * FEW < columns.numbers.len() as u64 => {
                let mut records = within;
                records.retain(|serial| columns.numbers.get(serial).is_some_and(|value| range.contains(&value)));
                (records, *exact)
            }
            Test::Numbers { range, exact } => (columns.numbers.within(range) & within, *exact),
        };
        Found { records, exact, tests: 1 }
    }
}

fn is_range(condition: &&Condition) -> bool {
    matches!(condition, Condition::Test(_, Test::Numbers { .. }))
}

/// A plan for people.
pub(super) fn describe(found: &Found) -> String {
    let tests = if found.tests == 1 { "test" } else { "tests" };
    match (found.tests, found.exact) {
        (0, true) => "without a condition".to_owned(),
        (0, false) => "the condition is tested by the records".to_owned(),
        (count, true) => format!("{count} {tests} by the index"),
        (count, false) => format!("{count} {tests} by the index, the rest by the records"),
    }
}
