//! Artifacts that are there: their bytes, their digests, and whole folders of them.

use std::collections::BTreeMap;
use std::path::Path;

use registry_client::known::{artifact_type, framework};
use registry_client::pb::{Artifact, ErrorReason, Model, VersionState};
use registry_tests::expect::{invalid, refused, unchanged};
use registry_tests::{TestServer, files, model, noise, pending, sha256};
use tonic::Code;

/// More than this is stored in chunks.
const INLINE: usize = 16 * 1024;
const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";
const FILE: &str = "models/fraud/versions/1/artifacts/model.onnx";

#[tokio::test]
async fn bytes_come_back_as_they_went_whatever_their_number() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for (i, size) in [0, 1, INLINE, INLINE + 1, 3 * 1024 * 1024 + 7].into_iter().enumerate() {
        let version = pending(&client, MODEL).await.name;
        let bytes = noise(size);
        let made = client.upload(&version, "deep/er/model.onnx", bytes.clone()).await.unwrap();
        assert_eq!(
            made.name,
            format!("namespaces/default/models/fraud/versions/{}/artifacts/deep/er/model.onnx", i + 1)
        );
        assert_eq!(
            (made.size_bytes, made.r#type.as_str(), made.supplementary),
            (size as i64, artifact_type::MODEL, false)
        );
        assert_eq!(made.sha256, sha256(&bytes));
        assert_eq!(client.get_artifact(&made.name).await.unwrap(), made);
        assert!(client.download(&made.name).bytes().await.unwrap() == bytes, "{size}");
        let file = server.scratch().join(size.to_string());
        std::fs::create_dir_all(server.scratch()).unwrap();
        client.download(&made.name).to_file(&file).await.unwrap();
        assert!(std::fs::read(&file).unwrap() == bytes, "{size}");
        let version = client.get_version(&version).await.unwrap();
        assert_eq!((version.artifact_count, version.size_bytes), (1, size as i64));
    }
}

#[tokio::test]
async fn a_file_and_a_reader_are_uploaded_alike() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    let bytes = noise(300_000);
    let path = server.scratch();
    std::fs::write(&path, &bytes).unwrap();
    let file = client.upload(VERSION, "a.bin", path.as_path()).await.unwrap();
    let reader = registry_client::Source::reader(std::io::Cursor::new(bytes.clone()));
    let read = client.upload(VERSION, "b.bin", reader).await.unwrap();
    assert_eq!((&file.sha256, &read.sha256), (&sha256(&bytes), &sha256(&bytes)));
}

#[tokio::test]
async fn a_range_is_what_it_says() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    let bytes = noise(2 * 1024 * 1024 + 3);
    let size = bytes.len();
    client.upload(VERSION, "model.onnx", bytes.clone()).await.unwrap();
    for (start, end) in [(0, 1), (1, 5), (size - 1, size), (1024 * 1024 - 1, 1024 * 1024 + 1), (7, size)] {
        let part = client.download(FILE).range(start as u64..end as u64).bytes().await.unwrap();
        assert!(part == bytes[start..end], "{start}..{end}");
    }
    let rest = client.download(FILE).range(size as u64 - 3..).bytes().await.unwrap();
    assert!(rest == bytes[size - 3..]);
    let more = client.download(FILE).range(size as u64 - 3..size as u64 + 1000).bytes().await.unwrap();
    assert!(more == bytes[size - 3..], "more than there is is no error");

    let behind = client.download(FILE).range(size as u64 + 1..).bytes().await.unwrap_err();
    assert!(behind.is_out_of_range());
    assert_eq!(behind.reason(), Some(ErrorReason::RangeInvalid));
}

#[tokio::test]
async fn the_manifest_digest_is_that_of_the_documented_lines() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    // In byte order: upper before lower case, `-` before `.` before `/`, ASCII before all else.
    for path in ["b/c.bin", "b.bin", "b-c.bin", "Z.bin", "ž.bin", "a"] {
        client.upload(VERSION, path, path.as_bytes().to_vec()).await.unwrap();
    }
    let sealed = client.finalize_version(VERSION).await.unwrap();
    let mut paths = ["b/c.bin", "b.bin", "b-c.bin", "Z.bin", "ž.bin", "a"];
    paths.sort();
    let line = |path: &str| format!("{} {} {path}\n", sha256(path.as_bytes()), path.len());
    let expected = sha256(paths.map(line).concat().as_bytes());
    assert_eq!(sealed.manifest_sha256, expected);
    let listed = client.list_artifacts(VERSION).await.unwrap().artifacts;
    assert_eq!(listed.iter().map(|artifact| artifact.path.as_str()).collect::<Vec<_>>(), paths);

    // What comes later is not covered by it.
    let plot = client.upload(VERSION, "roc.png", b"late".to_vec()).await.unwrap();
    assert!(plot.supplementary);
    let version = client.get_version(VERSION).await.unwrap();
    assert_eq!((version.manifest_sha256, version.artifact_count), (expected, 7));
}

#[tokio::test]
async fn a_sealed_version_takes_and_gives_up_plots_and_logs_only() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    client.upload(VERSION, "model.onnx", b"1".to_vec()).await.unwrap();
    client.upload(VERSION, "early.png", b"1".to_vec()).await.unwrap();
    client.finalize_version(VERSION).await.unwrap();

    let sealed = (Code::FailedPrecondition, ErrorReason::VersionSealed);
    refused(&server, client.upload(VERSION, "other.onnx", b"2".to_vec()), sealed.0, sealed.1).await;
    let replaced = client.upload(VERSION, "model.onnx", b"2".to_vec());
    refused(&server, replaced, Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
    refused(&server, client.delete_artifact(FILE), sealed.0, sealed.1).await;
    refused(&server, client.delete_artifact(format!("{VERSION}/artifacts/early.png")), sealed.0, sealed.1).await;

    for (path, kind) in [
        ("plots/roc.png", artifact_type::PLOT),
        ("confusion_matrix.png", artifact_type::CONFUSION_MATRIX),
        ("train.log", artifact_type::LOG),
    ] {
        let late = client.upload(VERSION, path, b"late".to_vec()).await.unwrap();
        assert_eq!((late.r#type.as_str(), late.supplementary), (kind, true));
        client.delete_artifact(&late.name).await.unwrap();
        refused(&server, client.get_artifact(&late.name), Code::NotFound, ErrorReason::ResourceNotFound).await;
    }
    let version = client.get_version(VERSION).await.unwrap();
    assert_eq!((version.artifact_count, version.size_bytes), (2, 2));
}

#[tokio::test]
async fn a_pending_version_gives_an_artifact_up() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    client.upload(VERSION, "model.onnx", b"1".to_vec()).await.unwrap();
    client.delete_artifact(FILE).await.unwrap();
    let missing = client.delete_artifact(FILE);
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let other = client.upload(VERSION, "model.onnx", b"2".to_vec()).await.unwrap();
    assert_eq!(other.sha256, sha256(b"2"));
    let bad = client.get_artifact(format!("{VERSION}/artifacts/../x"));
    invalid(&server, bad, &[("name", ErrorReason::NameInvalid)]).await;
}

#[tokio::test]
async fn an_artifact_is_a_resource_like_others() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    let made = client.upload(VERSION, "model.onnx", noise(INLINE + 1)).tag("run", "17").await.unwrap();
    let other = client.upload(VERSION, "other.onnx", b"1".to_vec()).await.unwrap();
    assert_eq!(made.tags, [("run".to_owned(), "17".to_owned())].into());
    assert_eq!((made.creator.as_str(), made.revision, other.revision), ("tester", 3, 4));
    assert!(made.create_time.is_some() && made.update_time == made.create_time);
    assert!(uuid::Uuid::parse_str(&made.uid).is_ok() && made.uid != other.uid);
    assert!(!made.etag.is_empty() && made.etag != other.etag);
    assert_eq!(client.list_artifacts(VERSION).await.unwrap().artifacts, [made.clone(), other.clone()]);

    let delete = || client.delete_artifact(FILE);
    let error = refused(&server, delete().etag(&other.etag), Code::Aborted, ErrorReason::EtagMismatch).await;
    assert!(error.is_conflict());
    unchanged(&server, delete().etag(&made.etag).validate_only(true)).await.unwrap();
    assert_eq!(delete().etag(&made.etag).await.unwrap().uid, made.uid);
    // Another one under its name is another one.
    assert_ne!(client.upload(VERSION, "model.onnx", noise(INLINE + 1)).await.unwrap().uid, made.uid);
}

/// Path to bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |path: std::path::PathBuf| {
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(&path).unwrap())
    };
    files(folder).into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_folder_is_pulled_byte_for_byte() {
    let server = TestServer::start().await;
    let client = server.client();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/legacy-registry/breast-cancer/20260126_103000");
    let published = client
        .publish(&folder, "models/breast-cancer")
        .create_model_if_missing(Model::default())
        .version_id("20260126_103000")
        .framework(framework::ONNX, "1")
        .await
        .unwrap();
    let original = contents(&folder);
    assert_eq!((published.state(), published.artifact_count), (VersionState::Ready, original.len() as i64));
    assert!(original.len() >= 6);

    let target = server.scratch().join("pulled");
    let pulled = client.pull("models/breast-cancer@latest", &target).await.unwrap();
    assert_eq!(pulled.version, client.get_version(&published.name).await.unwrap());
    let mut found = contents(&target);
    assert!(found.remove(".model-registry.json").is_some());
    assert!(found == original);
    let lines = |artifact: &Artifact| format!("{} {} {}\n", artifact.sha256, artifact.size_bytes, artifact.path);
    let manifest: String = pulled.artifacts.iter().map(lines).collect();
    assert_eq!(published.manifest_sha256, sha256(manifest.as_bytes()));
}

#[tokio::test]
async fn a_version_has_no_file_where_another_one_needs_a_folder() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    pending(&client, MODEL).await;
    for path in ["weights", "deep/er/file", "weights-2", "weighty/x"] {
        client.upload(VERSION, path, b"x".to_vec()).await.unwrap();
    }
    let (code, reason) = (Code::FailedPrecondition, ErrorReason::PathConflict);
    for path in ["weights/part-1", "weights/a/b", "deep", "deep/er", "deep/er/file/x"] {
        let error = refused(&server, client.upload(VERSION, path, b"y".to_vec()), code, reason).await;
        assert!(error.to_string().contains(path), "{error}");
        let many = noise(INLINE + 1);
        refused(&server, client.upload(VERSION, path, many), code, reason).await;
    }
    // The version of another number has files of its own.
    let other = pending(&client, MODEL).await.name;
    client.upload(&other, "weights/part-1", b"y".to_vec()).await.unwrap();
}
