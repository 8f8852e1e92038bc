//! Who is refused, and when it is too late.

use std::time::Duration;

use registry_client::pb::{self, ApprovalRule, ErrorReason, Stage};
use registry_client::policies::approvals;
use registry_tests::expect::invalid;
use registry_tests::until;

use super::{Eyes, named};

#[tokio::test]
async fn nobody_approves_their_own_nor_from_outside_nor_twice() {
    let excludes = ApprovalRule { exclude_version_creator: true, ..approvals(2, "risk") };
    let eyes = Eyes::with(excludes).await;
    let approval = eyes.by("ana").request_approval(named(1)).await.unwrap();
    let (name, not_eligible) = (&approval.name, ErrorReason::ApproverNotEligible);
    // She asked; Cy registered the version; Eve is not in the group.
    for user in ["ana", "cy", "eve"] {
        eyes.refuses(eyes.by(user).approve(name), not_eligible).await;
    }
    eyes.by("bob").approve(name).await.unwrap();
    eyes.refuses(eyes.by("bob").approve(name), not_eligible).await;
    for user in ["ana", "eve"] {
        eyes.refuses(eyes.by(user).reject(name), not_eligible).await;
    }
    for user in ["bob", "eve"] {
        eyes.refuses(eyes.by(user).withdraw_approval(name), not_eligible).await;
    }
    eyes.by("ana").withdraw_approval(name).await.unwrap();
    eyes.refuses(eyes.by("cy").reject(name), ErrorReason::ApprovalClosed).await;
}

#[tokio::test]
async fn those_count_who_are_in_the_group_when_it_is_committed() {
    let eyes = Eyes::two().await;
    let approval = eyes.approved(1, &["ana", "bob"]).await;
    eyes.group(&["ana", "cy"]).await;
    eyes.refuses(eyes.by("eve").commit_approval(&approval.name), ErrorReason::ApprovalsMissing).await;
    eyes.by("cy").approve(&approval.name).await.unwrap();
    eyes.by("eve").commit_approval(&approval.name).await.unwrap();
}

#[tokio::test]
async fn a_change_of_what_was_approved_makes_it_void() {
    let eyes = Eyes::two().await;
    let eve = eyes.by("eve");
    let of_version = eyes.approved(1, &["ana", "bob"]).await;
    let update = pb::Version { name: named(1), description: "new".to_owned(), ..Default::default() };
    eve.update_version(update).await.unwrap();
    let of_policy = eyes.approved(1, &["ana", "bob"]).await;
    let policy = eve.get_policy("eyes").await.unwrap();
    eve.update_policy(pb::Policy { description: "new".to_owned(), ..policy }).await.unwrap();
    let of_incumbent = eyes.approved(1, &["ana", "bob"]).await;
    let other = eyes.approved(2, &["ana", "bob"]).await;
    eve.commit_approval(other.name).await.unwrap();
    for (approval, what) in [(of_version, "version"), (of_policy, "policy"), (of_incumbent, "incumbent")] {
        let error = eve.commit_approval(&approval.name).await.unwrap_err();
        assert!(error.to_string().contains(&format!("the {what} has changed")), "{error}");
        eyes.refuses(eve.commit_approval(&approval.name), ErrorReason::ApprovalVoid).await;
        eyes.refuses(eyes.by("cy").approve(&approval.name), ErrorReason::ApprovalVoid).await;
        // It is cleared away all the same.
        eyes.by("eve").withdraw_approval(&approval.name).await.unwrap();
    }
}

#[tokio::test]
async fn of_a_version_that_is_purged_nothing_is_approved() {
    let eyes = Eyes::two().await;
    let eve = eyes.by("eve");
    let approval = eyes.approved(1, &["ana"]).await;
    eve.delete_version(named(1)).await.unwrap();
    eve.purge_version(named(1)).await.unwrap();
    eyes.refuses(eyes.by("bob").approve(&approval.name), ErrorReason::ApprovalVoid).await;
    assert!(eve.list_approvals("fraud").approver("users/bob").await.unwrap().approvals.is_empty());
    eve.withdraw_approval(&approval.name).await.unwrap();
}

#[tokio::test]
async fn what_is_expired_is_not_committed() {
    let ttl = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let eyes = Eyes::with(ApprovalRule { ttl, ..approvals(1, "risk") }).await;
    let approval = eyes.by("eve").request_approval(named(1)).await.unwrap();
    let (bob, name) = (eyes.by("bob"), &approval.name);
    let expired = until(Duration::from_secs(30), async || {
        let error = bob.approve(name).validate_only(true).await.err()?;
        Some(error.reason())
    });
    assert_eq!(expired.await, Some(ErrorReason::ApprovalExpired));
    eyes.refuses(bob.approve(name), ErrorReason::ApprovalExpired).await;
    eyes.refuses(bob.commit_approval(name), ErrorReason::ApprovalExpired).await;
    assert!(bob.list_approvals("fraud").approver("users/bob").await.unwrap().approvals.is_empty());
}

#[tokio::test]
async fn bad_input_is_named() {
    let eyes = Eyes::two().await;
    let (server, eve) = (&eyes.server, eyes.by("eve"));
    let request = || eve.request_approval(named(1));
    invalid(server, request().id("7"), &[("approval_id", ErrorReason::FieldInvalid)]).await;
    invalid(server, request().alias("latest"), &[("alias", ErrorReason::NameInvalid)]).await;
    invalid(server, request().stage(Stage::Unspecified), &[("stage", ErrorReason::FieldRequired)]).await;
    let both = request().alias("champion").stage(Stage::Production);
    invalid(server, both, &[("alias", ErrorReason::FieldInvalid)]).await;
    let none = ApprovalRule { count: 0, group: String::new(), ..Default::default() };
    let fields = [
        ("policy.aliases[0].approvals.count", ErrorReason::FieldInvalid),
        ("policy.aliases[0].approvals.group", ErrorReason::FieldRequired),
    ];
    invalid(server, eve.create_policy("bad").protect("a", none), &fields).await;
    eyes.refuses(eve.request_approval(named(1)).stage(Stage::Staging), ErrorReason::ApprovalNotNeeded).await;
}
