//! What the registry measures, for `/metrics`: commits and what they are of, watches, collections of garbage.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Exposition, Unit};
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use crate::error::Error;
use crate::metrics::latencies;
use crate::store::Revision;

/// What is known of this server's own commits.
#[derive(Debug, Clone)]
pub(crate) struct Measures {
    waiting: Gauge,
    commits: Histogram,
    events: Family<Happened, Counter>,
    moves: Family<Moved, Counter>,
    verdicts: Family<Judged, Counter>,
    collections: Collections,
    /// The watches of its callers.
    pub(crate) watches: Watches,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Happened {
    r#type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Moved {
    to: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Judged {
    kind: String,
    outcome: &'static str,
}

impl Default for Measures {
    fn default() -> Self {
        let measures = Self {
            waiting: Gauge::default(),
            commits: Histogram::new(latencies()),
            events: Family::default(),
            moves: Family::default(),
            verdicts: Family::default(),
            collections: Collections::default(),
            watches: Watches::default(),
        };
        // An increase can only be seen of what was there before: the first promotion, the first rollback, the first failure.
        for outcome in [OK, FAILED] {
            let _ = measures.collections.ended.get_or_create(&Outcome { outcome });
        }
        for r#type in event_type::all() {
            let _ = measures.events.get_or_create(&Happened { r#type: r#type.to_owned() });
        }
        for to in STAGES {
            for cause in CAUSES {
                let _ = measures.moves.get_or_create(&Moved::of(to, cause));
            }
        }
        measures
    }
}

const STAGES: [pb::Stage; 4] = [pb::Stage::Development, pb::Stage::Staging, pb::Stage::Production, pb::Stage::Archived];
const CAUSES: [pb::StageChangeCause; 6] = [
    pb::StageChangeCause::Transition,
    pb::StageChangeCause::Displaced,
    pb::StageChangeCause::Rollback,
    pb::StageChangeCause::Deleted,
    pb::StageChangeCause::Withdrawn,
    pb::StageChangeCause::Automatic,
];

impl Moved {
    fn of(to: pb::Stage, cause: pb::StageChangeCause) -> Self {
        let to = short(to.as_str_name(), "STAGE_");
        Self { to, cause: short(cause.as_str_name(), "STAGE_CHANGE_CAUSE_") }
    }
}

impl Measures {
    /// These events were committed.
    fn committed(&self, events: &[pb::Event], began: Instant) {
        self.commits.observe(began.elapsed().as_secs_f64());
        for event in events {
            self.events.get_or_create(&Happened { r#type: event.r#type.clone() }).inc();
            if let Some(change) = event.stage_change.filter(|change| change.from_stage != change.to_stage) {
                self.moves.get_or_create(&Moved::of(change.to_stage(), change.cause())).inc();
            }
            // Those that were overridden have an event of their own, which says it again.
            for verdict in event.gates.iter().filter(|_| event.stage_change.is_some()).flat_map(|gates| &gates.verdicts)
            {
                let kind = short(verdict.kind().as_str_name(), "GATE_KIND_").to_owned();
                let outcome = match verdict.overridden {
                    true => "OVERRIDDEN",
                    false => short(verdict.outcome().as_str_name(), "GATE_OUTCOME_"),
                };
                self.verdicts.get_or_create(&Judged { kind, outcome }).inc();
            }
        }
    }

    /// A change was refused.
    pub(super) fn refused(&self, error: &Error) {
        if let Error::GatesFailed { gates, .. } = error {
            for gate in gates {
                self.verdicts.get_or_create(&Judged { kind: gate.kind.clone(), outcome: FAILED }).inc();
            }
        }
    }

    /// A collection of garbage has ended.
    pub(crate) fn collected(&self, report: &Result<pb::CollectGarbageReport, Error>, began: Instant) {
        self.collections.ended(report, began);
    }

    /// Has them told of.
    pub(crate) fn expose(&self, to: &mut Exposition) {
        to.register("commits_waiting", "Commits that wait, for their turn or for the disk", self.waiting.clone());
        let commits =
            "How long commits took that changed something, from when they were to be made until they were durable";
        to.register_with_unit("commit_duration", commits, Unit::Seconds, self.commits.clone());
        to.register("events", "Events that this server has committed, by their type", self.events.clone());
        let moves = "Versions that this server has moved, by the stage that they went to and by why";
        to.register("stage_changes", moves, self.moves.clone());
        let verdicts = "What gates said of versions that were promoted, and which kept one out";
        to.register("gate_verdicts", verdicts, self.verdicts.clone());
        to.register("watches", "Open watches of events", self.watches.count.clone());
        self.collections.expose(to);
    }
}

/// The value of an enum without what all of its values begin with.
pub(crate) fn short(name: &'static str, start: &str) -> &'static str {
    name.strip_prefix(start).unwrap_or(name)
}

/// A commit, from when it is to be made. It waits until this is dropped, by its caller and by the store.
pub(super) struct Waiting {
    measures: Measures,
    pub(super) began: Instant,
}

impl Waiting {
    pub(super) fn begin(measures: &Measures) -> Self {
        measures.waiting.inc();
        Self { measures: measures.clone(), began: Instant::now() }
    }

    /// It is durable, with these events.
    pub(super) fn committed(&self, events: &[pb::Event]) {
        self.measures.committed(events, self.began);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.measures.waiting.dec();
    }
}

/// Collections of garbage by this server.
#[derive(Debug, Clone, Default)]
struct Collections {
    ended: Family<Outcome, Counter>,
    last: Gauge<f64, AtomicU64>,
    took: Gauge<f64, AtomicU64>,
    removed: Counter,
    removed_bytes: Counter,
    stored: Gauge,
}

const OK: &str = "OK";
const FAILED: &str = "FAILED";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Collections {
    fn ended(&self, report: &Result<pb::CollectGarbageReport, Error>, began: Instant) {
        let outcome = if report.is_ok() { OK } else { FAILED };
        self.ended.get_or_create(&Outcome { outcome }).inc();
        if let Ok(report) = report {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.last.set(now.as_secs_f64());
            self.took.set(began.elapsed().as_secs_f64());
            self.removed.inc_by(report.removed_chunks.unsigned_abs());
            self.removed_bytes.inc_by(report.removed_bytes.unsigned_abs());
            self.stored.set(report.stored_chunks - report.removed_chunks);
        }
    }

    fn expose(&self, to: &mut Exposition) {
        to.register(
            "garbage_collections",
            "Collections of garbage by this server, by how they ended",
            self.ended.clone(),
        );
        let last = "When this server's last collection of garbage ended well, in seconds since 1970; 0: none did";
        to.register_with_unit("garbage_collection_success_timestamp", last, Unit::Seconds, self.last.clone());
        let took = "How long that took";
        to.register_with_unit("garbage_collection_duration", took, Unit::Seconds, self.took.clone());
        to.register("chunks_removed", "Chunks that this server's collections have removed", self.removed.clone());
        let bytes = "Their bytes";
        to.register_with_unit("chunks_removed", bytes, Unit::Bytes, self.removed_bytes.clone());
        to.register("chunks_stored", "Chunks that were stored when it ended", self.stored.clone());
    }
}

/// The watches that are open, and how far each is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watches {
    count: Gauge,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    at: BTreeMap<u64, Arc<AtomicU64>>,
}

impl Watches {
    /// One begins.
    pub(super) fn begin(&self) -> Watch {
        self.count.inc();
        let at = Arc::new(AtomicU64::new(Revision::MAX));
        let mut open = self.open();
        let id = open.next;
        open.next += 1;
        open.at.insert(id, Arc::clone(&at));
        Watch { id, at, all: self.clone() }
    }

    /// How far the one is that is furthest behind; `None` if there is none.
    pub(crate) fn last(&self) -> Option<Revision> {
        self.open().at.values().map(|at| at.load(Ordering::Relaxed)).filter(|at| *at != Revision::MAX).min()
    }

    /// Nothing panics while it holds this lock.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch that is open.
#[derive(Debug)]
pub(super) struct Watch {
    id: u64,
    at: Arc<AtomicU64>,
    all: Watches,
}

impl Watch {
    /// It has sent everything up to a revision.
    pub(super) fn at(&self, revision: Revision) {
        self.at.store(revision, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.all.open().at.remove(&self.id);
        self.all.count.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_the_watches_counts() {
        let watches = Watches::default();
        let (first, second) = (watches.begin(), watches.begin());
        assert_eq!(watches.last(), None, "they do not know yet where they are");
        first.at(7);
        second.at(3);
        assert_eq!((watches.last(), watches.count.get()), (Some(3), 2));
        drop(second);
        assert_eq!((watches.last(), watches.count.get()), (Some(7), 1));
        drop(first);
        assert_eq!((watches.last(), watches.count.get()), (None, 0));
    }
}
