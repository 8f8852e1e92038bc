//! Calls, counted and timed, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use http::Request;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry as Exposition, Unit};
use registry_common::trace_context::TraceContext;
use registry_gateway::Spoken;
use registry_proto::errors::code_name;
use registry_proto::rpc::PATHS;
use tonic::Code;

use crate::metrics::latencies;

/// What a method is called that is not of the contract, nor one of those beside it: anybody may name any.
const OTHER: &str = "other";
/// The methods that are served beside the contract.
const BESIDE: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// How methods are called in metrics, by their path: by the name alone, which is that of no other method.
static METHODS: LazyLock<BTreeMap<&str, &str>> = LazyLock::new(|| {
    let name = |path: &'static str| (path, path.rsplit('/').next().unwrap_or(path));
    let beside = |path: &'static str| (path, path.rsplit_once('.').map_or(path, |(_, name)| name));
    PATHS.iter().copied().map(name).chain(BESIDE.map(beside)).collect()
});

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    method: &'static str,
    code: &'static str,
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    method: &'static str,
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Trace {
    trace_id: String,
}

type Times = Family<Timed, HistogramWithExemplars<Trace>, fn() -> HistogramWithExemplars<Trace>>;

/// What is known of all calls.
#[derive(Debug, Clone)]
pub(crate) struct Measures {
    ended: Family<Ended, Counter>,
    times: Times,
}

impl Default for Measures {
    fn default() -> Self {
        let times = Family::new_with_constructor((|| HistogramWithExemplars::new(latencies())) as fn() -> _);
        Self { ended: Family::default(), times }
    }
}

impl Measures {
    /// Has them told of.
    pub(crate) fn expose(&self, to: &mut Exposition) {
        let ended = "Calls that have ended, by how; CANCELLED: their caller left";
        to.register("calls", ended, self.ended.clone());
        let times = "How long calls took until they were answered; of streams, until they began";
        to.register_with_unit("call_duration", times, Unit::Seconds, self.times.clone());
    }
}

/// A call, as it is measured.
#[derive(Debug)]
pub(super) struct Call {
    measures: Measures,
    method: &'static str,
    transport: &'static str,
    trace: Option<TraceContext>,
}

impl Call {
    /// A call, and the trace that it is in.
    pub(super) fn of<B>(request: &Request<B>, measures: Measures, trace: Option<TraceContext>) -> Self {
        let method = METHODS.get(request.uri().path()).copied().unwrap_or(OTHER);
        let transport = match request.extensions().get::<Spoken>() {
            None | Some(Spoken::Grpc) => "grpc",
            Some(Spoken::GrpcWeb) => "grpc-web",
            Some(Spoken::Http) => "http",
            Some(Spoken::Mlflow) => "mlflow",
        };
        Self { measures, method, transport, trace }
    }

    /// The trace that it is in, for people who look for it.
    pub(super) fn trace_id(&self) -> Option<String> {
        self.trace.map(TraceContext::trace_id)
    }

    /// It is answered, or begins to be, after so long.
    pub(super) fn answered(&self, after: Duration) {
        let timed = Timed { method: self.method, transport: self.transport };
        let recorded = self.trace.filter(|trace| trace.is_sampled());
        let trace = recorded.map(|trace| Trace { trace_id: trace.trace_id() });
        self.measures.times.get_or_create(&timed).observe(after.as_secs_f64(), trace, None);
    }

    /// It has ended.
    pub(super) fn ended(&self, code: Code) {
        let ended = Ended { method: self.method, code: code_name(code), transport: self.transport };
        self.measures.ended.get_or_create(&ended).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_names_of_their_own_and_there_is_no_end_of_others() {
        let names: std::collections::BTreeSet<_> = METHODS.values().collect();
        // Both reflections are called the same.
        assert_eq!(names.len(), METHODS.len() - 1);
        let method = |path: &str| {
            let request = Request::builder().uri(path).body(()).unwrap();
            Call::of(&request, Measures::default(), None).method
        };
        assert_eq!(method("/modelregistry.v1.ModelService/GetModel"), "GetModel");
        assert_eq!(method("/grpc.health.v1.Health/Check"), "Health/Check");
        assert_eq!(method("/modelregistry.v1.ModelService/GetAnything"), OTHER);
        assert_eq!(method("/"), OTHER);
    }
}
