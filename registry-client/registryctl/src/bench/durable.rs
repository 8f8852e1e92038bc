//! What durable writes are measured against.

use bytes::Bytes;
use tonic::Status;

use super::Setup;
use super::inserts::Inserts;
use super::lane::FileLane;
use crate::Failure;

/// Durable writes without a registry.
pub(super) enum Durable {
    File(FileLane),
    Postgres(Inserts),
}

impl Durable {
    pub(super) async fn open(setup: &Setup) -> Result<Self, Failure> {
        Ok(match &setup.options.postgres {
            None => Self::File(FileLane::open(&setup.options.scratch)?),
            Some(url) => Self::Postgres(Inserts::open(url, &setup.run, setup.options.clients).await?),
        })
    }

    pub(super) async fn write(&self, client: usize, bytes: Bytes) -> Result<(), Status> {
        match self {
            Self::File(lane) => lane.write(bytes).await,
            Self::Postgres(inserts) => {
                inserts.write(client, &bytes).await.map_err(|error| Status::internal(error.to_string()))
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "a file, the same bytes in groups",
            Self::Postgres(_) => "PostgreSQL, a row each",
        }
    }

    /// The share of it that creates by many clients should reach, if something was decided.
    pub(super) fn target(&self) -> Option<f64> {
        match self {
            Self::File(_) => None,
            Self::Postgres(_) => Some(1.0),
        }
    }

    pub(super) async fn close(&self) -> Result<(), Failure> {
        match self {
            Self::File(_) => Ok(()),
            Self::Postgres(inserts) => inserts.close().await,
        }
    }
}
