//! Stages: which changes the policy of a model allows, and who has to leave when another version enters.
//!
//! The caller moves versions; here is decided whether, and where the incumbent goes. A move never sets off a second
//! one: whoever leaves a stage goes to one that has room for any number.

use std::collections::BTreeSet;
use std::fmt;

/// Where a version stands between training and retirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// Where every version begins.
    Development,
    /// Where a version is tried out.
    Staging,
    /// What is live.
    Production,
    /// Where versions end, the deleted ones too.
    Archived,
}

impl Stage {
    /// Every stage, in the order of a version's life.
    pub(crate) const ALL: [Stage; 4] = [Stage::Development, Stage::Staging, Stage::Production, Stage::Archived];

    /// Whether only a version whose content is complete may be in this stage.
    fn needs_ready(self) -> bool {
        matches!(self, Stage::Staging | Stage::Production)
    }

    /// Whether it is remembered which versions held the stage, so that it can be given back to them.
    pub(crate) fn is_stacked(self) -> bool {
        matches!(self, Stage::Staging | Stage::Production)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Development => "development",
            Stage::Staging => "staging",
            Stage::Production => "production",
            Stage::Archived => "archived",
        })
    }
}

/// Where a version stands, for the question whether it enters a stage by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) stage: Stage,
    /// Nobody has moved it since it was made.
    pub(crate) untouched: bool,
    /// It entered its stage by itself.
    pub(crate) entered_automatically: bool,
    pub(crate) number: i64,
}

/// Whether a version is one that enters a stage by itself once it passes the gates. `holder` is the number of the version that entered the
/// stage last, if there is one.
pub(crate) fn enters_by_itself(version: Standing, to: Stage, holder: Option<i64>) -> bool {
    let Standing { stage, untouched, entered_automatically, number } = version;
    let on_its_way = match (stage, to) {
        (Stage::Development, Stage::Staging | Stage::Production) => untouched,
        (Stage::Staging, Stage::Production) => entered_automatically,
        _ => false,
    };
    on_its_way && holder.is_none_or(|holder| holder < number)
}

/// How far a version's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Being filled.
    Pending,
    /// Complete and sealed.
    Ready,
    /// Given up.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Pending => "pending",
            State::Ready => "ready",
            State::Failed => "failed",
        })
    }
}

/// What becomes of the version that a stage holds when another one enters and there is room for one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incumbent {
    /// It goes to [`Stage::Archived`].
    Archive,
    /// It goes to [`Stage::Staging`].
    ToStaging,
    /// It goes to [`Stage::Development`].
    ToDevelopment,
    /// It stays, and the other one stays out.
    Refuse,
}

impl Incumbent {
    /// The stage that the version goes to. None if it doesn't give way.
    pub(crate) fn destination(self) -> Option<Stage> {
        match self {
            Incumbent::Archive => Some(Stage::Archived),
            Incumbent::ToStaging => Some(Stage::Staging),
            Incumbent::ToDevelopment => Some(Stage::Development),
            Incumbent::Refuse => None,
        }
    }
}

/// What a policy says about one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StageRule {
    /// The stage.
    pub(crate) stage: Stage,
    /// It holds one version at most.
    pub(crate) exclusive: bool,
    /// What becomes of that version when another enters; archived if nothing is said.
    pub(crate) incumbent: Option<Incumbent>,
}

/// Why something is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    /// A transition that goes nowhere: staying is always legal, and needs no entry.
    #[error("a transition from {0} to itself is always legal: leave it out")]
    TransitionToItself(Stage),
    /// Two rules for one stage.
    #[error("{0} has more than one rule")]
    DuplicateRule(Stage),
    /// PRODUCTION has to be exclusive: `@production` is one version.
    #[error("production holds one version: it has to be exclusive")]
    ProductionNotExclusive,
    /// Versions begin in DEVELOPMENT and end in ARCHIVED, whether there is room or not.
    #[error("{0} can't be exclusive: versions arrive there without being asked")]
    NeverExclusive(Stage),
    /// A rule for an incumbent where nobody has to leave.
    #[error("{0} is not exclusive: there is no incumbent to say anything about")]
    IncumbentWithoutExclusive(Stage),
    /// The incumbent can't go where the rule sends it.
    #[error("the incumbent of {from} can't go to {to}: {why}")]
    Destination {
        /// The stage that the rule is about.
        from: Stage,
        /// Where the rule sends its version.
        to: Stage,
        /// What stands in the way.
        why: &'static str,
    },
}

/// Which stage changes a model allows.
///
/// By default every transition is legal, PRODUCTION holds one version, and its incumbent is archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The legal transitions; all of them if there is no list.
    transitions: Option<BTreeSet<(Stage, Stage)>>,
    /// For each stage, as in [`Stage::ALL`], what becomes of its incumbent; None if it holds any number of versions.
    incumbents: [Option<Incumbent>; 4],
}

impl Default for Policy {
    fn default() -> Self {
        Self { transitions: None, incumbents: [None, None, Some(Incumbent::Archive), None] }
    }
}

impl Policy {
    /// A policy with these transitions (all, if there are none) and rules. A stage without a rule is as in the default
    /// policy.
    pub(crate) fn new(transitions: &[(Stage, Stage)], rules: &[StageRule]) -> Result<Self, PolicyError> {
        if let Some((stage, _)) = transitions.iter().find(|(from, to)| from == to) {
            return Err(PolicyError::TransitionToItself(*stage));
        }
        let mut policy = Self::default();
        if !transitions.is_empty() {
            policy.transitions = Some(transitions.iter().copied().collect());
        }
        let mut seen = BTreeSet::new();
        for &StageRule { stage, exclusive, incumbent } in rules {
            if !seen.insert(stage) {
                return Err(PolicyError::DuplicateRule(stage));
            }
            policy.incumbents[stage as usize] = match (exclusive, stage) {
                (true, Stage::Development | Stage::Archived) => return Err(PolicyError::NeverExclusive(stage)),
                (true, _) => Some(incumbent.unwrap_or(Incumbent::Archive)),
                (false, Stage::Production) => return Err(PolicyError::ProductionNotExclusive),
                (false, _) if incumbent.is_some() => return Err(PolicyError::IncumbentWithoutExclusive(stage)),
                (false, _) => None,
            };
        }
        // Only now is it known which stages are exclusive.
        for from in Stage::ALL {
            if let Some(to) = policy.incumbent(from).and_then(Incumbent::destination)
                && let Some(why) = policy.obstacle(from, to)
            {
                return Err(PolicyError::Destination { from, to, why });
            }
        }
        Ok(policy)
    }

    /// What becomes of the version in an exclusive stage; None if the stage holds any number.
    fn incumbent(&self, stage: Stage) -> Option<Incumbent> {
        self.incumbents[stage as usize]
    }

    /// Whether a stage holds one version at most.
    pub(crate) fn is_exclusive(&self, stage: Stage) -> bool {
        self.incumbent(stage).is_some()
    }

    fn allows(&self, from: Stage, to: Stage) -> bool {
        self.transitions.as_ref().is_none_or(|legal| legal.contains(&(from, to)))
    }

    /// What keeps the version in one stage from making room by going to another, whichever version it is.
    fn obstacle(&self, from: Stage, to: Stage) -> Option<&'static str> {
        if from == to {
            Some("that is where it is")
        } else if self.incumbent(to).is_some() {
            Some("that stage holds one version at most")
        } else if to.needs_ready() && !from.needs_ready() {
            Some("that stage takes ready versions only")
        } else {
            None
        }
    }

    /// Where the version in `stage` goes to make room. None if it doesn't have to, as nobody is there.
    fn make_room(&self, stage: Stage, occupied: bool, action: Incumbent) -> Result<Option<Stage>, Refusal> {
        match action.destination() {
            None if occupied => Err(Refusal::Occupied),
            None => Ok(None),
            // Refused even if nobody is there: what a caller may ask for does not depend on what happens to be live.
            Some(to) => match self.obstacle(stage, to) {
                Some(why) => Err(Refusal::Destination { to, why }),
                None => Ok(Some(to)),
            },
        }
    }
}

/// Whether a version that is created is READY from the start: its maker says so, or its content is elsewhere, and so is no artifact.
pub(crate) fn is_ready_at_once(finalize: bool, source_uri: &str) -> bool {
    finalize || !source_uri.is_empty()
}

/// What matters about a version that is to change its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// How far its content is.
    pub(crate) state: State,
    /// Where it is now.
    pub(crate) stage: Stage,
    /// It is deleted.
    pub(crate) deleted: bool,
    /// It is withdrawn.
    pub(crate) withdrawn: bool,
}

/// What a legal transition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// The version is there already: nobody moves.
    Stay,
    /// The version enters the stage.
    Enter {
        /// Where the versions that are in the stage go, if there are any. None: the stage has room, nobody leaves.
        leaves: Option<Stage>,
    },
}

/// Why a version can't change its stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The version is deleted.
    #[error("the version is deleted")]
    Deleted,
    /// STAGING and PRODUCTION take READY versions only.
    #[error("the version is not ready")]
    NotReady,
    /// STAGING and PRODUCTION take no version that is withdrawn.
    #[error("the version is withdrawn")]
    Withdrawn,
    /// The policy has no such transition.
    #[error("the policy of the model has no transition from {from} to {to}")]
    NotAllowed {
        /// Where the version is.
        from: Stage,
        /// Where it was to go.
        to: Stage,
    },
    /// The stage holds a version that is not to be displaced.
    #[error("the stage holds a version that is not to be displaced")]
    Occupied,
    /// The version that is in the stage can't go where the request or the default sends it: it is there already, there is
    /// room for one only, or it may not be complete.
    #[error("the version in the stage can't make room by going to {to}: {why}")]
    Destination {
        /// Where it was to go.
        to: Stage,
        /// What stands in the way.
        why: &'static str,
    },
}

/// Decides on moving a version to a stage that holds a version now (`occupied`) or not. `override_` is what the request
/// says about that version, in place of the policy.
///
/// Staying where it is needs nothing of a version but that it exists.
pub(crate) fn transition(
    policy: &Policy,
    version: &Candidate,
    to: Stage,
    occupied: bool,
    override_: Option<Incumbent>,
) -> Result<Move, Refusal> {
    let from = version.stage;
    if version.deleted {
        return Err(Refusal::Deleted);
    }
    if from == to {
        return Ok(Move::Stay);
    }
    if to.needs_ready() && version.state != State::Ready {
        return Err(Refusal::NotReady);
    }
    if to.needs_ready() && version.withdrawn {
        return Err(Refusal::Withdrawn);
    }
    if !policy.allows(from, to) {
        return Err(Refusal::NotAllowed { from, to });
    }
    let leaves = match policy.incumbent(to) {
        Some(action) => policy.make_room(to, occupied, override_.unwrap_or(action))?,
        None => None,
    };
    Ok(Move::Enter { leaves })
}

/// Whether a rollback may bring the version back to the stage.
pub(crate) fn restorable(version: &Candidate, stage: Stage) -> bool {
    let fit = !stage.needs_ready() || (version.state == State::Ready && !version.withdrawn);
    fit && !version.deleted && version.stage != stage
}

/// Decides where the version goes that holds the stage when a rollback gives it back to an earlier one.
///
/// It leaves whether the stage is exclusive or not, as a rollback takes back that it came; without a rule for it, it is
/// archived. So ARCHIVED can be rolled back only with an `override_`.
pub(crate) fn restore(
    policy: &Policy,
    stage: Stage,
    occupied: bool,
    override_: Option<Incumbent>,
) -> Result<Option<Stage>, Refusal> {
    let action = override_.or(policy.incumbent(stage)).unwrap_or(Incumbent::Archive);
    policy.make_room(stage, occupied, action)
}

#[cfg(test)]
mod tests;
