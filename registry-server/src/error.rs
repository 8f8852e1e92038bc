//! Why the registry does not do what it was asked: typed, before it becomes a gRPC status.

use std::fmt::Display;
use std::time::Duration;

pub(crate) use registry_common::shown::quoted;
use registry_proto::v1::ErrorReason;

use crate::rules::expression::{Expression, Subject};
use crate::rules::names::{Collection, Name, NameError};
use crate::rules::quota::Exceeded;
use crate::store::{Revision, StoreError};

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request, for example `model.tags[team]`.
    pub field: String,
    /// What is wrong, for programs.
    pub reason: ErrorReason,
    /// What is wrong, for people.
    pub description: String,
}

/// One gate that keeps a version out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedGate {
    /// The name of its kind in the contract, without the prefix: `CONDITION`.
    pub kind: String,
    /// Its name.
    pub gate: String,
    /// What it says and saw, for people.
    pub description: String,
}

/// A refusal, or a failure. The variants say what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Mend the request. Never empty.
    #[error("{}", .0.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// Ask for something that exists.
    #[error("{name} {}", absent(*at))]
    NotFound {
        /// The type of what it would be.
        of: &'static str,
        /// The name asked for.
        name: String,
        /// After which revision it was looked for, if not now.
        at: Option<Revision>,
    },
    /// Choose another name, or use what is there.
    #[error("{name} exists already{}", way_out(of, *deleted))]
    AlreadyExists {
        /// Its type.
        of: &'static str,
        /// Its name.
        name: String,
        /// It is deleted, and has its name all the same.
        deleted: bool,
    },
    /// Read again, decide again.
    #[error("{name} has changed: its etag is {current} now")]
    EtagMismatch {
        /// What changed.
        name: String,
        /// Its etag.
        current: String,
    },
    /// Ask for a lease again: what was not acknowledged comes again.
    #[error("{0}: the lease is lost: another consumer has it, it was given back, or the cursor was moved")]
    LeaseLost(String),
    /// Change the state of the resource first.
    #[error("{name}: {detail}")]
    Precondition {
        /// What stands in the way.
        reason: ErrorReason,
        /// Which resource.
        name: String,
        /// What stands in the way, for people.
        detail: String,
    },
    /// Show what the gates ask for, or override them.
    #[error("{name}: {}", kept_out(gates))]
    GatesFailed {
        /// The version.
        name: String,
        /// Those that keep it out. Never empty.
        gates: Vec<FailedGate>,
    },
    /// Ask for what is there.
    #[error("{detail}")]
    OutOfRange {
        /// Which range.
        reason: ErrorReason,
        /// What there is instead.
        detail: String,
    },
    /// Send the bytes again, all of them.
    #[error("the upload ended after {received} bytes, before its end; nothing was kept")]
    UploadIncomplete {
        /// How many came.
        received: u64,
    },
    /// Send less.
    #[error("{0}")]
    TooLarge(String),
    /// Come back later.
    #[error("{0}")]
    Overloaded(String),
    /// Call less often.
    #[error("these are more calls than one principal may make: the next is taken in {}", shown(*wait))]
    RateLimited {
        /// After which time the next one is taken.
        wait: Duration,
    },
    /// Send less, delete something, or ask whoever runs the server for more.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// Upload the artifact again: the stored bytes are damaged.
    #[error("{name}: {detail}")]
    Damaged {
        /// The artifact.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Upload the artifact again: some of its chunks were garbage, and are being removed.
    #[error("{0}: chunks of it were in no artifact, and are being removed")]
    ChunksCollected(String),
    /// Go to another server, or come back.
    #[error("the server is shutting down")]
    Draining,
    /// Ask for another order, or come back later.
    #[error("the index that lists are ordered by is still being built")]
    IndexBuilding,
    /// Try again with the same request id.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Show a token that is good.
    #[error("{}", token_fault(*.0))]
    Unauthenticated(ErrorReason),
    /// Ask somebody who may give the permission.
    #[error("the permission {permission} is needed on {} (or it might not exist)", if .resource.is_empty() { "the server" } else { .resource })]
    Denied {
        /// What the caller lacks.
        permission: &'static str,
        /// On what: a namespace or a model; empty is the server.
        resource: String,
    },
    /// Tell whoever runs the server.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// One field at fault, for a reason of its own.
    pub fn field(field: impl Into<String>, reason: ErrorReason, description: impl Display) -> Self {
        Self::Invalid(vec![Violation { field: field.into(), reason, description: description.to_string() }])
    }

    /// What stands in the way of a change to a resource.
    pub fn precondition(reason: ErrorReason, name: impl Into<String>, detail: impl Display) -> Self {
        Self::Precondition { reason, name: name.into(), detail: detail.to_string() }
    }

    /// The same error, of a request that looked for something as it was after a revision.
    pub(crate) fn looked_up_at(self, revision: Revision) -> Self {
        match self {
            Self::NotFound { of, name, .. } => Self::NotFound { of, name, at: Some(revision) },
            other => other,
        }
    }

    /// The same error, of a request in which the fields at fault stand within another one.
    pub(crate) fn within(self, outer: &str) -> Self {
        let Self::Invalid(mut found) = self else { return self };
        for violation in &mut found {
            violation.field = format!("{outer}.{}", violation.field);
        }
        Self::Invalid(found)
    }

    /// A fault of the server.
    pub fn internal(what: impl Display) -> Self {
        Self::Internal(what.to_string())
    }
}

/// What is wrong with the token of a call.
fn token_fault(reason: ErrorReason) -> &'static str {
    match reason {
        ErrorReason::TokenMissing => "the call has no token: the header authorization is to have `Bearer` and one",
        ErrorReason::TokenExpired => "the token has expired",
        ErrorReason::TokenRevoked => "the token was revoked",
        ErrorReason::TokenNotYetValid => "the token is not valid yet (nbf)",
        ErrorReason::TokenIssuerUnknown => "the token is of an issuer (iss) that this server does not know",
        ErrorReason::TokenKeyUnknown => "the key that signed the token (kid) is not known: try again in a minute",
        ErrorReason::TokenAudienceWrong => "the token is for others (aud)",
        ErrorReason::CertificateUnknown => "the client's certificate names no principal: the server's log says why",
        ErrorReason::CertificateExpired => "the client's certificate has expired: connect again with a new one",
        ErrorReason::TokenClaimsInvalid => "the claims of the token name no principal: the server's log says why",
        _ => "the header authorization has no token that lets anybody in here",
    }
}

/// A time for people: no shorter than it is.
fn shown(time: Duration) -> String {
    format!("{} ms", time.as_micros().div_ceil(1000))
}

/// What keeps a version out, in a line.
fn kept_out(gates: &[FailedGate]) -> String {
    let first = gates.iter().take(1).map(|first| format!("the gate {}: {}", first.gate, first.description));
    let more = if gates.len() > 1 { format!("; {} gates keep it out", gates.len()) } else { String::new() };
    first.collect::<String>() + &more
}

/// That something is not there, now or after a revision.
fn absent(at: Option<Revision>) -> String {
    match at {
        None => "does not exist".to_owned(),
        Some(0) => "did not exist then: nothing did".to_owned(),
        Some(at) => format!("did not exist at revision {at}"),
    }
}

/// What can be done about a deleted resource that has a name.
fn way_out(of: &str, deleted: bool) -> &'static str {
    match of.rsplit('/').next() {
        Some("Namespace") if deleted => ": it is deleted, and can be undeleted",
        Some(_) if deleted => ": it is deleted, and can be undeleted, or purged to free its name",
        _ => "",
    }
}

/// Collects everything that is wrong with a request, so that the caller hears of it at once.
#[derive(Debug, Default)]
pub struct Violations {
    found: Vec<Violation>,
    /// Where the fields stand that are looked at: `metadata.`
    within: String,
}

impl Violations {
    /// Adds a field at fault.
    pub fn add(&mut self, field: impl Display, reason: ErrorReason, description: impl Display) {
        let mut field = format!("{}{field}", self.within);
        if field.ends_with('.') {
            // The outer field as a whole.
            field.pop();
        }
        self.found.push(Violation { field, reason, description: description.to_string() });
    }

    /// Checks fields that stand within another one.
    pub(crate) fn within<T>(&mut self, outer: impl Display, check: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.within.len();
        self.within = format!("{}{outer}.", self.within);
        let checked = check(self);
        self.within.truncate(length);
        checked
    }

    /// Adds a field whose value is ruled out.
    pub fn invalid(&mut self, field: impl Display, description: impl Display) {
        self.add(field, ErrorReason::FieldInvalid, description);
    }

    /// Adds a field that is missing.
    pub fn required(&mut self, field: impl Display) {
        self.add(field, ErrorReason::FieldRequired, "is required");
    }

    /// The name of something in a collection, or `None` with the field added.
    pub(crate) fn name(&mut self, field: impl Display, of: &'static Collection, text: &str) -> Option<Name> {
        self.parsed(field, Name::parse(of, text))
    }

    /// The value of a field, or `None` with the field added as a name at fault.
    pub(crate) fn parsed<T>(&mut self, field: impl Display, parsed: Result<T, NameError>) -> Option<T> {
        parsed.map_err(|error| self.add(field, ErrorReason::NameInvalid, error)).ok()
    }

    /// The condition in a field, or `None` if it is empty or with the field added.
    pub(crate) fn condition(&mut self, field: impl Display, text: &str, of: &Subject) -> Option<Expression> {
        if text.is_empty() {
            return None;
        }
        Expression::parse(text, of).map_err(|fault| self.invalid(field, fault)).ok()
    }

    /// What a request was taken for, unless something is wrong with it.
    pub(crate) fn unless_any<T>(self, value: Option<T>) -> Result<T, Error> {
        self.check()?;
        value.ok_or_else(|| Error::internal("a request without a fault was not understood"))
    }

    /// An error if anything was added.
    ///
    /// # Errors
    /// All that was added.
    pub fn check(self) -> Result<(), Error> {
        if self.found.is_empty() { Ok(()) } else { Err(Error::Invalid(self.found)) }
    }
}
