//! What is looked up when somebody asks: how far things are, and what there is.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry as Exposition, Unit};
use registry_proto::v1 as pb;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::Error;
use crate::registry::{Census, Registry, short};
use crate::search::{self, Counts, Facts};
use crate::store::Revision;
use crate::webhooks::Webhooks;

/// How long is waited for the index, and for the store.
const PATIENCE: Duration = Duration::from_secs(2);
/// What those values are counted under that are not told of by themselves.
const OTHERS: &str = "(other)";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTeam {
    team: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFramework {
    framework: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InStage {
    stage: String,
}

/// Looks, and keeps what it saw.
pub(super) struct State {
    registry: Registry,
    webhooks: Webhooks,
    draining: watch::Receiver<bool>,
    seen: Seen,
    counted: Option<Revision>,
}

#[derive(Default)]
struct Seen {
    serving: Gauge,
    revision: Gauge,
    oldest: Gauge,
    archived: Gauge,
    watch_lag: Gauge,
    subscriptions: Family<InState, Gauge>,
    subscription_lag: Gauge,
    hooks: Family<InState, Gauge>,
    hook_lag: Gauge,
    index_ready: Gauge,
    index_revision: Gauge,
    index_resources: Gauge,
    index_bytes: Gauge,
    index_limit: Gauge,
    models: Family<OfTeam, Gauge>,
    frameworks: Family<OfFramework, Gauge>,
    stages: Family<InStage, Gauge>,
    artifacts: Gauge,
    artifact_bytes: Gauge<f64, AtomicU64>,
    tasks: Gauge,
}

impl State {
    pub(super) fn new(registry: Registry, webhooks: Webhooks, draining: watch::Receiver<bool>) -> Self {
        Self { registry, webhooks, draining, seen: Seen::default(), counted: None }
    }

    /// Has it told of. What this server has no use for is left out.
    pub(super) fn expose(&self, to: &mut Exposition) {
        let seen = &self.seen;
        to.register(
            "serving",
            "1 while calls are served, 0 while the store can't be used or the server stops",
            seen.serving.clone(),
        );
        to.register("log_revision", "The newest revision that this server knows", seen.revision.clone());
        to.register("log_oldest_revision", "The oldest revision that is in the log", seen.oldest.clone());
        if self.registry.archived().is_some() {
            let archived =
                "The revision up to which the archive has everything; 0 before this server has archived anything";
            to.register("archive_revision", archived, seen.archived.clone());
        }
        let lag = "How many revisions the watch is behind that is furthest behind";
        to.register("watch_lag_revisions", lag, seen.watch_lag.clone());
        to.register("subscriptions", "Durable subscriptions, by their state", seen.subscriptions.clone());
        let lag =
            "How many revisions the subscription is behind that is furthest behind, of those that have not lapsed";
        to.register("subscription_lag_revisions", lag, seen.subscription_lag.clone());
        to.register("webhooks", "Webhooks, by whether their last attempt failed", seen.hooks.clone());
        let lag = "How many revisions the webhook is behind that is furthest behind, of those that are enabled";
        to.register("webhook_lag_revisions", lag, seen.hook_lag.clone());
        if self.registry.index().is_some() {
            to.register("index_ready", "1 if the index answers filters and orders", seen.index_ready.clone());
            to.register(
                "index_revision",
                "The revision that the index knows, if it is ready",
                seen.index_revision.clone(),
            );
            to.register("index_resources", "Models and versions that the index knows", seen.index_resources.clone());
            to.register_with_unit("index_memory", "Memory of the index, about", Unit::Bytes, seen.index_bytes.clone());
            let limit = "Memory that the index may take";
            to.register_with_unit("index_memory_limit", limit, Unit::Bytes, seen.index_limit.clone());
            to.register("models", "Models that are not deleted, by their team", seen.models.clone());
            let versions = "Versions that are not deleted, by their framework";
            to.register("framework_versions", versions, seen.frameworks.clone());
            to.register("stage_versions", "Versions that are not deleted, by their stage", seen.stages.clone());
        }
        to.register("artifacts", "Artifacts", seen.artifacts.clone());
        let bytes = "Their sizes in all, as they are downloaded: that they share chunks takes nothing off";
        to.register_with_unit("artifacts", bytes, Unit::Bytes, seen.artifact_bytes.clone());
        to.register("runtime_tasks", "Tasks that are under way in the server", seen.tasks.clone());
    }

    /// Looks again. What can't be read now stays as it was seen last.
    pub(super) async fn look(&mut self) {
        let store = self.registry.store();
        let serving = *store.healthy().borrow() && !*self.draining.borrow();
        let seen = &self.seen;
        seen.serving.set(serving.into());
        let head = *store.head().borrow();
        seen.revision.set(head.cast_signed());
        seen.archived.set(self.registry.archived().unwrap_or_default().cast_signed());
        let last = self.registry.measures().watches.last();
        seen.watch_lag.set(last.map_or(0, |last| head.saturating_sub(last)).cast_signed());
        seen.tasks.set(Handle::current().metrics().num_alive_tasks() as i64);
        // Who asks waits for some seconds only, and a store that is away would be waited for.
        let _ = timeout(PATIENCE, self.look_at_index()).await;
        if serving {
            match timeout(PATIENCE, self.look_at_store()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "not all metrics can be read"),
                Err(_) => tracing::warn!("not all metrics can be read in time"),
            }
        }
    }

    async fn look_at_index(&mut self) {
        let seen = &self.seen;
        let Some(index) = self.registry.index() else { return };
        let Facts { state, records, bytes, most_bytes } = index.facts().await;
        let revision = match state {
            search::State::At(revision) => Some(revision),
            search::State::Building | search::State::TooLarge => None,
        };
        seen.index_ready.set(revision.is_some().into());
        seen.index_revision.set(revision.unwrap_or_default().cast_signed());
        seen.index_resources.set(records.cast_signed());
        seen.index_bytes.set(bytes.cast_signed());
        seen.index_limit.set(most_bytes.cast_signed());
        if revision.is_none() {
            // Nobody counts any more.
            seen.models.clear();
            seen.frameworks.clear();
            seen.stages.clear();
            self.counted = None;
            return;
        }
        if let Some(Census { revision, teams, frameworks, stages }) = self.registry.census(self.counted).await {
            set_all(&seen.models, teams, |team| OfTeam { team });
            set_all(&seen.frameworks, frameworks, |framework| OfFramework { framework });
            set_all(&seen.stages, stages, |stage| InStage { stage });
            self.counted = Some(revision);
        }
    }

    async fn look_at_store(&self) -> Result<(), Error> {
        let seen = &self.seen;
        seen.oldest.set(self.registry.store().oldest().await?.cast_signed());
        let usage = self.registry.usage_in_all().await?;
        seen.artifacts.set(usage.artifact_count.cast_signed());
        seen.artifact_bytes.set(usage.size_bytes as f64);
        let (mut states, mut most) = ([("ACTIVE", 0), ("IDLE", 0), ("LAPSED", 0)], 0);
        for consumption in self.registry.consumptions().await? {
            let state = short(consumption.state().as_str_name(), "CONSUMPTION_STATE_");
            states.iter_mut().filter(|(known, _)| *known == state).for_each(|(_, count)| *count += 1);
            if consumption.state() != pb::ConsumptionState::Lapsed {
                most = most.max(consumption.lag);
            }
        }
        set_states(&seen.subscriptions, states);
        seen.subscription_lag.set(most);
        let (mut states, mut most) = ([("OK", 0), ("FAILING", 0), ("DISABLED", 0)], 0);
        for hook in self.registry.webhooks(&self.webhooks).await? {
            let status = hook.status.unwrap_or_default();
            let at = if hook.disabled { 2 } else { usize::from(status.failures > 0) };
            states[at].1 += 1;
            if !hook.disabled {
                most = most.max(status.lag);
            }
        }
        set_states(&seen.hooks, states);
        seen.hook_lag.set(most);
        Ok(())
    }
}

fn set_states(family: &Family<InState, Gauge>, states: [(&'static str, i64); 3]) {
    for (state, count) in states {
        family.get_or_create(&InState { state }).set(count);
    }
}

/// Sets how often each value is there, and forgets those that are not any more.
fn set_all<L>(family: &Family<L, Gauge>, Counts { values, others, missing }: Counts, label: impl Fn(String) -> L)
where
    L: Clone + std::hash::Hash + Eq,
{
    family.clear();
    let more = [(String::new(), missing), (OTHERS.to_owned(), others)];
    for (value, count) in values.into_iter().chain(more).filter(|(_, count)| *count > 0) {
        // A value that is empty counts as one that is missing.
        family.get_or_create(&label(value)).inc_by(count.cast_signed());
    }
}
