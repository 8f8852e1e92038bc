use chrono::Weekday;
use prost::Message as _;
use registry_proto::v1 as pb;

use super::super::signatures::Port;
use super::super::windows::{minutes, zone};
use super::*;

/// A Friday.
const NOW: &str = "2026-11-27T10:00:00Z";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn version(rmse: Option<f64>) -> pb::Version {
    let values = rmse.map(|rmse| ("rmse".to_owned(), rmse)).into_iter().collect();
    pb::Version { metrics: [("test".to_owned(), pb::MetricSet { values })].into(), ..Default::default() }
}

fn input(version: pb::Version, incumbent: Option<pb::Version>) -> Vec<u8> {
    pb::GateInput { version: Some(version), incumbent, ..Default::default() }.encode_to_vec()
}

fn facts(input: &[u8], has_incumbent: bool) -> Facts<'_> {
    Facts {
        input,
        has_incumbent,
        artifact_types: BTreeSet::new(),
        checks: BTreeMap::new(),
        signature: Ok(None),
        incumbent_signature: Ok(None),
        in_stage_since: Some(at("2026-11-27T08:00:00Z")),
        now: at(NOW),
    }
}

fn one(gates: &Gates, facts: &Facts<'_>) -> Verdict {
    let [verdict] = <[_; 1]>::try_from(gates.ask(facts)).unwrap();
    verdict
}

#[test]
fn a_condition_passes_fails_has_no_verdict_or_does_not_apply() {
    use Outcome::{Failed, NoVerdict, NotApplicable, Passed};
    const BETTER: &str = "version.metrics.test.rmse < incumbent.metrics.test.rmse * 0.98";
    const OR_FIRST: &str =
        "incumbent == null ? version.metrics.test.rmse < 0.3 : version.metrics.test.rmse < incumbent.metrics.test.rmse";
    for (condition, new, old, outcome, missing) in [
        (BETTER, Some(0.4), Some(Some(0.5)), Passed, vec![]),
        (BETTER, Some(0.5), Some(Some(0.5)), Failed, vec![]),
        (BETTER, Some(f64::NAN), Some(Some(0.5)), NoVerdict, vec![]),
        (BETTER, None, Some(Some(0.5)), NoVerdict, vec!["version.metrics.test.rmse"]),
        // There is an incumbent, and it was not measured: that is no first promotion.
        (BETTER, Some(0.4), Some(None), NoVerdict, vec!["incumbent.metrics.test.rmse"]),
        (BETTER, Some(0.4), None, NotApplicable, vec!["incumbent.metrics.test.rmse"]),
        // What the first one lacks is not excused by there being no incumbent.
        (BETTER, None, None, NoVerdict, vec!["version.metrics.test.rmse", "incumbent.metrics.test.rmse"]),
        (OR_FIRST, Some(0.4), None, Failed, vec![]),
        (OR_FIRST, Some(0.2), None, Passed, vec![]),
        (OR_FIRST, Some(0.4), Some(Some(0.5)), Passed, vec![]),
        ("false", None, None, Failed, vec![]),
    ] {
        let gates = Gates { conditions: vec![Gate::new("rmse", condition, "", false).unwrap()], ..Gates::default() };
        let input = input(version(new), old.map(version));
        let verdict = one(&gates, &facts(&input, old.is_some()));
        assert_eq!(verdict.outcome, outcome, "{condition} {new:?} {old:?}");
        assert_eq!(verdict.missing, missing, "{condition} {new:?} {old:?}");
        assert_eq!(may_enter(&[verdict]), matches!(outcome, Passed | NotApplicable));
    }
}

#[test]
fn a_warning_keeps_nobody_out_and_what_is_overridden_neither() {
    let gates =
        |warns| Gates { conditions: vec![Gate::new("no", "false", "never", warns).unwrap()], ..Gates::default() };
    let input = input(version(None), None);
    let (blocks, warns) = (one(&gates(false), &facts(&input, false)), one(&gates(true), &facts(&input, false)));
    assert_eq!((blocks.outcome, warns.outcome), (Outcome::Failed, Outcome::Failed));
    assert_eq!((blocks.blocks(), warns.blocks()), (true, false));
    let overridden = Verdict { overridden: true, ..blocks.clone() };
    assert_eq!((may_enter(&[warns.clone(), blocks]), may_enter(&[warns, overridden])), (false, true));
}

#[test]
fn artifacts_have_to_be_there() {
    let gates = Gates { artifact_types: ["model", "schema"].map(str::to_owned).into(), ..Gates::default() };
    for (there, detail) in [
        (&["model", "schema", "log"][..], ""),
        (&["model"], "has no artifact of the type schema"),
        (&[], "has no artifact of the type model, schema"),
    ] {
        let there = there.iter().map(|of| (*of).to_owned()).collect();
        let verdict = one(&gates, &Facts { artifact_types: there, ..facts(&[], false) });
        assert_eq!((verdict.detail.as_str(), verdict.blocks()), (detail, !detail.is_empty()));
    }
}

#[test]
fn a_signature_has_to_fit_that_of_the_incumbent_if_it_has_one() {
    let of = |name: &str| {
        let port = Port { name: name.to_owned(), dtype: String::new(), shape: Vec::new(), optional: false };
        Ok(Some(Signature { inputs: vec![port], outputs: Vec::new() }))
    };
    let gates = Gates { compatible_signature: true, ..Gates::default() };
    let broken = || Err("broken".to_owned());
    for (new, old, has_incumbent, outcome, detail) in [
        (of("a"), of("a"), true, Outcome::Passed, ""),
        (of("b"), of("a"), true, Outcome::Failed, "needs the input \"b\", which the incumbent does not take"),
        (Ok(None), of("a"), true, Outcome::NoVerdict, "version.signature has no value"),
        (of("a"), Ok(None), true, Outcome::NotApplicable, "the incumbent has no signature"),
        (of("a"), Ok(None), false, Outcome::NotApplicable, "the stage has no incumbent"),
        (broken(), of("a"), true, Outcome::Failed, "broken"),
        (of("a"), broken(), true, Outcome::Failed, "of the incumbent: broken"),
    ] {
        let verdict = one(&gates, &Facts { signature: new, incumbent_signature: old, ..facts(&[], has_incumbent) });
        assert_eq!((verdict.outcome, verdict.detail.as_str()), (outcome, detail));
    }
}

#[test]
fn time_has_to_pass_in_the_stage_before() {
    let gates = |hours: u64| Gates { soak: Some(Duration::from_secs(hours * 3600)), ..Gates::default() };
    assert_eq!(one(&gates(2), &facts(&[], false)).outcome, Outcome::Passed);
    let early = one(&gates(3), &facts(&[], false));
    assert_eq!(early.detail, "has been in its stage for 2h, and not for 3h");
    // Whoever set the clock back has not made time pass.
    let ahead = Facts { in_stage_since: Some(at("2026-11-28T00:00:00Z")), ..facts(&[], false) };
    assert_eq!(one(&gates(1), &ahead).outcome, Outcome::Failed);
    assert_eq!(one(&gates(1), &Facts { in_stage_since: None, ..facts(&[], false) }).outcome, Outcome::NoVerdict);
}

#[test]
fn it_has_to_be_the_time_for_changes() {
    let window = |day, start: &str, end: &str| {
        Window::new(vec![day], minutes(start).unwrap(), minutes(end).unwrap(), zone("Europe/Berlin").unwrap())
    };
    let freeze =
        |start: &str, end: &str| Freeze { start: Some(at(start)), end: Some(at(end)), reason: "audit".to_owned() };
    let windows = |windows| Gates { windows, ..Gates::default() };
    let freezes = |freezes| Gates { freezes, ..Gates::default() };
    let (shut, open) = (window(Weekday::Mon, "09:00", "17:00"), window(Weekday::Fri, "11:00", "12:00"));
    let past = freeze("2026-11-01T00:00:00Z", NOW);
    let running = freeze(NOW, "2026-12-01T00:00:00Z");
    for (gates, detail) in [
        (windows(vec![shut.clone(), open]), ""),
        (
            windows(vec![shut]),
            "no change window is open; the next one opens at 2026-11-30T09:00:00+01:00 (Europe/Berlin)",
        ),
        (freezes(vec![past.clone()]), ""),
        (freezes(vec![past, running]), "nothing changes until 2026-12-01T00:00:00Z: audit"),
    ] {
        let verdict = one(&gates, &facts(&[], false));
        assert_eq!((verdict.detail.as_str(), verdict.blocks()), (detail, !detail.is_empty()));
        assert_eq!(verdict.readings, [("now".to_owned(), Reading::Text(NOW.to_owned()))]);
    }
}

#[test]
fn every_gate_has_a_verdict_in_the_order_of_the_policy() {
    let gates = Gates {
        conditions: ["a", "b"].map(|name| Gate::new(name, "true", "", false).unwrap()).into(),
        artifact_types: vec!["model".to_owned()],
        compatible_signature: true,
        soak: Some(Duration::ZERO),
        windows: vec![Window::new(vec![Weekday::Mon], 0, 60, zone("UTC").unwrap())],
        freezes: vec![Freeze { start: None, end: None, reason: String::new() }],
        checks: vec!["lint".to_owned()],
    };
    let names: Vec<_> = gates.ask(&facts(&[], false)).into_iter().map(|verdict| verdict.gate).collect();
    let others = Kind::OTHERS.map(|kind| kind.name().to_owned());
    assert_eq!(names, [&["a".to_owned(), "b".to_owned()][..], &others].concat());
    assert_eq!(Gates::default().ask(&facts(&[], false)), []);
}
