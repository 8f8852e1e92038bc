//! What can't be done for a request that never becomes a call, or whose call failed: errors as AIP-193 has them.

use std::collections::HashMap;
use std::fmt;

use http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use registry_common::shown::{cut, quoted};
use registry_proto::ERROR_DOMAIN;
use registry_proto::errors::code_name;
use registry_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::body::{Body, json};
use crate::schema::Schema;

/// The most of a message, as the contract has it for all errors.
const MESSAGE_BYTES: usize = 512;
/// The most of the name of a field.
const FIELD_BYTES: usize = 256;

/// Why a request is not answered as it wants.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What HTTP calls it, where that is more than its status tells.
    http: Option<StatusCode>,
    status: Status,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// A field that is not as it has to be.
    pub(crate) fn invalid(field: &str, problem: impl fmt::Display) -> Self {
        Self::violation(field, ErrorReason::FieldInvalid, problem)
    }

    /// A field that is missing.
    pub(crate) fn required(field: &str, problem: impl fmt::Display) -> Self {
        Self::violation(field, ErrorReason::FieldRequired, problem)
    }

    fn violation(field: &str, reason: ErrorReason, problem: impl fmt::Display) -> Self {
        let message = cut(&format!("{field}: {problem}"), MESSAGE_BYTES);
        let word = reason.word();
        let violation = FieldViolation {
            field: cut(field, FIELD_BYTES),
            description: cut(&problem.to_string(), MESSAGE_BYTES),
            reason: word.to_owned(),
            localized_message: None,
        };
        let mut details = ErrorDetails::with_bad_request(vec![violation]);
        details.set_error_info(word, ERROR_DOMAIN, HashMap::from([("violation_count".to_owned(), "1".to_owned())]));
        Self::from(Status::with_error_details(Code::InvalidArgument, message, details))
    }

    /// Something that has a status of its own in HTTP.
    pub(crate) fn of(http: StatusCode, code: Code, reason: ErrorReason, message: impl Into<String>) -> Self {
        let details = ErrorDetails::with_error_info(reason.word(), ERROR_DOMAIN, HashMap::new());
        Self { http: Some(http), status: Status::with_error_details(code, message, details), header: None }
    }

    /// A request that is larger than it may be.
    pub(crate) fn too_large(message: &str) -> Self {
        let (http, code) = (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted);
        Self::of(http, code, ErrorReason::MessageTooLarge, message)
    }

    /// What should not be.
    pub(crate) fn internal(message: &str) -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, ErrorReason::Internal, message)
    }

    /// As the service would answer.
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    pub(crate) fn no_path(path: &str) -> Self {
        let message = format!("there is nothing at {}", quoted(path));
        Self::of(StatusCode::NOT_FOUND, Code::NotFound, ErrorReason::PathUnknown, message)
    }

    pub(crate) fn no_method(method: &Method, path: &str, allowed: &str) -> Self {
        let message = format!("{method} can't be used on {}, but {allowed} can", quoted(path));
        let refusal =
            Self::of(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, ErrorReason::MethodUnknown, message);
        refusal.with(ALLOW, allowed)
    }

    /// The same, with a header.
    pub(crate) fn with(self, name: HeaderName, value: &str) -> Self {
        Self { header: HeaderValue::from_str(value).ok().map(|value| (name, value)), ..self }
    }

    /// The error as JSON: what streams end with, too.
    pub(crate) fn to_json(&self, schema: &Schema) -> Vec<u8> {
        let mut out = br#"{"error":{"code":"#.to_vec();
        out.extend(self.http().as_u16().to_string().bytes());
        out.extend(br#","status":""#);
        out.extend(code_name(self.status.code()).bytes());
        out.extend(br#"","message":"#);
        out.extend(serde_json::to_vec(self.status.message()).unwrap_or_default());
        out.extend(br#","details":["#);
        schema.write_details(&mut out, self.status.details());
        out.extend(b"]}}");
        out
    }

    pub(crate) fn into_response(self, schema: &Schema) -> Response<Body> {
        let mut response = json(self.http(), self.to_json(schema));
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status.code() == Code::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }

    /// In how many seconds it may be better.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let delay = self.status.get_details_retry_info().and_then(|info| info.retry_delay)?;
        // Whole ones, and none is not later.
        Some(delay.as_secs_f64().ceil().max(1.0) as u64)
    }

    /// What HTTP calls it, where that is more than its status tells.
    pub(crate) fn own_status(&self) -> Option<StatusCode> {
        self.http
    }

    fn http(&self) -> StatusCode {
        self.http.unwrap_or_else(|| match self.status.code() {
            // Of what is too large it is not too much: it is too much whenever it comes.
            Code::ResourceExhausted if self.is(ErrorReason::ArtifactTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            code => http_status(code),
        })
    }

    fn is(&self, reason: ErrorReason) -> bool {
        self.status.get_details_error_info().is_some_and(|info| info.reason == reason.word())
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { http: None, status, header: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.status.message())
    }
}

/// The status of HTTP for one of gRPC, as `google/rpc/code.proto` maps them.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // Not in the standard, but what proxies say when their client leaves.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
