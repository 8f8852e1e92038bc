//! How much may go on at once, and what each call holds of it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::kinds::Kind;

/// How many calls of each kind may be worked on at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// Those that are one request and one answer.
    pub(crate) calls: usize,
    /// Those that send bytes.
    pub(crate) uploads: usize,
    /// Those that are answered with a stream.
    pub(crate) streams: usize,
}

/// What the answer of one read may take, in KiB: a page, or a batch.
pub(super) const ANSWER_KIB: u32 = 4 << 10;
/// What the answers of all reads may take together, from when they are made until their callers have taken them, in KiB.
const ANSWERS_KIB: u32 = 128 << 10;

/// The places there are.
#[derive(Debug)]
pub(super) struct Places {
    capacity: Capacity,
    calls: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new(capacity: Capacity) -> Self {
        let room = |places: usize| Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Self {
            capacity,
            calls: room(capacity.calls),
            uploads: room(capacity.uploads),
            streams: room(capacity.streams),
            answers: room(ANSWERS_KIB as usize),
        }
    }

    /// Where calls of a kind are counted, if they are.
    pub(super) fn of(&self, kind: Kind) -> Option<&Arc<Semaphore>> {
        match kind {
            Kind::Health | Kind::Metrics => None,
            Kind::Upload => Some(&self.uploads),
            Kind::Stream => Some(&self.streams),
            Kind::Read | Kind::Change => Some(&self.calls),
        }
    }

    /// The memory for answers of reads.
    pub(super) fn answers(&self) -> &Arc<Semaphore> {
        &self.answers
    }
}

impl Collector for Places {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Capacity { calls, uploads, streams } = self.capacity;
        let kinds =
            [("calls", &self.calls, calls), ("uploads", &self.uploads, uploads), ("streams", &self.streams, streams)];
        let there = "Calls, uploads and streams that there may be at once; others are turned away";
        let mut each = encoder.encode_descriptor("places", there, None, MetricType::Gauge)?;
        for (kind, _, most) in kinds {
            ConstGauge::new(most as i64).encode(each.encode_family(&[("kind", kind)])?)?;
        }
        let taken = "Calls, uploads and streams that there are";
        let mut each = encoder.encode_descriptor("places_taken", taken, None, MetricType::Gauge)?;
        for (kind, places, most) in kinds {
            let taken = most.saturating_sub(places.available_permits());
            ConstGauge::new(taken as i64).encode(each.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }
}

/// What one call holds; given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// A place among the calls of its kind.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// Memory for its answer, in KiB.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Gives back the memory that an answer of this many bytes does not need.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if let Some(mut room) = self.room.take() {
            self.room = room.split(bytes.div_ceil(1024).min(room.num_permits()));
        }
    }
}

/// What a call holds, while it is being worked on.
pub(super) type Shared = Arc<Mutex<Held>>;

/// Nothing panics while it holds this lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
