//! Errors as MLflow's clients read them: `{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "..."}`.
//!
//! They repeat a request that is answered with 408, 429 or 5xx, for minutes, and older ones repeat changes as well: so 5xx is for what is
//! not the caller's fault, and what was turned away before it was begun is 429.

use std::fmt;

use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use registry_proto::v1::ErrorReason;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::body::{Body, json};
use crate::refusal::Refusal;

/// What MLflow calls an error. Its status in HTTP is that of `mlflow/exceptions.py`.
pub(super) type Word = (&'static str, StatusCode);

pub(super) const INVALID: Word = ("INVALID_PARAMETER_VALUE", StatusCode::BAD_REQUEST);
pub(super) const BAD_REQUEST: Word = ("BAD_REQUEST", StatusCode::BAD_REQUEST);
pub(super) const EXISTS: Word = ("RESOURCE_ALREADY_EXISTS", StatusCode::BAD_REQUEST);
pub(super) const MISSING: Word = ("RESOURCE_DOES_NOT_EXIST", StatusCode::NOT_FOUND);
pub(super) const NO_ENDPOINT: Word = ("ENDPOINT_NOT_FOUND", StatusCode::NOT_FOUND);
pub(super) const OUTRUN: Word = ("ABORTED", StatusCode::CONFLICT);
const BUSY: Word = ("REQUEST_LIMIT_EXCEEDED", StatusCode::TOO_MANY_REQUESTS);
const UNAVAILABLE: Word = ("TEMPORARILY_UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE);

/// Why a call of MLflow's is not answered as it wants.
#[derive(Debug)]
pub(super) struct Error {
    word: Word,
    message: String,
    /// In how many seconds it may be better.
    retry_after: Option<u64>,
}

impl Error {
    pub(super) fn new(word: Word, message: impl fmt::Display) -> Self {
        Self { word, message: message.to_string(), retry_after: None }
    }

    pub(super) fn invalid(message: impl fmt::Display) -> Self {
        Self::new(INVALID, message)
    }

    pub(super) fn is(&self, word: Word) -> bool {
        self.word == word
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let (word, status) = self.word;
        let mut response = json(status, json!({ "error_code": word, "message": self.message }).to_string().into());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let status = refusal.status();
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str()).unwrap_or_default();
        let is = |one: ErrorReason| one.word() == reason;
        let word = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => INVALID,
            Code::FailedPrecondition if is(ErrorReason::ResourceDeleted) || is(ErrorReason::ResourcePurged) => MISSING,
            Code::FailedPrecondition => BAD_REQUEST,
            Code::NotFound => MISSING,
            Code::AlreadyExists => EXISTS,
            Code::PermissionDenied => ("PERMISSION_DENIED", StatusCode::FORBIDDEN),
            Code::Unauthenticated => ("UNAUTHENTICATED", StatusCode::UNAUTHORIZED),
            Code::Aborted | Code::Cancelled => OUTRUN,
            // Nothing was begun.
            Code::ResourceExhausted if is(ErrorReason::Overloaded) || is(ErrorReason::RateLimited) => BUSY,
            Code::Unavailable if is(ErrorReason::ServerDraining) || is(ErrorReason::IndexBuilding) => BUSY,
            Code::ResourceExhausted if is(ErrorReason::StorageFull) => UNAVAILABLE,
            Code::ResourceExhausted => BAD_REQUEST,
            Code::Unavailable => UNAVAILABLE,
            Code::DeadlineExceeded => ("DEADLINE_EXCEEDED", StatusCode::GATEWAY_TIMEOUT),
            Code::Unimplemented => NO_ENDPOINT,
            Code::DataLoss => ("DATA_LOSS", StatusCode::INTERNAL_SERVER_ERROR),
            Code::Ok | Code::Unknown | Code::Internal => ("INTERNAL_ERROR", StatusCode::INTERNAL_SERVER_ERROR),
        };
        Self {
            // What is said of the request as such, as that it is too large.
            word: refusal.own_status().map_or(word, |status| (word.0, status)),
            message: status.message().to_owned(),
            retry_after: refusal.retry_after(),
        }
    }
}
