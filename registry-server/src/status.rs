//! The one place where errors become gRPC statuses.

use std::collections::HashMap;
use std::time::Duration;

use registry_common::shown::cut;
use registry_proto::ERROR_DOMAIN;
use registry_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

use crate::error::{Error, FailedGate, Violation};
use crate::rules::names::Name;
use crate::rules::quota::Exceeded;
use crate::store::StoreError;

/// When to try again what fails for a passing reason.
const RETRY_AFTER: Duration = Duration::from_millis(200);

// An error travels in headers, of which clients take 8 KiB and some proxies 4, and there it is written twice, in base64 once.
const MESSAGE_BYTES: usize = 512;
const VIOLATIONS: usize = 16;
/// What 2 KiB leave beside the longest message.
const VIOLATIONS_BYTES: usize = 1340;
/// What is written around the texts of a violation.
const VIOLATION_FRAME_BYTES: usize = 12;
const FIELD_BYTES: usize = 256;
/// Longer names exist: 128 characters of an id may be 512 bytes.
const NAME_BYTES: usize = 1280;

/// The status of an error, with `ErrorInfo` and, where they apply, `BadRequest` and `RetryInfo`.
pub(crate) fn status(error: &Error) -> Status {
    let (code, reason) = code(error);
    let mut details = ErrorDetails::new();
    let mut metadata = HashMap::new();
    match error {
        Error::Invalid(violations) => {
            details.set_bad_request(some_of(violations));
            metadata.insert("violation_count".to_owned(), violations.len().to_string());
        }
        Error::NotFound { of, name, .. } | Error::AlreadyExists { of, name, .. } => {
            details.set_resource_info(*of, cut(name, NAME_BYTES), "", "");
            if let Error::AlreadyExists { deleted: true, .. } = error {
                metadata.insert("deleted".to_owned(), "true".to_owned());
            }
        }
        Error::GatesFailed { name, gates } => {
            details.set_precondition_failure(some_of_gates(gates, NAME_BYTES.saturating_sub(name.len())));
            metadata.insert("name".to_owned(), cut(name, NAME_BYTES));
            metadata.insert("violation_count".to_owned(), gates.len().to_string());
        }
        Error::Precondition { name, .. } | Error::Damaged { name, .. } => {
            metadata.insert("name".to_owned(), cut(name, NAME_BYTES));
        }
        Error::EtagMismatch { name, current } => {
            metadata.insert("name".to_owned(), cut(name, NAME_BYTES));
            metadata.insert("etag".to_owned(), current.clone());
        }
        Error::LeaseLost(name) => drop(metadata.insert("name".to_owned(), cut(name, NAME_BYTES))),
        Error::ChunksCollected(name) => {
            metadata.insert("name".to_owned(), cut(name, NAME_BYTES));
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Error::Exceeded(exceeded) => metadata = limits(exceeded),
        Error::Denied { permission, resource } => {
            metadata.insert("permission".to_owned(), (*permission).to_owned());
            metadata.insert("resource".to_owned(), cut(resource, NAME_BYTES));
        }
        Error::Draining | Error::IndexBuilding | Error::Overloaded(_) | Error::Store(StoreError::Unavailable(_)) => {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Error::RateLimited { wait } => drop(details.set_retry_info(Some(*wait))),
        Error::Store(StoreError::Compacted { oldest }) => {
            metadata.insert("oldest_revision".to_owned(), oldest.to_string());
        }
        Error::OutOfRange { .. }
        | Error::UploadIncomplete { .. }
        | Error::TooLarge(_)
        | Error::Unauthenticated(_)
        | Error::Store(_)
        | Error::Internal(_) => {}
    }
    details.set_error_info(reason.word(), ERROR_DOMAIN, metadata);
    let message = match error {
        Error::Invalid(violations) if violations.len() > 1 => {
            let first = violations.iter().take(1).map(|first| format!("{}: {}", first.field, first.description));
            format!("{}; {} fields are at fault", first.collect::<String>(), violations.len())
        }
        error => error.to_string(),
    };
    Status::with_error_details(code, cut(&message, MESSAGE_BYTES), details)
}

/// As many violations as fit.
fn some_of(violations: &[Violation]) -> Vec<FieldViolation> {
    let mut bytes = 0;
    let shown = violations.iter().take(VIOLATIONS).map(|violation| FieldViolation {
        field: cut(&violation.field, FIELD_BYTES),
        description: cut(&violation.description, MESSAGE_BYTES),
        reason: violation.reason.word().to_owned(),
        localized_message: None,
    });
    let fits = |violation: &FieldViolation| {
        let texts = violation.field.len() + violation.description.len() + violation.reason.len();
        bytes += texts + VIOLATION_FRAME_BYTES;
        bytes <= VIOLATIONS_BYTES
    };
    shown.take_while(fits).collect()
}

/// As many gates as fit in the bytes that the name leaves.
fn some_of_gates(gates: &[FailedGate], room: usize) -> Vec<PreconditionViolation> {
    let mut bytes = 0;
    let shown = gates.iter().take(VIOLATIONS).map(|gate| {
        PreconditionViolation::new(&gate.kind, cut(&gate.gate, FIELD_BYTES), cut(&gate.description, MESSAGE_BYTES))
    });
    let fits = |violation: &PreconditionViolation| {
        let texts = violation.r#type.len() + violation.subject.len() + violation.description.len();
        bytes += texts + VIOLATION_FRAME_BYTES;
        bytes <= room
    };
    shown.take_while(fits).collect()
}

/// A status for what fails before or beside the registry: a message that is too large, a deadline.
pub(crate) fn plain(code: Code, reason: ErrorReason, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.word(), ERROR_DOMAIN, HashMap::<String, String>::new());
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) && reason != ErrorReason::MessageTooLarge {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, cut(message, MESSAGE_BYTES), details)
}

/// What a limit is, and what did not fit.
fn limits(exceeded: &Exceeded) -> HashMap<String, String> {
    let numbers = match exceeded {
        Exceeded::Artifact { limit, asked } => vec![("limit", *limit), ("asked", *asked)],
        Exceeded::Namespace { limit, used, asked, .. } => vec![("limit", *limit), ("used", *used), ("asked", *asked)],
    };
    let mut metadata: HashMap<_, _> =
        numbers.into_iter().map(|(name, number)| (name.to_owned(), number.to_string())).collect();
    if let Exceeded::Namespace { namespace, .. } = exceeded {
        metadata.insert("namespace".to_owned(), Name::namespace_with(namespace).to_string());
    }
    metadata
}

fn code(error: &Error) -> (Code, ErrorReason) {
    match error {
        Error::Invalid(violations) => {
            (Code::InvalidArgument, violations.first().map_or(ErrorReason::FieldInvalid, |violation| violation.reason))
        }
        Error::NotFound { .. } => (Code::NotFound, ErrorReason::ResourceNotFound),
        Error::AlreadyExists { .. } => (Code::AlreadyExists, ErrorReason::ResourceAlreadyExists),
        Error::EtagMismatch { .. } => (Code::Aborted, ErrorReason::EtagMismatch),
        Error::LeaseLost(_) => (Code::Aborted, ErrorReason::LeaseLost),
        Error::GatesFailed { .. } => (Code::FailedPrecondition, ErrorReason::GateFailed),
        Error::Precondition { reason, .. } => (Code::FailedPrecondition, *reason),
        Error::OutOfRange { reason, .. } => (Code::OutOfRange, *reason),
        Error::UploadIncomplete { .. } => (Code::Cancelled, ErrorReason::UploadIncomplete),
        Error::Exceeded(Exceeded::Artifact { .. }) => (Code::ResourceExhausted, ErrorReason::ArtifactTooLarge),
        Error::Exceeded(Exceeded::Namespace { .. }) => (Code::ResourceExhausted, ErrorReason::QuotaExceeded),
        Error::TooLarge(_) => (Code::ResourceExhausted, ErrorReason::MessageTooLarge),
        Error::Overloaded(_) => (Code::ResourceExhausted, ErrorReason::Overloaded),
        Error::RateLimited { .. } => (Code::ResourceExhausted, ErrorReason::RateLimited),
        Error::Damaged { .. } => (Code::DataLoss, ErrorReason::ArtifactDamaged),
        Error::ChunksCollected(_) => (Code::Unavailable, ErrorReason::ChunksCollected),
        Error::Unauthenticated(reason) => (Code::Unauthenticated, *reason),
        Error::Denied { .. } => (Code::PermissionDenied, ErrorReason::PermissionDenied),
        Error::Draining => (Code::Unavailable, ErrorReason::ServerDraining),
        Error::IndexBuilding => (Code::Unavailable, ErrorReason::IndexBuilding),
        Error::Store(StoreError::Unavailable(_)) => (Code::Unavailable, ErrorReason::StoreUnavailable),
        Error::Store(StoreError::Full(_)) => (Code::ResourceExhausted, ErrorReason::StorageFull),
        Error::Store(StoreError::Compacted { .. }) => (Code::OutOfRange, ErrorReason::RevisionCompacted),
        Error::Store(
            StoreError::Damaged(_) | StoreError::Lost { .. } | StoreError::TooOld { .. } | StoreError::TooNew { .. },
        )
        | Error::Internal(_) => (Code::Internal, ErrorReason::Internal),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        status(&error)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn an_error_is_small_however_much_is_wrong() {
        let violations = |count, field: &str, description: &str| {
            let one = Violation {
                field: field.to_owned(),
                reason: ErrorReason::FieldInvalid,
                description: description.to_owned(),
            };
            Error::Invalid(vec![one; count])
        };
        let long = "é".repeat(5000);
        for (error, shown) in [
            (violations(1, "name", "must not be"), 1),
            (violations(1000, "name", "must not be"), 16),
            (violations(1000, &long, &long), 1),
            (violations(1000, "field", &long), 2),
            (violations(1000, &long[..8], &long[..438]), 2),
        ] {
            let status = status(&error);
            let details = status.get_error_details();
            assert_eq!(details.bad_request().unwrap().field_violations.len(), shown, "{error:.100}");
            let Error::Invalid(all) = &error else { unreachable!() };
            let info = details.error_info().unwrap();
            assert_eq!(info.metadata["violation_count"], all.len().to_string());
            assert_eq!(info.reason, "FIELD_INVALID");
            assert!(status.message().len() <= 512);
            let encoded = tonic_types::pb::Status::decode(status.details()).unwrap().encoded_len();
            assert!(encoded <= 2048, "{encoded}");
        }
    }

    #[test]
    fn as_many_gates_as_fit_are_told_and_how_many_there_are() {
        let gate = |description: &str| FailedGate {
            kind: "CONDITION".to_owned(),
            gate: "better".to_owned(),
            description: description.to_owned(),
        };
        let name = "namespaces/default/models/fraud/versions/7".to_owned();
        for (gates, shown) in
            [(vec![gate("is worse")], 1), (vec![gate("is worse"); 40], 16), (vec![gate(&"é".repeat(5000)); 40], 2)]
        {
            let error = Error::GatesFailed { name: name.clone(), gates: gates.clone() };
            let status = status(&error);
            let details = status.get_error_details();
            assert_eq!(details.precondition_failure().unwrap().violations.len(), shown);
            let info = details.error_info().unwrap();
            assert_eq!(
                (info.reason.as_str(), &info.metadata["violation_count"]),
                ("GATE_FAILED", &gates.len().to_string())
            );
            assert!(status.message().starts_with(&format!("{name}: the gate better: ")), "{}", status.message());
            assert!(status.details().len() <= 2048, "{}", status.details().len());
        }
    }

    #[test]
    fn an_error_is_small_however_long_a_name_is() {
        let name = "\u{10400}".repeat(1000);
        let detail = || name.clone();
        let gate = |text: &str| FailedGate {
            kind: "CONDITION".to_owned(),
            gate: "g".to_owned(),
            description: text.to_owned(),
        };
        for error in [
            Error::NotFound { of: "modelregistry.dev/Artifact", name: name.clone(), at: None },
            Error::AlreadyExists { of: "modelregistry.dev/Artifact", name: name.clone(), deleted: true },
            Error::EtagMismatch { name: name.clone(), current: "ffffffffffffffff".to_owned() },
            Error::precondition(ErrorReason::TransitionNotAllowed, &name, detail()),
            Error::ChunksCollected(name.clone()),
            Error::Denied { permission: "versions.transitionStage", resource: name.clone() },
            Error::Damaged { name: name.clone(), detail: detail() },
            Error::GatesFailed { name: name.clone(), gates: vec![gate(&name); 32] },
        ] {
            let status = status(&error);
            assert!(status.message().len() <= 512);
            assert!(status.details().len() <= 2048, "{error:.40}: {}", status.details().len());
        }
    }
}
