//! How long after a promotion a follower serves the version, against fetching and loading it alone.

use std::path::Path;
use std::time::{Duration, Instant};

use registry_client::{FollowState, RegistryClient};
use tokio::time::timeout;

use super::artifact::{in_thread, noise};
use super::load::percentile;
use super::{Better, Figure, Setup};
use crate::Failure;

const MIB: u64 = 1024 * 1024;
/// How large the models are, in MiB, and how many are promoted.
const MODELS: [(u64, usize); 2] = [(1, 100), (100, 20)];
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn swap(setup: &Setup, client: &RegistryClient) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for (size, promotions) in MODELS {
        figures.push(swap_of(setup, client, size, promotions).await?);
    }
    Ok(figures)
}

async fn swap_of(setup: &Setup, client: &RegistryClient, size: u64, promotions: usize) -> Result<Figure, Failure> {
    let model = setup.model(&format!("follow-{size}")).await?;
    let scratch = tempfile::tempdir_in(&setup.options.scratch)?;
    let folder = scratch.path().join("model");
    std::fs::create_dir(&folder)?;
    let publish = async || {
        let file = folder.join("model.bin");
        in_thread(move || noise(&file, size * MIB)).await?;
        Ok::<_, Failure>(client.publish(&folder, &model).await?.name)
    };
    client.promote(publish().await?).await?;
    let production = format!("{model}@production");
    let cache = scratch.path().join("cache");
    let followed = client.follow(&production).load(|folder, _| load(folder)).cache(&cache).start().await?;
    let mut statuses = followed.statuses();
    let (mut swapped, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..promotions {
        let version = publish().await?;
        let promoted = Instant::now();
        client.promote(&version).await?;
        let serves = statuses
            .wait_for(|status| status.state == FollowState::Serving && status.serving.first() == Some(&version));
        timeout(PATIENCE, serves).await??;
        swapped.push(promoted.elapsed());
        // The floor: the same bytes, once more.
        let to = scratch.path().join("alone");
        let began = Instant::now();
        client.pull(&version, &to).await?;
        in_thread({
            let to = to.clone();
            move || load(&to).map(drop)
        })
        .await?;
        alone.push(began.elapsed());
        std::fs::remove_dir_all(&to)?;
    }
    swapped.sort_unstable();
    alone.sort_unstable();
    let (value, floor) = (percentile(&swapped, 0.5), percentile(&alone, 0.5));
    Ok(Figure {
        name: format!("promoted to swapped, {size} MiB"),
        unit: "us from the promotion's start",
        value,
        floor_name: "pulling and loading it alone",
        floor,
        ratio: value / floor,
        better: Better::Less,
        target: None,
        p50_micros: Some(value),
        p99_micros: Some(percentile(&swapped, 0.99)),
    })
}

/// A model that is all of its bytes.
fn load(folder: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(folder.join("model.bin"))
}
