//! Approvals: the requests for them, what becomes of these, and the promotion or the move of an alias that one leads to.

mod commit;
mod listed;

use std::time::Duration;

use async_trait::async_trait;
use prost_types::Timestamp;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

pub(crate) use self::commit::CommitApproval;
pub(crate) use self::listed::Listing;
use super::kinds::{kind, slot};
use super::models::ModelRow;
use super::policies::{InForce, in_force, moment};
use super::resource::{Resource, age_key, check_etag, exists};
use super::stages::{may_move, stage, stage_number};
use super::transaction::{Lookup, Tx, decode, event, resource_of};
use super::withdrawal::must_not_be_withdrawn;
use super::{Committed, Mutation, facts};
use crate::error::{Error, Violations};
use crate::rules::approvals::{Action, Changed, DEFAULT_TTL, Refusal, Request, State};
use crate::rules::names::{APPROVALS, Collection, GROUPS, MODELS, Name, VERSIONS};
use crate::rules::stages::{Incumbent, Move, Stage};
use crate::store::{FactView, Index, Kind, KindLayout, Place, Range, Slot, Source};

const PENDING_SLOT: Slot = slot(1, "pending, by age");
const BY_AGE_SLOT: Slot = slot(2, "all, by age");
/// Those that are pending, by age.
const PENDING: Index = Index { kind: <pb::Approval as Resource>::KIND, slot: PENDING_SLOT.number };
/// All, by age.
const BY_AGE: Index = Index { kind: <pb::Approval as Resource>::KIND, slot: BY_AGE_SLOT.number };
/// How many are removed at once with their model.
const AT_ONCE: usize = 100;

#[async_trait]
impl Resource for pb::Approval {
    const LAYOUT: KindLayout = KindLayout {
        slots: &[PENDING_SLOT, BY_AGE_SLOT],
        view: Some(FactView {
            about: "The requests for approvals",
            facts: facts::MADE,
            facts_of: facts::standard::<Self>,
        }),
        ..kind(Kind(9), "approvals")
    };
    const LISTED: Source = Source::Kind(Self::KIND);
    const OF: &'static Collection = &APPROVALS;

    fn places(&self, name: &Name) -> Vec<Place> {
        let age = age_key(name, self.create_time.as_ref());
        let mut places = vec![Place { slot: BY_AGE_SLOT.number, value: age.clone() }];
        if self.state() == pb::ApprovalState::Pending {
            places.push(Place { slot: PENDING_SLOT.number, value: age });
        }
        places
    }

    // Callers write nothing of it.
    fn check(_: &Self, _: &mut Violations) {}

    async fn live_above(tx: &Tx<'_>, name: &Name) -> Result<(), Error> {
        tx.live::<ModelRow>(&name.parent()).await.map(drop)
    }
}

/// The error of what happens with approvals only.
pub(super) fn required(name: &str, what: &str, rule: &pb::ApprovalRule) -> Error {
    let pb::ApprovalRule { count, group, .. } = rule;
    let detail = format!("{what} needs approvals, {count} of {group}: request them, and commit what was approved");
    Error::precondition(ErrorReason::ApprovalRequired, name, detail)
}

/// What approvals are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// That a version enters a stage, and what becomes of its incumbent.
    Stage(Stage, Option<Incumbent>),
    /// That an alias points at it.
    Alias(String),
}

impl Target {
    fn of(approval: &pb::Approval) -> Self {
        match stage(approval.stage) {
            // What is kept was checked.
            Some(to) => {
                Self::Stage(to, super::policies::incumbent("", approval.incumbent_action, &mut Violations::default()))
            }
            None => Self::Alias(approval.alias.clone()),
        }
    }

    fn rule<'a>(&self, in_force: &'a InForce) -> Option<&'a pb::ApprovalRule> {
        match self {
            Self::Stage(to, _) => in_force.approvals(*to),
            Self::Alias(alias) => in_force.protects(alias),
        }
    }

    /// The version that has the stage or the alias now, and its etag; empty if none has.
    async fn incumbent(&self, tx: &Tx<'_>, row: &ModelRow) -> Result<(String, String), Error> {
        let held = match self {
            Self::Stage(to, _) => row.stage(*to).filter(|_| to.is_stacked()).map(|held| &held.version),
            Self::Alias(alias) => row.model.aliases.get(alias),
        };
        let Some(held) = held else { return Ok(Default::default()) };
        let version: pb::Version = tx.any(&Name::canonical(&VERSIONS, held)).await?;
        Ok((version.name, version.etag))
    }
}

/// Approvals to be asked for; its fields were checked.
pub(crate) struct RequestApproval {
    /// Empty: it gets the revision.
    pub(crate) id: String,
    pub(crate) version: Name,
    pub(crate) target: Target,
    /// As the contract has it.
    pub(crate) incumbent_action: i32,
    pub(crate) comment: String,
    /// Of the version.
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for RequestApproval {
    type Answer = pb::Approval;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let version: pb::Version = tx.live(&self.version).await?;
        check_etag(&version, &self.etag)?;
        let row: ModelRow = tx.live(&self.version.parent()).await?;
        let in_force = in_force(tx, &row.model).await?;
        let not_needed = |detail: &str| Error::precondition(ErrorReason::ApprovalNotNeeded, &version.name, detail);
        let (to, alias) = match &self.target {
            Target::Stage(to, incumbent) => {
                if may_move(&in_force, &row, &version, *to, *incumbent)? == Move::Stay {
                    return Err(not_needed(&format!("is in {to} already")));
                }
                (stage_number(*to), String::new())
            }
            Target::Alias(alias) => {
                must_not_be_withdrawn(&version)?;
                if row.model.aliases.get(alias) == Some(&version.name) {
                    return Err(not_needed(&format!("has the alias {alias} already")));
                }
                (0, alias.clone())
            }
        };
        let rule = self.target.rule(&in_force).cloned();
        let rule = rule.ok_or_else(|| not_needed("no approvals are needed by the policy of its model"))?;
        let (incumbent, incumbent_etag) = self.target.incumbent(tx, &row).await?;
        let model = Name::canonical(&MODELS, &row.model.name);
        let name = match self.id.as_str() {
            "" => model.child(&APPROVALS, tx.revision()),
            id => model.child(&APPROVALS, id),
        };
        if let Some(record) = tx.store.get(pb::Approval::KIND, &name.key()).await? {
            return Err(exists(name.as_str(), &decode::<pb::Approval>(&record)?));
        }
        let approval = pb::Approval {
            name: name.to_string(),
            version: version.name.clone(),
            version_etag: version.etag.clone(),
            stage: to,
            alias,
            incumbent_action: self.incumbent_action,
            policy: in_force.name.clone(),
            policy_revision: in_force.revision,
            incumbent,
            incumbent_etag,
            expire_time: Some(expiry(tx.now, &rule)),
            rule: Some(rule),
            state: pb::ApprovalState::Pending.into(),
            comment: self.comment.clone(),
            ..Default::default()
        };
        tx.write(event(event_type::APPROVAL_REQUESTED), None, approval).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.resource::<pb::Approval>(event_type::APPROVAL_REQUESTED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Version::reads(&self.version)
    }
}

/// Until when a request stands.
fn expiry(now: Timestamp, rule: &pb::ApprovalRule) -> Timestamp {
    let ttl = rule.ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or(DEFAULT_TTL);
    let nanos = i64::from(now.nanos) + i64::from(ttl.subsec_nanos());
    let seconds = now.seconds.saturating_add(ttl.as_secs().cast_signed()).saturating_add(nanos / 1_000_000_000);
    Timestamp { seconds, nanos: i32::try_from(nanos % 1_000_000_000).unwrap_or(0) }
}

/// A request that somebody approves, rejects or withdraws.
pub(crate) struct Decide {
    pub(crate) name: Name,
    pub(crate) action: Action,
    pub(crate) comment: String,
}

#[async_trait]
impl Mutation for Decide {
    type Answer = pb::Approval;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: pb::Approval = tx.live(&self.name).await?;
        let state = Standing::of(tx, &before).await?.step(&before, self.action, tx.actor)?;
        let mut after = before.clone();
        after.state = state_number(state).into();
        let told = match self.action {
            Action::Approve => {
                let (principal, comment) = (tx.actor.to_owned(), self.comment.clone());
                after.votes.push(pb::ApprovalVote { principal, create_time: Some(tx.now), comment });
                event_type::APPROVAL_APPROVED
            }
            Action::Reject => event_type::APPROVAL_REJECTED,
            Action::Withdraw => event_type::APPROVAL_WITHDRAWN,
            Action::Commit => event_type::APPROVAL_COMMITTED,
        };
        tx.write(event(told), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        let event = committed.events.into_iter().next();
        resource_of::<pb::Approval>(event.ok_or_else(|| Error::internal("an approval has not changed"))?)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Approval::reads(&self.name)
    }
}

/// What decides about a request, as it is now.
struct Standing {
    row: ModelRow,
    version: pb::Version,
    members: Vec<String>,
    expired: bool,
    changed: Option<Changed>,
}

impl Standing {
    async fn of(tx: &Tx<'_>, approval: &pb::Approval) -> Result<Self, Error> {
        let name = Name::canonical(&VERSIONS, &approval.version);
        let version: pb::Version = tx.any(&name).await?;
        let row: ModelRow = tx.any(&name.parent()).await?;
        let in_force = in_force(tx, &row.model).await?;
        let incumbent = Target::of(approval).incumbent(tx, &row).await?;
        let changes = [
            (version.etag != approval.version_etag, Changed::Version),
            (
                (in_force.name.as_str(), in_force.revision) != (approval.policy.as_str(), approval.policy_revision),
                Changed::Policy,
            ),
            ((&incumbent.0, &incumbent.1) != (&approval.incumbent, &approval.incumbent_etag), Changed::Incumbent),
        ];
        let changed = changes.into_iter().find_map(|(is_so, changed)| is_so.then_some(changed));
        let members = members(&*tx.store, approval).await?;
        Ok(Self { row, version, members, expired: is_expired(approval, &tx.now), changed })
    }

    /// The state of the request after an action of somebody.
    fn step(&self, approval: &pb::Approval, action: Action, by: &str) -> Result<State, Error> {
        let request = request(approval, &self.version.creator, &self.members, self.expired, self.changed);
        request.step(action, by).map_err(|refusal| refused(approval, &refusal))
    }
}

/// A request as the rules have it.
fn request<'a>(
    approval: &'a pb::Approval,
    version_creator: &'a str,
    members: &'a [String],
    expired: bool,
    changed: Option<Changed>,
) -> Request<'a> {
    let rule = approval.rule.as_ref();
    Request {
        state: match approval.state() {
            pb::ApprovalState::Pending => State::Pending,
            pb::ApprovalState::Committed => State::Committed,
            pb::ApprovalState::Rejected => State::Rejected,
            pb::ApprovalState::Withdrawn | pb::ApprovalState::Unspecified => State::Withdrawn,
        },
        requester: &approval.creator,
        version_creator,
        approvers: approval.votes.iter().map(|vote| vote.principal.as_str()).collect(),
        // One that can't be read is never reached.
        count: rule.and_then(|rule| usize::try_from(rule.count).ok()).unwrap_or(usize::MAX),
        exclude_version_creator: rule.is_some_and(|rule| rule.exclude_version_creator),
        members,
        expired,
        changed,
    }
}

fn state_number(state: State) -> pb::ApprovalState {
    match state {
        State::Pending => pb::ApprovalState::Pending,
        State::Committed => pb::ApprovalState::Committed,
        State::Rejected => pb::ApprovalState::Rejected,
        State::Withdrawn => pb::ApprovalState::Withdrawn,
    }
}

fn is_expired(approval: &pb::Approval, now: &Timestamp) -> bool {
    approval.expire_time.as_ref().and_then(moment).is_none_or(|end| moment(now).is_none_or(|now| now >= end))
}

/// The members of a request's group; nobody if there is no such group.
async fn members<R: Lookup + ?Sized>(records: &R, approval: &pb::Approval) -> Result<Vec<String>, Error> {
    let Some(rule) = &approval.rule else { return Ok(Vec::new()) };
    let name = Name::canonical(&GROUPS, &rule.group);
    let group = records.look_up(pb::Group::KIND, &name.key()).await?;
    Ok(group.map(|record| decode::<pb::Group>(&record)).transpose()?.unwrap_or_default().members)
}

fn refused(approval: &pb::Approval, refusal: &Refusal) -> Error {
    let reason = match refusal {
        Refusal::Closed(_) => ErrorReason::ApprovalClosed,
        Refusal::Expired => ErrorReason::ApprovalExpired,
        Refusal::Void(_) => ErrorReason::ApprovalVoid,
        Refusal::Missing { .. } => ErrorReason::ApprovalsMissing,
        Refusal::OwnRequest | Refusal::OwnVersion | Refusal::NotMember | Refusal::Already | Refusal::NotRequester => {
            ErrorReason::ApproverNotEligible
        }
    };
    Error::precondition(reason, &approval.name, refusal)
}

/// Removes the approvals of a model that is given up: the event of that tells it.
pub(super) async fn remove_all(tx: &mut Tx<'_>, model: &Name) -> Result<(), Error> {
    let mut range = Range::first(model.prefix(), AT_ONCE);
    loop {
        let hits = tx.store.scan(Source::Kind(pb::Approval::KIND), &range).await?;
        let Some(last) = hits.last() else { return Ok(()) };
        range.after = Some(last.position.clone());
        for hit in &hits {
            let name = Name::canonical(&APPROVALS, &decode::<pb::Approval>(&hit.record)?.name);
            tx.store.remove(pb::Approval::KIND, &name.key()).await?;
        }
    }
}
