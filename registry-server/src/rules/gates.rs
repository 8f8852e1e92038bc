//! Gates: what a version has to show before it enters a stage, and what each of them says of it.
//!
//! Whoever moves a version gathers the [`Facts`]; here is decided what each gate makes of them, and whether the version may enter.

mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

pub(crate) use self::verdict::{Kind, Outcome, Verdict, may_enter};
use super::checks::{Check, lacking};
use super::expression::{Fault, GATE, Question, Reading};
use super::signatures::{Signature, misfits};
use super::windows::{Freeze, Window};

/// The variable that stands for the version in the stage.
const INCUMBENT: &str = "incumbent";

/// A condition of a policy.
#[derive(Debug)]
pub(crate) struct Gate {
    name: String,
    condition: String,
    question: Question,
    message: String,
    /// It keeps nobody out.
    warns: bool,
}

impl Gate {
    /// A gate of this name.
    ///
    /// # Errors
    /// If the condition is none.
    pub(crate) fn new(name: &str, condition: &str, message: &str, warns: bool) -> Result<Self, Fault> {
        let question = Question::parse(condition, &GATE)?;
        let (name, condition, message) = (name.to_owned(), condition.to_owned(), message.to_owned());
        Ok(Self { name, condition, question, message, warns })
    }
}

/// What a policy asks of those who enter one stage.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    pub(crate) conditions: Vec<Gate>,
    /// Of each there has to be an artifact.
    pub(crate) artifact_types: Vec<String>,
    /// Who calls the incumbent can call the version.
    pub(crate) compatible_signature: bool,
    /// For so long a version has to have been where it comes from.
    pub(crate) soak: Option<Duration>,
    /// If there are any, one has to be open.
    pub(crate) windows: Vec<Window>,
    pub(crate) freezes: Vec<Freeze>,
    /// Of each there has to be a check that has succeeded, by its id.
    pub(crate) checks: Vec<String>,
}

/// What gates are asked about.
pub(crate) struct Facts<'a> {
    /// A `GateInput`, as it is encoded.
    pub(crate) input: &'a [u8],
    /// The stage holds a version.
    pub(crate) has_incumbent: bool,
    /// The types of the version's artifacts, as far as gates ask for them.
    pub(crate) artifact_types: BTreeSet<String>,
    /// Of the version; an error if it can't be understood.
    pub(crate) signature: Result<Option<Signature>, String>,
    pub(crate) incumbent_signature: Result<Option<Signature>, String>,
    /// Since when the version is where it is.
    pub(crate) in_stage_since: Option<DateTime<Utc>>,
    /// The version's checks.
    pub(crate) checks: BTreeMap<String, Check>,
    pub(crate) now: DateTime<Utc>,
}

impl Gates {
    /// What all of them say.
    pub(crate) fn ask(&self, facts: &Facts<'_>) -> Vec<Verdict> {
        let conditions = self.conditions.iter().map(|gate| gate.ask(facts));
        let others = [
            self.artifacts(facts),
            self.signature(facts),
            self.soak(facts),
            self.windows(facts),
            self.freezes(facts),
            self.checks(facts),
        ];
        conditions.chain(others.into_iter().flatten()).collect()
    }

    fn artifacts(&self, facts: &Facts<'_>) -> Option<Verdict> {
        if self.artifact_types.is_empty() {
            return None;
        }
        let lacks: Vec<_> = self.artifact_types.iter().filter(|of| !facts.artifact_types.contains(*of)).collect();
        let verdict = Verdict::of(Kind::RequiredArtifactTypes);
        Some(match lacks.is_empty() {
            true => verdict,
            false => {
                let names: Vec<_> = lacks.iter().map(|of| of.as_str()).collect();
                verdict.failed(format!("has no artifact of the type {}", names.join(", ")))
            }
        })
    }

    fn signature(&self, facts: &Facts<'_>) -> Option<Verdict> {
        if !self.compatible_signature {
            return None;
        }
        let verdict = Verdict::of(Kind::CompatibleSignature);
        Some(match (&facts.signature, &facts.incumbent_signature) {
            (_, Ok(None)) if facts.has_incumbent => Verdict {
                outcome: Outcome::NotApplicable,
                detail: "the incumbent has no signature".to_owned(),
                ..verdict
            },
            (_, Ok(None)) => verdict.without_incumbent(),
            (Err(why), _) => verdict.failed(why.clone()),
            (_, Err(why)) => verdict.failed(format!("of the incumbent: {why}")),
            (Ok(None), _) => {
                let missing = vec!["version.signature".to_owned()];
                verdict.without_verdict(missing)
            }
            (Ok(Some(new)), Ok(Some(old))) => {
                let found = misfits(new, old);
                if found.is_empty() { verdict } else { verdict.failed(found.join("; ")) }
            }
        })
    }

    fn soak(&self, facts: &Facts<'_>) -> Option<Verdict> {
        let least = self.soak?;
        let verdict = Verdict::of(Kind::SoakDuration);
        let Some(since) = facts.in_stage_since else {
            return Some(verdict.without_verdict(vec!["version.stage_time".to_owned()]));
        };
        let been = (facts.now - since).to_std().unwrap_or_default();
        let readings = vec![("version.stage_time".to_owned(), time(since)), ("now".to_owned(), time(facts.now))];
        let verdict = Verdict { readings, ..verdict };
        Some(match been >= least {
            true => verdict,
            false => {
                let (been, least) = (Duration::from_secs(been.as_secs()), humantime::format_duration(least));
                verdict.failed(format!(
                    "has been in its stage for {}, and not for {least}",
                    humantime::format_duration(been)
                ))
            }
        })
    }

    fn windows(&self, facts: &Facts<'_>) -> Option<Verdict> {
        if self.windows.is_empty() {
            return None;
        }
        let verdict = at(Kind::ChangeWindows, facts);
        Some(match self.windows.iter().any(|window| window.is_open(facts.now)) {
            true => verdict,
            false => {
                let next = self.windows.iter().filter_map(|window| window.opens(facts.now)).min();
                let next = next.map(|next| {
                    format!(
                        "; the next one opens at {} ({})",
                        next.to_rfc3339_opts(SecondsFormat::Secs, true),
                        next.timezone()
                    )
                });
                verdict.failed(format!("no change window is open{}", next.unwrap_or_default()))
            }
        })
    }

    fn freezes(&self, facts: &Facts<'_>) -> Option<Verdict> {
        if self.freezes.is_empty() {
            return None;
        }
        let verdict = at(Kind::Freezes, facts);
        Some(match self.freezes.iter().find(|freeze| freeze.holds(facts.now)) {
            None => verdict,
            Some(freeze) => {
                let until =
                    freeze.end.map(|end| format!(" until {}", end.to_rfc3339_opts(SecondsFormat::AutoSi, true)));
                verdict.failed(format!("nothing changes{}: {}", until.unwrap_or_default(), freeze.reason))
            }
        })
    }
}

impl Gates {
    fn checks(&self, facts: &Facts<'_>) -> Option<Verdict> {
        if self.checks.is_empty() {
            return None;
        }
        let verdict = Verdict::of(Kind::RequiredChecks);
        let lacking = lacking(&self.checks, &facts.checks, facts.now);
        Some(if lacking.is_empty() { verdict } else { verdict.failed(lacking.join("; ")) })
    }
}

impl Gate {
    fn ask(&self, facts: &Facts<'_>) -> Verdict {
        let answer = self.question.ask(facts.input);
        let verdict = Verdict {
            gate: self.name.clone(),
            condition: self.condition.clone(),
            message: self.message.clone(),
            warns: self.warns,
            readings: answer.readings,
            ..Verdict::of(Kind::Condition)
        };
        let of_incumbent =
            |path: &String| path.strip_prefix(INCUMBENT).is_some_and(|rest| rest.starts_with(['.', '[']));
        match answer.verdict {
            Some(true) => verdict,
            Some(false) => verdict.failed("the condition is not met".to_owned()),
            None if !facts.has_incumbent && !answer.missing.is_empty() && answer.missing.iter().all(of_incumbent) => {
                Verdict { missing: answer.missing, ..verdict.without_incumbent() }
            }
            None => verdict.without_verdict(answer.missing),
        }
    }
}

/// The verdict of a gate that goes by the time.
fn at(kind: Kind, facts: &Facts<'_>) -> Verdict {
    Verdict { readings: vec![("now".to_owned(), time(facts.now))], ..Verdict::of(kind) }
}

fn time(time: DateTime<Utc>) -> Reading {
    Reading::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests;
