//! What a pulled folder says of itself, and whether it is true.

use std::fs;
use std::path::Path;

use futures::stream::{self, StreamExt};
use registry_client::{Error, FolderProblem, RegistryClient, pb, verify_folder};
use registry_common::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::{Request, Status};

use crate::fake::{Answers, Fake};
use crate::folders::{VERSION, shelf, version};

const RECEIPT: &str = ".model-registry.json";
const PATHS: &[&str] = &["a/b.txt", "c.txt", "d.txt"];

pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digest that the registry seals a version with whose artifacts hold their own paths.
pub(crate) fn manifest(paths: &[&str]) -> String {
    sha256(paths.iter().map(|path| format!("{} {} {path}\n", sha256(path), path.len())).collect::<String>())
}

/// A [`shelf`] whose version is sealed.
fn sealed(manifest_sha256: String) -> Fake {
    shelf(PATHS).on(move |_: Request<pb::GetVersionRequest>| {
        Ok(pb::Version { manifest_sha256: manifest_sha256.clone(), ..version() })
    })
}

/// The same, but a download of anything except `but` fails.
fn without_bytes(fake: Fake, but: &'static str) -> Fake {
    fake.on(move |request: Request<pb::DownloadArtifactRequest>| {
        if !request.into_inner().name.ends_with(but) {
            return Err(Status::data_loss("gone"));
        }
        let answers: Answers<_> = stream::iter([Ok(pb::DownloadArtifactResponse { data: but.into() })]).boxed();
        Ok(answers)
    })
}

async fn pull(client: &RegistryClient, folder: &Path) -> Result<(), Error> {
    client.pull("models/m@production", folder).overwrite(true).await.map(drop)
}

/// Makes a named pipe.
#[cfg(unix)]
pub(crate) fn pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

fn receipt(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join(RECEIPT)).unwrap()).unwrap()
}

#[tokio::test]
async fn a_pulled_folder_says_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    pull(&sealed(manifest(PATHS)).client().await, folder.path()).await.unwrap();
    let file = |path: &str| json!({ "path": path, "size": path.len(), "sha256": sha256(path) });
    let files: Vec<_> = PATHS.iter().map(|path| file(path)).collect();
    let expected = json!({ "version": VERSION, "manifest_sha256": manifest(PATHS), "files": files });
    assert_eq!(receipt(folder.path()), expected);

    let report = verify_folder(folder.path()).await.unwrap();
    assert_eq!((report.version.as_str(), report.files, report.bytes), (VERSION, 3, 17));
    assert_eq!(report.manifest_sha256, manifest(PATHS));
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[tokio::test]
async fn files_that_are_there_are_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    pull(&shelf(PATHS).client().await, folder.path()).await.unwrap();
    let client = without_bytes(shelf(PATHS), "c.txt").client().await;
    pull(&client, folder.path()).await.unwrap();

    // As long as before, but not the same.
    fs::write(folder.path().join("c.txt"), "C.txt").unwrap();
    pull(&client, folder.path()).await.unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("c.txt")).unwrap(), "c.txt");

    fs::write(folder.path().join("d.txt"), "D.txt").unwrap();
    assert!(pull(&client, folder.path()).await.unwrap_err().is_data_loss());
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_replaced_and_what_it_points_at_stays() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("target");
    fs::write(&target, "c.txt").unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join("c.txt")).unwrap();
    pull(&shelf(PATHS).client().await, folder.path()).await.unwrap();
    assert!(folder.path().join("c.txt").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_to_string(target).unwrap(), "c.txt");
}

#[tokio::test]
async fn a_pull_that_breaks_off_leaves_no_word_of_another_version() {
    let folder = tempfile::tempdir().unwrap();
    pull(&shelf(&["old.txt"]).client().await, folder.path()).await.unwrap();
    let client = without_bytes(shelf(PATHS), "c.txt").client().await;
    assert!(pull(&client, folder.path()).await.unwrap_err().is_data_loss());
    assert!(!folder.path().join(RECEIPT).exists());
    let error = verify_folder(folder.path()).await.unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with(RECEIPT)), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_in_place_of_the_receipt_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    pipe(&folder.path().join(RECEIPT));
    let error = verify_folder(folder.path()).await.unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with(RECEIPT)), "{error:?}");
    // One in place of a file is not replaced.
    let place = folder.path().join("c.txt");
    pipe(&place);
    let error = pull(&shelf(PATHS).client().await, folder.path()).await.unwrap_err();
    assert!(matches!(&error, Error::UnsafePath { path, .. } if *path == place), "{error:?}");
    assert!(!place.symlink_metadata().unwrap().is_file());
}

#[tokio::test]
async fn artifacts_that_the_version_was_not_sealed_with_are_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let client = sealed(manifest(&["a/b.txt", "c.txt"])).client().await;
    assert!(pull(&client, &target).await.unwrap_err().is_data_loss());
    assert!(!target.exists());
}

#[tokio::test]
async fn no_artifact_takes_the_place_of_the_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    for paths in [
        &[".model-registry.json"][..],
        &["a", ".model-registry.json/b"],
        &[".model-registry.pull"],
        &["a/.model-registry.part-0123456789abcdef-0123"],
    ] {
        let error = pull(&shelf(paths).client().await, &target).await.unwrap_err();
        assert!(matches!(error, Error::UnsafePath { .. }), "{error:?}");
        assert!(!target.exists());
    }
}

#[tokio::test]
async fn every_problem_of_a_folder_is_found() {
    let path = |path: &str| path.to_owned();
    let digest =
        |actual: &str| FolderProblem::Digest { path: path("c.txt"), expected: sha256("c.txt"), actual: sha256(actual) };
    let size = |actual| FolderProblem::Size { path: path("c.txt"), expected: 5, actual };
    let missing = |name: &str| FolderProblem::Missing { path: path(name) };
    let unexpected = |name: &str| FolderProblem::Unexpected { path: path(name) };
    let none = FolderProblem::Unreadable { path: path("c.txt"), detail: path("is not a file") };
    let write =
        |name: &'static str, bytes: &'static str| move |folder: &Path| fs::write(folder.join(name), bytes).unwrap();
    type Damage = Box<dyn Fn(&Path)>;
    let cases: [(Damage, Vec<FolderProblem>); 7] = [
        (Box::new(write("c.txt", "C.txt")), vec![digest("C.txt")]),
        (Box::new(write("c.txt", "")), vec![size(0)]),
        (Box::new(|folder| fs::remove_file(folder.join("c.txt")).unwrap()), vec![missing("c.txt")]),
        (Box::new(|folder| fs::remove_dir_all(folder.join("a")).unwrap()), vec![missing("a/b.txt")]),
        (Box::new(write("a/more", "")), vec![unexpected("a/more")]),
        (
            Box::new(|folder| {
                fs::remove_file(folder.join("c.txt")).unwrap();
                fs::create_dir(folder.join("c.txt")).unwrap();
                fs::write(folder.join("c.txt/d"), "").unwrap();
            }),
            vec![none, unexpected("c.txt/d")],
        ),
        (
            Box::new(|folder| {
                let mut receipt = receipt(folder);
                receipt["files"].as_array_mut().unwrap().remove(1);
                fs::write(folder.join(RECEIPT), receipt.to_string()).unwrap();
            }),
            vec![
                FolderProblem::Manifest { expected: manifest(PATHS), actual: manifest(&["a/b.txt", "d.txt"]) },
                unexpected("c.txt"),
            ],
        ),
    ];
    let client = sealed(manifest(PATHS)).client().await;
    for (damage, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        pull(&client, folder.path()).await.unwrap();
        damage(folder.path());
        assert_eq!(verify_folder(folder.path()).await.unwrap().problems, expected);
    }
}

#[tokio::test]
async fn a_receipt_that_no_registry_wrote_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    let file = |path: &str| json!({ "path": path, "size": 0, "sha256": sha256("") });
    let with = |files: Value| json!({ "version": VERSION, "manifest_sha256": "", "files": files }).to_string();
    for (receipt, unsafe_path) in [
        (with(json!([file("../a")])), true),
        (with(json!([file("/etc/passwd")])), true),
        (with(json!([file("a"), file("a")])), false),
        (with(json!([{ "path": "a" }])), false),
        ("{".to_owned(), false),
    ] {
        fs::write(folder.path().join(RECEIPT), &receipt).unwrap();
        match verify_folder(folder.path()).await.unwrap_err() {
            Error::UnsafePath { .. } => assert!(unsafe_path, "{receipt}"),
            Error::Malformed { path, .. } => assert!(!unsafe_path && path.ends_with(RECEIPT), "{receipt}"),
            error => panic!("{receipt}: {error:?}"),
        }
    }
}
