//! Collections that a server begins by itself.

use std::time::{Duration, SystemTime};

use registry_proto::v1::ErrorReason;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Plan, collect};
use crate::error::Error;
use crate::registry::{Intent, Registry};

/// A clock that is further ahead of the newest event may be wrong, and what is purged by it is gone for good.
const FAR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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
        match ahead(&registry, SystemTime::now()).await {
            Ok(None) => {}
            Ok(Some(ahead)) => {
                let days = ahead.as_secs() / (24 * 60 * 60);
                tracing::warn!(
                    days,
                    "the clock is far ahead of the newest event: nothing is collected until there is another one, or \
                     `registryctl gc` is run"
                );
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "garbage can't be collected");
                continue;
            }
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

/// How far the clock is ahead of the newest event, if that is far.
async fn ahead(registry: &Registry, now: SystemTime) -> Result<Option<Duration>, Error> {
    let newest = registry.newest_time().await?;
    Ok(newest.and_then(|newest| now.duration_since(newest).ok()).filter(|ahead| *ahead > FAR))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Setting;
    use super::*;

    #[tokio::test]
    async fn a_clock_is_far_ahead_a_week_after_the_newest_event() {
        let setting = Setting::new().await;
        let newest = setting.registry.newest_time().await.unwrap().unwrap();
        let second = Duration::from_secs(1);
        for (now, far) in [(newest - second, false), (newest + FAR, false), (newest + FAR + second, true)] {
            assert_eq!(ahead(&setting.registry, now).await.unwrap().is_some(), far);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_removed_that_the_archive_lacks() {
        let setting = Setting::new().await;
        let newest = setting.registry.store().newest().await.unwrap();
        let (archive, archived) = watch::channel(newest - 1);
        let registry = setting.registry.clone().archived_up_to(archived);
        let plan = Plan { dry_run: false, grace: Duration::ZERO };
        let refused = collect(&registry, &Intent::own(), &plan, |_, _| true).await.unwrap_err();
        assert!(matches!(refused, Error::Precondition { reason: ErrorReason::ArchiveBehind, .. }), "{refused}");
        archive.send_replace(newest);
        let report = collect(&registry, &Intent::own(), &plan, |_, _| true).await.unwrap();
        assert_eq!(report.removed_chunks, 2);
    }
}
