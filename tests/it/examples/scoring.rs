//! `scoring_service`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use registry_client::RegistryClient;
use registry_tests::process::ServerProcess;
use registry_tests::{TestServer, noise};
use serde_json::json;
use tempfile::tempdir;

use super::{Scoring, data, rows, table, train};

const CANCER: &str = "namespaces/default/models/breast-cancer";
const LEGACY: &str = "legacy-registry/breast-cancer/20260126_103000";
const DIABETES: &str = "namespaces/default/models/diabetes-progression";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_scores_the_test_set_as_the_trainer_did() {
    let (server, cache) = (TestServer::start().await, tempdir().unwrap());
    let client = server.client();
    client.create_model(CANCER).await.unwrap();
    let version = client.publish(data(LEGACY), CANCER).await.unwrap();
    client.promote(&version.name).await.unwrap();
    let service = Scoring::start(&server.endpoint(), "breast-cancer@production", cache.path()).await;
    let (by, scores) = service.score(&rows("breast-cancer"));
    assert_eq!(by, version.name);
    let predictions = table(&format!("{LEGACY}/test_predictions.csv"));
    assert_eq!(scores.len(), predictions.len());
    for (score, prediction) in scores.iter().zip(&predictions) {
        assert!((score[1] - prediction[1]).abs() < 1e-5, "{score:?} is not {prediction:?}");
    }
    let mut http = service.connect();
    let (status, problem) = http.call("POST", "/score", &json!([[1.0, 2.0]]));
    assert_eq!((status, problem), (422, json!("a row: 2 values where 30 belong")));
    assert_eq!(http.call("POST", "/score", &json!({ "rows": [] })).0, 422);
    service.serves(&version.name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_swaps_under_load_and_no_request_fails() {
    let (server, cache) = (TestServer::start().await, tempdir().unwrap());
    let client = server.client();
    let versions = ["1", "100"].map(|alpha| train(&server.endpoint(), DIABETES, alpha));
    client.promote(&versions[0]).await.unwrap();
    let service = Scoring::start(&server.endpoint(), "diabetes-progression@production", cache.path()).await;
    let rows = rows("diabetes-progression");
    let (by, first) = service.score(&rows);
    assert_eq!(by, versions[0]);
    client.promote(&versions[1]).await.unwrap();
    service.serves(&versions[1]).await;
    let scores = [first, service.score(&rows).1];
    assert_ne!(scores[0], scores[1]);
    client.rollback(DIABETES).await.unwrap();
    service.serves(&versions[0]).await;

    // Changes are counted; right are those from the one that is served by now to the one that is on its way.
    let (served, begun, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let rows = json!(rows);
    let load = || {
        let (mut http, mut requests) = (service.connect(), 0);
        while !over.load(Ordering::Relaxed) {
            let from = served.load(Ordering::SeqCst);
            let (by, answer) = http.score(&rows);
            let to = begun.load(Ordering::SeqCst);
            let which = versions.iter().position(|version| *version == by).unwrap();
            assert_eq!(answer, scores[which], "{by} scores otherwise");
            assert!((from..=to).any(|change| change % 2 == which), "{by} was not in production in {from}..={to}");
            requests += 1;
        }
        requests
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        let changes = async {
            for change in 1..=50 {
                begun.store(change, Ordering::SeqCst);
                match change % 2 {
                    1 => drop(client.promote(&versions[1]).await.unwrap()),
                    _ => drop(client.rollback(DIABETES).await.unwrap()),
                }
                service.serves(&versions[change % 2]).await;
                served.store(change, Ordering::SeqCst);
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(changes));
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            assert!(thread.join().unwrap() > 0_usize);
        }
    });
}

/// The ONNX file with something that is no number for its intercept.
fn not_a_number() -> Vec<u8> {
    let mut bytes = std::fs::read(data("legacy-registry/diabetes-progression/20260115_090000/model.onnx")).unwrap();
    let name = b"intercepts";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    // The tag of an attribute's floats, and the first of them.
    assert_eq!(bytes[at], 7 << 3 | 5);
    bytes[at + 1..at + 5].copy_from_slice(&f32::NAN.to_le_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_stays_on_the_last_good_model_whatever_happens() {
    let (mut server, cache, out) = (TestServer::start().await, tempdir().unwrap(), tempdir().unwrap());
    let client = server.client();
    let good = train(&server.endpoint(), DIABETES, "1");
    client.promote(&good).await.unwrap();
    let service = Scoring::start(&server.endpoint(), "diabetes-progression@production", cache.path()).await;
    let rows = rows("diabetes-progression");
    let before = service.score(&rows);
    for (bytes, problem) in [(noise(1000), "not an ONNX model"), (not_a_number(), "a row of zeros scores [NaN]")] {
        std::fs::write(out.path().join("model.onnx"), bytes).unwrap();
        let bad = client.publish(out.path(), DIABETES).await.unwrap().name;
        client.promote(&bad).await.unwrap();
        let health = service.becomes(|health| health["desired"] == json!([bad]) && health["state"] == "Failed").await;
        assert!(health["error"].as_str().unwrap().contains(problem), "{health}");
        assert_eq!(service.score(&rows), before);
    }
    server.stop().await;
    service.becomes(|health| health["stale"] == true).await;
    assert_eq!(service.score(&rows), before);
    drop(service);
    // Started while the registry is away, it has what it had.
    let service = Scoring::start(&server.endpoint(), "diabetes-progression@production", cache.path()).await;
    assert_eq!(service.score(&rows), before);
    assert_eq!(service.health()["stale"], true);
    server.start_again().await;
    server.client().promote(&good).await.unwrap();
    service.serves(&good).await;
}

/// How long the registry is away, in seconds, unless TEST_OUTAGE says otherwise.
const OUTAGE: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_scores_on_while_the_registry_was_killed() {
    let (folder, cache) = (tempdir().unwrap(), tempdir().unwrap());
    // Clients come from 127.0.0.1: none of their ports can take the server's while it is away.
    let server = ServerProcess::start(folder.path(), "127.0.0.5:0");
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let client = RegistryClient::builder(&endpoint).connect_lazy().unwrap();
    let versions = ["1", "100"].map(|alpha| train(&endpoint, DIABETES, alpha));
    client.promote(&versions[0]).await.unwrap();
    let service = Scoring::start(&endpoint, "diabetes-progression@production", cache.path()).await;
    let rows = rows("diabetes-progression");
    let expected = service.score(&rows);
    let rows = json!(rows);
    let seconds = std::env::var("TEST_OUTAGE").map_or(OUTAGE, |seconds| seconds.parse().unwrap());
    server.kill();
    let end = Instant::now() + Duration::from_secs(seconds);
    let load = || {
        let (mut http, mut requests) = (service.connect(), 0);
        while Instant::now() < end {
            assert_eq!(http.score(&rows), expected);
            requests += 1;
        }
        requests
    };
    let requests: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    service.becomes(|health| health["stale"] == true).await;
    println!("{requests} requests were answered in the {seconds} s after the registry was killed");
    let _server = ServerProcess::start(folder.path(), &listen);
    client.promote(&versions[1]).await.unwrap();
    service.serves(&versions[1]).await;
}
