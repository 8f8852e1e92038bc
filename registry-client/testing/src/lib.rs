//! A registry inside a test of one's own: the real service with all of its rules, on an empty store that goes with it, without a port.
//!
//! ```
//! use registry_testing::Registry;
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::start().await?;
//! let client = registry.client();
//!
//! client.create_model("fraud").await?;
//! let version = client.create_version("fraud").finalize(true).await?;
//! client.promote(&version.name).await?;
//! assert_eq!(client.get_version("fraud@production").await?.number, 1);
//!
//! // What a program does while the registry is away, which is tried without waiting.
//! let impatient = registry.builder().retry_for(std::time::Duration::ZERO).connect_lazy()?;
//! registry.pause().await;
//! assert!(impatient.get_model("fraud").await.unwrap_err().is_unavailable());
//! registry.resume().await;
//! assert_eq!(impatient.get_model("fraud").await?.version_count, 1);
//! # Ok(())
//! # }
//! ```
//!
//! This is for `[dev-dependencies]`. It is a crate of its own since it has the whole service in it, which the client must not depend on.

mod wire;

use registry_client::{Builder, Error, RegistryClient};
use registry_server::config::{Config, Memory, Period};
use registry_server::server::Server;
use registry_server::stores::ServeError;
use tempfile::TempDir;
use tokio::task::JoinSet;

use self::wire::Wire;

/// How much memory the store may use for pages: tests are small, and may be many.
const CACHE_MIB: u64 = 16;

/// A registry that is there until this is dropped, with all that is in it.
#[derive(Debug)]
#[must_use = "dropped, the registry is gone"]
pub struct Registry {
    wire: Wire,
    /// Ends when this is dropped.
    _served: JoinSet<Result<(), ServeError>>,
    /// Dropped after what works on it.
    _folder: TempDir,
}

/// Why there is no registry.
#[derive(Debug, thiserror::Error)]
#[error("the registry can't be started")]
pub struct StartError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Registry {
    /// Starts an empty registry, in a folder of its own in the system's folder for such things.
    ///
    /// # Errors
    /// If that folder can't be written to.
    pub async fn start() -> Result<Self, StartError> {
        let folder = tempfile::tempdir().map_err(|error| StartError(error.into()))?;
        let config = Config {
            storage_path: folder.path().join("storage"),
            cache: Memory::of_mib(CACHE_MIB),
            // Nothing happens that a test did not do.
            gc_every: Period::of_secs(0),
            drain: Period::of_secs(0),
            ..Config::default()
        };
        let server = Server::open(config).await.map_err(|error| StartError(error.into()))?;
        let (wire, connections) = Wire::new();
        let mut served = JoinSet::new();
        served.spawn(server.serve_on(connections, std::future::pending()));
        Ok(Self { wire, _served: served, _folder: folder })
    }

    /// A client, called `test` in the audit trail.
    ///
    /// # Panics
    /// Never: its options are those that it comes with.
    pub fn client(&self) -> RegistryClient {
        let client: Result<_, Error> = self.builder().actor("test").connect_lazy();
        client.expect("the options are those that it comes with")
    }

    /// A client of which options are to be set: who calls, how long it waits for the registry, layers.
    pub fn builder(&self) -> Builder {
        RegistryClient::with_service(self.wire.channel())
    }

    /// Lets the registry be away: connections break in the middle of what they carry, and there are no new ones. A client tries for
    /// as long as it is [told to](Builder::retry_for); watches and followers wait. What is stored stays.
    pub async fn pause(&self) {
        self.wire.cut().await;
    }

    /// Lets it be back.
    pub async fn resume(&self) {
        self.wire.mend().await;
    }
}
