//! Finding chunks that are missing or damaged, and mending them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use registry_client::pb::{ErrorReason, ScrubReport, VerifyProblemType};
use registry_common::hex;
use registry_tests::expect::{refused, unchanged};
use registry_tests::restore::{damage, verified};
use registry_tests::{TestServer, chunks, model, noise, pending};
use tonic::Code;

const MODEL: &str = "models/fraud";

fn name(version: i64, path: &str) -> String {
    format!("namespaces/default/models/fraud/versions/{version}/artifacts/{path}")
}

/// Two versions that share one chunk; the first one has another one and a small artifact.
async fn registry() -> TestServer {
    registry_tests::store::artifacts_in_folder();
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for number in 1..=2 {
        let version = pending(&client, MODEL).await.name;
        client.upload(&version, "shared.bin", shared()).await.unwrap();
        if number == 1 {
            client.upload(&version, "own.bin", noise(50_000)).await.unwrap();
            client.upload(&version, "small.json", b"{}".to_vec()).await.unwrap();
        }
        client.finalize_version(&version).await.unwrap();
    }
    server
}

fn shared() -> Vec<u8> {
    noise(100_000)
}

/// The file of a chunk, which takes a byte more than it has.
fn chunk(server: &TestServer, size: u64) -> PathBuf {
    let stored = chunks::all(&server.storage());
    stored.into_iter().find(|file| file.metadata().unwrap().len() == size + 1).unwrap()
}

async fn scrub(server: &TestServer) -> ScrubReport {
    unchanged(server, server.client().scrub()).await.unwrap()
}

#[tokio::test]
async fn every_chunk_is_read_once() {
    let server = registry().await;
    let report = scrub(&server).await;
    assert_eq!((report.artifacts, report.chunks, report.size_bytes), (4, 3, 150_002));
    assert_eq!((report.problem_count, report.quarantined_chunks), (0, 0));
}

#[tokio::test]
async fn progress_is_told_a_few_times_a_second_only() {
    let server = registry().await;
    let told = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&told);
    for number in 0..100 {
        server.client().upload(format!("{MODEL}/versions/2"), format!("{number}.log"), b"x".to_vec()).await.unwrap();
    }
    let scrub = server.client().scrub().progress(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let began = Instant::now();
    assert_eq!(scrub.await.unwrap().artifacts, 104);
    let told = told.load(Ordering::Relaxed);
    assert!(told >= 1 && began.elapsed() >= Duration::from_millis(100) * (told - 1), "{told}");
}

#[tokio::test]
async fn a_damaged_chunk_is_put_aside_and_mended_by_uploading_it_again() {
    let server = registry().await;
    let client = server.client();
    let file = chunk(&server, 100_000);
    damage(&file);
    let report = scrub(&server).await;
    assert_eq!((report.problem_count, report.quarantined_chunks, report.chunks), (1, 0, 2));
    let problem = &report.problems[0];
    assert_eq!(problem.r#type(), VerifyProblemType::ArtifactDamaged);
    assert_eq!(problem.artifacts, [name(1, "shared.bin"), name(2, "shared.bin")]);
    assert_eq!((problem.artifact_count, problem.namespace.as_str()), (2, "default"));
    let hex = hex(&problem.blake3);
    assert_eq!(file.file_name().unwrap().to_str(), Some(hex.as_str()));

    let report = client.scrub().quarantine(true).await.unwrap();
    assert_eq!((report.problem_count, report.quarantined_chunks), (1, 1));
    assert!(!file.exists() && server.storage().join("artifacts/quarantine/default").join(hex).exists());
    let report = scrub(&server).await;
    assert_eq!(report.problems[0].r#type(), VerifyProblemType::ArtifactMissing);
    let download = client.download(name(2, "shared.bin")).bytes();
    refused(&server, download, Code::DataLoss, ErrorReason::ArtifactDamaged).await;

    client.upload(format!("{MODEL}/versions/1"), "shared.bin", shared()).await.unwrap();
    for version in 1..=2 {
        assert_eq!(client.download(name(version, "shared.bin")).bytes().await.unwrap(), shared());
    }
    assert_eq!(scrub(&server).await.problem_count, 0);
    verified(&client).await;
}

#[tokio::test]
async fn a_missing_chunk_is_mended_by_uploading_it_again() {
    let server = registry().await;
    let client = server.client();
    std::fs::remove_file(chunk(&server, 50_000)).unwrap();
    let report = client.scrub().quarantine(true).await.unwrap();
    assert_eq!((report.problem_count, report.quarantined_chunks), (1, 0));
    assert_eq!(report.problems[0].r#type(), VerifyProblemType::ArtifactMissing);
    assert_eq!(report.problems[0].artifacts, [name(1, "own.bin")]);
    client.upload(format!("{MODEL}/versions/1"), "own.bin", noise(50_000)).await.unwrap();
    assert_eq!(scrub(&server).await.problem_count, 0);
}
