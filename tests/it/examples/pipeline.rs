//! `trainer` and `deployer`, with the service behind them.

use registry_client::pb::Stage;
use registry_tests::printing::Printing;
use registry_tests::{TestServer, events_of};
use tempfile::tempdir;

use super::{Scoring, command, data, rows, train};

const MODEL: &str = "namespaces/default/models/diabetes-progression";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_trained_and_better_is_served() {
    let (server, cache) = (TestServer::start().await, tempdir().unwrap());
    let client = server.client();
    let first = train(&server.endpoint(), MODEL, "100");
    let mut deployer = Printing::start(&mut command("deployer", &server.endpoint(), &[MODEL, "validation.rmse"]));
    // Published before anybody watched.
    assert_eq!(deployer.line("promoted ").await, format!("{first}: nothing with validation.rmse is in production"));
    let service = Scoring::start(&server.endpoint(), "diabetes-progression@production", cache.path()).await;
    let better = train(&server.endpoint(), MODEL, "1");
    let promoted = deployer.line(&format!("promoted {better}: ")).await;
    assert_eq!(promoted, "validation.rmse 53.6312, was 55.8511");
    service.serves(&better).await;
    let worse = train(&server.endpoint(), MODEL, "500");
    // What somebody has taken back is not promoted again, however good it is.
    client.rollback(MODEL).await.unwrap();
    service.serves(&first).await;
    let best = train(&server.endpoint(), MODEL, "0.01");
    deployer.line(&format!("promoted {best}: ")).await;
    service.serves(&best).await;
    assert_eq!(service.score(&rows("diabetes-progression")).0, best);

    let of = |event: registry_client::pb::Event| {
        let entered = event.stage_change.as_ref().is_some_and(|change| change.to_stage() == Stage::Production);
        (entered && event.actor == "deployer").then_some(event.resource_name)
    };
    let promoted: Vec<_> = events_of(&client, MODEL).await.into_iter().filter_map(of).collect();
    assert_eq!(promoted, [first, better, best]);
    assert_eq!(client.get_version(&worse).await.unwrap().stage(), Stage::Development);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_training_comes_to_what_scikit_learn_does() {
    let server = TestServer::start().await;
    let version = server.client().get_version(train(&server.endpoint(), MODEL, "1")).await.unwrap();
    let file = data("legacy-registry/diabetes-progression/20260115_090000/metadata.json");
    let legacy: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let expected = legacy["metrics"].as_object().unwrap();
    assert_eq!(version.metrics.len(), expected.len());
    for (split, metrics) in expected {
        for (metric, expected) in metrics.as_object().unwrap() {
            let value = version.metrics[split].values[metric];
            assert!((value - expected.as_f64().unwrap()).abs() < 1e-9, "{split}.{metric}: {value} is not {expected}");
        }
    }
    let params = version.standardization_params.unwrap();
    let close = |values: &[f64], name: &str| {
        let expected = legacy["standardization_params"][name].as_array().unwrap();
        values.iter().zip(expected).all(|(value, expected)| (value - expected.as_f64().unwrap()).abs() < 1e-12)
    };
    assert!(close(&params.mean, "mean") && close(&params.scale, "scale"));
    assert_eq!(version.features.len(), 10);
}
