//! Errors that the registry answers with, as the contract writes them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prost::Message;
use registry_proto::ERROR_DOMAIN;
use tonic::Code;
use tonic_types::pb::{
    BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo as RpcResourceInfo, RetryInfo, Status as RpcStatus,
};

use crate::pb::ErrorReason;

/// An error that the registry answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusError {
    /// The gRPC code.
    pub code: Code,
    /// Which error it is: [`ErrorReason::Unspecified`] if it does not come from the registry itself, but for example from a
    /// proxy.
    pub reason: ErrorReason,
    /// For people.
    pub message: String,
    /// With `INVALID_ARGUMENT`: every field at fault.
    pub violations: Vec<FieldViolation>,
    /// With `GATE_FAILED`: the gates that keep the version out, as many as fit into an error. The same request that is only checked
    /// returns all that they say.
    pub failed_gates: Vec<FailedGate>,
    /// With `NOT_FOUND` and `ALREADY_EXISTS`: which resource.
    pub resource: Option<ResourceInfo>,
    /// What goes with the reason, for example the `name` of the resource in the way.
    pub metadata: BTreeMap<String, String>,
    /// How long to wait before trying again, if that helps.
    pub retry_after: Option<Duration>,
}

/// A resource that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Its type, for example `modelregistry.dev/Model`: see [`Resource::TYPE`](crate::resource::Resource::TYPE).
    pub resource_type: String,
    /// Its name.
    pub resource_name: String,
}

/// A field of a request that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path in the request, for example `model.tags[team]`.
    pub field: String,
    /// What is wrong, for programs.
    pub reason: ErrorReason,
    /// What is wrong, for people.
    pub description: String,
}

/// A gate that keeps a version out of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedGate {
    /// What it is made of, as [`GateKind`](crate::pb::GateKind) has it without the prefix: `CONDITION`.
    pub kind: String,
    /// Its name.
    pub gate: String,
    /// What it says and saw, for people.
    pub description: String,
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.violations.is_empty() {
            return if self.message.is_empty() { self.code.fmt(f) } else { f.write_str(&self.message) };
        }
        for (i, violation) in self.violations.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl std::error::Error for StatusError {}

impl StatusError {
    /// Reads the details that the contract promises. What can't be read is taken as absent: the code still tells.
    pub(crate) fn decode(status: &tonic::Status) -> Self {
        let mut error = Self {
            code: status.code(),
            reason: ErrorReason::Unspecified,
            message: status.message().to_owned(),
            violations: Vec::new(),
            failed_gates: Vec::new(),
            resource: None,
            metadata: BTreeMap::new(),
            retry_after: None,
        };
        for detail in RpcStatus::decode(status.details()).unwrap_or_default().details {
            let bytes = detail.value.as_slice();
            match detail.type_url.rsplit('/').next() {
                Some("google.rpc.ErrorInfo") => {
                    let info = ErrorInfo::decode(bytes).unwrap_or_default();
                    if info.domain == ERROR_DOMAIN {
                        error.reason = reason(&info.reason);
                        error.metadata = info.metadata.into_iter().collect();
                    }
                }
                Some("google.rpc.BadRequest") => {
                    let violations = BadRequest::decode(bytes).unwrap_or_default().field_violations;
                    error.violations = violations
                        .into_iter()
                        .map(|v| FieldViolation {
                            field: v.field,
                            reason: reason(&v.reason),
                            description: v.description,
                        })
                        .collect();
                }
                Some("google.rpc.PreconditionFailure") => {
                    let gates = PreconditionFailure::decode(bytes).unwrap_or_default().violations;
                    let gate = |v: tonic_types::pb::precondition_failure::Violation| FailedGate {
                        kind: v.r#type,
                        gate: v.subject,
                        description: v.description,
                    };
                    error.failed_gates = gates.into_iter().map(gate).collect();
                }
                Some("google.rpc.ResourceInfo") => {
                    let info = RpcResourceInfo::decode(bytes).unwrap_or_default();
                    let RpcResourceInfo { resource_type, resource_name, .. } = info;
                    error.resource = Some(ResourceInfo { resource_type, resource_name });
                }
                Some("google.rpc.RetryInfo") => {
                    let delay = RetryInfo::decode(bytes).unwrap_or_default().retry_delay;
                    error.retry_after = delay.and_then(|delay| delay.try_into().ok());
                }
                _ => {}
            }
        }
        error
    }
}

/// A reason that this client does not know yet is `Unspecified`: the code still tells.
fn reason(name: &str) -> ErrorReason {
    ErrorReason::from_str_name(&format!("ERROR_REASON_{name}")).unwrap_or_default()
}
