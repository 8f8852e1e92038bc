//! The archive: what is left when the disk is not.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use registry_client::pb::{Event, Stage};
use registry_client::{Error, RegistryClient};
use registry_tests::process::{ServerProcess, refusal, sled_command};
use registry_tests::restore::verified;
use registry_tests::{PATIENCE, events, files, noise, soon, until};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::verify::Log;
use crate::{impatient, patient};

const LISTEN: &str = "127.0.0.4:0";
const WRITERS: usize = 8;
pub(crate) const MODEL: &str = "models/archived";
const EVERY: Duration = Duration::from_millis(200);
/// What an acknowledged write may take to the archive beside the interval: a tick waits for the shipping before it and then
/// ships itself, each with a sync for the segment and for every artifact, on a disk that the writers are busy with.
const MARGIN: Duration = Duration::from_secs(3);

/// A folder for several storage paths and archives.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server that ships to an archive.
    fn start(&self, storage: &str, archive: &str, every: &str) -> ServerProcess {
        let archive = self.path(archive);
        let arguments = ["--archive", archive.to_str().unwrap(), "--archive-every", every];
        let mut command = sled_command(&self.path(storage), LISTEN);
        command.args(arguments);
        ServerProcess::spawn(command)
    }

    /// What a server says that can't start with an archive.
    fn refused(&self, storage: &str, archive: &str) -> String {
        let mut command = sled_command(&self.path(storage), LISTEN);
        command.arg("--archive").arg(self.path(archive));
        refusal(command)
    }

    /// Makes an archive that of the registry in a storage path. Answers what the command says.
    fn claim(&self, storage: &str, archive: &str) -> String {
        let mut command = sled_command(&self.path(storage), LISTEN);
        let output = command.arg("claim").arg("--archive").arg(self.path(archive)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn restore(&self, storage: &str, from: &str, arguments: &[&str]) -> Output {
        let mut command = sled_command(&self.path(storage), LISTEN);
        command.args(["restore", "--from"]).arg(self.path(from)).args(arguments).output().unwrap()
    }

    /// Restores, and serves what came of it without an archive.
    fn restored(&self, storage: &str, from: &str, arguments: &[&str]) -> ServerProcess {
        let output = self.restore(storage, from, arguments);
        assert!(output.status.success(), "{output:?}");
        ServerProcess::spawn(sled_command(&self.path(storage), LISTEN))
    }

    /// The segments of an archive, oldest first.
    fn segments(&self, archive: &str) -> Vec<PathBuf> {
        let mut segments = files(&self.path(archive).join("log"));
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
        segments.sort();
        segments
    }

    /// Waits until an archive holds everything up to a revision.
    async fn holds(&self, archive: &str, revision: i64) {
        let holds = || {
            let segments = self.segments(archive);
            segments.last().is_some_and(|last| ends_at(last.to_str().unwrap(), revision))
        };
        until(PATIENCE, || async { holds().then_some(()) }).await;
    }
}

/// Whether a path is that of a segment that ends at a revision.
pub(crate) fn ends_at(segment: &str, revision: i64) -> bool {
    segment.ends_with(".segment") && segment.contains(&format!("-{revision:020}-"))
}

/// A write that was answered.
struct Acknowledged {
    at: Instant,
    /// Of a version or an artifact.
    name: String,
    bytes: Option<Vec<u8>>,
}

/// Makes versions with artifacts until the server is gone, and tells what was acknowledged.
async fn write(client: RegistryClient, writer: usize, killed: watch::Receiver<bool>) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    for round in 0.. {
        if let Err(error) = write_version(&client, writer, round, &mut acknowledged).await {
            assert!(*killed.borrow() && error.is_unavailable(), "{error:?}");
            break;
        }
    }
    acknowledged
}

async fn write_version(
    client: &RegistryClient,
    writer: usize,
    round: usize,
    acknowledged: &mut Vec<Acknowledged>,
) -> Result<(), Error> {
    let mut note = |name: &str, bytes| acknowledged.push(Acknowledged { at: Instant::now(), name: name.into(), bytes });
    let version = client.create_version(MODEL).await?.name;
    note(&version, None);
    // Some bytes are those of others, and some are many.
    let size = if round % 20 == 7 { 1_500_000 } else { 20 + writer + round % 50 };
    let artifact = client.upload(&version, "model.bin", noise(size)).await?;
    note(&artifact.name, Some(noise(size)));
    client.finalize_version(&version).await?;
    client.transition_stage(&version, Stage::Production).await?;
    Ok(())
}

/// Some writes with an artifact among them. Answers the newest revision.
pub(crate) async fn write_some(client: &RegistryClient, mark: &str) -> i64 {
    let _ = client.create_model(MODEL).await;
    let version = client.create_version(MODEL).version_id(mark).await.unwrap().name;
    client.upload(&version, "mark", mark.as_bytes().to_vec()).await.unwrap();
    client.finalize_version(&version).await.unwrap();
    events(client).await.last().unwrap().revision
}

pub(crate) async fn assert_has(client: &RegistryClient, mark: &str) {
    let mark_of = client.download(format!("{MODEL}/versions/{mark}/artifacts/mark"));
    assert_eq!(mark_of.bytes().await.unwrap(), mark.as_bytes());
}

pub(crate) async fn log_of(server: &ServerProcess) -> Vec<Event> {
    let client = patient(&server.endpoint());
    Log::read(&client).await.assert_is_whole();
    events(&client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_costs_the_last_interval() {
    let place = Place::new();
    let server = place.start("first", "archive", "200ms");
    let client = impatient(&server.endpoint());
    client.create_model(MODEL).await.unwrap();
    let (kill, killed) = watch::channel(false);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(client.clone(), writer, killed.clone()));
    }
    // Twice the time that may be lost.
    let ended = tokio::time::timeout(2 * (EVERY + MARGIN), writers.join_next()).await;
    assert!(ended.is_err(), "a writer ended");
    kill.send_replace(true);
    let died = Instant::now();
    server.kill();
    let acknowledged: Vec<_> = soon(writers.join_all()).await.into_iter().flatten().collect();
    // Gone as far as the registry can tell; kept to be compared with.
    fs::rename(place.path("first"), place.path("lost")).unwrap();

    let server = place.restored("second", "archive", &[]);
    let client = patient(&server.endpoint());
    let (mut expected, mut artifacts) = (0, 0);
    for written in acknowledged.iter().filter(|written| written.at + EVERY + MARGIN < died) {
        let (of, name) = (died - written.at, &written.name);
        match &written.bytes {
            None => drop(client.get_version(name).await.unwrap_or_else(|error| panic!("{of:?}: {name}: {error}"))),
            Some(bytes) => {
                let found =
                    client.download(name).bytes().await.unwrap_or_else(|error| panic!("{of:?}: {name}: {error}"));
                assert!(found == bytes, "{name}");
                artifacts += 1;
            }
        }
        expected += 1;
    }
    assert!(expected > 50 && artifacts > 20, "{expected} writes and {artifacts} artifacts are too few to tell");
    let (log, report) = (log_of(&server).await, verified(&client).await);
    assert_eq!(report.chain_head, log.last().unwrap().hash);
    let lost = log_of(&ServerProcess::spawn(sled_command(&place.path("lost"), LISTEN))).await;
    assert!(lost.starts_with(&log), "{} events are not the first of {}", log.len(), lost.len());
    assert!(server.terminate().success());

    // The new one goes on with the archive of the old one when it is told to. That one may not any more.
    let said = place.refused("second", "archive");
    assert!(said.contains("belongs to another registry") && said.contains("registry-server claim"), "{said}");
    let said = place.claim("second", "archive");
    assert!(said.contains("archive is this registry's from now on"), "{said}");
    assert!(place.claim("second", "archive").contains("archive is this registry's already"));
    let server = place.start("second", "archive", "200ms");
    write_some(&patient(&server.endpoint()), "later").await;
    let log = log_of(&server).await;
    assert!(server.terminate().success());
    assert!(log_of(&place.restored("third", "archive", &[])).await == log);
    let said = place.refused("lost", "archive");
    assert!(said.contains("belongs to another registry"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_loses_nothing_and_a_restart_leaves_no_gap() {
    let place = Place::new();
    let mut log = Vec::new();
    for mark in ["first", "second", "third"] {
        // Nothing is shipped in time.
        let server = place.start("storage", "archive", "1h");
        write_some(&patient(&server.endpoint()), mark).await;
        log = log_of(&server).await;
        assert!(server.terminate().success());
        let restored = place.restored(mark, "archive", &[]);
        assert_eq!(log_of(&restored).await, log);
        assert_has(&patient(&restored.endpoint()), mark).await;
        verified(&patient(&restored.endpoint())).await;
    }
    // By its URL it is the same.
    let url = format!("file://{}", place.path("archive").display());
    let mut command = sled_command(&place.path("by-url"), LISTEN);
    let output = command.args(["restore", "--from", &url]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(log_of(&ServerProcess::spawn(sled_command(&place.path("by-url"), LISTEN))).await, log);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_another_registry_or_another_past_is_refused() {
    let place = Place::new();
    let server = place.start("storage", "archive", "1h");
    let newest = write_some(&patient(&server.endpoint()), "first").await;
    assert!(server.terminate().success());
    let archived = files(&place.path("archive"));
    let refused = |storage: &str| {
        let said = place.refused(storage, "archive");
        assert!(said.contains("belongs to another registry"), "{said}");
        assert!(said.contains(place.path("archive").to_str().unwrap()), "{said}");
    };

    refused("empty");
    let other = ServerProcess::spawn(sled_command(&place.path("other"), LISTEN));
    assert!(write_some(&patient(&other.endpoint()), "other").await >= newest);
    assert!(other.terminate().success());
    refused("other");

    let earlier = (newest - 1).to_string();
    let server = place.restored("earlier", "archive", &["--revision", &earlier]);
    let client = patient(&server.endpoint());
    assert_eq!(log_of(&server).await.last().unwrap().revision, newest - 1);
    // Once it has as many revisions they are other ones.
    assert!(write_some(&client, "again").await > newest);
    assert!(server.terminate().success());
    refused("earlier");
    let output = place.restore("earliest", "archive", &["--revision", "1"]);
    assert!(output.status.success(), "{output:?}");
    refused("earliest");
    assert_eq!(files(&place.path("archive")), archived, "nothing was written to it");
    // To a place of its own it is shipped from its beginning.
    assert!(place.start("earlier", "other-archive", "1h").terminate().success());
    let log = log_of(&ServerProcess::spawn(sled_command(&place.path("earlier"), LISTEN))).await;
    assert_eq!(log_of(&place.restored("copy", "other-archive", &[])).await, log);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_can_not_be_written_stops_nobody_and_catches_up() {
    let place = Place::new();
    // As often as it can be.
    let server = place.start("storage", "archive", "0s");
    let client = patient(&server.endpoint());
    place.holds("archive", write_some(&client, "before").await).await;
    // Root may write to any folder, but not into a file.
    let (folder, aside) = (place.path("archive"), place.path("aside"));
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "in the way").unwrap();
    write_some(&client, "amid").await;
    until(PATIENCE, || async { server.log().contains("the archive can't be written").then_some(()) }).await;
    let newest = write_some(&client, "still").await;
    assert!(!server.log().contains("up to date again"));

    // At once: if nothing were in the way, the server would make a new folder.
    renameat_with(CWD, &aside, CWD, &folder, RenameFlags::EXCHANGE).unwrap();
    until(PATIENCE, || async { server.log().contains("the archive is up to date again").then_some(()) }).await;
    place.holds("archive", newest).await;
    let log = log_of(&server).await;
    server.kill();
    let restored = place.restored("restored", "archive", &[]);
    assert_eq!(log_of(&restored).await, log);
    for mark in ["before", "amid", "still"] {
        assert_has(&patient(&restored.endpoint()), mark).await;
    }
    verified(&patient(&restored.endpoint())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_segment_is_named_and_shipped_again() {
    let place = Place::new();
    let server = place.start("storage", "archive", "20ms");
    let client = patient(&server.endpoint());
    let mut ends = Vec::new();
    for mark in ["first", "second", "third"] {
        ends.push(write_some(&client, mark).await);
        place.holds("archive", ends[ends.len() - 1]).await;
    }
    let log = log_of(&server).await;
    assert!(server.terminate().success());
    let up_to = |revision| log.iter().filter(|event| event.revision <= revision).cloned().collect::<Vec<_>>();
    for revision in [1, ends[0], ends[1] - 1, ends[2]] {
        let storage = format!("until-{revision}");
        let restored = place.restored(&storage, "archive", &["--revision", &revision.to_string()]);
        assert_eq!(log_of(&restored).await, up_to(revision));
        verified(&patient(&restored.endpoint())).await;
    }
    let behind = place.restore("behind", "archive", &["--revision", &(ends[2] + 1).to_string()]);
    let said = String::from_utf8(behind.stderr).unwrap();
    assert!(said.contains(&format!("ends at revision {}, before revision {}", ends[2], ends[2] + 1)), "{said}");

    // What the second one wrote goes, whatever segments it came in.
    let first_of = |path: &PathBuf| -> i64 {
        let (first, _) = path.file_name().unwrap().to_str().unwrap().split_once('-').unwrap();
        first.parse().unwrap()
    };
    let of_second = |path: &&PathBuf| (ends[0] + 1..=ends[1]).contains(&first_of(path));
    for segment in place.segments("archive").iter().filter(of_second) {
        fs::remove_file(segment).unwrap();
    }
    let gap = place.restore("gap", "archive", &[]);
    let said = String::from_utf8(gap.stderr).unwrap();
    assert_eq!(gap.status.code(), Some(1), "{said}");
    let expected = format!("has nothing between revision {} and revision {}", ends[0], ends[1] + 1);
    assert!(said.contains(&expected), "{said}");
    assert!(refusal(sled_command(&place.path("gap"), LISTEN)).contains("in the middle of a restore"));
    let before = place.restored("before-the-gap", "archive", &["--revision", &ends[0].to_string()]);
    assert_eq!(log_of(&before).await, up_to(ends[0]));

    // The server still has what was lost; and then the restore that broke off goes on.
    assert!(place.start("storage", "archive", "1h").terminate().success());
    let restored = place.restored("gap", "archive", &[]);
    assert_eq!(log_of(&restored).await, log);
    verified(&patient(&restored.endpoint())).await;
}
