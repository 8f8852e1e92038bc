//! What the server measures, as Prometheus reads it.
//!
//! What happens often is counted where it happens, by handles that cost an atomic addition or two: `layers`, `connections`, the
//! registry, the store and the webhooks have `Measures` each. What is there anyway is looked up when somebody asks ([`state`]).
//!
//! *Invariant:* labels have few values: no names of resources but frameworks and teams, of which the most frequent ones are told.

mod listener;
mod process;
mod state;

use std::sync::Arc;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry as Exposition;
use registry_proto::v1 as pb;
use tokio::sync::{Mutex, watch};

pub(crate) use self::listener::serve;
use self::process::Process;
use self::state::State;
use crate::about::About;
use crate::connections;
use crate::error::Error;
use crate::layers::CallLayer;
use crate::registry::Registry;
use crate::tls::Tls;
use crate::webhooks::Webhooks;

/// What the names of all metrics begin with, other than those of the process, which have names that all processes share.
const PREFIX: &str = "modelregistry";
/// The media type of OpenMetrics, as the text that is written is.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The bounds of what is timed, in seconds: from a read in memory to the longest call.
pub(crate) fn latencies() -> impl Iterator<Item = f64> {
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0].into_iter()
}

/// What measures itself, or is looked at.
pub(crate) struct Sources<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) about: &'a About,
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) calls: &'a CallLayer,
    pub(crate) connections: &'a connections::Measures,
    pub(crate) webhooks: &'a Webhooks,
    pub(crate) tls: Option<&'a Tls>,
}

/// The metrics of a server.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    exposition: Exposition,
    /// One looks at a time, or another one would see what is half there.
    state: Mutex<State>,
}

impl Metrics {
    pub(crate) fn new(Sources { registry, about, draining, calls, connections, webhooks, tls }: Sources<'_>) -> Self {
        let mut exposition = Exposition::default();
        exposition.register_collector(Box::new(Process));
        let ours = exposition.sub_registry_with_prefix(PREFIX);
        ours.register("build", "What this server is", Info::new(about.labels()));
        calls.expose(ours);
        connections.expose(ours);
        registry.measures().expose(ours);
        registry.store().measures().expose(ours);
        registry.chunks().measures().expose(ours);
        webhooks.expose(ours);
        if let Some(tls) = tls {
            tls.expose(ours);
        }
        let state = State::new(registry.clone(), webhooks.clone(), draining);
        state.expose(ours);
        Self(Arc::new(Inner { exposition, state: Mutex::new(state) }))
    }

    /// Everything, in a format.
    ///
    /// # Errors
    /// If it can't be written, which would be a mistake in it.
    pub(crate) async fn text(&self, format: pb::MetricsFormat) -> Result<pb::GetMetricsResponse, Error> {
        let mut state = self.0.state.lock().await;
        state.look().await;
        let mut text = String::new();
        let (content_type, written) = match format {
            pb::MetricsFormat::OpenMetrics => (OPEN_METRICS, text::encode(&mut text, &self.0.exposition)),
            pb::MetricsFormat::Unspecified | pb::MetricsFormat::Prometheus => {
                (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut text, &self.0.exposition))
            }
        };
        written.map_err(|_| Error::internal("metrics can't be written"))?;
        Ok(pb::GetMetricsResponse { content_type: content_type.to_owned(), text })
    }
}
