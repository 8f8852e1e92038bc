//! What words find, and which versions a metric is summed up over.

use registry_client::RegistryClient;
use registry_client::pb::{self, AggregateMetricResponse, resource::Resource};
use registry_tests::{TestServer, model};

use crate::index::indexed;

async fn found(client: &RegistryClient, query: &str) -> Vec<String> {
    let page = client.search(query).await.unwrap();
    let name = |result: pb::SearchResult| {
        let name = match result.resource.unwrap().resource.unwrap() {
            Resource::Model(model) => model.name,
            Resource::Version(version) => version.name,
            other => panic!("{other:?}"),
        };
        format!("{} {}", result.score, name.trim_start_matches("namespaces/default/models/"))
    };
    page.results.into_iter().map(name).collect()
}

#[tokio::test]
async fn frameworks_teams_and_models_of_versions_are_found() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("models/fraud").team("Card Risk").project("apollo").model_type("ranking").await.unwrap();
    client.create_version("models/fraud").framework("xgboost", "3.0").await.unwrap();
    model(&client, "models/churn").await;
    indexed(&client).await;
    for (query, expected) in [
        ("risk", &["2 fraud"][..]),
        ("apollo", &["2 fraud"]),
        ("ranking", &["2 fraud"]),
        ("xgboost", &["2 fraud/versions/1"]),
        ("xgb fraud", &["3 fraud/versions/1"]),
        ("fraud", &["8 fraud", "2 fraud/versions/1"]),
    ] {
        assert_eq!(found(&client, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn words_that_read_the_same_are_found() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("models/a").description("Straße am Caf\u{e9}").await.unwrap();
    client.create_model("models/b").display_name("STRASSE").tag("where", "cafe\u{301}").await.unwrap();
    indexed(&client).await;
    for (query, expected) in [
        ("strasse", ["8 b", "2 a"]),
        ("STRA\u{1e9e}E", ["8 b", "2 a"]),
        ("CAF\u{c9}", ["2 a", "2 b"]),
        ("cafe\u{301}", ["2 a", "2 b"]),
    ] {
        assert_eq!(found(&client, query).await, expected, "{query}");
    }
    // A condition is over the text as it is.
    let exact = client.list_models().filter("model.display_name == 'straße'").await.unwrap();
    assert!(exact.models.is_empty());
}

#[tokio::test]
async fn nobody_is_told_to_go_by_what_failed_or_was_withdrawn() {
    let server = TestServer::start().await;
    let client = server.client();
    let name = |number: i64| format!("models/fraud/versions/{number}");
    model(&client, "models/fraud").await;
    for auc in [0.7, 0.9, 0.95, 0.8] {
        client.create_version("models/fraud").metric("validation", "auc", auc).await.unwrap();
    }
    for number in [1, 2, 4] {
        client.finalize_version(name(number)).await.unwrap();
    }
    client.finalize_version(name(3)).failed("broken").await.unwrap();
    let summary = async || client.aggregate_metric("models/fraud", "validation", "auc").await.unwrap();
    let told = |found: &AggregateMetricResponse| {
        let best = found.best.clone().unwrap().version;
        (found.count, best.rsplit('/').next().unwrap().to_owned())
    };
    indexed(&client).await;
    assert_eq!(told(&summary().await), (3, "2".to_owned()));
    client.withdraw_version(name(2)).reason("leaks").await.unwrap();
    assert_eq!(told(&summary().await), (2, "4".to_owned()));
    let narrowed = client.aggregate_metric("models/fraud", "validation", "auc").filter("!has(version.tags.x)");
    assert_eq!(told(&narrowed.await.unwrap()), (2, "4".to_owned()));
    client.reinstate_version(name(2)).await.unwrap();
    assert_eq!(told(&summary().await), (3, "2".to_owned()));
}
