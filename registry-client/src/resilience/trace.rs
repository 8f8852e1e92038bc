//! A span for each call, and the header that makes it one trace with what the server does.

use http::HeaderValue;
use tonic::Code;
use tracing::{Instrument, field, info_span};

use super::carry::{Answer, Carry, Request, layer, send};
use super::outcome::{Ear, observed};
use crate::Transport;
use registry_common::trace_context::TraceContext;
use registry_proto::errors::code_name as name;

pub(crate) const TRACEPARENT: &str = "traceparent";
#[cfg(feature = "opentelemetry")]
const TRACESTATE: &str = "tracestate";

/// Makes a [`tracing`] span of each call, `grpc.call`, with `rpc.service`, `rpc.method`, `rpc.grpc.status_code` and `trace_id`; and sends the
/// header `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/), so that server and proxies can name the same trace.
///
/// The trace is the one of the current OpenTelemetry context, with the crate's feature `opentelemetry` and if there is one (with
/// `tracing-opentelemetry`, that of the span which is entered); else that of a `traceparent` which the request has already; else a new one.
#[derive(Debug, Clone, Default)]
pub struct TraceLayer(());

layer!(TraceLayer);

impl Carry for TraceLayer {
    async fn carry(self, inner: Transport, mut request: Request) -> Answer {
        let context = place(&mut request);
        let mut path = request.uri().path().trim_start_matches('/').splitn(2, '/');
        let (service, method) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
        let span = info_span!(
            "grpc.call",
            otel.kind = "client",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = field::Empty,
            trace_id = context.trace_id(),
        );
        let ended = span.clone();
        let ear = Ear::new(move |code: Code| {
            ended.record("rpc.grpc.status_code", name(code));
        });
        observed(send(inner, request).instrument(span).await, ear)
    }
}

/// Writes the header of a request, and says what it has.
fn place(request: &mut Request) -> TraceContext {
    let headers = request.headers_mut();
    let known = headers.get(TRACEPARENT).and_then(|value| TraceContext::parse(value.to_str().ok()?));
    #[cfg(feature = "opentelemetry")]
    if let Some((context, state)) = of_opentelemetry() {
        insert(headers, TRACEPARENT, &context.to_string());
        insert(headers, TRACESTATE, &state);
        return context;
    }
    let context = known.map_or_else(TraceContext::random, TraceContext::child);
    insert(headers, TRACEPARENT, &context.to_string());
    context
}

/// Nothing is inserted that is empty, or can't be.
fn insert(headers: &mut http::HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value)
        && !value.is_empty()
    {
        headers.insert(name, value);
    }
}

/// The span that the program is in, and what other systems said of the trace.
#[cfg(feature = "opentelemetry")]
fn of_opentelemetry() -> Option<(TraceContext, String)> {
    use opentelemetry::trace::TraceContextExt;

    let current = opentelemetry::Context::current();
    let span = current.span();
    let context = span.span_context();
    let known =
        TraceContext::of(context.trace_id().to_bytes(), context.span_id().to_bytes(), context.trace_flags().to_u8())?;
    Some((known, context.trace_state().header()))
}

#[cfg(all(test, feature = "opentelemetry"))]
mod tests {
    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
    use tonic::body::Body;

    use super::*;

    #[test]
    fn the_span_of_the_program_is_the_parent() {
        let (trace, span) =
            (TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736"), SpanId::from_hex("00f067aa0ba902b7"));
        let state = TraceState::from_key_value([("vendor", "x")]).unwrap();
        let context = SpanContext::new(trace.unwrap(), span.unwrap(), TraceFlags::SAMPLED, false, state);
        let mut request = Request::new(Body::empty());
        {
            let _entered = Context::new().with_remote_span_context(context).attach();
            place(&mut request);
        }
        assert_eq!(request.headers()[TRACEPARENT], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(request.headers()[TRACESTATE], "vendor=x");
        // Outside of it the request's own trace goes on, in another span.
        let trace = place(&mut request).trace_id();
        assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(request.headers()[TRACEPARENT], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    }
}
