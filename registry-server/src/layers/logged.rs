//! Calls in the log and in `/metrics`: one line for each that fails and, at `debug`, for every other one, also if its caller leaves before the answer.
//! Changes have their line where they are committed.

use http::{HeaderMap, HeaderValue};
use registry_proto::errors::code_name;
use registry_proto::{ACTOR_BIN_HEADER, ACTOR_HEADER};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tracing::Span;

use super::kinds::Kind;
use super::measured::Call;
use super::traced;
use crate::error::Violations;
use crate::grpc::call::actor;
use crate::registry::millis;

/// The services of the contract; of others the whole path is told.
const OURS: &str = "/modelregistry.v1.";
/// By which filters find these lines.
const TARGET: &str = "registry_server::calls";
/// The longest path that is told.
const PATH_BYTES: usize = 128;

/// What is known of a call from its beginning.
pub(super) struct Logged {
    path: String,
    kind: Kind,
    /// The header that says who calls, as it came.
    actor: Option<(&'static str, HeaderValue)>,
    began: Instant,
    measured: Call,
    /// It ends with the call.
    span: Span,
    /// Its line is written.
    is_over: bool,
}

impl Logged {
    pub(super) fn new(path: &str, kind: Kind, headers: &HeaderMap, began: Instant, measured: Call) -> Self {
        let mut logged =
            Self { path: path.to_owned(), kind, actor: None, began, measured, span: Span::none(), is_over: false };
        logged.called_by(headers);
        logged
    }

    /// The same call, in a span.
    pub(super) fn in_span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// Takes who calls from these headers instead.
    pub(super) fn called_by(&mut self, headers: &HeaderMap) {
        let header = |name| Some((name, headers.get(name)?.clone()));
        self.actor = header(ACTOR_BIN_HEADER).or_else(|| header(ACTOR_HEADER));
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The line of a call whose answer begins, or ends, with these headers.
    pub(super) fn answered(&mut self, headers: &HeaderMap) {
        self.is_over = self.kind != Kind::Stream || headers.contains_key("grpc-status");
        self.measured.answered(self.began.elapsed());
        if self.is_over {
            self.ended(code_of(headers));
        }
        match Status::from_header_map(headers).filter(|status| status.code() != Code::Ok) {
            Some(status) => self.failed(&status),
            None if self.kind == Kind::Stream => {
                tracing::debug!(target: TARGET, rpc = self.rpc(), actor = self.actor(), ms = self.millis(), "began")
            }
            None => {
                tracing::debug!(target: TARGET, rpc = self.rpc(), actor = self.actor(), ms = self.millis(), "answered")
            }
        }
    }

    /// The line of a stream that has ended with these trailers.
    pub(super) fn ended_with(&mut self, trailers: &HeaderMap) {
        if self.kind == Kind::Stream {
            self.is_over = true;
            self.ended(code_of(trailers));
            match Status::from_header_map(trailers).filter(|status| status.code() != Code::Ok) {
                Some(status) => self.failed(&status),
                None => {
                    tracing::debug!(target: TARGET, rpc = self.rpc(), actor = self.actor(), ms = self.millis(), "ended")
                }
            }
        }
    }

    fn ended(&self, code: Code) {
        self.measured.ended(code);
        traced::end(&self.span, code);
    }

    fn failed(&self, status: &Status) {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str()).unwrap_or_default();
        let (rpc, code, error) = (self.rpc(), code_name(status.code()), status.message());
        let (actor, ms, trace_id) = (self.actor(), self.millis(), self.measured.trace_id());
        match blame(status.code(), reason, self.kind) {
            Blame::Nobody => tracing::debug!(target: TARGET, rpc, code, reason, error, actor, ms, trace_id, "ended"),
            Blame::Caller => tracing::info!(target: TARGET, rpc, code, reason, error, actor, ms, trace_id, "failed"),
            Blame::Us => tracing::warn!(target: TARGET, rpc, code, reason, error, actor, ms, trace_id, "failed"),
        }
    }

    fn rpc(&self) -> &str {
        match self.path.strip_prefix(OURS) {
            Some(method) => method.rsplit('/').next().unwrap_or(method),
            // Where a character ends: a path may be UTF-8.
            None => (0..=PATH_BYTES).rev().find_map(|end| self.path.get(..end)).unwrap_or(&self.path),
        }
    }

    /// Who calls, as the door reads it.
    fn actor(&self) -> String {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = &self.actor {
            headers.insert(*name, value.clone());
        }
        actor(&MetadataMap::from_headers(headers), &mut Violations::default())
    }

    fn millis(&self) -> f64 {
        millis(self.began.into_std())
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if !self.is_over {
            self.ended(Code::Cancelled);
            tracing::debug!(target: TARGET, rpc = self.rpc(), actor = self.actor(), ms = self.millis(), "left by its caller");
        }
    }
}

/// How a call ended that has these headers or trailers.
fn code_of(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// Whose fault it is that a call failed.
#[derive(Debug, PartialEq, Eq)]
enum Blame {
    /// It ends as it should: a stream when the server stops.
    Nobody,
    /// What was asked for can't be done; others can.
    Caller,
    /// The server, its store, or its place of artifacts.
    Us,
}

fn blame(code: Code, reason: &str, kind: Kind) -> Blame {
    match (code, reason) {
        (Code::Unavailable, "SERVER_DRAINING") if kind == Kind::Stream => Blame::Nobody,
        (Code::Unavailable, "SERVER_DRAINING" | "CHUNKS_COLLECTED") => Blame::Caller,
        (Code::ResourceExhausted, "STORAGE_FULL") => Blame::Us,
        (Code::Internal | Code::DataLoss | Code::Unavailable | Code::Unknown, _) => Blame::Us,
        _ => Blame::Caller,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault_it_is() {
        for (code, reason, kind, expected) in [
            (Code::NotFound, "RESOURCE_NOT_FOUND", Kind::Read, Blame::Caller),
            (Code::InvalidArgument, "FIELD_INVALID", Kind::Change, Blame::Caller),
            (Code::ResourceExhausted, "QUOTA_EXCEEDED", Kind::Upload, Blame::Caller),
            (Code::ResourceExhausted, "STORAGE_FULL", Kind::Upload, Blame::Us),
            (Code::Unavailable, "STORE_UNAVAILABLE", Kind::Read, Blame::Us),
            (Code::Unavailable, "SERVER_DRAINING", Kind::Stream, Blame::Nobody),
            (Code::Unavailable, "SERVER_DRAINING", Kind::Upload, Blame::Caller),
            (Code::DataLoss, "ARTIFACT_DAMAGED", Kind::Stream, Blame::Us),
            (Code::Internal, "INTERNAL", Kind::Read, Blame::Us),
        ] {
            assert_eq!(blame(code, reason, kind), expected, "{code:?} {reason}");
        }
    }

    #[test]
    fn a_call_is_told_of_by_its_method_and_caller() {
        let mut headers = HeaderMap::new();
        headers.insert(ACTOR_HEADER, HeaderValue::from_static("ana"));
        let measured = || Call::of(&http::Request::new(()), Default::default(), None);
        let logged = |path: &str| Logged::new(path, Kind::Read, &headers, Instant::now(), measured());
        let call = logged("/modelregistry.v1.ModelService/GetModel");
        assert_eq!((call.rpc(), call.actor().as_str()), ("GetModel", "ana"));
        assert_eq!(logged("/grpc.health.v1.Health/Check").rpc(), "/grpc.health.v1.Health/Check");
        assert_eq!(logged(&"/é".repeat(1000)).rpc().len(), 127);
        assert_eq!(logged("/é").rpc(), "/é");
        let nobody = Logged::new("/x", Kind::Read, &HeaderMap::new(), Instant::now(), measured());
        assert_eq!(nobody.actor(), "anonymous");
    }
}
