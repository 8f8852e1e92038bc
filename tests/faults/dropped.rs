//! What `gc` and `events` say where an archive has what the log has no longer.

use registry_tests::process::ServerProcess;

use crate::cli::Ctl;

/// A server on a folder, with an archive beside it to which it ships every so often, that keeps nothing which it need not.
fn server(folder: &std::path::Path, every: &str) -> ServerProcess {
    let archive = folder.join("archive");
    let archive = ["--archive", archive.to_str().unwrap(), "--archive-every", every];
    let keep = ["--log-keep", "0s", "--request-id-keep", "0s", "--gc-every", "0s"];
    ServerProcess::start_with(&folder.join("data"), "127.0.0.1:0", &[&archive[..], &keep].concat())
}

#[test]
fn the_beginning_of_the_audit_trail_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), "1ms");
    let ctl = Ctl::new(&server);
    ctl.ok(&["create", "fraud"]);
    let oldest = || {
        ctl.ok(&["create-version", "fraud", "--source-uri", "s3://bucket/model"]);
        ctl.ok(&["gc"]);
        let first = ctl.json(&["events", "--asc", "--limit", "1"]).remove(0);
        (first["revision"] != "1").then_some(first)
    };
    let oldest = (0..20).find_map(|_| oldest()).expect("something is dropped");
    let time = oldest["createTime"].as_str().unwrap()[..19].replace('T', " ");
    for before in [&["--since", "2000-01-01"][..], &["--until", "2000-01-01"], &["--since", "2000-01-01", "--asc"]] {
        let (code, said) = ctl.fails(&[&["events"], before].concat());
        assert_eq!(code, Some(3), "{said}");
        let expected = format!("the audit trail begins there, at {time}Z: without --since");
        assert!(said.contains(&expected) && said.contains("archive"), "{said}");
    }
}

#[test]
fn a_collection_says_that_it_waits_for_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), "2s");
    let ctl = Ctl::new(&server);
    // What is made right behind a shipment, as after a collection that waited, is not shipped for a while.
    let waits = || {
        ctl.ok(&["create", &format!("fraud-{}", uuid::Uuid::new_v4())]);
        let output = ctl.run(&["gc"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said.contains("waiting for the archive, which is at revision ")
    };
    assert!((0..3).any(|_| waits()));
}
