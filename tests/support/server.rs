//! A registry of a test's own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_client::RegistryClient;
use registry_server::config::{Config, Memory};
use registry_server::server::Server;
use registry_server::stores::ServeError;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{store, until};

/// A server in this process, on a free port and on a store of its own; both last as long as the test.
#[derive(Debug)]
pub struct TestServer {
    folder: TempDir,
    config: Config,
    address: SocketAddr,
    /// Of the port for those who watch over it, if it is to have one.
    metrics: Option<SocketAddr>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl TestServer {
    /// A server with the default settings.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server with settings of the test's own. The address is not among them.
    pub async fn with(settings: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("storage");
        Self::begin(folder, storage, settings).await
    }

    /// A server on a storage folder that is there already, and stays when the server goes.
    pub async fn on(storage: &Path) -> Self {
        Self::begin(tempfile::tempdir().unwrap(), storage.to_owned(), |_| {}).await
    }

    async fn begin(folder: TempDir, storage: PathBuf, settings: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { cache: Memory::of_mib(16), store_connections: 4, ..Config::default() };
        config.store = store::choice(&storage);
        config.artifacts = store::artifacts(&storage).map(|bucket| bucket.url);
        config.storage_path = storage;
        settings(&mut config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Self { folder, config, address, metrics: None, running: None };
        server.serve(listener).await;
        server
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same, without a scheme.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers those who watch over it, if its settings say so.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics.expect("it is to listen for that")
    }

    /// Its settings.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Stops it, and starts it again with other settings.
    pub async fn restart_with(&mut self, settings: impl FnOnce(&mut Config)) {
        self.stop().await;
        settings(&mut self.config);
        self.start_again().await;
    }

    /// Where its store and its artifacts lie.
    pub fn storage(&self) -> PathBuf {
        self.config.storage_path.clone()
    }

    /// A folder for what the test itself writes.
    pub fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    /// A client, called `tester` in the audit trail.
    pub fn client(&self) -> RegistryClient {
        RegistryClient::builder(self.endpoint()).actor("tester").connect_lazy().unwrap()
    }

    /// A connection without the typed client, for what that would not send.
    pub fn channel(&self) -> tonic::transport::Channel {
        tonic::transport::Endpoint::from_shared(self.endpoint()).unwrap().connect_lazy()
    }

    /// Drains it, and waits until it has ended.
    pub async fn stop(&mut self) {
        let Running { stop, served } = self.running.take().expect("the server is running");
        stop.send(()).expect("the server is still serving");
        served.await.unwrap().unwrap();
    }

    /// Stops it and starts it again, on the same folder and the same address.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts it after [`stop`](Self::stop).
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener).await;
    }

    async fn serve(&mut self, listener: TcpListener) {
        // The calls that were ended by a drain may hold the store for a moment longer.
        let config = self.config.clone();
        let server = until(Duration::from_secs(20), || {
            let config = config.clone();
            async move { Server::open(config).await.ok() }
        });
        let mut server = server.await;
        if let Some(listen) = &self.config.metrics_listen {
            let listener = listen.bind().await.unwrap().listen(16).unwrap();
            self.metrics = Some(listener.local_addr().unwrap());
            server = server.with_metrics_on(listener);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.serve(listener, async move {
            // Dropped with the test: also a reason to stop.
            let _ = stopped.await;
        }));
        self.running = Some(Running { stop, served });
    }
}
