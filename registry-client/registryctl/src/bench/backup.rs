//! What a backup costs those who write meanwhile.

use std::sync::Arc;

use registry_client::RegistryClient;

use super::filling::fill;
use super::load::in_turns;
use super::writes::creating;
use super::{Figure, Setup};
use crate::Failure;

/// Of how many versions the backups are, if it is not said.
const VERSIONS: u64 = 100_000;

/// Fills the registry, then creates versions with and without backups that follow each other without a pause.
pub(super) async fn backup(setup: &Arc<Setup>, client: &RegistryClient) -> Result<Figure, Failure> {
    let models = vec![setup.model("backup").await?];
    let versions = setup.options.versions.unwrap_or(VERSIONS);
    fill(setup, &models, versions).await?;
    let clients = setup.options.clients;
    let alone = || async { Ok::<_, Failure>(creating(setup, clients, &models).await?) };
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
            created = creating(setup, clients, &models) => Ok(created?),
            error = endless => Err(error.into()),
        }
    };
    let (ours, floor) = in_turns(setup.options.rounds, during, alone).await?;
    let name = format!("create-version while {versions} versions are backed up");
    Ok(Figure { target: Some(0.67), ..Figure::calls(name, ours, "without a backup", floor.per_second) })
}
