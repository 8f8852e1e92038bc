//! Collections that a server begins by itself.

use std::time::Duration;

use registry_proto::v1::ErrorReason;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Plan, collect};
use crate::error::Error;
use crate::registry::{Intent, Registry};

/// What a server does by itself.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// Zero: never.
    pub(crate) every: Duration,
    pub(crate) plan: Plan,
}

/// Collects again and again, until the server drains. A collection that is at work then ends with its next step.
pub(crate) async fn run(registry: Registry, schedule: Schedule, mut draining: watch::Receiver<bool>) {
    let Schedule { every, plan } = schedule;
    if every.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = draining.clone();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // An error means that the server is gone.
            _ = draining.wait_for(|draining| *draining) => return,
        }
        match collect(&registry, &Intent::own(), &plan, |_, _| !*stop.borrow()).await {
            Ok(report) => tracing::info!(
                purged_versions = report.purged_versions,
                removed_chunks = report.removed_chunks,
                removed_bytes = report.removed_bytes,
                "collected garbage"
            ),
            Err(Error::Precondition { reason: ErrorReason::CollectionRunning, .. }) => {
                tracing::info!("another server collects garbage");
            }
            Err(error) => tracing::error!(%error, "garbage can't be collected"),
        }
    }
}
