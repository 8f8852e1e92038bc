//! When a request wants to read.

use prost_types::Timestamp;

use crate::error::Violations;
use crate::registry::past::Moment;
use crate::registry::validate;

/// The moment that a request asks for; `None` is now, or a field at fault.
pub(super) fn moment(revision: i64, read_time: Option<&Timestamp>, found: &mut Violations) -> Option<Moment> {
    read_time.iter().for_each(|time| validate::time(found, "read_time", time));
    match (u64::try_from(revision), read_time) {
        (Err(_), _) => {
            found.invalid("revision", "must not be negative");
            None
        }
        (Ok(0), time) => time.copied().map(Moment::Time),
        (Ok(revision), None) => Some(Moment::Revision(revision)),
        (Ok(_), Some(_)) => {
            found.invalid("read_time", "can't be given with `revision`: each says when to read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_when_to_read_once() {
        let time = Timestamp { seconds: 7, nanos: 0 };
        let late = Timestamp { seconds: i64::MAX, nanos: 0 };
        for (revision, time, expected) in [
            (0, None, Ok(None)),
            (7, None, Ok(Some(Moment::Revision(7)))),
            (0, Some(time), Ok(Some(Moment::Time(time)))),
            (7, Some(time), Err("read_time")),
            (-1, None, Err("revision")),
            (0, Some(late), Err("read_time")),
        ] {
            let mut found = Violations::default();
            let moment = moment(revision, time.as_ref(), &mut found);
            let at_fault = found.check().err().map(|error| error.to_string());
            match expected {
                Ok(expected) => assert_eq!((moment, at_fault), (expected, None)),
                Err(field) => assert!(at_fault.is_some_and(|text| text.starts_with(&format!("{field}: ")))),
            }
        }
    }
}
