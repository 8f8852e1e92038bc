use proptest::prelude::*;

use super::*;

const ANA: &str = "users/ana";
const BOB: &str = "users/bob";
const CY: &str = "users/cy";
const EVE: &str = "users/eve";

fn members() -> Vec<String> {
    [ANA, BOB, CY].map(str::to_owned).into()
}

/// Ana asks; Cy registered the version; two of Ana, Bob and Cy have to approve.
fn request(members: &[String]) -> Request<'_> {
    Request {
        state: State::Pending,
        requester: ANA,
        version_creator: CY,
        approvers: Vec::new(),
        count: 2,
        exclude_version_creator: false,
        members,
        expired: false,
        changed: None,
    }
}

#[test]
fn every_action_in_every_state() {
    let members = members();
    for state in [State::Pending, State::Committed, State::Rejected, State::Withdrawn] {
        for (action, by, to) in [
            (Action::Approve, BOB, State::Pending),
            (Action::Reject, BOB, State::Rejected),
            (Action::Withdraw, ANA, State::Withdrawn),
            (Action::Commit, EVE, State::Committed),
        ] {
            let approvers = if action == Action::Commit { vec![BOB, CY] } else { Vec::new() };
            let request = Request { state, approvers, ..request(&members) };
            let expected = if state == State::Pending { Ok(to) } else { Err(Refusal::Closed(state)) };
            assert_eq!(request.step(action, by), expected, "{state:?} {action:?}");
        }
    }
}

#[test]
fn who_may() {
    let members = members();
    let plain = request(&members);
    let excludes = Request { exclude_version_creator: true, ..request(&members) };
    let voted = Request { approvers: vec![BOB], ..request(&members) };
    for (case, request, action, by, expected) in [
        ("own", &plain, Action::Approve, ANA, Err(Refusal::OwnRequest)),
        ("own", &plain, Action::Reject, ANA, Err(Refusal::OwnRequest)),
        ("stranger", &plain, Action::Approve, EVE, Err(Refusal::NotMember)),
        ("stranger", &plain, Action::Reject, EVE, Err(Refusal::NotMember)),
        ("stranger", &plain, Action::Withdraw, EVE, Err(Refusal::NotRequester)),
        ("member", &plain, Action::Withdraw, BOB, Err(Refusal::NotRequester)),
        ("maker", &plain, Action::Approve, CY, Ok(State::Pending)),
        ("maker", &excludes, Action::Approve, CY, Err(Refusal::OwnVersion)),
        ("maker", &excludes, Action::Reject, CY, Ok(State::Rejected)),
        ("twice", &voted, Action::Approve, BOB, Err(Refusal::Already)),
        ("changed their mind", &voted, Action::Reject, BOB, Ok(State::Rejected)),
        ("too few", &voted, Action::Commit, BOB, Err(Refusal::Missing { have: 1, need: 2 })),
    ] {
        assert_eq!(request.step(action, by), expected, "{case} {action:?} {by}");
    }
}

#[test]
fn what_is_over_is_only_cleared_away() {
    let members = members();
    let approvers = vec![BOB, CY];
    let expired = Request { expired: true, approvers: approvers.clone(), ..request(&members) };
    let void = |changed| Request { changed: Some(changed), approvers: approvers.clone(), ..request(&members) };
    let mut cases = vec![(expired, Refusal::Expired)];
    for changed in [Changed::Version, Changed::Policy, Changed::Incumbent] {
        cases.push((void(changed), Refusal::Void(changed)));
    }
    for (request, refusal) in cases {
        assert_eq!(request.step(Action::Approve, BOB), Err(refusal.clone()));
        assert_eq!(request.step(Action::Commit, BOB), Err(refusal));
        assert_eq!(request.step(Action::Reject, BOB), Ok(State::Rejected));
        assert_eq!(request.step(Action::Withdraw, ANA), Ok(State::Withdrawn));
    }
}

#[test]
fn those_count_who_are_members_when_it_is_committed() {
    let (all, left) = (members(), vec![ANA.to_owned(), BOB.to_owned()]);
    let approved = |members| Request { approvers: vec![BOB, CY], ..request(members) };
    assert_eq!(approved(&all).step(Action::Commit, ANA), Ok(State::Committed));
    assert_eq!(approved(&left).step(Action::Commit, ANA), Err(Refusal::Missing { have: 1, need: 2 }));
    let excludes = Request { exclude_version_creator: true, ..approved(&all) };
    assert_eq!(excludes.step(Action::Commit, ANA), Err(Refusal::Missing { have: 1, need: 2 }));
}

proptest! {
    /// Whatever people do, in whatever order, while the group and everything else changes: a commit has enough eyes, none of them twice,
    /// nobody's own, all of them members; and what is closed stays so.
    #[test]
    fn a_commit_had_enough_eyes(
        steps in prop::collection::vec((0..4_usize, 0..4_usize, 0..16_u8, prop::bool::weighted(0.1), prop::bool::weighted(0.1)), 1..40),
        count in 1..4_usize,
        exclude in any::<bool>(),
    ) {
        let people = [ANA, BOB, CY, EVE];
        let (mut state, mut approvers) = (State::Pending, Vec::new());
        for (action, by, group, expired, void) in steps {
            let action = [Action::Approve, Action::Reject, Action::Withdraw, Action::Commit][action];
            let by = people[by];
            let inside = |person: &str| people.iter().position(|one| *one == person).is_some_and(|at| group & (1 << at) != 0);
            let members: Vec<_> = people.iter().filter(|one| inside(one)).map(|one| (*one).to_owned()).collect();
            let now = Request {
                state, approvers: approvers.clone(), count, exclude_version_creator: exclude, members: &members, expired,
                changed: void.then_some(Changed::Version), ..request(&members)
            };
            let Ok(next) = now.step(action, by) else { continue };
            prop_assert_eq!(state, State::Pending);
            match action {
                Action::Approve => {
                    prop_assert!(inside(by) && by != ANA && !approvers.contains(&by) && !(exclude && by == CY));
                    approvers.push(by);
                }
                Action::Reject => prop_assert!(inside(by) && by != ANA),
                Action::Withdraw => prop_assert_eq!(by, ANA),
                Action::Commit => {
                    let counted = approvers.iter().filter(|one| inside(one) && **one != ANA && !(exclude && **one == CY));
                    prop_assert!(!expired && !void && counted.count() >= count);
                }
            }
            state = next;
        }
    }
}
