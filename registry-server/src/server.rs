//! The server: opens the stores, serves, and drains.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server as Transport;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tower::util::MapRequestLayer;

use crate::blobs::Blobs;
use crate::config::Config;
use crate::error::Error;
use crate::grpc::Services;
use crate::layers::{CallLayer, tell_cut_from_end};
use crate::registry::Registry;
use crate::store::StoreError;
use crate::store::sled::SledStore;

/// Large frames: a stream of megabytes costs a third less processor time than with HTTP/2's 16 KiB.
const FRAME_BYTES: u32 = 256 * 1024;
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The services, by the names under which their health is asked for.
const SERVICES: &[&str] = &[
    "",
    "modelregistry.v1.ModelService",
    "modelregistry.v1.VersionService",
    "modelregistry.v1.LifecycleService",
    "modelregistry.v1.ArtifactService",
];

/// Why the server can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another server uses the folder.
    #[error("another server is running on {0}: stop it, or choose another --storage-path")]
    InUse(String),
    /// The folder can't be used.
    #[error("can't use {path}: {source}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The stores can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry can't work.
    #[error(transparent)]
    Registry(#[from] Error),
    /// The network can't be used.
    #[error("can't serve: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Reflection can't be offered.
    #[error("can't describe the services: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A server with its stores open, ready to serve.
pub struct Server {
    config: Config,
    registry: Registry,
    /// Held as long as the server uses the folder.
    _lock: File,
}

impl Server {
    /// Opens the folder of the configuration, or makes it.
    ///
    /// # Errors
    /// If another server uses it, or it can't be read.
    pub async fn open(config: Config) -> Result<Self, ServeError> {
        let folder = &config.storage_path;
        let lock = lock(folder)?;
        let cache_bytes = config.cache_mib.saturating_mul(1024 * 1024);
        let store = SledStore::open(&folder.join("store"), cache_bytes)?;
        let blobs = Blobs::open(&folder.join("artifacts")).await?;
        Ok(Self { registry: Registry::new(Arc::new(store), blobs), config, _lock: lock })
    }

    /// Serves until `stop` is done, then drains: streams end with UNAVAILABLE, other calls are finished, up to the
    /// configuration's `drain_seconds`.
    ///
    /// # Errors
    /// If the network fails.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { config, registry, _lock } = self;
        let (drain, draining) = watch::channel(false);
        let (health, health_service) = tonic_health::server::health_reporter();
        for service in SERVICES {
            health.set_service_status(service, ServingStatus::Serving).await;
        }
        let idle = Duration::from_secs(config.upload_idle_seconds);
        let routes = Services::new(registry, draining.clone(), idle)
            .routes(config.max_message_bytes)
            .add_service(health_service)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        let calls = CallLayer::new(config.max_calls, Duration::from_secs(config.call_timeout_seconds));
        let mut stopping = draining;
        let serving = Transport::builder()
            .layer(calls)
            .layer(MapRequestLayer::new(tell_cut_from_end))
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .add_routes(routes)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
                // An error means that the sender is gone, and so is the server.
                let _ = stopping.wait_for(|draining| *draining).await;
            });
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return Ok(served?),
            () = stop => {}
        }
        tracing::info!("draining");
        for service in SERVICES {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
        drain.send_replace(true);
        match tokio::time::timeout(Duration::from_secs(config.drain_seconds), serving).await {
            Ok(served) => Ok(served?),
            Err(_) => {
                tracing::warn!(seconds = config.drain_seconds, "calls were still going on and were ended");
                Ok(())
            }
        }
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(registry_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that grpcurl can print the details of errors.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// Makes sure that no other server uses the folder.
fn lock(folder: &Path) -> Result<File, ServeError> {
    let path = folder.display().to_string();
    let file = std::fs::create_dir_all(folder).and_then(|()| File::create(folder.join("lock")));
    match file.map(|file| (file.try_lock(), file)) {
        Ok((Ok(()), file)) => Ok(file),
        Ok((Err(TryLockError::WouldBlock), _)) => Err(ServeError::InUse(path)),
        Ok((Err(TryLockError::Error(source)), _)) | Err(source) => Err(ServeError::Folder { path, source }),
    }
}
