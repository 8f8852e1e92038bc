use super::Incumbent::{Archive, Refuse, ToDevelopment, ToStaging};
use super::Stage::{Archived, Development, Production, Staging};
use super::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn rule(stage: Stage, exclusive: bool, incumbent: Option<Incumbent>) -> StageRule {
    StageRule { stage, exclusive, incumbent }
}

fn ready(stage: Stage) -> Candidate {
    Candidate { state: State::Ready, stage, deleted: false, withdrawn: false }
}

#[test]
fn stages_are_indexed_by_their_place() {
    for (place, stage) in Stage::ALL.into_iter().enumerate() {
        assert_eq!(stage as usize, place);
    }
}

#[test]
fn what_is_a_policy() {
    assert_eq!(Policy::new(&[], &[]), Ok(Policy::default()));
    assert_eq!(Policy::new(&[], &[rule(Production, true, None)]), Ok(Policy::default()));
    assert_eq!(Policy::new(&[], &[rule(Staging, false, None), rule(Archived, false, None)]), Ok(Policy::default()));
    let twice = [(Development, Staging), (Development, Staging)];
    assert_eq!(Policy::new(&twice, &[]), Policy::new(&twice[..1], &[]));
    for (transitions, rules, error) in [
        (&[(Staging, Staging)][..], &[][..], "a transition from staging to itself is always legal: leave it out"),
        (&[], &[rule(Staging, false, None), rule(Staging, true, None)], "staging has more than one rule"),
        (&[], &[rule(Production, false, None)], "production holds one version: it has to be exclusive"),
        (&[], &[rule(Development, true, None)], "development can't be exclusive"),
        (&[], &[rule(Archived, true, Some(Refuse))], "archived can't be exclusive"),
        (&[], &[rule(Staging, false, Some(Archive))], "staging is not exclusive: there is no incumbent"),
        (&[], &[rule(Staging, true, Some(ToStaging))], "can't go to staging: that is where it is"),
        (
            &[],
            &[rule(Production, true, Some(ToStaging)), rule(Staging, true, None)],
            "the incumbent of production can't go to staging: that stage holds one version at most",
        ),
    ] {
        let message = Policy::new(transitions, rules).expect_err(error).to_string();
        assert!(message.contains(error), "{message}");
    }
}

#[test]
fn transitions() {
    let default = Policy::default();
    let strict = Policy::new(
        &[(Development, Staging), (Staging, Production)],
        &[rule(Staging, true, Some(ToDevelopment)), rule(Production, true, Some(Refuse))],
    )
    .expect("a policy");
    let state = |state, stage| Candidate { state, ..ready(stage) };
    let deleted = Candidate { deleted: true, ..ready(Archived) };
    let withdrawn = Candidate { withdrawn: true, ..ready(Archived) };
    let enter = |leaves| Ok(Move::Enter { leaves });
    let own_place = Refusal::Destination { to: Staging, why: "that is where it is" };
    let full = Refusal::Destination { to: Staging, why: "that stage holds one version at most" };
    for (policy, version, to, occupied, incumbent, expected) in [
        // The default policy.
        (&default, ready(Development), Production, false, None, enter(Some(Archived))),
        (&default, ready(Development), Production, true, None, enter(Some(Archived))),
        (&default, ready(Staging), Production, true, Some(ToStaging), enter(Some(Staging))),
        (&default, ready(Staging), Production, true, Some(ToDevelopment), enter(Some(Development))),
        (&default, ready(Staging), Production, true, Some(Refuse), Err(Refusal::Occupied)),
        (&default, ready(Staging), Production, false, Some(Refuse), enter(None)),
        (&default, ready(Production), Staging, true, Some(Refuse), enter(None)),
        (&default, ready(Production), Staging, true, Some(ToStaging), enter(None)),
        (&default, ready(Archived), Development, true, None, enter(None)),
        // Content and deletion.
        (&default, state(State::Pending, Development), Staging, false, None, Err(Refusal::NotReady)),
        (&default, state(State::Failed, Archived), Production, false, None, Err(Refusal::NotReady)),
        (&default, state(State::Failed, Development), Archived, true, None, enter(None)),
        (&default, withdrawn, Staging, false, None, Err(Refusal::Withdrawn)),
        (&default, withdrawn, Production, true, None, Err(Refusal::Withdrawn)),
        (&default, withdrawn, Development, false, None, enter(None)),
        (&default, deleted, Development, false, None, Err(Refusal::Deleted)),
        (&default, deleted, Archived, false, None, Err(Refusal::Deleted)),
        // Staying needs no entry, no room and no content.
        (&strict, ready(Production), Production, true, Some(Refuse), Ok(Move::Stay)),
        (&strict, state(State::Pending, Development), Development, true, None, Ok(Move::Stay)),
        // A policy with other ideas.
        (&strict, ready(Development), Staging, true, None, enter(Some(Development))),
        (&strict, ready(Development), Staging, true, Some(Archive), enter(Some(Archived))),
        (&strict, ready(Development), Staging, true, Some(ToStaging), Err(own_place)),
        (&strict, ready(Staging), Production, true, None, Err(Refusal::Occupied)),
        (&strict, ready(Staging), Production, true, Some(Archive), enter(Some(Archived))),
        (&strict, ready(Staging), Production, false, Some(ToStaging), Err(full)),
        (
            &strict,
            ready(Development),
            Production,
            false,
            None,
            Err(Refusal::NotAllowed { from: Development, to: Production }),
        ),
    ] {
        let outcome = transition(policy, &version, to, occupied, incumbent);
        assert_eq!(outcome, expected, "{version:?} to {to}, occupied: {occupied}, {incumbent:?}");
    }
}

#[test]
fn rollbacks() {
    let default = Policy::default();
    for (version, stage, fit) in [
        (ready(Archived), Production, true),
        (ready(Production), Production, false),
        (Candidate { deleted: true, ..ready(Archived) }, Production, false),
        (Candidate { withdrawn: true, ..ready(Archived) }, Production, false),
        (Candidate { withdrawn: true, ..ready(Archived) }, Development, true),
        (Candidate { state: State::Pending, ..ready(Development) }, Staging, false),
        (Candidate { state: State::Failed, ..ready(Archived) }, Development, true),
    ] {
        assert_eq!(restorable(&version, stage), fit, "{version:?} to {stage}");
    }
    let own_place = Refusal::Destination { to: Archived, why: "that is where it is" };
    let unready = Refusal::Destination { to: Staging, why: "that stage takes ready versions only" };
    for (stage, occupied, incumbent, expected) in [
        (Production, true, None, Ok(Some(Archived))),
        (Production, true, Some(ToStaging), Ok(Some(Staging))),
        (Production, true, Some(Refuse), Err(Refusal::Occupied)),
        (Production, false, Some(Refuse), Ok(None)),
        (Staging, true, None, Ok(Some(Archived))),
        (Staging, true, Some(ToDevelopment), Ok(Some(Development))),
        (Development, true, Some(ToStaging), Err(unready)),
        (Archived, true, None, Err(own_place)),
        (Archived, true, Some(ToDevelopment), Ok(Some(Development))),
    ] {
        assert_eq!(restore(&default, stage, occupied, incumbent), expected, "{stage}, {occupied}, {incumbent:?}");
    }
}

fn stage() -> impl Strategy<Value = Stage> {
    select(Stage::ALL.to_vec())
}

fn incumbent() -> impl Strategy<Value = Option<Incumbent>> {
    proptest::option::of(select(vec![Archive, ToStaging, ToDevelopment, Refuse]))
}

fn policy() -> impl Strategy<Value = Policy> {
    let every: Vec<_> = Stage::ALL.into_iter().flat_map(|from| Stage::ALL.map(|to| (from, to))).collect();
    let rules = proptest::collection::vec((stage(), any::<bool>(), incumbent()), 0..3);
    (subsequence(every, 0..16), rules).prop_map(|(mut transitions, rules)| {
        transitions.retain(|(from, to)| from != to);
        let rules: Vec<_> =
            rules.into_iter().map(|(stage, exclusive, incumbent)| rule(stage, exclusive, incumbent)).collect();
        Policy::new(&transitions, &rules).unwrap_or_default()
    })
}

proptest! {
    /// One level of moves is enough, and nothing unfit gets into a stage, whoever moves.
    #[test]
    fn stages_keep_their_promises(
        policy in policy(),
        state in select(vec![State::Pending, State::Ready, State::Failed]),
        at in stage(),
        deleted in any::<bool>(),
        withdrawn in any::<bool>(),
        to in stage(),
        occupied in any::<bool>(),
        override_ in incumbent(),
    ) {
        let version = Candidate { state, stage: at, deleted, withdrawn };
        let room = |leaves: Stage| leaves != to && policy.incumbent(leaves).is_none();
        if let Ok(Move::Enter { leaves }) = transition(&policy, &version, to, occupied, override_) {
            prop_assert!(!deleted && at != to && ((state == State::Ready && !withdrawn) || !to.needs_ready()));
            prop_assert!(leaves.is_none_or(room));
            prop_assert!(leaves.is_some() || policy.incumbent(to).is_none() || !occupied);
        }
        if let Ok(leaves) = restore(&policy, to, occupied, override_) {
            prop_assert!(leaves.is_none_or(room) && (leaves.is_some() || !occupied));
            prop_assert!(leaves.is_none_or(|leaves| to.needs_ready() || !leaves.needs_ready()));
        }
    }
}

#[test]
fn a_version_that_nobody_has_moved_enters_by_itself_and_no_other() {
    use Stage::{Archived, Development, Production, Staging};
    for (stage, untouched, entered_automatically, to, holder, expected) in [
        (Development, true, false, Staging, None, true),
        (Development, true, false, Production, None, true),
        (Development, true, false, Staging, Some(6), true),
        // It would take the place of a newer one.
        (Development, true, false, Staging, Some(8), false),
        (Development, true, false, Production, Some(8), false),
        // Somebody has put it back.
        (Development, false, false, Staging, None, false),
        (Staging, false, true, Production, Some(6), true),
        (Staging, false, false, Production, None, false),
        (Staging, false, true, Production, Some(8), false),
        (Staging, false, true, Staging, Some(7), false),
        (Production, false, true, Staging, None, false),
        (Production, false, true, Production, Some(7), false),
        (Archived, false, true, Production, None, false),
        (Development, true, false, Archived, None, false),
        (Development, true, false, Development, None, false),
    ] {
        let version = Standing { stage, untouched, entered_automatically, number: 7 };
        assert_eq!(enters_by_itself(version, to, holder), expected, "{version:?} to {to}, {holder:?}");
    }
}
