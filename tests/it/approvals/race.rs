//! Several people ask, approve, reject and commit while the versions, the policy and the group change: the log is replayed, and says of each
//! promotion whether it had been approved by enough, and nothing of it had changed since.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::known::event_type;
use registry_client::pb::resource::Resource;
use registry_client::pb::{self, Approval, ApprovalState, ErrorReason, Event, Group, Stage, StageChangeCause};
use registry_client::{Error, RegistryClient};
use registry_tests::events;

use super::{Eyes, MODEL, named};

const PEOPLE: [&str; 4] = ["ana", "bob", "cy", "eve"];
const STEPS: usize = 120;

/// What a race may be refused for.
const EXPECTED: [ErrorReason; 6] = [
    ErrorReason::ApprovalClosed,
    ErrorReason::ApprovalVoid,
    ErrorReason::ApprovalsMissing,
    ErrorReason::ApproverNotEligible,
    ErrorReason::ApprovalNotNeeded,
    ErrorReason::GateFailed,
];

fn tolerated<T>(answer: Result<T, Error>) -> Result<(), Error> {
    match answer {
        Err(error) if !error.reason().is_some_and(|reason| EXPECTED.contains(&reason)) => Err(error),
        _ => Ok(()),
    }
}

async fn person(client: RegistryClient, seed: u64) -> Result<(), Error> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ask = false;
    for _ in 0..STEPS {
        let pending = client.list_approvals(MODEL).state(ApprovalState::Pending).await?.approvals;
        let Some(newest) = pending.last().filter(|_| !ask && !random.random_ratio(1, 12)) else {
            ask = false;
            // The gate keeps the third one out.
            let version = [1, 2, 1, 2, 3][random.random_range(0..5)];
            tolerated(client.request_approval(named(version)).await)?;
            continue;
        };
        let name = &newest.name;
        let answer = match random.random_range(0..16) {
            0 => client.reject(name).await.map(drop),
            1 => client.withdraw_approval(name).await.map(drop),
            2..=9 => client.approve(name).await.map(drop),
            _ => client.commit_approval(name).await.map(drop),
        };
        ask = answer.as_ref().is_err_and(|error| error.reason() == Some(ErrorReason::ApprovalVoid));
        tolerated(answer)?;
    }
    Ok(())
}

async fn changes(client: RegistryClient, seed: u64) -> Result<(), Error> {
    let mut random = StdRng::seed_from_u64(seed);
    for step in 0..STEPS / 3 {
        let description = step.to_string();
        match random.random_range(0..6) {
            0 => {
                let policy = pb::Policy { name: "policies/eyes".to_owned(), description, ..Default::default() };
                client.update_policy(policy).await?;
            }
            1 => {
                let name = named(random.random_range(1..=3));
                client.update_version(pb::Version { name, description, ..Default::default() }).await?;
            }
            2 => {
                // Makes room for another promotion of the same.
                let version = named(random.random_range(1..=3));
                client.transition_stage(version, Stage::Archived).await?;
            }
            _ => {
                let without = random.random_range(0..PEOPLE.len());
                let members = PEOPLE.iter().enumerate().filter(|(at, _)| *at != without);
                let members = members.map(|(_, user)| format!("users/{user}")).collect();
                client.update_group(Group { name: "groups/risk".to_owned(), members, ..Default::default() }).await?;
            }
        }
    }
    Ok(())
}

/// What is committed, as far as it decides about a promotion.
#[derive(Default)]
struct Replay {
    members: Vec<String>,
    policy_revision: i64,
    etags: BTreeMap<String, String>,
    holder: Option<String>,
    approvals: BTreeMap<String, Approval>,
    promoted: usize,
}

impl Replay {
    fn take(&mut self, event: &Event) {
        let change = event.stage_change.filter(|change| change.cause() == StageChangeCause::Transition);
        if change.is_some_and(|change| change.to_stage() == Stage::Production) {
            self.check(event);
        }
        match event.after.as_ref().and_then(|after| after.resource.as_ref()) {
            Some(Resource::Group(group)) => self.members.clone_from(&group.members),
            Some(Resource::Policy(policy)) => self.policy_revision = policy.revision,
            Some(Resource::Approval(approval)) => {
                self.approvals.insert(approval.name.clone(), approval.clone());
            }
            Some(Resource::Version(version)) => {
                self.etags.insert(version.name.clone(), version.etag.clone());
                if version.stage() == Stage::Production {
                    self.holder = Some(version.name.clone());
                } else if self.holder.as_ref() == Some(&version.name) {
                    self.holder = None;
                }
            }
            _ => {}
        }
    }

    fn check(&mut self, event: &Event) {
        let approval = &self.approvals[&event.gates.as_ref().unwrap().approval];
        assert_eq!(approval.state(), ApprovalState::Pending, "{event:?}");
        assert_eq!(approval.version, event.resource_name);
        assert_eq!(approval.version_etag, self.etags[&approval.version], "{event:?}");
        assert_eq!(approval.policy_revision, self.policy_revision, "{event:?}");
        let holder = self.holder.clone().unwrap_or_default();
        assert_eq!(approval.incumbent, holder, "{event:?}");
        assert_eq!(approval.incumbent_etag, self.etags.get(&holder).cloned().unwrap_or_default(), "{event:?}");
        let voters: BTreeSet<_> = approval.votes.iter().map(|vote| &vote.principal).collect();
        let counted = voters.iter().filter(|voter| self.members.contains(voter) && ***voter != approval.creator);
        assert!(counted.count() >= 2, "{:?} {event:?}", self.members);
        self.promoted += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_promotion_is_made_that_was_not_approved_as_it_is() {
    let mut promoted = 0;
    for seed in 1..=2_u64 {
        let eyes = Eyes::two().await;
        let mut tasks: Vec<_> =
            (0..).zip(PEOPLE).map(|(at, user)| tokio::spawn(person(eyes.by(user), seed * 100 + at))).collect();
        tasks.push(tokio::spawn(changes(eyes.by("zoe"), seed * 100 + 50)));
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let all = events(&eyes.by("eve")).await;
        let mut replay = Replay::default();
        all.iter().for_each(|event| replay.take(event));
        let committed = all.iter().filter(|event| event.r#type == event_type::APPROVAL_COMMITTED).count();
        assert_eq!(replay.promoted, committed, "seed {seed}");
        promoted += committed;
    }
    assert!(promoted > 0, "nothing was tested");
}
