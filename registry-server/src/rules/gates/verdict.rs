//! What a gate says.

use crate::rules::expression::Reading;

/// What a gate is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Condition,
    RequiredArtifactTypes,
    CompatibleSignature,
    SoakDuration,
    ChangeWindows,
    Freezes,
    RequiredChecks,
}

impl Kind {
    /// What a gate is called that has no name of its own: as its field of the policy.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Condition => "",
            Self::RequiredArtifactTypes => "required_artifact_types",
            Self::CompatibleSignature => "compatible_signature",
            Self::SoakDuration => "soak_duration",
            Self::ChangeWindows => "change_windows",
            Self::Freezes => "freezes",
            Self::RequiredChecks => "required_checks",
        }
    }

    /// Those without a name of their own.
    pub(crate) const OTHERS: [Self; 6] = [
        Self::RequiredArtifactTypes,
        Self::CompatibleSignature,
        Self::SoakDuration,
        Self::ChangeWindows,
        Self::Freezes,
        Self::RequiredChecks,
    ];
}

/// What came of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// Something that it asks for has no value.
    NoVerdict,
    /// It compares with an incumbent that there is not.
    NotApplicable,
}

/// What a gate says of a version, and what it saw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) gate: String,
    pub(crate) kind: Kind,
    /// It keeps nobody out.
    pub(crate) warns: bool,
    pub(crate) outcome: Outcome,
    /// It would have kept the version out, and whoever moved it said so all the same.
    pub(crate) overridden: bool,
    pub(crate) message: String,
    pub(crate) detail: String,
    pub(crate) condition: String,
    pub(crate) readings: Vec<(String, Reading)>,
    pub(crate) missing: Vec<String>,
}

impl Verdict {
    /// That of a gate that passes.
    pub(super) fn of(kind: Kind) -> Self {
        Self {
            gate: kind.name().to_owned(),
            kind,
            warns: false,
            outcome: Outcome::Passed,
            overridden: false,
            message: String::new(),
            detail: String::new(),
            condition: String::new(),
            readings: Vec::new(),
            missing: Vec::new(),
        }
    }

    pub(super) fn failed(self, detail: String) -> Self {
        Self { outcome: Outcome::Failed, detail, ..self }
    }

    pub(super) fn without_verdict(self, missing: Vec<String>) -> Self {
        let detail = match missing.as_slice() {
            [] => "a value is no number".to_owned(),
            [one] => format!("{one} has no value"),
            several => format!("{} have no values", several.join(", ")),
        };
        Self { outcome: Outcome::NoVerdict, detail, missing, ..self }
    }

    pub(super) fn without_incumbent(self) -> Self {
        Self { outcome: Outcome::NotApplicable, detail: "the stage has no incumbent".to_owned(), ..self }
    }

    /// Whether it keeps the version out by itself.
    pub(crate) fn blocks(&self) -> bool {
        !self.warns && matches!(self.outcome, Outcome::Failed | Outcome::NoVerdict)
    }
}

/// Whether a version may enter of which this was said.
pub(crate) fn may_enter(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| !verdict.blocks() || verdict.overridden)
}
