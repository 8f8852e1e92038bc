//! Chunks that somebody or something has changed on the disk.

use std::fs;
use std::path::{Path, PathBuf};

use registry_client::pb::{Artifact, ErrorReason, VerifyProblemType};
use registry_client::{Error, RegistryClient};
use registry_tests::restore::{damage, verified};
use registry_tests::{TestServer, chunks, files, model, noise_of, pending};
use tonic::Code;

const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";

/// Bytes of several chunks.
fn bytes() -> Vec<u8> {
    noise_of(1, 6 << 20)
}

/// A registry with an artifact, and the files of its chunks.
async fn registry() -> (TestServer, RegistryClient, Artifact, Vec<PathBuf>) {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    let made = client.upload(VERSION, "model.onnx", bytes()).await.unwrap();
    let stored = chunks::files(&client, &server.storage(), &made.name).await;
    assert!(stored.len() > 3 && stored.iter().all(|file| file.exists()), "{stored:?}");
    (server, client, made, stored)
}

/// What can become of a file.
#[derive(Debug, Clone, Copy)]
enum Accident {
    Flip,
    Cut,
    Empty,
    Gone,
}

const ALL: [Accident; 4] = [Accident::Flip, Accident::Cut, Accident::Empty, Accident::Gone];

impl Accident {
    fn befall(self, file: &Path) {
        match self {
            Self::Flip => damage(file),
            Self::Cut => fs::write(file, &fs::read(file).unwrap()[..1000]).unwrap(),
            Self::Empty => fs::write(file, b"").unwrap(),
            Self::Gone => fs::remove_file(file).unwrap(),
        }
    }
}

/// The error that says that the bytes of an artifact are not there, because of a chunk.
fn assert_is_lost(error: &Error, artifact: &Artifact, chunk: &Path) {
    assert!(error.is_data_loss(), "{error:?}");
    assert_eq!((error.code(), error.reason()), (Some(Code::DataLoss), Some(ErrorReason::ArtifactDamaged)));
    let (status, hex) = (error.status().unwrap(), chunk.file_name().unwrap().to_str().unwrap());
    assert!(status.message.contains(hex) && status.message.contains(&artifact.name), "{status:?}");
}

#[tokio::test]
async fn a_damaged_chunk_is_named_and_never_handed_out() {
    registry_tests::store::artifacts_in_folder();
    for accident in ALL {
        let (server, client, made, stored) = registry().await;
        accident.befall(&stored[1]);
        let folder = server.scratch();
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("model.onnx");
        assert_is_lost(&client.download(&made.name).to_file(&file).await.unwrap_err(), &made, &stored[1]);
        assert!(!file.exists(), "{accident:?}");
        assert_is_lost(&client.download(&made.name).bytes().await.unwrap_err(), &made, &stored[1]);
        let pulled = folder.join("pulled");
        assert!(client.pull(VERSION, &pulled).partial(true).await.unwrap_err().is_data_loss(), "{accident:?}");
        assert!(!pulled.join("model.onnx").exists(), "{accident:?}");
        // A range that does not touch it is there.
        let head = client.download(&made.name).range(..1000).bytes().await.unwrap();
        assert!(head == bytes()[..1000], "{accident:?}");
    }
}

#[tokio::test]
async fn verify_names_what_has_a_damaged_chunk() {
    registry_tests::store::artifacts_in_folder();
    for accident in ALL {
        let (_server, client, made, stored) = registry().await;
        let copy = client.upload(VERSION, "copy.onnx", bytes()).await.unwrap();
        client.upload(VERSION, "whole.onnx", noise_of(2, 50_000)).await.unwrap();
        accident.befall(&stored[1]);
        let report = client.verify().await.unwrap();
        let expected = match accident {
            Accident::Gone => VerifyProblemType::ArtifactMissing,
            _ => VerifyProblemType::ArtifactDamaged,
        };
        let [first, second] = report.problems.as_slice() else { panic!("{report:?}") };
        assert_eq!((&first.name, &second.name), (&copy.name, &made.name), "{accident:?}");
        assert_eq!(first.r#type(), expected, "{first:?}");
        let hex = stored[1].file_name().unwrap().to_str().unwrap();
        assert!(report.problems.iter().all(|problem| problem.detail.contains(hex)), "{report:?}");
    }
}

/// How it came to light that a chunk is damaged.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Found {
    Download,
    Scrub,
}

#[tokio::test]
async fn the_same_bytes_mend_a_damaged_chunk_however_it_was_found() {
    registry_tests::store::artifacts_in_folder();
    for accident in ALL {
        for found in [Found::Download, Found::Scrub] {
            let (server, client, made, stored) = registry().await;
            accident.befall(&stored[1]);
            let wrong = fs::read(&stored[1]).ok();
            match found {
                Found::Download => drop(client.download(&made.name).bytes().await.unwrap_err()),
                Found::Scrub => {
                    // To verify and to back up find it as well, and change nothing.
                    assert_eq!(client.verify().await.unwrap().problem_count, 1);
                    let completed = client.backup().write_to(tokio::io::sink()).await.unwrap();
                    assert_eq!(completed.lost_artifacts, std::slice::from_ref(&made.name));
                    assert_eq!(fs::read(&stored[1]).ok(), wrong, "{accident:?}");
                    assert_eq!(client.scrub().quarantine(true).await.unwrap().problem_count, 1);
                }
            }
            client.upload(VERSION, "model.onnx", bytes()).await.unwrap();
            let context = format!("{accident:?} {found:?}");
            assert!(client.download(&made.name).bytes().await.unwrap() == bytes(), "{context}");
            verified(&client).await;
            // What was wrong can be looked at.
            let aside = files(&server.storage().join("artifacts/quarantine"));
            let kept: Vec<_> = aside.iter().map(|file| fs::read(file).unwrap()).collect();
            assert!(kept.iter().eq(wrong.iter()), "{context}: {aside:?}");
        }
    }
}

#[tokio::test]
async fn a_damaged_chunk_makes_no_artifact() {
    registry_tests::store::artifacts_in_folder();
    // Sent before, and not yet in an artifact.
    for accident in ALL {
        let (server, client, _, stored) = registry().await;
        let pieces = [chunks::cut(bytes()), chunks::cut(noise_of(3, 30_000))].concat();
        chunks::send(&server, vec![chunks::first(VERSION, ""), chunks::message(0, &pieces[pieces.len() - 1])])
            .await
            .unwrap();
        accident.befall(&stored[1]);
        let request = chunks::create_of(VERSION, "longer.onnx", &pieces);
        let error = chunks::create(&server, request).await.unwrap_err();
        let refused = (Some(Code::FailedPrecondition), Some(ErrorReason::ChunksMissing));
        assert_eq!((error.code(), error.reason()), refused, "{accident:?}: {error}");
        assert_eq!(chunks::missing(&server, VERSION, &pieces).await.unwrap(), [1], "{accident:?}");
        // The client does as it is told.
        let made = client.upload(VERSION, "longer.onnx", pieces.concat()).await.unwrap();
        assert!(client.download(&made.name).bytes().await.unwrap() == pieces.concat(), "{accident:?}");
    }
}
