//! The server: opens the stores, serves, and drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use registry_gateway::{GatewayLayer, Origins};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::transport::Server as Transport;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use uuid::Uuid;

use crate::about::About;
use crate::backup::shipper::Shipper;
use crate::bootstrap::first_token;
use crate::config::{AccessChoice, Config, StoreChoice};
use crate::connections::{self, Limits};
use crate::gc::{self, Plan, Schedule};
use crate::grpc::{Means, Services, Stopping};
use crate::layers::{CallLayer, Capacity};
use crate::metrics::{self, Metrics, Sources};
use crate::owners;
use crate::registry::Registry;
use crate::registry::access::jwt::Issuers;
use crate::registry::instances::expiry::expire_instances;
use crate::registry::watch::Watching;
use crate::rules::exposure::{Protection, Verdict, judge};
use crate::stores::{ServeError, Stores};
use crate::tls::Tls;
use crate::vital::Tasks;
use crate::webhooks::Webhooks;

/// Large frames: a stream of megabytes costs a third less processor time than with HTTP/2's 16 KiB.
const FRAME_BYTES: u32 = 256 * 1024;
/// What a stream of an upload, and a connection, may send before it is read: memory that nothing else bounds. A connection fills a line
/// of 1 Gbit/s at 8 ms.
const STREAM_BYTES: u32 = 512 * 1024;
const CONNECTION_BYTES: u32 = 2 * STREAM_BYTES;
/// How many calls one connection may have open: HTTP/2's own limit, which a client waits for.
const STREAMS: u32 = 256;
const SNAPSHOTS: usize = 8;
/// How many connections there may be at the port for those who watch over the server.
const WATCHERS: usize = 64;
/// How long one of them may be without a request: longer than from one scrape to the next.
const WATCHER_IDLE: Duration = Duration::from_secs(75);
/// How long those calls that are ended may take to say so.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long the last segment of the archive may take behind the last call.
const SHIPPING: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const HANDSHAKE: Duration = Duration::from_secs(10);

// What goes on beside the calls.
const HEALTH: &str = "health";
const ARCHIVE: &str = "archive";
const INDEXING: &str = "index";
const COLLECTING: &str = "garbage collection";
const OWNING: &str = "ownership of the artifacts";
const ACCESS: &str = "who may do what";
const REFUSED: &str = "telling of what was refused";
const ISSUERS: &str = "keys of issuers";
const EXPIRING: &str = "removal of instances that are gone";
const SENDING: &str = "webhooks";
const CERTIFICATES: &str = "certificates";
const METRICS: &str = "metrics";

/// A server with its stores open, ready to serve.
pub struct Server {
    config: Config,
    about: About,
    stores: Stores,
    registry: Registry,
    shipper: Option<Shipper>,
    webhooks: Webhooks,
    tls: Option<Tls>,
    connections: connections::Measures,
    /// Of the port for those who watch over the server.
    metrics_listener: Option<TcpListener>,
}

impl Server {
    /// Opens the stores of the configuration, or makes them.
    ///
    /// # Errors
    /// If they can't be used, or the archive can't.
    pub async fn open(config: Config) -> Result<Self, ServeError> {
        // Before a store is made, which would be left behind.
        let tls = match config.tls_files() {
            Some(files) => Some(Tls::open(files).await?),
            None => None,
        };
        let stores = Stores::open(&config).await?;
        if !stores.store.whole().await? {
            return Err(ServeError::Unfinished);
        }
        let registry =
            Registry::new(Arc::clone(&stores.store), stores.chunks.clone(), config.limits(), config.purge_after.0);
        if config.store == StoreChoice::Sled {
            // Nobody else can be at work on it.
            registry.bury_sweep().await?;
        }
        let rewrapped = registry.rewrap_keys().await?;
        if rewrapped > 0 {
            tracing::info!(namespaces = rewrapped, "the keys of namespaces are under the new master key now");
        }
        let shipper = match &config.archive {
            Some(place) => Some(Shipper::open(registry.clone(), place).await?),
            None => None,
        };
        let registry = match (&shipper, &config.archive) {
            (Some(shipper), Some(place)) => registry.with_archive(place, shipper.archived()),
            _ => registry,
        };
        let registry = registry.with_index(config.index_memory.size().bytes());
        let registry = match config.access {
            AccessChoice::Off => registry,
            AccessChoice::Tokens => {
                let certificates = config.tls_principals.iter().map(|rule| rule.rule.clone()).collect();
                registry.with_guard(Issuers::new(&config.issuers())?, certificates).await?
            }
        };
        first_token(&registry, config.bootstrap_token_file.as_deref()).await?;
        let identity = stores.store.identity().await?;
        let about = About::new(&config, identity, stores.encrypted);
        let networks: Vec<_> = config.webhook_allow.iter().map(|network| network.0).collect();
        let me = match config.store {
            // Nobody else is at work on it: the turn of a process that was killed is this one's.
            StoreChoice::Sled => identity,
            StoreChoice::Postgres(_) => Uuid::new_v4(),
        };
        let webhooks = Webhooks::new(&networks, me)?;
        let (connections, metrics_listener) = (connections::Measures::default(), None);
        Ok(Self { config, about, stores, registry, shipper, webhooks, tls, connections, metrics_listener })
    }

    /// The same server, which also answers `/metrics`, `/healthz` and `/readyz` there, to whoever asks.
    pub fn with_metrics_on(self, listener: TcpListener) -> Self {
        Self { metrics_listener: Some(listener), ..self }
    }

    /// Logs what this server is, and the address at which it listens.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn describe(&self, address: SocketAddr) -> Result<(), ServeError> {
        self.about.log(self.stores.store.newest().await?, address);
        Ok(())
    }

    /// Serves until `stop` is done, then drains: no connection is taken any more, and what is endless or can be begun anew (watches,
    /// verifications) ends with UNAVAILABLE. Other calls, and streams of bytes, go on, up to the configuration's `drain`.
    ///
    /// # Errors
    /// If the network fails.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Config { max_connections: most, connection_idle: idle, .. } = &self.config;
        let limits = Limits { most: *most, handshake: HANDSHAKE, idle: idle.0 };
        let (tls, measures) = (self.tls.as_ref().map(Tls::current), self.connections.clone());
        self.serve_on(connections::accept(listener, limits.within_open_files(), tls, measures), stop).await
    }

    /// The same on connections that something else makes, such as pipes inside a process. Limits of connections are its own.
    ///
    /// # Errors
    /// If the network fails.
    pub async fn serve_on<IO>(
        self,
        connections: impl Stream<Item = io::Result<IO>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let Self { config, about, stores, registry, shipper, webhooks, tls, connections: measures, metrics_listener } =
            self;
        let (drain, draining) = watch::channel(false);
        let (give_up, ending) = watch::channel(false);
        let (health, health_service) = tonic_health::server::health_reporter();
        // Before the first call, so that health knows every service when it is asked.
        let serving = *stores.store.healthy().borrow();
        tell(&health, status(serving)).await;
        let mut tasks = Tasks::default();
        tasks.spawn(HEALTH, tell_health(health.clone(), stores.store.healthy(), draining.clone()));
        tasks.spawn(OWNING, owners::keep(stores.owner.clone(), Arc::clone(&stores.store), draining.clone()));
        if let Some(index) = registry.index() {
            tasks.spawn(INDEXING, index.clone().keep(Arc::clone(&stores.store), draining.clone()));
        }
        let guard = registry.guard().cloned();
        if let Some(guard) = guard.clone() {
            tasks.spawn(ISSUERS, guard.issuers().clone().keep(draining.clone()));
            tasks.spawn(ACCESS, guard.keep(draining.clone()));
            tasks.spawn(REFUSED, registry.clone().tell_of_denials(draining.clone()));
        }
        tasks.spawn(EXPIRING, expire_instances(registry.clone(), draining.clone()));
        let (served, serving_ended) = watch::channel(false);
        if let Some(shipper) = shipper {
            tasks.spawn(ARCHIVE, shipper.run(config.archive_every.0, serving_ended.clone()));
        }
        let idle = config.upload_idle.0;
        let (grace, keep_requests) = (config.gc_grace.0, config.request_id_keep.0);
        let keep_log = config.log_keep.map(|keep| keep.0);
        let plan = Plan { dry_run: false, grace, keep_requests, keep_log };
        let schedule = Schedule { every: config.gc_every.0, plan: plan.clone() };
        if !schedule.every.is_zero() {
            tasks.spawn(COLLECTING, gc::run(registry.clone(), schedule, draining.clone()));
        }
        tasks.spawn(SENDING, webhooks.clone().run(registry.clone(), draining.clone()));
        let watching = Watching {
            bookmark_every: config.bookmark_every.0,
            snapshot_patience: config.snapshot_patience.0,
            turns: Arc::new(Semaphore::new(snapshots(&config))),
        };
        let stopping = Stopping { draining: draining.clone(), ending };
        let max_message = usize::try_from(config.max_message_size.bytes()).unwrap_or(usize::MAX);
        let capacity = Capacity { calls: config.max_calls, uploads: config.max_uploads, streams: config.max_streams };
        let calls = CallLayer::new(capacity, config.call_timeout.0).with_guard(guard).with_rate(config.principal_rate);
        let metrics = Metrics::new(Sources {
            registry: &registry,
            about: &about,
            draining: draining.clone(),
            calls: &calls,
            connections: &measures,
            webhooks: &webhooks,
            tls: tls.as_ref(),
        });
        if let Some(tls) = tls {
            tasks.spawn(CERTIFICATES, tls.keep(draining.clone()));
        }
        let origins = Origins {
            hosts: config.http_hosts.iter().map(|host| host.0.clone()).collect(),
            any_host: config.access != AccessChoice::Off,
            pages: config.http_origins.iter().map(|origin| origin.0.clone()).collect(),
            has_tls: config.tls_files().is_some(),
        };
        if let Some(listener) = metrics_listener {
            let limits = Limits { most: WATCHERS, handshake: HANDSHAKE, idle: WATCHER_IDLE };
            // Nobody proves anything there.
            let origins = Origins { any_host: false, ..origins.clone() };
            let (metrics, healthy, over) = (metrics.clone(), stores.store.healthy(), serving_ended);
            let serving = metrics::serve(listener, limits, metrics, origins, healthy, draining.clone(), over);
            tasks.spawn(METRICS, serving);
        }
        let routes = Services::from(Means { registry, about, stopping, idle, plan, watching, webhooks, metrics })
            .routes(max_message)
            .add_service(health_service.accept_compressed(Gzip).accept_compressed(Zstd))
            .add_service(reflection().build_v1()?.accept_compressed(Gzip).accept_compressed(Zstd))
            .add_service(reflection().build_v1alpha()?.accept_compressed(Gzip).accept_compressed(Zstd));
        let gateway =
            GatewayLayer::new(origins, registry_gateway::Limits { body: max_message, patience: config.call_timeout.0 });
        let mut stopping = draining;
        let serving = Transport::builder()
            .accept_http1(true)
            .layer(gateway)
            .layer(calls)
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_BYTES)
            .initial_connection_window_size(CONNECTION_BYTES)
            .max_concurrent_streams(STREAMS)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .add_routes(routes)
            .serve_with_incoming_shutdown(connections, async move {
                // An error means that the sender is gone, and so is the server.
                let _ = stopping.wait_for(|draining| *draining).await;
            });
        tokio::pin!(serving);
        let failed = tokio::select! {
            served = &mut serving => return Ok(served?),
            task = tasks.one_ended() => Some(task),
            () = stop => None,
        };
        if let Some(task) = failed {
            tracing::error!(task, "a task has ended that the server can't do without");
            tell(&health, ServingStatus::NotServing).await;
        }
        tracing::info!("draining");
        drain.send_replace(true);
        let end = Instant::now() + config.drain.0;
        match timeout_at(end, &mut serving).await {
            Ok(ended) => ended?,
            Err(_) => {
                tracing::warn!(drain = %config.drain, "calls were still going on and were ended");
                give_up.send_replace(true);
                // Whoever does not hear of it sees the connection end.
                if let Ok(ended) = timeout(LAST_WORDS, serving).await {
                    ended?;
                }
            }
        }
        // A sweep that is left in the middle holds up the other servers.
        if let Some(collecting) = tasks.take(COLLECTING)
            && timeout_at(end, collecting).await.is_err()
        {
            tracing::warn!("a collection of garbage was ended");
        }
        // So that another server need not wait to take over.
        if let Some(sending) = tasks.take(SENDING)
            && timeout_at(end, sending).await.is_err()
        {
            tracing::warn!("webhooks were being sent, and will be sent again");
        }
        if let Some(telling) = tasks.take(REFUSED) {
            // What was tried last may not be told of.
            let _ = timeout_at(end, telling).await;
        }
        // The last commits are shipped as well.
        served.send_replace(true);
        if let Some(shipping) = tasks.take(ARCHIVE)
            && timeout_at(end + SHIPPING, shipping).await.is_err()
        {
            tracing::warn!("the newest revisions are not in the archive yet");
        }
        failed.map_or(Ok(()), |task| Err(ServeError::Ended(task)))
    }
}

/// Refuses an address that other machines reach, unless calls come over TLS and callers prove who they are, or the configuration says
/// `insecure`: then it warns.
///
/// # Errors
/// [`ServeError::Exposed`], which says what to do.
pub fn check_exposure(config: &Config, address: SocketAddr) -> Result<(), ServeError> {
    let protection = Protection { tls: config.tls_files().is_some(), access: config.access != AccessChoice::Off };
    match judge(address.ip().to_canonical().is_loopback(), protection, config.insecure) {
        Verdict::Fine => Ok(()),
        Verdict::Warn(lack) => {
            tracing::warn!(%address, "{}, as --insecure allows: {}", lack.danger(), lack.remedy());
            Ok(())
        }
        Verdict::Refuse(lack) => Err(ServeError::Exposed { address, danger: lack.danger(), remedy: lack.remedy() }),
    }
}

/// How many snapshots are sent to watches at once. In a database each has a connection of its own, and backups need some too.
fn snapshots(config: &Config) -> usize {
    match config.store {
        StoreChoice::Sled => SNAPSHOTS,
        StoreChoice::Postgres(_) => SNAPSHOTS.min(config.store_connections.div_ceil(2)),
    }
}

/// Says of each service, and of the server as a whole, that it can't be used while the store can't, or when the server stops: with that
/// those end who watch it, and so does this; also when there is no store to tell of any more.
async fn tell_health(
    mut health: HealthReporter,
    mut healthy: watch::Receiver<bool>,
    mut draining: watch::Receiver<bool>,
) {
    loop {
        let (well, stopping) = (*healthy.borrow_and_update(), *draining.borrow_and_update());
        tell(&health, status(well && !stopping)).await;
        if stopping {
            for service in health_of() {
                health.clear_service_status(service).await;
            }
            return;
        }
        // An error means that the store or the server is gone.
        let changed = tokio::select! {
            changed = healthy.changed() => changed,
            changed = draining.changed() => changed,
        };
        if changed.is_err() {
            return tell(&health, ServingStatus::NotServing).await;
        }
    }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

async fn tell(health: &HealthReporter, status: ServingStatus) {
    for service in health_of() {
        health.set_service_status(service, status).await;
    }
}

/// What is asked how it is: each service, and the server as a whole.
fn health_of() -> impl Iterator<Item = &'static str> {
    registry_proto::SERVICES.iter().copied().chain([""])
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(registry_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that grpcurl can print the details of errors.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests {
    use tonic_health::pb::HealthCheckRequest;

    use super::*;

    async fn status(service: &impl tonic_health::pb::health_server::Health) -> i32 {
        let request = tonic::Request::new(HealthCheckRequest::default());
        service.check(request).await.expect("it is known").into_inner().status
    }

    #[tokio::test]
    async fn a_store_that_is_gone_is_not_well() {
        let reporter = HealthReporter::new();
        let service = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
        let (store, healthy) = watch::channel(true);
        let (_drain, draining) = watch::channel(false);
        let telling = tokio::spawn(tell_health(reporter, healthy, draining));
        while status(&service).await != ServingStatus::Serving as i32 {
            tokio::task::yield_now().await;
        }
        // As the panic of a task that holds it would.
        drop(store);
        telling.await.expect("it ends");
        assert_eq!(status(&service).await, ServingStatus::NotServing as i32);
    }
}
