//! A span for each call, which goes on with the trace that its caller is in.

use http::header::HeaderName;
use http::{HeaderMap, Request};
use registry_common::trace_context::TraceContext;
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;

use crate::SPANS;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace that headers are of, whether anybody records it or not.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::parse(headers.get(TRACEPARENT)?.to_str().ok()?)
}

/// The span of a call, and the trace that it is in. What is behind this finds the span in the headers, as its parent.
pub(super) fn begin<B>(request: &mut Request<B>) -> (Span, Option<TraceContext>) {
    let method = request.uri().path().trim_start_matches('/');
    let span = tracing::debug_span!(
        target: SPANS,
        "call",
        method,
        otel.kind = Empty,
        otel.name = Empty,
        otel.status_code = Empty,
        rpc.grpc.status_code = Empty
    );
    let caller = of_headers(request.headers());
    let trace = if span.is_disabled() { caller } else { recorded::begin(&span, caller, request).or(caller) };
    (span, trace)
}

/// Notes how a call ended.
pub(super) fn end(span: &Span, code: Code) {
    if !span.is_disabled() {
        recorded::end(span, code);
    }
}

#[cfg(not(feature = "otlp"))]
mod recorded {
    use super::{Code, Request, Span, TraceContext};

    pub(super) fn begin<B>(_: &Span, _: Option<TraceContext>, _: &mut Request<B>) -> Option<TraceContext> {
        None
    }

    pub(super) fn end(_: &Span, _: Code) {}
}

/// As OpenTelemetry's conventions for gRPC have it: <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>.
#[cfg(feature = "otlp")]
mod recorded {
    use http::HeaderValue;
    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    use super::{Code, Request, Span, TRACEPARENT, TraceContext};

    pub(super) fn begin<B>(
        span: &Span,
        caller: Option<TraceContext>,
        request: &mut Request<B>,
    ) -> Option<TraceContext> {
        if let Some(caller) = caller {
            let state = request.headers().get("tracestate").and_then(|state| state.to_str().ok()?.parse().ok());
            // It is new: nothing has asked for its context yet.
            let _ = span.set_parent(Context::new().with_remote_span_context(remote(caller, state)));
        }
        span.record("otel.kind", "server");
        span.record("otel.name", request.uri().path().trim_start_matches('/'));
        let context = span.context();
        let known = context.span().span_context().clone();
        let (trace, id) = (known.trace_id().to_bytes(), known.span_id().to_bytes());
        let own = TraceContext::of(trace, id, known.trace_flags().to_u8())?;
        if let Ok(value) = HeaderValue::try_from(own.to_string()) {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        Some(own)
    }

    fn remote(caller: TraceContext, state: Option<TraceState>) -> SpanContext {
        let (trace, span, flags) = caller.parts();
        let flags = TraceFlags::new(flags);
        SpanContext::new(TraceId::from_bytes(trace), SpanId::from_bytes(span), flags, true, state.unwrap_or_default())
    }

    pub(super) fn end(span: &Span, code: Code) {
        span.record("rpc.grpc.status_code", code as i64);
        // What is the caller's fault is no error of a server.
        let is_ours = matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        );
        if is_ours {
            span.record("otel.status_code", "ERROR");
        }
    }
}
