//! What becomes of answers that were written to mislead.

use prost_types::value::Kind;
use prost_types::{Struct, Timestamp, Value};
use registry_client::pb;

use super::*;

/// What is printed of lines.
fn printed(lines: impl Into<Lines>) -> Vec<String> {
    lines.into().lines.iter().map(|line| shown::line(line).into_owned()).collect()
}

#[test]
fn a_comment_forges_no_event_and_erases_none() {
    let comment = "fine\"\n   123  2026-11-20 09:00:00  version.stage_transitioned\u{1b}[1A\u{1b}[2K\r\u{202e}";
    let lines = printed(event(&pb::Event { revision: 7, comment: comment.to_owned(), ..Default::default() }));
    assert_eq!(lines.len(), 1);
    let expected = r#"fine"\n   123  2026-11-20 09:00:00  version.stage_transitioned\u{1b}[1A\u{1b}[2K\r\u{202e}""#;
    assert!(lines[0].ends_with(expected), "{lines:?}");
}

#[test]
fn what_was_refused_is_told_in_a_line() {
    let line = |denial: pb::Denial, address: &str| {
        let caller = Some(pb::Caller { address: address.to_owned(), ..Default::default() });
        let (who, denial) = ("users/eve".to_owned(), Some(denial));
        printed(event(&pb::Event { resource_name: who.clone(), actor: who, denial, caller, ..Default::default() }))
    };
    let denial = |permission: &str, resource: &str, count| pb::Denial {
        count,
        permission: permission.to_owned(),
        resource: resource.to_owned(),
        reason: "TOKEN_EXPIRED".to_owned(),
    };
    for (denial, address, told) in [
        (denial("models.get", "namespaces/default/models/fraud", 3), "::1", "models.get on fraud 3 times from ::1"),
        (denial("models.get", "", 1), "", "models.get on the server"),
        (denial("models.get", "namespaces/\u{1b}[2K", 1), "", r"models.get on namespaces/\u{1b}[2K"),
        (denial("", "", 2), "::1", "TOKEN_EXPIRED 2 times from ::1"),
        (pb::Denial { count: 980, ..Default::default() }, "", "other things 980 times"),
    ] {
        let lines = line(denial, address);
        assert!(lines[0].ends_with(&format!("users/eve {told}")), "{lines:?}");
    }
}

#[test]
fn fields_of_one_line_stay_in_it_and_texts_keep_theirs_indented() {
    let model = pb::Model {
        name: "n".to_owned(),
        owner: "ana\nstate  ready".to_owned(),
        description: "two\r\n\tlines\u{1b}]0;title\u{7}".to_owned(),
        tags: [("a".to_owned(), "b\nc=d".to_owned())].into(),
        ..Default::default()
    };
    let lines = printed(super::model(&model));
    let expected = [
        "name         n",
        "description  two",
        r"                 lines\u{1b}]0;title\u{7}",
        r"owner        ana\nstate  ready",
        r"tags         a=b\nc=d",
        "versions     0",
        "revision     0",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_answer_that_json_can_not_say_does_not_keep_the_others_from_being_printed() {
    let event = |revision: i64, version: pb::Version| pb::Event {
        name: format!("events/{revision}-0"),
        after: Some(pb::Resource { resource: Some(pb::resource::Resource::Version(version)) }),
        ..Default::default()
    };
    let nan = Value { kind: Some(Kind::NumberValue(f64::NAN)) };
    let params = Some(Struct { fields: [("missing".to_owned(), nan)].into() });
    let late = Some(Timestamp { seconds: 400_000_000_000, nanos: 0 });
    let events = [
        event(1, pb::Version::default()),
        event(2, pb::Version { hyperparameters: params, ..Default::default() }),
        event(3, pb::Version { training_time: late, ..Default::default() }),
        event(4, pb::Version::default()),
    ];
    let out = Output::new(Some(Format::Json), true);
    let lines: Vec<_> = out.trees("Event", &events).iter().map(|tree| json::value(tree).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("events/1-0") && lines[1].contains("events/4-0"), "{lines:?}");
    assert_eq!(json::name_of("Event", &events[1]), "events/2-0");
    assert!(out.finish().unwrap_err().to_string().starts_with("2 answers are missing"));
    assert!(Output::new(None, true).finish().is_ok());
}

#[test]
fn comparisons_have_significant_digits() {
    for (number, text) in [
        (0.982_456_140_35, "0.982456"),
        (0.000_877_193, "0.000877193"),
        (1e-7, "1e-7"),
        (-3.25e-7, "-3.25e-7"),
        (1.5e308, "1.5e308"),
        (1_234_567.25, "1234567"),
        (9_007_199_254_740_991.0, "9007199254740991"),
        (100.0, "100"),
        (0.5, "0.5"),
        (0.0, "0"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
    ] {
        assert_eq!(significant(number), text);
    }
}

#[test]
fn doubles_are_written_to_their_last_digit_and_no_further() {
    for (number, text) in [(100.0, "100"), (0.982_456, "0.982456"), (1e-7, "1e-7"), (1.5e308, "1.5e308"), (-0.0, "-0")]
    {
        assert_eq!(double(number), text);
    }
}

#[test]
fn one_thing_is_no_plural() {
    assert_eq!([count(0, "file"), count(1, "file"), count(2_u64, "file")], ["0 files", "1 file", "2 files"]);
}
