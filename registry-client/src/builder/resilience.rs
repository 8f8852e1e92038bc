//! What a client is asked for of [`resilience`](crate::resilience), beside what it does by itself.

use std::path::PathBuf;

use super::Builder;
use crate::resilience::{Budget, HedgeLayer, MetricsLayer, TraceLayer};

impl Builder {
    /// What repeated attempts may add to the load; one call in ten unless set. The clients that are given clones of it share it, and so do
    /// clients that are made of clones of this builder.
    pub fn retry_budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Asks another server, too, when one is late with an answer to a call that only reads, and takes the answer that comes first:
    /// `HedgeLayer::default()` for what is late by the last calls, at most one call in twenty. Off unless set.
    pub fn hedge(mut self, hedge: HedgeLayer) -> Self {
        self.hedge = Some(hedge);
        self
    }

    /// The header `authorization` with a token from a file, which is read again when it changes: see
    /// [`TokenLayer`](crate::resilience::TokenLayer). A file without a token is an error of [`connect`](Self::connect) and [`connect_lazy`](Self::connect_lazy).
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Tells the recorder of the crate `metrics` of every attempt at a server, by method and code: see [`MetricsLayer`].
    pub fn metrics(self) -> Self {
        self.layer(MetricsLayer::default())
    }

    /// Makes a span of every attempt at a server, and sends the header `traceparent`: see [`TraceLayer`]. The attempts of one call are in
    /// the same trace.
    pub fn trace(mut self) -> Self {
        self.traces = true;
        self.layer(TraceLayer::default())
    }
}
