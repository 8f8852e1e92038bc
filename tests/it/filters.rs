//! Lists of what meets a condition.

use futures::TryStreamExt as _;
use registry_client::RegistryClient;
use registry_client::pb::{ErrorReason, Stage};
use registry_tests::expect::invalid;
use registry_tests::{TestServer, model, ready};

const MODEL: &str = "models/fraud";

/// Twelve versions, of which every third is made with onnx, and whose AUC grows; the first has none.
async fn prepared(server: &TestServer) -> RegistryClient {
    let client = server.client();
    client.create_model(MODEL).team("risk").await.unwrap();
    for number in 1..=12_i32 {
        let framework = if number % 3 == 0 { "onnx" } else { "sklearn" };
        let version = client.create_version(MODEL).framework(framework, "").finalize(true);
        let version = if number % 2 == 0 { version.tag("parity", "even") } else { version };
        let auc = f64::from(80 + number) / 100.0;
        let version = if number > 1 { version.metric("validation", "auc", auc) } else { version };
        version.await.unwrap();
    }
    client
}

async fn numbers(client: &RegistryClient, filter: &str, order: &str, page_size: u32) -> Vec<i64> {
    let list = client.list_versions(MODEL).filter(filter).order_by(order).page_size(page_size);
    list.stream().map_ok(|version| version.number).try_collect().await.unwrap()
}

#[tokio::test]
async fn versions_that_meet_a_condition_are_listed() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    client.transition_stage(format!("{MODEL}/versions/9"), Stage::Production).await.unwrap();
    let mut lost = client.get_version(format!("{MODEL}/versions/12")).await.unwrap();
    lost.metrics.entry("validation".to_owned()).or_default().values.insert("auc".to_owned(), f64::NAN);
    client.update_version(lost).fields(["metrics"]).await.unwrap();
    for (filter, expected) in [
        ("version.framework == \"onnx\"", vec![3, 6, 9, 12]),
        ("version.framework == 'onnx' && version.tags['parity'] == 'even'", vec![6, 12]),
        ("version.metrics['validation']['auc'] > 0.9", vec![11]),
        ("!(version.metrics['validation']['auc'] > 0.82)", vec![2]),
        ("version.metrics['validation']['auc'] >= 0.9 || version.number < 3", vec![1, 2, 10, 11]),
        ("!has(version.metrics.validation.auc)", vec![1]),
        ("version.stage == 'PRODUCTION'", vec![9]),
        ("version.stage in ['STAGING', 'ARCHIVED']", vec![]),
        ("true", (1..=12).collect()),
        ("false", vec![]),
    ] {
        for page_size in [1, 2, 5, 50] {
            assert_eq!(numbers(&client, filter, "", page_size).await, expected, "{filter}, {page_size}");
            let reversed: Vec<_> = expected.iter().copied().rev().collect();
            assert_eq!(numbers(&client, filter, "number desc", page_size).await, reversed, "{filter}, {page_size}");
        }
    }
}

#[tokio::test]
async fn versions_of_all_models_that_meet_a_condition_are_listed() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    for name in ["models/churn", "models/gone", "models/zeta"] {
        model(&client, name).await;
        client.create_version(name).framework("onnx", "").finalize(true).await.unwrap();
        ready(&client, name).await;
    }
    client.delete_model("models/gone").await.unwrap();
    client.delete_version("models/fraud/versions/6").await.unwrap();
    let live = ["churn/versions/1", "fraud/versions/3", "fraud/versions/9", "fraud/versions/12", "zeta/versions/1"];
    for page_size in [1, 2, 3, 50] {
        let list = client.list_versions("models/-").filter("version.framework == 'onnx'").page_size(page_size);
        let names = |name: String| name.trim_start_matches("namespaces/default/models/").to_owned();
        let listed: Vec<_> = list.clone().stream().map_ok(|version| names(version.name)).try_collect().await.unwrap();
        assert_eq!(listed, live, "{page_size}");
        let all: Vec<_> = list.show_deleted(true).stream().try_collect().await.unwrap();
        assert_eq!(all.len(), live.len() + 2, "{page_size}");
    }
}

#[tokio::test]
async fn other_kinds_that_meet_a_condition_are_listed() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    client.create_model("models/churn").tag("pci", "yes").await.unwrap();
    client.create_namespace("risk").tag("cost", "low").await.unwrap();
    let version = client.create_version("models/churn").await.unwrap();
    for path in ["a.bin", "plots/roc.png", "plots/lift.png"] {
        client.upload(&version.name, path, path.as_bytes().to_vec()).await.unwrap();
    }

    for (filter, expected) in [
        ("model.team == 'risk'", vec!["fraud"]),
        ("model.tags['pci'] == 'yes' || model.version_count > 5", vec!["churn", "fraud"]),
        ("model.name.endsWith('/churn')", vec!["churn"]),
    ] {
        for order in ["name", "create_time"] {
            let list = client.list_models().filter(filter).order_by(order).page_size(1).stream();
            let ids = list.map_ok(|model| model.name.rsplit('/').next().unwrap().to_owned());
            let mut ids: Vec<_> = ids.try_collect().await.unwrap();
            ids.sort();
            assert_eq!(ids, expected, "{filter} by {order}");
        }
    }
    let namespaces = client.list_namespaces().filter("resource.tags.cost == 'low'").await.unwrap().namespaces;
    assert_eq!(namespaces.iter().map(|namespace| namespace.name.as_str()).collect::<Vec<_>>(), ["namespaces/risk"]);
    let artifacts = client.list_artifacts(&version.name).filter("artifact.path.startsWith('plots/')").page_size(1);
    let paths: Vec<_> = artifacts.stream().map_ok(|artifact| artifact.path).try_collect().await.unwrap();
    assert_eq!(paths, ["plots/lift.png", "plots/roc.png"]);
}

#[tokio::test]
async fn a_condition_that_is_not_understood_is_refused_and_says_where() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    let list = |filter: &str| client.list_versions(MODEL).filter(filter);
    let wrong = "version.framewrk == 'onnx'";
    invalid(&server, list(wrong), &[("filter", ErrorReason::FieldInvalid)]).await;
    let error = list(wrong).await.unwrap_err();
    assert_eq!(
        error.violations()[0].description,
        "column 9: Version has no field \"framewrk\"; did you mean \"framework\"?"
    );
    // With whatever else is wrong.
    let fields = [("filter", ErrorReason::FieldInvalid), ("order_by", ErrorReason::FieldInvalid)];
    invalid(&server, list("version.stage == 'LIVE'").order_by("age"), &fields).await;
    invalid(&server, list(&"(".repeat(10_000)), &[("filter", ErrorReason::FieldInvalid)]).await;
}

#[tokio::test]
async fn a_token_belongs_to_its_filter() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    let list = |filter: &str| client.list_versions(MODEL).filter(filter).page_size(1);
    let token = list("version.framework == 'onnx'").await.unwrap().next_page_token;
    assert!(!token.is_empty());
    for filter in ["version.framework == 'sklearn'", ""] {
        let other = list(filter).page_token(&token);
        invalid(&server, other, &[("page_token", ErrorReason::PageTokenInvalid)]).await;
    }
    assert_eq!(list("version.framework == 'onnx'").page_token(token).await.unwrap().versions[0].number, 6);
}

#[tokio::test]
async fn filtered_pages_are_stable_while_versions_come_and_go() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    let list = || client.list_versions(MODEL).filter("version.framework == 'onnx'").page_size(2);
    let first = list().await.unwrap();
    assert_eq!(first.versions.iter().map(|version| version.number).collect::<Vec<_>>(), [3, 6]);
    client.delete_version(format!("{MODEL}/versions/6")).await.unwrap();
    client.delete_version(format!("{MODEL}/versions/7")).await.unwrap();
    client.create_version(MODEL).framework("onnx", "").await.unwrap();
    let rest = list().page_token(first.next_page_token).stream();
    assert_eq!(rest.map_ok(|version| version.number).try_collect::<Vec<_>>().await.unwrap(), [9, 12, 13]);
}
