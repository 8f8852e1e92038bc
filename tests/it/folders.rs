//! Folders that become versions, and versions that become folders.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use registry_client::pb::{ErrorReason, VersionState};
use registry_client::{Error, verify_folder};
use registry_tests::{TestServer, model, model_with, noise};

const MODEL: &str = "models/fraud";

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap()
}

#[tokio::test]
async fn a_version_id_is_not_spent_on_what_can_not_be_published() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let folder = folder_with(&[("model.bin", "weights"), ("a\\b.log", "")]);
    let error = client.publish(folder.path(), MODEL).version_id("1.4.0").await.unwrap_err();
    assert!(matches!(error, Error::UnfitFiles { .. }), "{error:?}");
    fs::remove_file(folder.path().join("a\\b.log")).unwrap();
    let version = client.publish(folder.path(), MODEL).version_id("1.4.0").await.unwrap();
    assert_eq!((version.number, version.state()), (1, VersionState::Ready));
}

#[tokio::test]
async fn a_publish_that_broke_off_is_taken_up_under_its_id() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let folder = folder_with(&[("model.bin", "weights"), ("notes.txt", "notes")]);
    let publish = |description: &str| {
        let publish = client.publish(folder.path(), MODEL).version_id("1.4.0").metric("test", "auc", 0.5).tag("a", "b");
        publish.hyperparameter("depth", 6.0).framework("onnx", "1").description(description)
    };
    // What a publish leaves that is killed after its first file.
    let begun = client.create_version(MODEL).version_id("1.4.0").metric("test", "auc", 0.5).tag("a", "b");
    let begun = begun.hyperparameter("depth", 6.0).framework("onnx", "1").description("better").await.unwrap();
    client.upload(&begun.name, "notes.txt", b"notes".to_vec()).await.unwrap();
    client.upload(&begun.name, "left.txt", b"left".to_vec()).await.unwrap();

    let error = publish("worse").await.unwrap_err();
    assert!(
        matches!(&error, Error::Incomplete { problem, .. } if problem.contains("described differently")),
        "{error:?}"
    );
    let error = publish("better").await.unwrap_err();
    assert!(matches!(&error, Error::Incomplete { problem, .. } if problem.contains("left.txt")), "{error:?}");
    client.delete_artifact(format!("{}/artifacts/left.txt", begun.name)).await.unwrap();
    fs::write(folder.path().join("notes.txt"), "other notes").unwrap();
    let error = publish("better").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ResourceAlreadyExists), "{error:?}");
    // It is not given up for that.
    fs::write(folder.path().join("notes.txt"), "notes").unwrap();
    let version = publish("better").await.unwrap();
    assert_eq!((&version.name, version.state(), version.artifact_count), (&begun.name, VersionState::Ready, 2));
    assert!(publish("better").await.unwrap_err().is_already_exists());
}

#[tokio::test]
async fn a_publish_is_taken_up_with_what_it_says_now_or_not_at_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    let folder = folder_with(&[("run.sh", "#!/bin/sh")]);
    let publish = |base: &str| {
        let publish = client.publish(folder.path(), MODEL).version_id("1.4.0").metric("test", "auc", f64::NAN);
        publish.base_versions([format!("{MODEL}/versions/{base}")])
    };
    let begun = client.create_version(MODEL).version_id("1.4.0").metric("test", "auc", f64::NAN);
    let begun = begun.base_versions([format!("{MODEL}@latest")]).await.unwrap();
    client.upload(&begun.name, "run.sh", b"#!/bin/sh".to_vec()).await.unwrap();
    let error = publish("1").await.unwrap_err();
    assert!(matches!(&error, Error::Incomplete { problem, .. } if problem.contains("(base_versions)")), "{error:?}");
    fs::set_permissions(folder.path().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let version = publish("2").await.unwrap();
    assert_eq!((&version.name, version.state()), (&begun.name, VersionState::Ready));
    assert!(client.get_artifact(format!("{}/artifacts/run.sh", begun.name)).await.unwrap().executable);
}

#[tokio::test]
async fn a_folder_follows_from_version_to_version() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for files in [&[("weights", "1"), ("old/a", "a")][..], &[("weights/part-1", "2"), ("new", "n")]] {
        client.publish(folder_with(files).path(), MODEL).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    for (version, file, text) in [("1", "weights", "1"), ("2", "weights/part-1", "2"), ("1", "weights", "1")] {
        let pulled = client.pull(format!("{MODEL}/versions/{version}"), folder.path()).await.unwrap();
        assert!(pulled.others.is_empty());
        assert_eq!(read(folder.path(), file), text);
        assert_eq!(verify_folder(folder.path()).await.unwrap().problems, []);
    }
}

#[tokio::test]
async fn what_may_be_run_may_be_run_again() {
    use std::os::unix::fs::PermissionsExt as _;

    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let out = folder_with(&[("run.sh", "#!/bin/sh"), ("data", "#!/bin/sh")]);
    let set = |file: &Path, mode| fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    set(&out.path().join("run.sh"), 0o755);
    let first = client.publish(out.path(), MODEL).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (pulled, layout) = (folder.path().join("pulled"), folder.path().join("layout"));
    client.pull(&first.name, &pulled).await.unwrap();
    client.export_oci(&first.name, &layout).await.unwrap();
    let second = client.import_oci(&layout, MODEL).await.unwrap();
    let runs = |file: &str| fs::metadata(pulled.join(file)).unwrap().permissions().mode() & 0o100 != 0;
    for version in [first, second] {
        // Files that are there already get what is missing.
        client.pull(&version.name, &pulled).await.unwrap();
        assert!(runs("run.sh") && !runs("data"));
        set(&pulled.join("run.sh"), 0o644);
        set(&pulled.join("data"), 0o755);
    }
}

#[tokio::test]
async fn a_purged_version_says_so_and_a_deleted_one_is_still_there() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let version = client.publish(folder_with(&[("a", "a")]).path(), MODEL).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    client.delete_version(&version.name).await.unwrap();
    let pulled = client.pull(&version.name, folder.path()).await.unwrap();
    assert!(pulled.version.delete_time.is_some());
    client.purge_version(&version.name).await.unwrap();
    let error = client.pull(&version.name, folder.path()).await.unwrap_err();
    assert!(matches!(&error, Error::Incomplete { problem, .. } if problem.contains("was purged")), "{error:?}");
    assert_eq!(read(folder.path(), "a"), "a");
}

#[tokio::test]
async fn what_another_version_has_is_not_fetched() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let weights = noise(3 << 20);
    let folder = folder_with(&[("config.json", "{}")]);
    fs::write(folder.path().join("weights.bin"), &weights).unwrap();
    client.publish(folder.path(), MODEL).await.unwrap();
    // One file has moved, another has changed at its end.
    fs::create_dir(folder.path().join("old")).unwrap();
    fs::rename(folder.path().join("weights.bin"), folder.path().join("old/weights.bin")).unwrap();
    let changed = [&weights[..], b"more"].concat();
    fs::write(folder.path().join("weights.bin"), &changed).unwrap();
    client.publish(folder.path(), MODEL).await.unwrap();

    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    client.pull("fraud/versions/1", one.path()).await.unwrap();
    let moved = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&moved);
    let pull = client.pull("fraud/versions/2", two.path()).reuse(one.path()).reuse("nowhere");
    let pull = pull.progress(move |progress| {
        counter.fetch_max(progress.moved, Ordering::Relaxed);
    });
    pull.await.unwrap();
    assert_eq!(fs::read(two.path().join("old/weights.bin")).unwrap(), weights);
    assert_eq!(fs::read(two.path().join("weights.bin")).unwrap(), changed);
    assert!(verify_folder(two.path()).await.unwrap().problems.is_empty());
    // The last chunk of what has changed, at most.
    assert!(moved.load(Ordering::Relaxed) < 2 << 20, "{moved:?}");
}
