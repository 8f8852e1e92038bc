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
/// If the clocks of server and store are further apart, one of them is wrong.
const APART: Duration = Duration::from_secs(60);

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
        match doubt(&registry, SystemTime::now()).await {
            Ok(None) => {}
            Ok(Some(Doubt::Ahead(by))) => {
                tracing::warn!(
                    days = by.as_secs() / (24 * 60 * 60),
                    "the clock is far ahead of the newest event: nothing is collected until there is another one, or \
                     `registryctl gc` is run"
                );
                continue;
            }
            Ok(Some(Doubt::Apart(by))) => {
                tracing::warn!(
                    seconds = by.as_secs(),
                    "the clocks of this server and of its database differ: this server collects nothing until they agree"
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
                forgotten_requests = report.forgotten_requests,
                purged_versions = report.purged_versions,
                purged_models = report.purged_models,
                removed_chunks = report.removed_chunks,
                removed_bytes = report.removed_bytes,
                refused_chunks = report.refused_chunks,
                dropped_revisions = report.dropped_revisions,
                "collected garbage"
            ),
            Err(Error::Precondition { reason: ErrorReason::CollectionRunning, .. }) => {
                tracing::info!("another server collects garbage");
            }
            Err(error) => tracing::error!(%error, "garbage can't be collected"),
        }
    }
}

/// Why the clocks are not to be trusted.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    /// The store's is so far ahead of the newest event.
    Ahead(Duration),
    /// The server's and the store's are so far apart.
    Apart(Duration),
}

async fn doubt(registry: &Registry, own: SystemTime) -> Result<Option<Doubt>, Error> {
    Ok(rule(own, registry.store().time().await?, registry.newest_time().await?))
}

/// Whether a server may purge by itself. It does so by the store's clock, which all servers share.
fn rule(own: SystemTime, store: SystemTime, newest: Option<SystemTime>) -> Option<Doubt> {
    let apart = own.duration_since(store).unwrap_or_else(|error| error.duration());
    let ahead = newest.and_then(|newest| store.duration_since(newest).ok()).unwrap_or_default();
    if apart > APART {
        Some(Doubt::Apart(apart))
    } else if ahead > FAR {
        Some(Doubt::Ahead(ahead))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use registry_proto::v1::CollectGarbagePhase;

    use super::super::tests::Setting;
    use super::*;

    #[test]
    fn nothing_is_purged_by_a_clock_that_may_be_wrong() {
        let second = Duration::from_secs(1);
        let store = SystemTime::UNIX_EPOCH + 3 * FAR;
        let (near, far) = (store - FAR, store - FAR - second);
        for (own, newest, expected) in [
            (store, None, None),
            (store, Some(store), None),
            (store, Some(store + FAR), None),
            (store, Some(near), None),
            (store, Some(far), Some(Doubt::Ahead(FAR + second))),
            (store + APART, Some(store), None),
            (store - APART, Some(store), None),
            (store + APART + second, Some(store), Some(Doubt::Apart(APART + second))),
            (store - APART - second, Some(far), Some(Doubt::Apart(APART + second))),
        ] {
            assert_eq!(rule(own, store, newest), expected, "{own:?} {newest:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_removed_that_the_archive_lacks() {
        let setting = Setting::new().await;
        let newest = setting.registry.store().newest().await.unwrap();
        let (archive, archived) = watch::channel(newest - 1);
        let registry = setting.registry.clone().with_archive("/nowhere", archived);
        let plan = Plan { dry_run: false, grace: Duration::ZERO, keep_requests: Duration::MAX, keep_log: None };
        let waited = Mutex::new(Vec::new());
        let tell = |phase, done| {
            if phase == CollectGarbagePhase::Archive {
                waited.lock().unwrap().push(done);
            }
            true
        };
        let refused = collect(&registry, &Intent::own(), &plan, tell).await.unwrap_err();
        assert!(matches!(refused, Error::Precondition { reason: ErrorReason::ArchiveBehind, .. }), "{refused}");
        let told = waited.lock().unwrap().len();
        assert!(told > 1 && waited.lock().unwrap().iter().all(|done| *done == newest.cast_signed() - 1), "it says so");
        archive.send_replace(newest);
        let report = collect(&registry, &Intent::own(), &plan, tell).await.unwrap();
        assert_eq!(report.removed_chunks, 2);
        assert_eq!(waited.into_inner().unwrap().len(), told, "what is there is not waited for");
    }
}
