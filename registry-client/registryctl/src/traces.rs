//! `--trace`: a line for each call, with the trace by which others know it.

use std::time::Instant;

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::output::note;

/// The span of an attempt at a server, as the client makes it.
const CALL: &str = "grpc.call";

/// Prints what became of each attempt.
pub(crate) fn traces<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    Traces.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.name() == CALL))
}

struct Traces;

/// What is known of an attempt.
struct Attempt {
    began: Instant,
    method: String,
    trace: String,
    code: String,
}

impl Visit for Attempt {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "rpc.method" => value.clone_into(&mut self.method),
            "trace_id" => value.clone_into(&mut self.trace),
            "rpc.grpc.status_code" => value.clone_into(&mut self.code),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let (method, trace, code) = Default::default();
        let mut attempt = Attempt { began: Instant::now(), method, trace, code };
        attributes.record(&mut attempt);
        span.extensions_mut().insert(attempt);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(attempt) = span.extensions_mut().get_mut::<Attempt>()
        {
            values.record(attempt);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id)
            && let Some(Attempt { began, method, trace, code }) = span.extensions().get::<Attempt>()
        {
            let ms = began.elapsed().as_secs_f64() * 1000.0;
            let code = if code.is_empty() { "no answer" } else { code };
            note(&format!("trace {trace}: {method}, {code}, {ms:.1} ms"));
        }
    }
}
