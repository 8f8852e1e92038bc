//! What becomes of a registry as it grows: commits and reads of a large one against the same of a small one, and what a version takes
//! on the disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use rand::RngExt as _;
use registry_client::pb;
use registry_client::pb::version_service_client::VersionServiceClient;
use tonic::Status;

use super::filling::fill;
use super::load::{Rate, middle, run, run_calls};
use super::payload::{KIB, create_request, version_of};
use super::{Better, Figure, Setup};
use crate::Failure;

/// How many versions there are, if it is not said.
const VERSIONS: u64 = 1_000_000;
/// The small registry has one in so many of them.
const PART: u64 = 100;
const FLOOR: &str = "with a hundredth of them";
/// How many versions a model has at most.
const A_MODEL: u64 = 1000;
/// What a version with little text should take on the disk at most, by its own size.
const TARGET_ON_DISK: f64 = 3.0;

/// Fills the registry with a part of the versions, measures, fills it with the others, and measures again.
pub(super) async fn growth(setup: &Arc<Setup>) -> Result<Vec<Figure>, Failure> {
    let (clients, many) = (setup.options.clients, setup.options.versions.unwrap_or(VERSIONS));
    let few = many / PART;
    let folder = setup.options.storage_path.as_deref();
    // What can't be read is said before anything is written.
    folder.map(on_disk).transpose()?;
    let mut filled = filled(setup, "small", few).await?;
    let small = measure(setup, &filled, "small", few).await?;
    let before = folder.map(on_disk).transpose()?;
    filled.extend(self::filled(setup, "large", many - few).await?);
    let after = folder.map(on_disk).transpose()?;
    let large = measure(setup, &filled, "large", few).await?;

    let name = format!("create-version, {clients} clients, {many} versions");
    let figure = Figure::calls(name, large.creates, FLOOR, small.creates.per_second);
    let mut figures = vec![Figure { target: Some(0.85), ..figure }];
    let name = format!("get-version, {clients} clients, {many} versions");
    figures.push(Figure::calls(name, large.gets, FLOOR, small.gets.per_second));
    if let (Some(before), Some(after)) = (before, after) {
        figures.push(on_disk_figure(setup, &filled, after.saturating_sub(before), many - few).await?);
    }
    Ok(figures)
}

/// Models, and how many versions each has.
type Models = Vec<(String, u64)>;

/// Makes so many versions in models of their own.
async fn filled(setup: &Arc<Setup>, name: &str, versions: u64) -> Result<Models, Failure> {
    let count = versions.div_ceil(A_MODEL);
    let models = setup.models(&format!("{name}-filled"), usize::try_from(count)?).await?;
    fill(setup, &models, versions).await?;
    // They were made in turns.
    let versions_of = |index| versions / count + u64::from(index < versions % count);
    Ok((0..).zip(models).map(|(index, model)| (model, versions_of(index))).collect())
}

struct Measured {
    creates: Rate,
    gets: Rate,
}

/// Reads what is there, and makes so many versions more: a round of a time would make many times as many as a small registry has.
async fn measure(setup: &Arc<Setup>, filled: &Models, name: &str, creates: u64) -> Result<Measured, Failure> {
    let clients = setup.options.clients;
    let (served, models) = (Arc::clone(setup), Arc::<[_]>::from(filled.as_slice()));
    let get = move |client, _| {
        let (model, versions) = &models[rand::rng().random_range(..models.len())];
        let name = format!("{model}/versions/{}", rand::rng().random_range(1..=*versions));
        let mut service = VersionServiceClient::new(served.registry(client));
        async move { service.get_version(pb::GetVersionRequest { name, ..Default::default() }).await.map(drop) }
    };
    let mut gets = Vec::new();
    for _ in 0..setup.options.rounds {
        gets.push(run::<_, Status>(clients, setup.round(), get.clone()).await?);
    }
    let models: Arc<[_]> = setup.models(&format!("{name}-created"), clients).await?.into();
    let served = Arc::clone(setup);
    let create = move |client: usize, _| {
        let mut service = VersionServiceClient::new(served.registry(client));
        let request = create_request(&models[client], version_of(KIB));
        async move { service.create_version(request).await.map(drop) }
    };
    let creates = run_calls::<_, Status>(clients, creates, create).await?;
    Ok(Measured { creates, gets: middle(&gets) })
}

/// What a version takes on the disk, against its own size.
async fn on_disk_figure(setup: &Setup, filled: &Models, bytes: u64, versions: u64) -> Result<Figure, Failure> {
    if bytes == 0 {
        let why = "is it the server's, and are the records in it? Few versions fit into room that was reserved before";
        return Err(format!("--storage-path has not grown: {why}").into());
    }
    let (model, number) = filled.last().ok_or("nothing was filled")?;
    let request = pb::GetVersionRequest { name: format!("{model}/versions/{number}"), ..Default::default() };
    let version = VersionServiceClient::new(setup.registry(0)).get_version(request).await?.into_inner();
    let (value, floor) = (bytes as f64 / versions as f64, version.encoded_len() as f64);
    Ok(Figure {
        name: "a version on the disk".to_owned(),
        unit: "bytes",
        value,
        floor_name: "the version as a message",
        floor,
        ratio: value / floor,
        better: Better::Less,
        target: Some(TARGET_ON_DISK),
        p50_micros: None,
        p99_micros: None,
    })
}

/// What a folder takes on the disk, with all that is in it.
pub(super) fn on_disk(folder: &Path) -> Result<u64, Failure> {
    let cannot = |error| format!("can't read {}: {error}", folder.display());
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        bytes += match entry.metadata() {
            Ok(about) if about.is_dir() => on_disk(&entry.path())?,
            Ok(about) => taken(&about),
            // The server may have removed it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(cannot(error).into()),
        };
    }
    Ok(bytes)
}

#[cfg(unix)]
fn taken(file: &fs::Metadata) -> u64 {
    // Of this size whatever the file system's blocks are.
    const BLOCK: u64 = 512;
    std::os::unix::fs::MetadataExt::blocks(file) * BLOCK
}

#[cfg(not(unix))]
fn taken(file: &fs::Metadata) -> u64 {
    file.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(on_disk(folder.path()).unwrap(), 0);
        fs::create_dir(folder.path().join("log")).unwrap();
        for (file, size) in [("acknowledged", 100_000), ("log/1", 200_000)] {
            let mut written = fs::File::create(folder.path().join(file)).unwrap();
            std::io::Write::write_all(&mut written, &vec![1; size]).unwrap();
            written.sync_all().unwrap();
        }
        assert!(on_disk(folder.path()).unwrap() >= 300_000);
        assert!(on_disk(&folder.path().join("missing")).unwrap_err().to_string().contains("missing"));
    }
}
