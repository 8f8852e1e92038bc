//! Where commands write to: pipes, links, standard output.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use registry_tests::process::registryctl;
use registry_tests::sha256;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::cli::{Ctl, server};

/// A version with one artifact, and the artifact's name.
fn publish(ctl: &Ctl, folder: &Path) -> &'static str {
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.bin"), "the model").unwrap();
    ctl.ok(&["publish", out.to_str().unwrap(), "fraud", "--create"]);
    "fraud/versions/1/artifacts/model.bin"
}

/// A named pipe, and what comes out of it.
fn pipe(path: PathBuf) -> std::thread::JoinHandle<Vec<u8>> {
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    std::thread::spawn(move || {
        let bytes = fs::read(&path).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo(), "it was replaced");
        bytes
    })
}

#[test]
fn a_backup_goes_to_standard_output_and_through_a_pipe() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    publish(&ctl, folder.path());
    for to in ["-", "/dev/stdout"] {
        let output = ctl.run(&["backup", "--to", to]);
        assert!(output.status.success(), "{output:?}");
        // Nothing else is there, and what the command says of it is true.
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&sha256(&output.stdout)), "{said}");
    }
    let reader = pipe(folder.path().join("pipe"));
    let said = ctl.ok(&["backup", "--to", folder.path().join("pipe").to_str().unwrap()]);
    assert!(said.contains(&sha256(&reader.join().unwrap())), "{said}");
}

#[test]
fn a_backup_is_its_owners_and_follows_links() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    publish(&ctl, folder.path());
    let (link, target) = (folder.path().join("link"), folder.path().join("target"));
    symlink("target", &link).unwrap();
    let said = ctl.ok(&["backup", "--to", link.to_str().unwrap()]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(said.contains(&sha256(&fs::read(&target).unwrap())), "{said}");
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_download_goes_through_a_pipe() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    let artifact = publish(&ctl, folder.path());
    let reader = pipe(folder.path().join("pipe"));
    ctl.ok(&["download", artifact, "-o", folder.path().join("pipe").to_str().unwrap()]);
    assert_eq!(reader.join().unwrap(), b"the model");
    let output = ctl.run(&["download", artifact, "-o", "/dev/stdout"]);
    assert_eq!(output.stdout, b"the model");
}

#[test]
fn no_folder_is_named_after_standard_output() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    publish(&ctl, folder.path());
    for arguments in [&["pull", "fraud@latest", "-o", "-"][..], &["export", "fraud@latest", "--oci", "-"]] {
        let output = registryctl(&server.endpoint()).args(arguments).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!folder.path().join("-").exists());
    }
}

#[test]
fn folders_of_two_namespaces_have_two_names() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    publish(&ctl, folder.path());
    let out = folder.path().join("out");
    ctl.ok(&["publish", out.to_str().unwrap(), "namespaces/risk/models/fraud", "--create"]);
    for (name, expected) in [("fraud@latest", "fraud-1"), ("namespaces/risk/models/fraud@latest", "risk~fraud-1")] {
        let pull = registryctl(&server.endpoint()).args(["pull", name]).current_dir(folder.path()).output().unwrap();
        assert!(pull.status.success() && folder.path().join(expected).join("model.bin").exists(), "{pull:?}");
    }
}

#[test]
fn what_is_not_whole_is_not_said_to_be_verified() {
    let (folder, server) = server();
    let ctl = Ctl::new(&server);
    publish(&ctl, folder.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = crate::patient(&server.endpoint());
        let pending = client.create_version("fraud").version_id("2.0.0").await.unwrap();
        client.upload(pending.name, "part", b"part".to_vec()).await.unwrap();
    });
    let target = folder.path().join("target");
    let dir = target.to_str().unwrap();
    let (code, complaint) = ctl.fails(&["pull", "fraud/versions/2.0.0", "-o", dir]);
    assert!(code == Some(5) && complaint.contains("is not ready"), "{code:?} {complaint}");
    assert!(!target.exists());
    let said = ctl.ok(&["pull", "fraud/versions/2.0.0", "-o", dir, "--partial"]);
    assert!(said.contains("incomplete") && !said.contains("verified"), "{said}");
    let (code, complaint) = ctl.fails(&["verify", dir]);
    assert!(code == Some(1) && complaint.contains("1 problem"), "{code:?} {complaint}");

    // A deleted one is told of; so is what else is in the folder, and that moves no cursor.
    fs::write(target.join("theirs\u{1b}[2K"), "").unwrap();
    ctl.ok(&["delete", "fraud/versions/1"]);
    let output = ctl.run(&["pull", "fraud/versions/1", "-o", dir]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && complaint.contains("fraud/versions/1 is deleted"), "{complaint}");
    assert!(complaint.contains("theirs\\u{1b}[2K: does not belong"), "{complaint}");
}
