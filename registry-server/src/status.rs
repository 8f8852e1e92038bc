//! The one place where errors become gRPC statuses.

use std::collections::HashMap;
use std::time::Duration;

use registry_proto::ERROR_DOMAIN;
use registry_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::error::Error;
use crate::rules::names::NamespaceName;
use crate::rules::quota::Exceeded;
use crate::store::StoreError;

/// When to try again what fails for a passing reason.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The status of an error, with `ErrorInfo` and, where they apply, `BadRequest` and `RetryInfo`.
pub(crate) fn status(error: &Error) -> Status {
    let (code, reason) = code(error);
    let mut details = ErrorDetails::new();
    let mut metadata = HashMap::new();
    match error {
        Error::Invalid(violations) => {
            let at_fault = violations.iter().map(|violation| FieldViolation {
                field: violation.field.clone(),
                description: violation.description.clone(),
                reason: violation.reason.as_str_name().to_owned(),
                localized_message: None,
            });
            details.set_bad_request(at_fault.collect::<Vec<_>>());
        }
        Error::NotFound { name, .. }
        | Error::AlreadyExists { name, .. }
        | Error::Precondition { name, .. }
        | Error::Damaged { name, .. } => {
            metadata.insert("name".to_owned(), name.clone());
        }
        Error::EtagMismatch { name, current } => {
            metadata.insert("name".to_owned(), name.clone());
            metadata.insert("etag".to_owned(), current.clone());
        }
        Error::ChunksCollected(name) => {
            metadata.insert("name".to_owned(), name.clone());
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Error::Exceeded(exceeded) => metadata = limits(exceeded),
        Error::Draining | Error::Store(StoreError::Unavailable(_)) => {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Error::Unsupported(_)
        | Error::OutOfRange { .. }
        | Error::UploadIncomplete { .. }
        | Error::TooLarge(_)
        | Error::Store(_)
        | Error::Internal(_) => {}
    }
    let expected = matches!(error, Error::Draining | Error::ChunksCollected(_));
    if matches!(code, Code::Internal | Code::DataLoss | Code::Unavailable) && !expected {
        tracing::error!(%error, "a call failed");
    }
    details.set_error_info(reason.as_str_name(), ERROR_DOMAIN, metadata);
    Status::with_error_details(code, error.to_string(), details)
}

/// A status for what fails before or beside the registry: a message that is too large, a deadline.
pub(crate) fn plain(code: Code, reason: ErrorReason, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.as_str_name(), ERROR_DOMAIN, HashMap::<String, String>::new());
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) && reason != ErrorReason::MessageTooLarge {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, message, details)
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
        metadata.insert("namespace".to_owned(), NamespaceName(namespace.clone()).to_string());
    }
    metadata
}

fn code(error: &Error) -> (Code, ErrorReason) {
    match error {
        Error::Invalid(violations) => {
            (Code::InvalidArgument, violations.first().map_or(ErrorReason::FieldInvalid, |violation| violation.reason))
        }
        Error::NotFound { reason, .. } => (Code::NotFound, *reason),
        Error::AlreadyExists { reason, .. } => (Code::AlreadyExists, *reason),
        Error::EtagMismatch { .. } => (Code::Aborted, ErrorReason::EtagMismatch),
        Error::Precondition { reason, .. } => (Code::FailedPrecondition, *reason),
        Error::Unsupported(_) => (Code::Unimplemented, ErrorReason::FilterUnsupported),
        Error::OutOfRange { reason, .. } => (Code::OutOfRange, *reason),
        Error::UploadIncomplete { .. } => (Code::Cancelled, ErrorReason::UploadIncomplete),
        Error::Exceeded(Exceeded::Artifact { .. }) => (Code::ResourceExhausted, ErrorReason::ArtifactTooLarge),
        Error::Exceeded(Exceeded::Namespace { .. }) => (Code::ResourceExhausted, ErrorReason::QuotaExceeded),
        Error::TooLarge(_) => (Code::ResourceExhausted, ErrorReason::MessageTooLarge),
        Error::Damaged { .. } => (Code::DataLoss, ErrorReason::ArtifactDamaged),
        Error::ChunksCollected(_) => (Code::Unavailable, ErrorReason::ChunksCollected),
        Error::Draining => (Code::Unavailable, ErrorReason::ServerDraining),
        Error::Store(StoreError::Unavailable(_)) => (Code::Unavailable, ErrorReason::StoreUnavailable),
        Error::Store(StoreError::Full(_)) => (Code::ResourceExhausted, ErrorReason::StorageFull),
        Error::Store(StoreError::Damaged(_) | StoreError::TooOld { .. } | StoreError::TooNew { .. })
        | Error::Internal(_) => (Code::Internal, ErrorReason::Internal),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        status(&error)
    }
}
