//! Approvals: four eyes before a promotion or the move of an alias, and what makes them void.

mod race;
mod refusals;

use futures::future::join_all;
use registry_client::known::event_type;
use registry_client::pb::{Approval, ApprovalRule, ApprovalState, ErrorReason, Group, Stage};
use registry_client::policies::{approvals, gate, rule};
use registry_client::{Error, RegistryClient};
use registry_tests::expect::refused;
use registry_tests::{TestServer, events};
use tonic::Code;

const MODEL: &str = "models/fraud";
const REFUSED: Code = Code::FailedPrecondition;

/// A server with a model whose production and whose alias `champion` need approvals, and three READY versions.
struct Eyes {
    server: TestServer,
}

impl Eyes {
    async fn with(rule_of: ApprovalRule) -> Self {
        let server = TestServer::start().await;
        let client = server.client();
        client.create_group("risk", ["users/ana", "users/bob", "users/cy"]).await.unwrap();
        let good = gate("good", "version.metrics.test.score > 0.5");
        let production = rule(Stage::Production).exclusive().gate(good).approvals(rule_of.clone());
        client.create_policy("eyes").stage(production).protect("champion", rule_of).await.unwrap();
        client.create_model("fraud").policy("eyes").await.unwrap();
        let eyes = Self { server };
        for score in [0.9, 0.8, 0.1] {
            eyes.by("cy").create_version("fraud").metric("test", "score", score).finalize(true).await.unwrap();
        }
        eyes
    }

    async fn two() -> Self {
        Self::with(approvals(2, "risk")).await
    }

    fn by(&self, user: &str) -> RegistryClient {
        let actor = format!("users/{user}");
        RegistryClient::builder(self.server.endpoint()).actor(actor).connect_lazy().unwrap()
    }

    /// Asked for by Eve, who is not in the group, and approved by these.
    async fn approved(&self, version: i64, by: &[&str]) -> Approval {
        let mut approval = self.by("eve").request_approval(named(version)).await.unwrap();
        for user in by {
            approval = self.by(user).approve(&approval.name).await.unwrap();
        }
        approval
    }

    async fn refuses<'a, T: std::fmt::Debug>(
        &'a self,
        call: impl IntoFuture<Output = Result<T, Error>> + 'a,
        reason: ErrorReason,
    ) {
        refused(&self.server, call, REFUSED, reason).await;
    }

    async fn group(&self, members: &[&str]) {
        let members = members.iter().map(|user| format!("users/{user}")).collect();
        let group = Group { name: "groups/risk".to_owned(), members, ..Default::default() };
        self.server.client().update_group(group).await.unwrap();
    }
}

fn named(version: i64) -> String {
    format!("{MODEL}/versions/{version}")
}

#[tokio::test]
async fn a_promotion_that_enough_approved_happens_in_one_revision() {
    let eyes = Eyes::two().await;
    let eve = eyes.by("eve");
    eyes.refuses(eve.promote(named(1)), ErrorReason::ApprovalRequired).await;
    eyes.refuses(eve.promote(named(1)).override_gates("now"), ErrorReason::ApprovalRequired).await;
    let asked = eve.promote(named(1)).validate_only(true).await.unwrap().gates.unwrap();
    assert!(!asked.promotable && asked.approvals.unwrap().count == 2, "it is told before");

    let approval = eve.request_approval(named(1)).comment("better").await.unwrap();
    assert_eq!((approval.creator.as_str(), approval.state()), ("users/eve", ApprovalState::Pending));
    let name = &approval.name;
    eyes.refuses(eve.commit_approval(name), ErrorReason::ApprovalsMissing).await;
    eyes.by("ana").approve(name).comment("fine").await.unwrap();
    eyes.refuses(eve.commit_approval(name), ErrorReason::ApprovalsMissing).await;
    let approval = eyes.by("bob").approve(name).await.unwrap();
    let votes: Vec<_> = approval.votes.iter().map(|vote| (&*vote.principal, &*vote.comment)).collect();
    assert_eq!(votes, [("users/ana", "fine"), ("users/bob", "")]);

    let done = eve.commit_approval(name).await.unwrap();
    assert_eq!(done.version.unwrap().stage(), Stage::Production);
    assert_eq!(done.gates.unwrap().approval, *name);
    assert_eq!(done.approval.unwrap().state(), ApprovalState::Committed);
    let types: Vec<_> = events(&eve).await.into_iter().filter(|event| event.revision == done.revision).collect();
    let types: Vec<_> = types.iter().map(|event| (event.r#type.as_str(), event.comment.as_str())).collect();
    let expected = [(event_type::VERSION_STAGE_TRANSITIONED, "better"), (event_type::APPROVAL_COMMITTED, "")];
    assert_eq!(types, expected);
    eyes.refuses(eve.commit_approval(name), ErrorReason::ApprovalClosed).await;
    // What brings back what was let in before needs nobody.
    let second = eyes.approved(2, &["ana", "bob"]).await;
    let displaced = eve.commit_approval(second.name).await.unwrap().displaced;
    assert_eq!(displaced[0].number, 1);
    eve.rollback("fraud").await.unwrap();
}

#[tokio::test]
async fn a_protected_alias_moves_with_approvals() {
    let eyes = Eyes::two().await;
    let eve = eyes.by("eve");
    eyes.refuses(eve.set_alias("fraud", "champion", "1"), ErrorReason::ApprovalRequired).await;
    eve.set_alias("fraud", "other", "1").await.unwrap();
    let approval = eve.request_approval(named(1)).alias("champion").await.unwrap();
    for user in ["ana", "bob"] {
        eyes.by(user).approve(&approval.name).await.unwrap();
    }
    let model = eve.commit_approval(&approval.name).await.unwrap().model.unwrap();
    assert!(model.aliases["champion"].ends_with("/versions/1"), "{:?}", model.aliases);
    eyes.refuses(eve.delete_alias("fraud", "champion"), ErrorReason::ApprovalRequired).await;
    eyes.refuses(eve.request_approval(named(1)).alias("champion"), ErrorReason::ApprovalNotNeeded).await;
    eyes.refuses(eve.request_approval(named(1)).alias("other"), ErrorReason::ApprovalNotNeeded).await;
}

#[tokio::test]
async fn gates_are_asked_when_it_is_committed() {
    let eyes = Eyes::two().await;
    let approval = eyes.approved(3, &["ana", "bob"]).await;
    let eve = eyes.by("eve");
    let checked = eve.commit_approval(&approval.name).validate_only(true).await.unwrap();
    assert!(!checked.gates.unwrap().promotable);
    eyes.refuses(eve.commit_approval(&approval.name), ErrorReason::GateFailed).await;
}

#[tokio::test]
async fn of_many_commits_at_once_one_promotes() {
    let eyes = Eyes::two().await;
    let approval = eyes.approved(1, &["ana", "bob"]).await;
    let clients: Vec<_> = (0..16).map(|at| eyes.by(&format!("u{at}"))).collect();
    let answers = join_all(clients.iter().map(|client| client.commit_approval(&approval.name).into_future())).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    for error in refused {
        assert_eq!(error.unwrap_err().reason(), Some(ErrorReason::ApprovalClosed));
    }
    // Two that were approved of different versions: the first makes the second void, since the incumbent changed.
    let (one, two) = (eyes.approved(2, &["ana", "bob"]).await, eyes.approved(2, &["bob", "cy"]).await);
    let (eve, bob) = (eyes.by("eve"), eyes.by("bob"));
    let (first, second) =
        tokio::join!(eve.commit_approval(one.name).into_future(), bob.commit_approval(two.name).into_future());
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let error = first.err().or(second.err()).unwrap();
    assert_eq!(error.reason(), Some(ErrorReason::ApprovalVoid));
    let promoted = events(&eve).await;
    let promoted = promoted.iter().filter(|event| event.gates.as_ref().is_some_and(|gates| !gates.approval.is_empty()));
    assert_eq!(promoted.count(), 2);
}

#[tokio::test]
async fn people_who_approve_at_once_count_once_each() {
    let eyes = Eyes::two().await;
    let approval = eyes.approved(1, &[]).await;
    let clients: Vec<_> = ["ana", "bob", "cy"].iter().flat_map(|user| [eyes.by(user), eyes.by(user)]).collect();
    let answers = join_all(clients.iter().map(|client| client.approve(&approval.name).into_future())).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    let mut voted = eyes.by("eve").get_approval(approval.name).await.unwrap().votes;
    voted.sort_by(|a, b| a.principal.cmp(&b.principal));
    let voted: Vec<_> = voted.iter().map(|vote| &*vote.principal).collect();
    assert_eq!(voted, ["users/ana", "users/bob", "users/cy"]);
}

#[tokio::test]
async fn lists_say_what_waits_for_whom() {
    let eyes = Eyes::two().await;
    let (one, two) = (eyes.approved(1, &["ana"]).await, eyes.approved(2, &[]).await);
    let own = eyes.by("ana").request_approval(named(1)).await.unwrap();
    let three = eyes.approved(3, &[]).await;
    eyes.by("bob").reject(&three.name).await.unwrap();
    let eve = eyes.by("eve");
    let names = |listed: registry_client::pb::ListApprovalsResponse| -> Vec<_> {
        listed.approvals.into_iter().map(|approval| approval.name).collect()
    };
    let all = names(eve.list_approvals("fraud").await.unwrap());
    assert_eq!(all, [&*one.name, &two.name, &own.name, &three.name]);
    let for_ana = names(eve.list_approvals("models/-").approver("users/ana").await.unwrap());
    assert_eq!(for_ana, [&*two.name], "not what she approved, nor what she asked for");
    let for_bob = names(eve.list_approvals("fraud").approver("users/bob").await.unwrap());
    assert_eq!(for_bob, [&*one.name, &two.name, &own.name]);
    assert!(names(eve.list_approvals("fraud").approver("users/eve").await.unwrap()).is_empty());
    let rejected = names(eve.list_approvals("fraud").state(ApprovalState::Rejected).await.unwrap());
    assert_eq!(rejected, [three.name]);
}
