//! What a store measures, for `/metrics`.

use std::time::Instant;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry as Exposition, Unit};

use crate::metrics::latencies;

/// How commits become durable.
#[derive(Debug, Clone)]
pub struct StoreMeasures {
    groups: Histogram,
    writes: Histogram,
    /// Of a store that is reached over connections.
    connections: Option<Connections>,
}

/// The connections for reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    pub(crate) most: Gauge,
    pub(crate) taken: Gauge,
}

impl Default for StoreMeasures {
    fn default() -> Self {
        let groups = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        Self { groups, writes: Histogram::new(latencies()), connections: None }
    }
}

impl StoreMeasures {
    /// The same of a store that is reached over these connections.
    pub(crate) fn with_connections(self, connections: Connections) -> Self {
        Self { connections: Some(connections), ..self }
    }

    /// So many decisions became durable together by one write.
    pub(crate) fn wrote(&self, decisions: usize, began: Instant) {
        self.groups.observe(decisions as f64);
        self.writes.observe(began.elapsed().as_secs_f64());
    }

    /// Has them told of.
    pub(crate) fn expose(&self, to: &mut Exposition) {
        let groups = "How many commits, and decisions to change nothing, became durable by one write";
        to.register("commit_group_size", groups, self.groups.clone());
        let writes = "How long such a write took: of the log with its sync or, in a database, of the transaction";
        to.register_with_unit("commit_write_duration", writes, Unit::Seconds, self.writes.clone());
        if let Some(Connections { most, taken }) = &self.connections {
            to.register("store_connections", "Connections for reads that there may be", most.clone());
            to.register("store_connections_taken", "Connections for reads that are in use", taken.clone());
        }
    }
}
