//! A disk that is full.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use registry_client::pb::ErrorReason;
use registry_client::{Error, RegistryClient};
use registry_tests::process::{ServerProcess, server_command, sled_command};
use registry_tests::restore::verified;
use registry_tests::{chunks, events, noise_of, pending, soon};
use tonic::Code;

use crate::impatient;

const MODEL: &str = "models/fraud";
const MIB: usize = 1024 * 1024;
const DISK: usize = 192 * MIB;
/// What is kept free of artifacts.
const RESERVED: usize = 64 * MIB;

/// A server whose folder is a small disk, which goes away with the server, and the folder as it sees it.
fn start(folder: &Path, server: Command) -> (ServerProcess, PathBuf) {
    // A name space of its own: so that nobody has to be root, and nothing stays mounted.
    let mut command = Command::new("unshare");
    let script = r#"mount -t tmpfs -o "size=$0" tmpfs "$1" && shift && exec "$@""#;
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(DISK.to_string()).arg(folder);
    command.arg(server.get_program()).args(server.get_args());
    for (name, value) in server.get_envs() {
        assert_eq!(value, None, "the settings of the tests are arguments");
        command.env_remove(name);
    }
    // If it can't be mounted, this panics with what `mount` says.
    let server = ServerProcess::spawn(command);
    let seen = format!("/proc/{}/root{}", server.id(), folder.display());
    (server, seen.into())
}

/// A registry on a small disk, with one file.
struct Registry {
    _server: ServerProcess,
    /// Its folder.
    seen: PathBuf,
    client: RegistryClient,
    version: String,
    before: Vec<u8>,
}

async fn registry(folder: &Path, server: Command) -> Registry {
    let (server, seen) = start(folder, server);
    let client = impatient(&server.endpoint());
    client.create_model(MODEL).await.unwrap();
    let version = pending(&client, MODEL).await.name;
    let before = noise_of(1, 5 * MIB);
    client.upload(&version, "before.bin", before.clone()).await.unwrap();
    Registry { _server: server, seen, client, version, before }
}

/// Fills a disk up to so many bytes; none are left for others until it is removed.
fn fill(file: &Path, bytes: usize) {
    let mut ballast = File::create(file).unwrap();
    let mut written = 0;
    while written < bytes {
        match ballast.write(&vec![7; (bytes - written).min(4096)]) {
            Ok(length) => written += length,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                break;
            }
        }
    }
}

fn assert_is_full(error: &Error) {
    assert_eq!(
        (error.code(), error.reason()),
        (Some(Code::ResourceExhausted), Some(ErrorReason::StorageFull)),
        "{error:?}"
    );
}

/// What was there is there, byte for byte.
async fn assert_reads(client: &RegistryClient, version: &str, content: &[u8]) {
    let name = format!("{version}/artifacts/before.bin");
    assert!(soon(client.download(&name).bytes()).await.unwrap() == content);
    assert_eq!(client.list_artifacts(version).await.unwrap().artifacts.len(), 1);
    assert_eq!(client.get_model(MODEL).await.unwrap().version_count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_to_a_full_disk_is_refused_and_goes_on_when_there_is_room() {
    registry_tests::store::artifacts_in_folder();
    let folder = tempfile::tempdir().unwrap();
    let server = server_command(folder.path(), "127.0.0.1:0");
    let Registry { seen, client, version, before, .. } = &registry(folder.path(), server).await;
    let ballast = seen.join("ballast");
    fill(&ballast, DISK - RESERVED - 20 * MIB);

    let content = noise_of(2, 24 * MIB);
    let log = events(client).await;
    for _ in 0..3 {
        let upload = soon(client.upload(version, "model.bin", content.clone()).send()).await;
        assert_is_full(&upload.unwrap_err());
        assert_reads(client, version, before).await;
        assert_eq!(events(client).await, log);
    }
    // What did arrive is whole, and nothing lies about that was begun.
    let stored = chunks::all(seen);
    assert!(stored.len() > 5, "{stored:?}");
    let all = registry_tests::files(&seen.join("artifacts/chunks"));
    assert_eq!(all.len(), stored.len(), "{all:?}");
    verified(client).await;

    // The log has room: how else could anything be deleted?
    client.upload(version, "small", b"few".to_vec()).await.unwrap();
    fs::remove_file(&ballast).unwrap();
    let made = soon(client.upload(version, "model.bin", content.clone()).send()).await.unwrap();
    assert!(soon(client.download(&made.name).bytes()).await.unwrap() == content);
    assert_eq!(client.finalize_version(version).await.unwrap().artifact_count, 3);
    verified(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_no_more_writes_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let server = sled_command(folder.path(), "127.0.0.1:0");
    let Registry { seen, client, version, before, .. } = &registry(folder.path(), server).await;
    let ballast = seen.join("ballast");
    // As a log does that grows for long, or another program: to the last byte.
    fill(&ballast, DISK);

    let log = events(client).await;
    let writes = (0..64).map(|number| client.create_model(format!("models/m{number}")).description("x".repeat(4000)));
    let refused = soon(futures::future::join_all(writes.map(|write| write.send()))).await;
    refused.into_iter().for_each(|refused| assert_is_full(&refused.unwrap_err()));
    assert_is_full(&soon(client.upload(version, "small", b"few".to_vec()).send()).await.unwrap_err());
    assert_eq!(events(client).await, log);
    assert_reads(client, version, before).await;

    fs::remove_file(&ballast).unwrap();
    client.create_model("models/after").await.unwrap();
    client.upload(version, "small", b"few".to_vec()).await.unwrap();
    verified(client).await;
}
