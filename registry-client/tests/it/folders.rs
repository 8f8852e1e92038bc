use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt};
use registry_client::pb::ErrorReason;
use registry_client::{Error, Progress, pb};
use registry_common::chunks::{Chunk, ListDigest};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::{Answers, Fake};
use crate::receipts::sha256;

pub(crate) const VERSION: &str = "namespaces/default/models/m/versions/1";

pub(crate) fn version() -> pb::Version {
    pb::Version { name: VERSION.to_owned(), state: pb::VersionState::Ready.into(), ..Default::default() }
}

fn refusal(code: Code, reason: ErrorReason) -> Status {
    let reason = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    let details = ErrorDetails::with_error_info(reason, "modelregistry.dev", []);
    Status::with_error_details(code, "refused", details)
}

fn missing_model() -> Status {
    let mut details = ErrorDetails::with_error_info("RESOURCE_NOT_FOUND", "modelregistry.dev", []);
    details.set_resource_info("modelregistry.dev/Model", "models/x", "", "");
    Status::with_error_details(Code::NotFound, "refused", details)
}

/// What a registry was told, in words.
type Told = Arc<Mutex<Vec<String>>>;

/// Takes versions once the model is there, and every file but `bad.txt`.
fn registry(model_exists: bool) -> (Fake, Told) {
    let told = Told::default();
    let note = |told: &Told| {
        let told = Arc::clone(told);
        move |text: String| told.lock().unwrap().push(text)
    };
    let exists = Arc::new(Mutex::new(model_exists));
    let (create, created, upload, finalize) = (note(&told), note(&told), note(&told), note(&told));
    let count = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&count);
    let made = Arc::clone(&exists);
    let fake = Fake::default()
        .on(move |request: Request<pb::CreateModelRequest>| {
            let request = request.into_inner();
            create(format!("model {} of {}", request.model_id, request.model.unwrap().owner));
            *made.lock().unwrap() = true;
            Ok(pb::Model::default())
        })
        .on(move |request: Request<pb::CreateVersionRequest>| {
            if !*exists.lock().unwrap() {
                return Err(missing_model());
            }
            created(format!("version {}", request.into_inner().version_id));
            Ok(version())
        })
        .on(move |request: Request<pb::CreateArtifactRequest>| {
            let request = request.into_inner();
            assert_eq!(request.parent, VERSION);
            let path = request.artifact.unwrap_or_default().path;
            if path == "bad.txt" {
                return Err(refusal(Code::ResourceExhausted, ErrorReason::StorageFull));
            }
            upload(format!("{path} of {} bytes", request.data.len()));
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(pb::Artifact::default())
        })
        .on(move |_: Request<pb::GetVersionRequest>| {
            Ok(pb::Version { artifact_count: count.load(Ordering::Relaxed), ..version() })
        })
        .on(move |request: Request<pb::FinalizeVersionRequest>| {
            let request = request.into_inner();
            finalize(format!("{:?} {}", request.state(), request.failure_reason));
            Ok(version())
        });
    (fake, told)
}

#[tokio::test]
async fn a_folder_becomes_a_version() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("plots")).unwrap();
    std::fs::write(folder.path().join("model.bin"), [0; 5]).unwrap();
    std::fs::write(folder.path().join("plots/roc.png"), [0; 7]).unwrap();
    let (fake, told) = registry(false);
    let last = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&last);
    let report = move |progress: Progress| *seen.lock().unwrap() = Some((progress.done, progress.total));
    let publish = fake.client().await.publish(folder.path(), "models/m").version_id("1.0.0").progress(report);
    let owner = pb::Model { owner: "risk".to_owned(), ..Default::default() };
    let version = publish.create_model_if_missing(owner).await.unwrap();
    assert_eq!(version.state(), pb::VersionState::Ready);

    let mut told = told.lock().unwrap();
    told[2..4].sort();
    let expected =
        ["model m of risk", "version 1.0.0", "model.bin of 5 bytes", "plots/roc.png of 7 bytes", "Unspecified "];
    assert_eq!(*told, expected);
    assert_eq!(*last.lock().unwrap(), Some((12, Some(12))));
}

#[tokio::test]
async fn a_failed_upload_gives_the_version_up() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.txt"), "").unwrap();
    let (fake, told) = registry(true);
    let error = fake.client().await.publish(folder.path(), "models/m").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::StorageFull));
    assert!(matches!(&error, Error::Upload { path, .. } if path == "bad.txt"), "{error:?}");
    assert_eq!(*told.lock().unwrap(), ["version ", "Failed bad.txt: refused"]);
}

#[tokio::test]
async fn nothing_is_created_for_a_folder_that_cannot_be_published() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, told) = registry(true);
    let client = fake.client().await;
    for folder in [folder.path().to_owned(), folder.path().join("missing")] {
        let error = client.publish(folder, "models/m").await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
    }
    assert!(told.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_model_is_not_made_unasked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), "").unwrap();
    let (fake, told) = registry(false);
    let error = fake.client().await.publish(folder.path(), "models/m").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ResourceNotFound));
    assert!(told.lock().unwrap().is_empty());
}

/// Serves a version whose artifacts hold their own paths.
pub(crate) fn shelf(paths: &'static [&'static str]) -> Fake {
    let artifact = |path: &str| pb::Artifact {
        name: format!("{VERSION}/artifacts/{path}"),
        path: path.to_owned(),
        size_bytes: path.len() as i64,
        sha256: sha256(path),
        chunks_blake3: ListDigest::of(&[Chunk::of(path.as_bytes())]).hex(),
        ..Default::default()
    };
    let path_of = |name: &str| name.strip_prefix(VERSION).unwrap().strip_prefix("/artifacts/").unwrap().to_owned();
    Fake::default()
        .on(|request: Request<pb::GetVersionRequest>| {
            assert_eq!(request.into_inner().name, "models/m@production");
            Ok(version())
        })
        .on(move |request: Request<pb::ListArtifactsRequest>| {
            assert_eq!(request.into_inner().parent, VERSION);
            let artifacts = paths.iter().map(|path| artifact(path)).collect();
            Ok(pb::ListArtifactsResponse { artifacts, next_page_token: String::new() })
        })
        .on(move |request: Request<pb::ListChunksRequest>| {
            let path = path_of(&request.into_inner().parent);
            let chunks = vec![Chunk::of(path.as_bytes()).to_message()];
            Ok(pb::ListChunksResponse { chunks, next_page_token: String::new() })
        })
        .on(move |request: Request<pb::DownloadArtifactRequest>| {
            let data = path_of(&request.into_inner().name).into();
            let answers: Answers<_> = stream::iter([Ok(pb::DownloadArtifactResponse { data })]).boxed();
            Ok(answers)
        })
}

#[tokio::test]
async fn a_version_becomes_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/folder");
    let client = shelf(&["a/b/c.txt", "a/d.txt", "e.txt"]).client().await;
    let pulled = client.pull("models/m@production", &target).await.unwrap();
    assert_eq!(pulled.version.name, VERSION);
    for (artifact, file) in pulled.artifacts.iter().zip(&pulled.files) {
        assert_eq!(*file, target.join(&artifact.path));
        assert_eq!(std::fs::read_to_string(file).unwrap(), artifact.path);
    }
    assert_eq!(pulled.files.len(), 3);
}

#[tokio::test]
async fn an_artifact_that_would_land_elsewhere_stops_the_pull_before_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let client = shelf(&["good.txt", "../evil.txt"]).client().await;
    let error = client.pull("models/m@production", &target).await.unwrap_err();
    assert!(matches!(error, Error::UnsafePath { .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(feature = "oci")]
#[tokio::test]
async fn only_a_sealed_version_with_files_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("layout");
    let pending =
        |_: Request<pb::GetVersionRequest>| Ok(pb::Version { state: pb::VersionState::Pending.into(), ..version() });
    for (fake, problem) in [(shelf(&["a"]).on(pending), "is not ready"), (shelf(&[]), "has no artifacts")] {
        let error = fake.client().await.export_oci("models/m@production", &target).await.unwrap_err();
        assert!(matches!(&error, Error::Incomplete { .. }) && error.to_string().contains(problem), "{error:?}");
        assert!(!target.exists());
    }
    let error = shelf(&["a", "a/b"]).client().await.export_oci("models/m@production", &target).await.unwrap_err();
    assert!(matches!(error, Error::UnsafePath { .. }) && !target.exists(), "{error:?}");
}
