//! What a pull makes of a folder, and of a version that is not whole.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use registry_client::{Error, FolderProblem, Pulled, pb, verify_folder};
use tokio::sync::Notify;
use tonic::{Request, Status};

use crate::fake::{Answers, Fake};
use crate::folders::{shelf, version};
use crate::receipts::manifest;

const CLAIM: &str = ".model-registry.pull";

/// A READY version whose artifacts hold their own paths.
fn sealed(paths: &'static [&'static str]) -> Fake {
    is(shelf(paths), pb::Version { manifest_sha256: manifest(paths), ..version() })
}

fn is(fake: Fake, version: pb::Version) -> Fake {
    fake.on(move |_: Request<pb::GetVersionRequest>| Ok(version.clone()))
}

async fn pull(fake: Fake, folder: &Path) -> Result<Pulled, Error> {
    fake.client().await.pull("models/m@production", folder).await
}

/// Everything in a folder that is no folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(open) = folders.pop() {
        for entry in fs::read_dir(open).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn what_is_not_whole_is_pulled_only_if_that_is_asked_for() {
    let state = |state: pb::VersionState| pb::Version { state: state.into(), ..version() };
    let elsewhere = pb::Version { source_uri: "s3://elsewhere".into(), manifest_sha256: manifest(&[]), ..version() };
    let failed = pb::Version { failure_reason: "a disk".into(), ..state(pb::VersionState::Failed) };
    let purged = pb::Version { purged: true, manifest_sha256: manifest(&["a"]), ..version() };
    for (version, paths, problem, partial) in [
        (state(pb::VersionState::Pending), &["a"][..], "not ready", true),
        (failed, &["a"], "has FAILED, its files may be incomplete: a disk", true),
        (elsewhere, &[], "has its content at s3://elsewhere", true),
        (purged, &[], "was purged", false),
    ] {
        let client = is(shelf(paths), version).client().await;
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let error = client.pull("models/m@production", &target).await.unwrap_err();
        assert!(matches!(&error, Error::Incomplete { .. }) && error.is_failed_precondition(), "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
        assert!(!target.exists());
        let pulled = client.pull("models/m@production", &target).partial(true).await;
        assert_eq!(pulled.is_ok(), partial, "{pulled:?}");
        if partial {
            // What is there is right, but nobody knows that it is all.
            assert_eq!(verify_folder(&target).await.unwrap().problems, [FolderProblem::Unsealed]);
        }
    }
}

#[tokio::test]
async fn of_two_pulls_into_one_folder_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asking, released) = (Arc::clone(&asked), Arc::clone(&release));
    let slow = sealed(&["a"]).on(move |_: Request<pb::DownloadArtifactRequest>| {
        asking.notify_one();
        let released = Arc::clone(&released);
        let answer = async move {
            released.notified().await;
            Ok(pb::DownloadArtifactResponse { data: "a".into() })
        };
        let answers: Answers<_> = stream::once(answer).boxed();
        Ok(answers)
    });
    let first = {
        let folder = folder.path().to_owned();
        tokio::spawn(async move { pull(slow, &folder).await.map(drop) })
    };
    asked.notified().await;
    let error = pull(sealed(&["b"]), folder.path()).await.unwrap_err();
    assert!(matches!(&error, Error::FolderInUse { .. }) && error.is_conflict(), "{error:?}");
    release.notify_one();
    first.await.unwrap().unwrap();
    assert_eq!(names(folder.path()), [".model-registry.json", "a"]);
    assert_eq!(verify_folder(folder.path()).await.unwrap().problems, []);
}

#[tokio::test]
async fn a_pull_that_lost_its_folder_puts_nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    // As where locks do not hold: another pull takes the folder over while this one waits for bytes.
    let claim = folder.path().join(CLAIM);
    let overtaken = sealed(&["a"]).on(move |_: Request<pb::DownloadArtifactRequest>| {
        fs::write(&claim, r#"{"pull":"another"}"#).unwrap();
        let answers: Answers<_> = stream::iter([Ok(pb::DownloadArtifactResponse { data: "a".into() })]).boxed();
        Ok(answers)
    });
    let error = pull(overtaken, folder.path()).await.unwrap_err();
    assert!(matches!(error, Error::FolderInUse { .. }), "{error:?}");
    assert_eq!(names(folder.path()), [CLAIM]);
}

#[tokio::test]
async fn files_of_an_older_version_go_unless_they_were_changed() {
    let folder = tempfile::tempdir().unwrap();
    let pulled = pull(sealed(&["a/2", "a/b/1", "same", "theirs"]), folder.path()).await.unwrap();
    assert!(pulled.others.is_empty());
    fs::write(folder.path().join("theirs"), "THEIRS").unwrap();
    fs::write(folder.path().join("notes"), "").unwrap();
    let pulled = pull(sealed(&["new", "same"]), folder.path()).await.unwrap();
    assert_eq!(pulled.others, ["notes", "theirs"]);
    assert_eq!(names(folder.path()), [".model-registry.json", "new", "notes", "same", "theirs"]);
    assert!(!folder.path().join("a").exists());
    let unexpected = |path: &str| FolderProblem::Unexpected { path: path.to_owned() };
    // What the pull said.
    assert_eq!(verify_folder(folder.path()).await.unwrap().problems, [unexpected("notes"), unexpected("theirs")]);
}

#[tokio::test]
async fn files_that_somebody_may_miss_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    pull(sealed(&["a", "b", "old"]), folder.path()).await.unwrap();
    write("b", "edited");
    write("c", "mine");
    write("d", "d");
    let before = names(folder.path());
    let error = pull(sealed(&["a", "b", "c", "d"]), folder.path()).await.unwrap_err();
    assert!(matches!(&error, Error::WouldOverwrite { files, .. } if *files == ["b", "c"]), "{error:?}");
    assert!(error.is_failed_precondition());
    assert_eq!(names(folder.path()), before, "nothing has changed");
    assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), "edited");

    let client = sealed(&["a", "b", "c", "d"]).client().await;
    let pulled = client.pull("models/m@production", folder.path()).overwrite(true).await.unwrap();
    assert!(pulled.others.is_empty());
    assert_eq!(verify_folder(folder.path()).await.unwrap().problems, []);
    // What a pull put there, the next one may replace.
    pull(sealed(&["a/x", "b"]), folder.path()).await.unwrap();
    assert_eq!(names(folder.path()), [".model-registry.json", "a/x", "b"]);
}

#[tokio::test]
async fn a_part_of_a_version_is_checked_by_the_manifest_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let part = async |patterns: &[&str]| {
        let client = sealed(&["a.bin", "b/c.txt", "b/d.txt"]).client().await;
        client.pull("models/m@production", folder.path()).files(patterns.iter().copied()).await
    };
    let pulled = part(&["*.bin"]).await.unwrap();
    assert_eq!((pulled.artifacts.len(), pulled.left_out), (1, 2));
    assert_eq!(names(folder.path()), [".model-registry.json", "a.bin"]);
    let report = verify_folder(folder.path()).await.unwrap();
    assert_eq!((report.files, report.left_out, report.problems), (1, 2, vec![]));
    assert_eq!(report.manifest_sha256, manifest(&["a.bin", "b/c.txt", "b/d.txt"]));

    part(&["b/", "!b/d.txt"]).await.unwrap();
    assert_eq!(names(folder.path()), [".model-registry.json", "a.bin", "b/c.txt"], "what was there stays");
    fs::write(folder.path().join("b/d.txt"), "b/d.txt").unwrap();
    let unexpected = FolderProblem::Unexpected { path: "b/d.txt".to_owned() };
    assert_eq!(verify_folder(folder.path()).await.unwrap().problems, [unexpected]);
    assert!(matches!(part(&["*.pt"]).await.unwrap_err(), Error::InvalidOption { .. }));
}

#[tokio::test]
async fn a_file_makes_room_for_a_folder_and_a_folder_for_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (&["weights"][..], &["weights/part-1", "weights/part-2"][..]);
    for paths in [one, other, one] {
        pull(sealed(paths), folder.path()).await.unwrap();
        assert_eq!(names(folder.path())[1..], *paths);
        assert_eq!(verify_folder(folder.path()).await.unwrap().problems, []);
    }
    // But not what somebody else put there.
    for (theirs, paths) in [("weights", other), ("weights/notes", one)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(theirs);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        let error = pull(sealed(paths), folder.path()).await.unwrap_err();
        assert!(matches!(&error, Error::UnsafePath { path, .. } if path.ends_with("weights")), "{error:?}");
        assert!(file.exists());
    }
}

#[tokio::test]
async fn what_a_broken_pull_left_goes_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    pull(sealed(&["old/1"]), folder.path()).await.unwrap();
    let broken = sealed(&["a", "b", "c"]).on(|request: Request<pb::DownloadArtifactRequest>| {
        let name = request.into_inner().name;
        let answer = if name.ends_with('b') {
            Err(Status::data_loss("gone"))
        } else {
            Ok(pb::DownloadArtifactResponse { data: name[name.len() - 1..].to_owned().into() })
        };
        let answers: Answers<_> = stream::iter([answer]).boxed();
        Ok(answers)
    });
    pull(broken, folder.path()).await.unwrap_err();
    assert!(folder.path().join(CLAIM).exists());
    // As a download that was killed would leave it.
    fs::write(folder.path().join("old/.model-registry.part-0123456789abcdef-0123"), "part").unwrap();
    let error = Fake::default().client().await.publish(folder.path(), "models/m").await.unwrap_err();
    assert!(matches!(&error, Error::UnfitFiles { files } if files[0].path == Path::new(CLAIM)), "{error:?}");

    let pulled = pull(sealed(&["new"]), folder.path()).await.unwrap();
    assert_eq!((names(folder.path()), pulled.others), (vec![".model-registry.json".into(), "new".into()], vec![]));
    assert_eq!(verify_folder(folder.path()).await.unwrap().problems, []);
}

#[tokio::test]
async fn a_version_that_no_folder_can_hold_is_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let error = pull(sealed(&["weights", "weights/part-1"]), &target).await.unwrap_err();
    assert!(matches!(&error, Error::UnsafePath { path, .. } if path == Path::new("weights")), "{error:?}");
    assert!(!target.exists());
}
