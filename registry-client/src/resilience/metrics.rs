//! How many calls are made, how they end, and how long they take.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use registry_proto::errors::code_name;
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
            let labels = [("method", method), ("code", code_name(ended).to_owned())];
            counter!(CALLS, &labels).increment(1);
            histogram!(SECONDS, &labels).record(start.elapsed().as_secs_f64());
        });
        observed(send(inner, request).await, ear)
    }
}
