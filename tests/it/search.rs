//! What words find.

use registry_client::RegistryClient;
use registry_client::pb::{self, resource::Resource};
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
