//! Approvals: what may become of a request for them, and by whom.

use std::collections::BTreeSet;
use std::time::Duration;

/// How many have to approve.
pub(crate) const COUNTS: std::ops::RangeInclusive<i32> = 1..=100;
/// For how long a request stands.
pub(crate) const TTLS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 60 * 60);
/// The same, if the policy does not say.
pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for approvals, or to be committed.
    Pending,
    /// What it asked for was done.
    Committed,
    /// Somebody rejected it.
    Rejected,
    /// Whoever asked took it back.
    Withdrawn,
}

/// What somebody wants to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Agree.
    Approve,
    /// End it.
    Reject,
    /// Take it back.
    Withdraw,
    /// Do what was approved.
    Commit,
}

/// What has changed since the request, so that it is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    /// The version.
    Version,
    /// The policy, or which one is in force.
    Policy,
    /// Which version is the incumbent, or something of it.
    Incumbent,
}

impl Changed {
    /// In words.
    fn what(self) -> &'static str {
        match self {
            Self::Version => "the version",
            Self::Policy => "the policy",
            Self::Incumbent => "the incumbent",
        }
    }
}

/// A request, and all that decides about it, as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) state: State,
    /// Who asked.
    pub(crate) requester: &'a str,
    /// Who registered the version.
    pub(crate) version_creator: &'a str,
    /// Who approved.
    pub(crate) approvers: Vec<&'a str>,
    /// How many have to.
    pub(crate) count: usize,
    /// Whether whoever registered the version does not count.
    pub(crate) exclude_version_creator: bool,
    /// The members of the group.
    pub(crate) members: &'a [String],
    /// Whether its time is over.
    pub(crate) expired: bool,
    pub(crate) changed: Option<Changed>,
}

/// Why something does not become of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{}", match .0 {
        State::Committed => "it was committed",
        State::Rejected => "it was rejected",
        State::Withdrawn => "it was withdrawn",
        State::Pending => "it is pending",
    })]
    Closed(State),
    #[error("its time is over: ask again")]
    Expired,
    #[error("{} has changed since it was asked for: ask again", .0.what())]
    Void(Changed),
    #[error("nobody approves or rejects what they asked for themselves")]
    OwnRequest,
    #[error("by the policy, nobody approves a version that they registered")]
    OwnVersion,
    #[error("only members of the group approve and reject")]
    NotMember,
    #[error("the caller has approved already, and counts once")]
    Already,
    #[error("only whoever asked withdraws")]
    NotRequester,
    #[error("{have} of {need} approvals that are needed")]
    Missing { have: usize, need: usize },
}

impl Request<'_> {
    /// Why somebody's approval would not count.
    fn ineligible(&self, principal: &str) -> Option<Refusal> {
        if principal == self.requester {
            return Some(Refusal::OwnRequest);
        }
        if self.exclude_version_creator && principal == self.version_creator {
            return Some(Refusal::OwnVersion);
        }
        (!self.members.iter().any(|member| member == principal)).then_some(Refusal::NotMember)
    }

    /// How many approvals count, by the group as it is now.
    fn counting(&self) -> usize {
        let principals: BTreeSet<_> = self.approvers.iter().copied().collect();
        principals.into_iter().filter(|principal| self.ineligible(principal).is_none()).count()
    }

    /// Whether it waits for somebody.
    pub(crate) fn awaits(&self, principal: &str) -> bool {
        self.step(Action::Approve, principal).is_ok()
    }

    /// What state it is in after an action of somebody.
    pub(crate) fn step(&self, action: Action, by: &str) -> Result<State, Refusal> {
        if self.state != State::Pending {
            return Err(Refusal::Closed(self.state));
        }
        // What can't be approved any more can still be cleared away.
        if matches!(action, Action::Approve | Action::Commit) {
            if self.expired {
                return Err(Refusal::Expired);
            }
            if let Some(changed) = self.changed {
                return Err(Refusal::Void(changed));
            }
        }
        match action {
            Action::Approve => match self.ineligible(by) {
                Some(refusal) => Err(refusal),
                None if self.approvers.contains(&by) => Err(Refusal::Already),
                None => Ok(State::Pending),
            },
            Action::Reject if by == self.requester => Err(Refusal::OwnRequest),
            // Whoever registered the version may well say that it is no good.
            Action::Reject if !self.members.iter().any(|member| member == by) => Err(Refusal::NotMember),
            Action::Reject => Ok(State::Rejected),
            Action::Withdraw if by != self.requester => Err(Refusal::NotRequester),
            Action::Withdraw => Ok(State::Withdrawn),
            Action::Commit => match self.counting() {
                have if have < self.count => Err(Refusal::Missing { have, need: self.count }),
                _ => Ok(State::Committed),
            },
        }
    }
}

#[cfg(test)]
mod tests;
