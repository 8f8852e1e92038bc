//! How many calls are made, how they end, and how long they take.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;
use tonic::Code;

use super::carry::{Answer, Carry, Request, layer, send};
use super::outcome::{Ear, observed};
use crate::Transport;

/// The counter of calls that have ended.
const CALLS: &str = "registry_client_calls_total";
/// The histogram of what they took.
const SECONDS: &str = "registry_client_call_duration_seconds";

/// Tells the recorder of the crate [`metrics`], whichever a program has installed, of every call when it has ended:
///
/// - `registry_client_calls_total`, a counter,
/// - `registry_client_call_duration_seconds`, a histogram, in seconds from the request to the end of the answer,
///
/// both by `method` (`modelregistry.v1.ModelService/GetModel`) and `code` (`OK`, `UNAVAILABLE`, ...; `CANCELLED` if nobody waited for the
/// end). In a [`RegistryClient`](crate::RegistryClient) these are the attempts at a server. Without a recorder it does nothing.
#[derive(Debug, Clone)]
pub struct MetricsLayer(());

impl Default for MetricsLayer {
    fn default() -> Self {
        describe_counter!(CALLS, Unit::Count, "calls that have ended");
        describe_histogram!(SECONDS, Unit::Seconds, "from the request to the end of the answer");
        Self(())
    }
}

layer!(MetricsLayer);

impl Carry for MetricsLayer {
    async fn carry(self, inner: Transport, request: Request) -> Answer {
        let (start, method) = (Instant::now(), request.uri().path().trim_start_matches('/').to_owned());
        let ear = Ear::new(move |ended: Code| {
            let labels = [("method", method), ("code", name(ended).to_owned())];
            counter!(CALLS, &labels).increment(1);
            histogram!(SECONDS, &labels).record(start.elapsed().as_secs_f64());
        });
        observed(send(inner, request).await, ear)
    }
}

/// A code as gRPC writes it.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
