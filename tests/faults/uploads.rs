//! Uploads whose line breaks, and whose server is killed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::{Progress, RegistryClient};
use registry_server::config::StoreChoice;
use registry_tests::line::Line;
use registry_tests::process::ServerProcess;
use registry_tests::restore::verified;
use registry_tests::{PATIENCE, chunks, noise_of, pending, soon, store};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{impatient, patient};

/// See `kill.rs`.
const LISTEN: &str = "127.0.0.6:0";
const MODEL: &str = "namespaces/default/models/uploaded";
const MIB: usize = 1024 * 1024;

/// How often the line breaks in all.
const CUTS: usize = 200;
const SIZE: usize = 40 * MIB;
/// The line breaks before so many bytes have crossed: long before all have.
const GAP: u64 = 8 * MIB as u64;

async fn bytes_of(client: &RegistryClient, name: &str) -> bytes::Bytes {
    soon(client.download(name).bytes()).await.unwrap()
}

/// A server, a client that waits for it when it is away, and a version to upload to.
async fn begun(folder: &Path) -> (ServerProcess, RegistryClient, String) {
    let server = ServerProcess::start(folder, LISTEN);
    let client = patient(&server.endpoint());
    client.create_model(MODEL).await.unwrap();
    let version = pending(&client, MODEL).await.name;
    (server, client, version)
}

/// Collects garbage, after which there is nothing but what artifacts list, and that is intact.
async fn assert_nothing_orphaned(client: &RegistryClient, folder: &Path) {
    let collect = || client.collect_garbage().grace(Duration::ZERO);
    let report = collect().await.unwrap();
    eprintln!("{} of {} chunks were orphaned", report.removed_chunks, report.stored_chunks);
    let left = collect().validate_only(true).await.unwrap();
    assert_eq!((left.stored_chunks, left.removed_chunks), (left.listed_chunks, 0));
    if store::choice(folder) == StoreChoice::Sled {
        let stored = registry_tests::files(&folder.join("artifacts/chunks")).len() as i64;
        assert_eq!(stored, left.listed_chunks, "there are files that are no chunks");
    }
    verified(client).await;
}

/// The places are the same each time. As the line never lasts for a whole file, whoever began at the beginning would not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_over_a_line_that_breaks_again_and_again_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (server, direct, version) = begun(folder.path()).await;
    let line = Line::to(server.address()).await;
    let endpoint = format!("http://{}", line.address);
    let mut random = StdRng::seed_from_u64(7);
    let (mut uploads, mut calls) = (0, 0);
    while line.broke() < CUTS {
        let upload = uploads;
        uploads += 1;
        let content = noise_of(upload, SIZE);
        let (before, broke) = (line.crossed(), line.broke());
        line.break_after((0..CUTS).map(|_| random.random_range(1..GAP)).collect::<Vec<_>>());
        let path = format!("{upload}.bin");
        let made = if upload % 2 == 0 {
            // By the client's own retries.
            soon(patient(&endpoint).upload(&version, &path, content.clone()).send()).await.unwrap()
        } else {
            // By calling again.
            loop {
                calls += 1;
                match soon(impatient(&endpoint).upload(&version, &path, content.clone()).send()).await {
                    Ok(made) => break made,
                    Err(error) => assert!(error.is_unavailable(), "{error:?}"),
                }
            }
        };
        assert_eq!(made.sha256, registry_tests::sha256(&content));
        assert!(bytes_of(&direct, &made.name).await == content, "{upload}");
        let (crossed, broke) = ((line.crossed() - before) as usize, line.broke() - broke);
        eprintln!("{upload}: {broke} breaks, {crossed} bytes crossed for {SIZE}");
        assert!(broke < CUTS && crossed < 8 * SIZE, "{upload}: {crossed} bytes crossed, {broke} breaks");
    }
    assert!(calls > uploads, "{calls} calls for {uploads} uploads: nothing broke");
    assert_nothing_orphaned(&direct, folder.path()).await;
}

/// Something that is uploaded when the server dies.
#[derive(Debug, Clone)]
struct File {
    path: String,
    content: Vec<u8>,
}

/// Files of all kinds of sizes, others for each round.
fn files(round: usize) -> Vec<File> {
    let sizes = [3 * MIB, 5 * MIB + 1, 100_000, 7];
    let file = |(number, size): (usize, usize)| File {
        path: format!("{round}-{number}.bin"),
        content: noise_of((round * sizes.len() + number) as u64, size),
    };
    sizes.into_iter().enumerate().map(file).collect()
}

/// Begins to upload all files, and counts the pieces that are on their way.
fn begin(
    client: &RegistryClient,
    version: &str,
    files: &[File],
    pieces: &Arc<watch::Sender<usize>>,
) -> JoinSet<(File, bool)> {
    let mut uploads = JoinSet::new();
    for file in files.iter().cloned() {
        let pieces = Arc::clone(pieces);
        let count = move |_: Progress| pieces.send_modify(|pieces| *pieces += 1);
        let upload = client.upload(version, &file.path, file.content.clone()).progress(count);
        uploads.spawn(async move {
            match upload.await {
                Ok(_) => (file, true),
                Err(error) => {
                    assert!(error.is_unavailable(), "{error:?}");
                    (file, false)
                }
            }
        });
    }
    uploads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_amid_uploads_has_all_of_an_artifact_or_nothing() {
    const KILLS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let (mut server, client, version) = begun(folder.path()).await;
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let (mut answered, mut cut_off, mut silent, mut given_up) = (0, 0, 0, 0);
    for round in 0..KILLS {
        let files = files(round);
        let count = files.iter().map(|file| chunks::cut(file.content.clone()).len()).sum::<usize>();
        let pieces = Arc::new(watch::Sender::new(0));
        let mut uploads = begin(&impatient(&endpoint), &version, &files, &pieces);
        let mut ended = Vec::new();
        if round % 2 == 0 {
            // From the first piece that is on its way to the last.
            let amid = rand::random_range(1..=count);
            soon(pieces.subscribe().wait_for(|pieces| *pieces >= amid)).await.unwrap();
        } else {
            // Amid the commits, some calls after some of them.
            for _ in 0..rand::random_range(1..=files.len() - 1) {
                ended.extend(soon(uploads.join_next()).await.map(Result::unwrap));
            }
            for _ in 0..rand::random_range(0..20) {
                client.get_model(MODEL).await.unwrap();
            }
        }
        server.kill();
        ended.extend(soon(uploads.join_all()).await);
        server = ServerProcess::start(folder.path(), &listen);

        ended.sort_by(|one, other| one.0.path.cmp(&other.0.path));
        let mut missing = Vec::new();
        for (file, known) in ended {
            let name = format!("{version}/artifacts/{}", file.path);
            match client.download(&name).bytes().await {
                Ok(bytes) => {
                    assert!(bytes == file.content, "{name}");
                    silent += usize::from(!known);
                }
                Err(error) => {
                    assert!(!known && error.is_not_found(), "{name}: {error:?}");
                    missing.push(file);
                }
            }
            if known { answered += 1 } else { cut_off += 1 }
        }
        verified(&client).await;
        // The first one is given up: what came of it is garbage.
        if !missing.is_empty() {
            missing.remove(0);
            given_up += 1;
        }
        for file in &missing {
            let made = soon(client.upload(&version, &file.path, file.content.clone()).send()).await.unwrap();
            assert!(bytes_of(&client, &made.name).await == file.content, "{}", made.name);
        }
    }
    eprintln!("{answered} answered, {cut_off} cut off, of which {silent} were committed");
    assert!(
        answered > KILLS / 2 && cut_off > KILLS / 2,
        "{answered} answered, {cut_off} cut off: the moments are too much alike"
    );
    let sealed = client.finalize_version(&version).await.unwrap();
    assert_eq!(sealed.artifact_count, (KILLS * 4) as i64 - given_up);
    assert_nothing_orphaned(&client, folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_outlives_its_server() {
    registry_tests::store::artifacts_in_folder();
    const KILLS: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let (mut server, client, version) = begun(folder.path()).await;
    let listen = server.address().to_string();
    let content = noise_of(99, 96 * MIB);
    let pieces = Arc::new(watch::Sender::new(0));
    let counted = Arc::clone(&pieces);
    let count = move |_: Progress| counted.send_modify(|pieces| *pieces += 1);
    let upload = tokio::spawn(client.upload(&version, "model.bin", content.clone()).progress(count).send());
    for _ in 0..KILLS {
        let before = chunks::all(folder.path()).len();
        let more = before + rand::random_range(1..8);
        registry_tests::until(PATIENCE, || async { (chunks::all(folder.path()).len() >= more).then_some(()) }).await;
        server.kill();
        server = ServerProcess::start(folder.path(), &listen);
    }
    assert!(!upload.is_finished());
    let made = soon(upload).await.unwrap().unwrap();
    assert_eq!(made.sha256, registry_tests::sha256(&content));
    assert!(bytes_of(&client, &made.name).await == content);
    assert_eq!(client.get_artifact(&made.name).await.unwrap(), made);
    assert_nothing_orphaned(&client, folder.path()).await;
}
