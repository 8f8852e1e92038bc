//! The limits that are given as flags.

use registry_client::pb::ErrorReason;
use registry_tests::process::ServerProcess;
use registry_tests::{noise, pending};

use crate::cli::Ctl;
use crate::patient;

const LISTEN: &str = "127.0.0.1:0";
const VERSION: &str = "models/fraud/versions/1";

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_given_as_flags_and_seen_in_the_usage() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--max-artifact-size", "2kB", "--namespace-quota", "1TiB"];
    let server = ServerProcess::start_with(folder.path(), LISTEN, &flags);
    let client = patient(&server.endpoint());
    client.create_model("models/fraud").await.unwrap();
    pending(&client, "models/fraud").await;
    let ctl = Ctl::new(&server);
    assert_eq!(ctl.ok(&["namespace", "quota", "default", "3KiB"]), "namespaces/default may have 3.00 KiB\n");
    let reason = async |path: &str, size| client.upload(VERSION, path, noise(size)).await.unwrap_err().reason();
    assert_eq!(reason("a.bin", 2001).await, Some(ErrorReason::ArtifactTooLarge));
    client.upload(VERSION, "a.bin", noise(2000)).await.unwrap();
    assert_eq!(reason("b.bin", 1073).await, Some(ErrorReason::QuotaExceeded));
    client.upload(VERSION, "b.bin", noise(1072)).await.unwrap();
    let lines: Vec<Vec<_>> =
        ctl.ok(&["usage"]).lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    assert_eq!(lines[0], ["NAMESPACE", "ARTIFACTS", "SIZE", "QUOTA"]);
    assert_eq!(lines[1], ["default", "2", "3.00", "KiB", "3.00", "KiB"]);
    let json = ctl.ok(&["--json", "usage"]);
    assert!(json.contains(r#""sizeBytes":"3072""#) && json.contains(r#""quotaBytes":"3072""#), "{json}");
    let general = "namespaces/default may have what the server gives every namespace\n";
    assert_eq!(ctl.ok(&["namespace", "quota", "default", "none"]), general);
    client.upload(VERSION, "c.bin", noise(1)).await.unwrap();
    assert!(ctl.ok(&["usage"]).contains("1.00 TiB"));
    assert_eq!(ctl.ok(&["namespace", "create", "risk", "--quota", "5GiB"]), "created namespaces/risk\n");
    assert!(ctl.ok(&["get", "namespaces/risk"]).contains("5.00 GiB"));
}
