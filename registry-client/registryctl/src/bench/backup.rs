//! What a backup costs those who write meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use registry_client::RegistryClient;
use registry_client::pb::version_service_client::VersionServiceClient;

use super::load::in_turns;
use super::unary::{create_request, creating};
use super::{Figure, Setup};
use crate::Failure;

/// Fills the registry, then creates versions with and without backups that follow each other without a pause.
pub(super) async fn backup(setup: &Setup, client: &RegistryClient) -> Result<Figure, Failure> {
    let models = vec![setup.model("backup").await?];
    fill(setup, &models[0]).await?;
    let alone = || async { Ok::<_, Failure>(creating(setup, &models).await?) };
    let during = || async {
        let endless = async {
            loop {
                let backup = client.backup().skip_artifacts(true);
                if let Err(error) = backup.write_to(tokio::io::sink()).await {
                    return error;
                }
            }
        };
        tokio::select! {
            created = creating(setup, &models) => Ok(created?),
            error = endless => Err(error.into()),
        }
    };
    let (ours, floor) = in_turns(setup.options.rounds, during, alone).await?;
    Ok(super::unary::figure(
        format!("create-version while {} versions are backed up", setup.options.versions),
        ours,
        "without a backup",
        floor.per_second,
        Some(0.67),
    ))
}

/// Makes as many versions as the options say.
async fn fill(setup: &Setup, model: &str) -> Result<(), Failure> {
    let left = AtomicU64::new(setup.options.versions);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let clients = (0..setup.options.clients).map(async |client| {
        let mut service = VersionServiceClient::new(setup.registry(client));
        while take() {
            service.create_version(create_request(model)).await?;
        }
        Ok::<_, tonic::Status>(())
    });
    try_join_all(clients).await?;
    Ok(())
}
