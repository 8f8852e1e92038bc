//! Traces, for whoever collects them: the program's spans go to a collector of OpenTelemetry's, over OTLP.
//!
//! Where it is, and which traces are recorded, the variables say that OpenTelemetry has for it: `OTEL_EXPORTER_OTLP_ENDPOINT`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME` and more (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use registry_server::SPANS;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Each says where traces are to go.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// What the server is called, unless a variable says so.
const SERVICE: &str = "registry-server";

/// Sends spans, in batches, from a thread of its own: what there is too much of is dropped, and counted in the log at the end.
pub(crate) struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Begins, if a variable says where to.
    pub(crate) fn begin() -> Result<Option<Self>, String> {
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let Some(name) = ENDPOINTS.into_iter().find(is_set) else { return Ok(None) };
        let exporter = SpanExporter::builder().with_tonic().build().map_err(|error| format!("{name}: {error}"))?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        Ok(Some(Self(provider)))
    }

    /// What takes the spans of calls and of what they lead to, and no others.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer: SdkTracer = self.0.tracer(SERVICE);
        let spans = Targets::new().with_target(SPANS, LevelFilter::DEBUG);
        tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false).with_filter(spans)
    }
}

impl Drop for Telemetry {
    /// Sends what has not gone yet.
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}
