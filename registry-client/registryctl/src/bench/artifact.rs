//! Files up and down: new ones, known ones, changed ones and many small ones, against bare streams and copies of the same bytes.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use rand::Rng as _;
use registry_client::{Progress, RegistryClient};
use tokio::task::spawn_blocking;
use tonic::Request;

use super::floor::{Blob, Codec, read};
use super::load::median;
use super::{Channel, Figure, Setup};
use crate::Failure;

const ROUNDS: usize = 3;
pub(super) const MIB: u64 = 1024 * 1024;
/// How many places of a file change, and which part of it they make up together.
const CHANGES: u64 = 16;
const CHANGED: f64 = 0.05;
/// How many small files there are, and how large they are.
const SMALL_FILES: usize = 10_000;
const SMALL_BYTES: usize = 4096;

const BARE: &str = "a bare tonic stream into a file";
const COPY: &str = "cp and fsync";

/// What the rounds gave: rates in MiB a second, and what was sent in MiB.
#[derive(Default)]
struct Rounds {
    bare_up: Vec<f64>,
    copy: Vec<f64>,
    up: Vec<f64>,
    again: Vec<f64>,
    again_sent: Vec<f64>,
    changed: Vec<f64>,
    changed_sent: Vec<f64>,
    bare_down: Vec<f64>,
    down: Vec<f64>,
    synced_files: Vec<f64>,
    published_files: Vec<f64>,
}

/// One run's places and names.
struct Run<'a> {
    setup: &'a Setup,
    client: &'a RegistryClient,
    model: String,
    folder: tempfile::TempDir,
    size: u64,
}

pub(super) async fn transfer(setup: &Setup, client: &RegistryClient) -> Result<Vec<Figure>, Failure> {
    let model = setup.model("artifact").await?;
    let folder = tempfile::tempdir_in(&setup.options.scratch)?;
    let run = Run { setup, client, model, folder, size: setup.options.artifact_mib * MIB };
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        run.large(&mut rounds).await?;
        run.small(&mut rounds).await?;
    }
    Ok(figures(&rounds, setup.options.artifact_mib))
}

impl Run<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn large(&self, rounds: &mut Rounds) -> Result<(), Failure> {
        let (new, copy) = (self.path("new"), self.path("copy"));
        in_thread({
            let (new, size) = (new.clone(), self.size);
            move || noise(&new, size)
        })
        .await?;
        rounds.bare_up.push(self.rate(bare_up(self.setup.floor(0), &new, &copy)).await?);
        rounds.copy.push(self.rate(copied(&new, &copy)).await?);
        let (rate, _) = self.upload("new", &new).await?;
        rounds.up.push(rate);
        let (rate, sent) = self.upload("again", &new).await?;
        rounds.again.push(rate);
        rounds.again_sent.push(sent);

        rounds.bare_down.push(self.rate(bare_down(self.setup.floor(0), &new, &copy)).await?);
        std::fs::remove_file(&copy)?;
        let name = format!("{}/versions/@latest/artifacts/again", self.model);
        let download = self.client.download(name).to_file(&copy);
        let down = self.rate(async {
            download.await?;
            Ok(())
        });
        rounds.down.push(down.await?);
        std::fs::remove_file(&copy)?;

        in_thread({
            let new = new.clone();
            move || change(&new)
        })
        .await?;
        let (rate, sent) = self.upload("changed", &new).await?;
        rounds.changed.push(rate);
        rounds.changed_sent.push(sent);
        Ok(std::fs::remove_file(&new)?)
    }

    /// Uploads a file as a version of its own. Answers the rate, and how many MiB were sent.
    async fn upload(&self, name: &str, file: &Path) -> Result<(f64, f64), Failure> {
        let version = self.client.create_version(&self.model).await?.name;
        let sent = Arc::new(AtomicU64::new(0));
        let moved = Arc::clone(&sent);
        let upload = self.client.upload(&version, name, file).progress(move |progress: Progress| {
            moved.fetch_max(progress.moved, Ordering::Relaxed);
        });
        let uploaded = self.rate(async {
            upload.send().await?;
            Ok(())
        });
        let rate = uploaded.await?;
        self.client.finalize_version(&version).await?;
        Ok((rate, sent.load(Ordering::Relaxed) as f64 / MIB as f64))
    }

    async fn small(&self, rounds: &mut Rounds) -> Result<(), Failure> {
        let (files, copies) = (self.path("files"), self.path("copies"));
        let synced = in_thread({
            let (files, copies) = (files.clone(), copies.clone());
            move || {
                std::fs::create_dir(&files)?;
                for number in 0..SMALL_FILES {
                    let mut bytes = [0; SMALL_BYTES];
                    rand::rng().fill_bytes(&mut bytes);
                    std::fs::write(files.join(number.to_string()), bytes)?;
                }
                let began = Instant::now();
                one_by_one(&files, &copies)?;
                Ok(SMALL_FILES as f64 / began.elapsed().as_secs_f64())
            }
        });
        rounds.synced_files.push(synced.await?);
        let began = Instant::now();
        self.client.publish(&files, &self.model).await?;
        rounds.published_files.push(SMALL_FILES as f64 / began.elapsed().as_secs_f64());
        std::fs::remove_dir_all(files)?;
        Ok(std::fs::remove_dir_all(copies)?)
    }

    /// MiB a second.
    async fn rate(&self, transfer: impl Future<Output = Result<(), Failure>>) -> Result<f64, Failure> {
        let began = Instant::now();
        transfer.await?;
        Ok(self.size as f64 / MIB as f64 / began.elapsed().as_secs_f64())
    }
}

pub(super) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    Ok(spawn_blocking(work).await??)
}

/// A file of random bytes, on the disk when this returns, so that nothing of it is written while others are timed.
pub(super) fn noise(path: &Path, size: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut piece = vec![0; MIB as usize];
    for _ in 0..size / MIB {
        rand::rng().fill_bytes(&mut piece);
        file.write_all(&piece)?;
    }
    file.sync_all()
}

/// Overwrites some of a file, here and there.
fn change(path: &Path) -> std::io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let size = file.metadata()?.len();
    let mut piece = vec![0; (size as f64 * CHANGED) as usize / CHANGES as usize];
    for place in 0..CHANGES {
        rand::rng().fill_bytes(&mut piece);
        file.seek(SeekFrom::Start(size / CHANGES * place))?;
        file.write_all(&piece)?;
    }
    file.sync_all()
}

/// Copies files as careful programs do: each written, synced, given its name, and its folder synced.
fn one_by_one(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    let folder = File::open(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let mut bytes = Vec::new();
        File::open(entry.path())?.read_to_end(&mut bytes)?;
        let (temporary, lasting) = (to.join("incoming"), to.join(entry.file_name()));
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(temporary, lasting)?;
        folder.sync_all()?;
    }
    Ok(())
}

async fn copied(from: &Path, to: &Path) -> Result<(), Failure> {
    let (from, to) = (from.to_owned(), to.to_owned());
    in_thread(move || {
        std::fs::copy(from, &to)?;
        File::open(to)?.sync_all()
    })
    .await
}

fn call(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}

fn blob(path: &Path) -> Blob {
    Blob { data: Bytes::from(path.to_string_lossy().into_owned()) }
}

async fn bare_up(channel: Channel, from: &Path, to: &Path) -> Result<(), Failure> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    // The floor's server sees that the file is too short if reading it fails, and so does whoever reads the figure.
    let pieces = read(from.to_owned()).filter_map(async |data| Some(Blob { data: data.ok()? }));
    let stream = futures::stream::iter([blob(&std::path::absolute(to)?)]).chain(pieces);
    client.client_streaming(Request::new(stream), call("/floor.Floor/Up"), Codec::default()).await?;
    Ok(())
}

async fn bare_down(channel: Channel, from: &Path, to: &Path) -> Result<(), Failure> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    let (asked, to) = (blob(&std::path::absolute(from)?), to.to_owned());
    // A task of its own: on the main one, receiving is half as fast.
    let received = tokio::spawn(async move {
        let response =
            client.server_streaming(Request::new(asked), call("/floor.Floor/Down"), Codec::default()).await?;
        let mut stream: tonic::Streaming<Blob> = response.into_inner();
        let (queue, mut waiting) = tokio::sync::mpsc::channel::<Bytes>(4);
        let writer = spawn_blocking(move || {
            let mut file = File::create(to)?;
            while let Some(bytes) = waiting.blocking_recv() {
                file.write_all(&bytes)?;
            }
            Ok::<_, std::io::Error>(())
        });
        while let Some(piece) = stream.try_next().await? {
            queue.send(piece.data).await?;
        }
        drop(queue);
        writer.await??;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    });
    received.await?.map_err(|error| error.to_string().into())
}

fn figures(rounds: &Rounds, mib: u64) -> Vec<Figure> {
    let of = |values: &[f64]| median(values.to_vec());
    let figure = Figure::moved;
    let (up, down) = (of(&rounds.up), of(&rounds.down));
    let size = mib as f64;
    let kept = |sent: &[f64]| size - of(sent);
    vec![
        figure(&format!("upload of new {mib} MiB"), "MiB/s", up, BARE, of(&rounds.bare_up), Some(0.75)),
        figure("upload of new bytes", "MiB/s", up, COPY, of(&rounds.copy), None),
        figure("upload of the same", "MiB/s", of(&rounds.again), "upload of new bytes", up, Some(3.0)),
        figure("upload of the same: not sent", "MiB", kept(&rounds.again_sent), "all of it", size, Some(0.99)),
        figure("upload, 5% changed", "MiB/s", of(&rounds.changed), "upload of new bytes", up, None),
        figure("upload, 5% changed: not sent", "MiB", kept(&rounds.changed_sent), "all of it", size, Some(0.9)),
        figure(&format!("download of {mib} MiB"), "MiB/s", down, BARE, of(&rounds.bare_down), Some(0.75)),
        figure("download", "MiB/s", down, COPY, of(&rounds.copy), None),
        figure(
            "publish 10,000 files of 4 KiB",
            "files/s",
            of(&rounds.published_files),
            "write, fsync, rename one by one",
            of(&rounds.synced_files),
            Some(2.0),
        ),
    ]
}
