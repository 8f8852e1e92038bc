//! What `publish` does with files that can't be published, that change, or that are there already.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use registry_client::{Error, pb};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::{Fake, impatient};
use crate::folders::{VERSION, version};

/// A folder with a file that was written long ago, so that every change shows in its time.
fn folder_with(name: &str, size: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let file = File::create(&path).unwrap();
    file.set_len(size).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    (folder, path)
}

/// Another process that writes to a file in its place.
fn overwrite(path: &Path) {
    File::options().write(true).open(path).unwrap().write_all(b"2").unwrap();
}

/// Makes versions, and is told what becomes of them.
fn registry(fake: Fake) -> (Fake, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (finalized, uploaded) = (Arc::clone(&told), Arc::clone(&told));
    let fake = fake
        .on(move |request: Request<pb::CreateArtifactRequest>| {
            uploaded.lock().unwrap().push(request.into_inner().artifact.unwrap().path);
            Ok(pb::Artifact::default())
        })
        .on(move |request: Request<pb::FinalizeVersionRequest>| {
            let request = request.into_inner();
            finalized.lock().unwrap().push(format!("{:?} {}{}", request.state(), request.failure_reason, request.etag));
            Ok(version())
        });
    (fake, told)
}

#[tokio::test]
async fn all_bad_files_are_named_before_the_registry_hears_of_one() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["events.out.tfevents.1700000000.host:6006", "a\\b", "weights\u{202e}nib"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    // Whatever it is asked, it refuses.
    let error = Fake::default().client().await.publish(folder.path(), "models/m").await.unwrap_err();
    let Error::UnfitFiles { files } = &error else { panic!("{error:?}") };
    let paths: Vec<_> = files.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["a\\b", "weights\u{202e}nib"]);
    assert!(error.is_invalid_argument());
    assert!(error.to_string().contains("a\\b: the path must not contain '\\\\'"), "{error}");
}

#[tokio::test]
async fn a_file_that_changes_before_it_is_read_is_not_published() {
    let (folder, path) = folder_with("model.bin", 100);
    let written = path.clone();
    let (fake, told) = registry(Fake::default().on(move |_: Request<pb::CreateVersionRequest>| {
        overwrite(&written);
        Ok(version())
    }));
    let error = fake.client().await.publish(folder.path(), "models/m").await.unwrap_err();
    let Error::Upload { path: named, source } = &error else { panic!("{error:?}") };
    assert!(named == "model.bin" && matches!(&**source, Error::Io { path: file, .. } if *file == path), "{error:?}");
    let told = told.lock().unwrap().concat();
    assert!(told.starts_with("Failed model.bin: ") && told.contains("changed while it was read"), "{told}");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_not_uploaded() {
    for truncated in [false, true] {
        // More than is read ahead.
        let (_folder, path) = folder_with("model.bin", 64 << 20);
        let written = path.clone();
        let (fake, told) = registry(Fake::default());
        let fake = fake
            .on(move |_: Request<pb::FindMissingChunksRequest>| {
                overwrite(&written);
                if truncated {
                    File::options().write(true).open(&written).unwrap().set_len(48 << 20).unwrap();
                }
                Ok(pb::FindMissingChunksResponse::default())
            })
            .on(|_: Request<crate::fake::Sent>| Ok(pb::UploadChunksResponse::default()));
        let error = fake.client().await.upload(VERSION, "model.bin", path.clone()).await.unwrap_err();
        assert!(matches!(&error, Error::Io { path: file, .. } if *file == path), "{error:?}");
        assert!(told.lock().unwrap().is_empty());
    }
}

/// Running it again goes on with the version, which is why it must not be given up.
#[tokio::test]
async fn a_publish_that_the_registry_was_away_for_too_long_leaves_its_version_pending() {
    let (folder, _) = folder_with("model.bin", 100);
    let (fake, told) = registry(Fake::default());
    let fake = fake
        .on(|_: Request<pb::CreateVersionRequest>| Ok(version()))
        .on(|_: Request<pb::CreateArtifactRequest>| Err::<pb::Artifact, _>(Status::unavailable("away")));
    let client = impatient([fake.serve().await]).await;
    let begun = Arc::new(Mutex::new(String::new()));
    let begins = Arc::clone(&begun);
    let publish =
        client.publish(folder.path(), "models/m").on_begin(move |name| name.clone_into(&mut begins.lock().unwrap()));
    let error = publish.await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(*begun.lock().unwrap(), version().name);
}

/// A registry with a version that has the id of the next one.
fn taken(there: pb::Version, artifacts: &'static [&'static str]) -> Fake {
    Fake::default()
        .on(|_: Request<pb::CreateVersionRequest>| -> Result<pb::Version, Status> {
            let mut details = ErrorDetails::with_error_info("RESOURCE_ALREADY_EXISTS", "modelregistry.dev", []);
            details.set_resource_info("modelregistry.dev/Version", VERSION, "", "");
            Err(Status::with_error_details(Code::AlreadyExists, "refused", details))
        })
        .on(move |_: Request<pb::GetVersionRequest>| Ok(there.clone()))
        .on(move |_: Request<pb::ListArtifactsRequest>| {
            let artifact = |path: &&str| pb::Artifact { path: (*path).to_owned(), ..Default::default() };
            Ok(pb::ListArtifactsResponse { artifacts: artifacts.iter().map(artifact).collect(), ..Default::default() })
        })
}

fn pending() -> pb::Version {
    pb::Version {
        state: pb::VersionState::Pending.into(),
        version_id: "1.4.0".to_owned(),
        description: "better".to_owned(),
        etag: "e1".to_owned(),
        artifact_count: 1,
        ..version()
    }
}

#[tokio::test]
async fn a_publish_goes_on_with_the_version_that_one_like_it_left() {
    let (folder, _) = folder_with("model.bin", 100);
    for artifacts in [&[][..], &["model.bin"]] {
        let (fake, told) = registry(taken(pending(), artifacts));
        let client = fake.client().await;
        client.publish(folder.path(), "models/m").version_id("1.4.0").description("better").await.unwrap();
        assert_eq!(*told.lock().unwrap(), ["model.bin", "Unspecified e1"]);
    }
}

#[tokio::test]
async fn a_publish_goes_on_with_nothing_else() {
    let (folder, _) = folder_with("model.bin", 100);
    let other = |change: fn(&mut pb::Version)| {
        let mut there = pending();
        change(&mut there);
        there
    };
    type Says = fn(&Error) -> bool;
    let rows: [(pb::Version, &'static [&'static str], Says); 5] = [
        (other(|there| there.description = "worse".into()), &[], |error| matches!(error, Error::Incomplete { .. })),
        (pending(), &["model.bin", "other.bin"], |error| error.to_string().contains("has other.bin")),
        (other(|there| there.state = pb::VersionState::Failed.into()), &[], Error::is_already_exists),
        (other(|there| there.state = pb::VersionState::Ready.into()), &[], Error::is_already_exists),
        (other(|there| there.delete_time = Some(Default::default())), &[], Error::is_already_exists),
    ];
    for (there, artifacts, says) in rows {
        let (fake, told) = registry(taken(there, artifacts));
        let publish = fake.client().await.publish(folder.path(), "models/m").version_id("1.4.0").description("better");
        let error = publish.await.unwrap_err();
        assert!(says(&error), "{error:?}");
        assert!(told.lock().unwrap().is_empty());
    }
    // Somebody else has added a file meanwhile. It is theirs, too, so that it is not given up.
    let (fake, told) = registry(taken(other(|there| there.artifact_count = 2), &[]));
    let publish = fake.client().await.publish(folder.path(), "models/m").version_id("1.4.0").description("better");
    let error = publish.await.unwrap_err();
    assert!(matches!(&error, Error::Incomplete { problem, .. } if problem.contains("has 2 files")), "{error:?}");
    assert_eq!(*told.lock().unwrap(), ["model.bin"]);
}
