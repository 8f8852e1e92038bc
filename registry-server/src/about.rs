//! What a server is: for its log when it starts, and for whoever asks.

use std::time::SystemTime;

use registry_common::shown;
use registry_proto::v1 as pb;
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::{Config, Size, StoreChoice};
use crate::error::Error;
use crate::places::{PlaceError, place_type};
use crate::registry::Registry;
use crate::registry::chain::Position;
use crate::search::{Facts, State};
use crate::store::StoreError;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What does not change while a server runs.
#[derive(Debug, Clone)]
pub(crate) struct About {
    registry: Uuid,
    store: StoreChoice,
    /// Where the records are, without secrets.
    records: String,
    artifacts: String,
    archive: Option<String>,
    encrypted: bool,
    /// What the store may use for pages, if it is embedded.
    cache: Option<Size>,
    started: SystemTime,
}

impl About {
    pub(crate) fn new(config: &Config, registry: Uuid, encrypted: bool) -> Self {
        let records = match &config.store {
            StoreChoice::Sled => config.storage_path.join("store").display().to_string(),
            StoreChoice::Postgres(url) => shown::url(url),
        };
        Self {
            registry,
            store: config.store.clone(),
            records,
            artifacts: config.artifacts_place(),
            archive: config.archive.clone(),
            encrypted,
            cache: (config.store == StoreChoice::Sled).then(|| config.cache.size()),
            started: SystemTime::now(),
        }
    }

    /// The first line of a server in the log.
    pub(crate) fn log(&self, revision: u64, address: impl std::fmt::Display) {
        tracing::info!(
            target: "registry_server",
            version = VERSION,
            store = self.records,
            artifacts = self.artifacts,
            archive = self.archive,
            encrypted = self.encrypted,
            cache = self.cache.map(tracing::field::display),
            revision,
            %address,
            "registry-server is ready"
        );
    }

    /// What tells it from others, as labels of a metric.
    pub(crate) fn labels(&self) -> [(&'static str, &'static str); 2] {
        let store = match &self.store {
            StoreChoice::Sled => "sled",
            StoreChoice::Postgres(_) => "postgresql",
        };
        [("version", VERSION), ("store", store)]
    }

    /// How the server is now; it stops if it is draining.
    pub(crate) async fn status(
        &self,
        registry: &Registry,
        draining: &watch::Receiver<bool>,
    ) -> Result<pb::RegistryStatus, Error> {
        let store = registry.store();
        let serving = *store.healthy().borrow();
        // A store that is away would be waited for.
        let read = if serving { Position::newest(&**store).await } else { Err(StoreError::Unavailable(String::new())) };
        let oldest_revision = if read.is_ok() { store.oldest().await.unwrap_or_default() } else { 0 };
        let (Position { revision, hash }, can_be_read) = match read {
            Ok(position) => (position, true),
            Err(StoreError::Unavailable(_)) => {
                let known = *store.head().borrow();
                (Position { revision: known, hash: bytes::Bytes::new() }, false)
            }
            Err(error) => return Err(error.into()),
        };
        let index = match registry.index() {
            Some(index) => Some(index_status(index.facts().await)),
            None => None,
        };
        let place = |place: &str| place_type(place).map_err(|error: PlaceError| Error::internal(error.to_string()));
        let archive = match (&self.archive, registry.archived()) {
            (Some(archive), Some(revision)) => {
                Some(pb::ArchiveStatus { place: place(archive)?.into(), revision: revision.cast_signed() })
            }
            _ => None,
        };
        Ok(pb::RegistryStatus {
            server_version: VERSION.to_owned(),
            registry_id: self.registry.to_string(),
            store: match &self.store {
                StoreChoice::Sled => pb::StoreType::Sled,
                StoreChoice::Postgres(_) => pb::StoreType::Postgresql,
            }
            .into(),
            artifacts: place(&self.artifacts)?.into(),
            encrypted: self.encrypted,
            revision: revision.cast_signed(),
            hash,
            oldest_revision: oldest_revision.cast_signed(),
            serving: serving && can_be_read && !*draining.borrow(),
            archive,
            start_time: Some(self.started.into()),
            server_time: Some(SystemTime::now().into()),
            index,
        })
    }
}

fn index_status(Facts { state, records, bytes, most_bytes }: Facts) -> pb::IndexStatus {
    let (state, revision) = match state {
        State::Building => (pb::IndexState::Building, 0),
        State::At(revision) => (pb::IndexState::Ready, revision),
        State::TooLarge => (pb::IndexState::TooLarge, 0),
    };
    pb::IndexStatus {
        state: state.into(),
        revision: revision.cast_signed(),
        resource_count: records.cast_signed(),
        size_bytes: bytes.cast_signed(),
        limit_bytes: most_bytes.cast_signed(),
    }
}
