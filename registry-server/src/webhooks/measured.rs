//! Deliveries, counted and timed, for `/metrics`.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Exposition, Unit};

use super::answers::{Meaning, Outcome};
use crate::metrics::latencies;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempted {
    outcome: &'static str,
}

/// What is known of this server's attempts.
#[derive(Debug, Clone)]
pub(super) struct Measures {
    attempts: Family<Attempted, Counter>,
    times: Histogram,
}

impl Default for Measures {
    fn default() -> Self {
        Self { attempts: Family::default(), times: Histogram::new(latencies()) }
    }
}

impl Measures {
    pub(super) fn attempted(&self, outcome: &Outcome, began: Instant) {
        let outcome = match outcome.meaning() {
            Meaning::Delivered => "DELIVERED",
            Meaning::Again(_) => "FAILED",
            Meaning::Gone => "GONE",
        };
        self.attempts.get_or_create(&Attempted { outcome }).inc();
        self.times.observe(began.elapsed().as_secs_f64());
    }

    pub(super) fn expose(&self, to: &mut Exposition) {
        let attempts = "Attempts by this server to deliver an event to a webhook, by what came of them; GONE: the receiver wants no more";
        to.register("webhook_attempts", attempts, self.attempts.clone());
        to.register_with_unit("webhook_attempt_duration", "How long they took", Unit::Seconds, self.times.clone());
    }
}
