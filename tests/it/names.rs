//! The names that things answer to.

use registry_client::pb::{ErrorReason, Stage};
use registry_tests::expect::refused;
use registry_tests::{TestServer, model, model_with, ready};
use tonic::Code;

#[tokio::test]
async fn a_version_answers_to_number_id_and_alias_and_is_answered_by_number() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, "namespaces/risk/models/fraud").await;
    let made = client.create_version("namespaces/risk/models/fraud").version_id("1.4.0").finalize(true).await.unwrap();
    assert_eq!(made.name, "namespaces/risk/models/fraud/versions/1");
    client.set_alias("namespaces/risk/models/fraud", "champion", "1.4.0").await.unwrap();
    client.transition_stage("namespaces/risk/models/fraud@champion", Stage::Production).await.unwrap();
    for name in ["versions/1", "versions/1.4.0", "versions/@champion", "versions/@latest", "versions/@production"] {
        let found = client.get_version(format!("namespaces/risk/models/fraud/{name}")).await.unwrap();
        assert_eq!((found.name, found.uid), (made.name.clone(), made.uid.clone()), "{name}");
    }
    for alias in ["champion", "latest", "production"] {
        let found = client.get_version(format!("namespaces/risk/models/fraud@{alias}")).await.unwrap();
        assert_eq!(found.name, made.name, "{alias}");
    }
}

#[tokio::test]
async fn a_short_name_is_one_of_the_default_namespace() {
    let server = TestServer::start().await;
    let client = server.client();
    let default = model(&client, "fraud").await;
    let other = model(&client, "namespaces/risk/models/fraud").await;
    assert_eq!(default.name, "namespaces/default/models/fraud");
    assert_ne!(default.uid, other.uid);
    assert_eq!(client.get_model("models/fraud").await.unwrap(), default);
    assert_eq!(client.get_model("namespaces/default/models/fraud").await.unwrap(), default);
    assert_eq!(ready(&client, "models/fraud").await.name, "namespaces/default/models/fraud/versions/1");
    assert_eq!(client.get_model("namespaces/risk/models/fraud").await.unwrap().version_count, 0);
}

#[tokio::test]
async fn computed_aliases_follow_what_they_mean() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "models/fraud", 3).await;
    let number = async |alias: &str| client.get_version(format!("models/fraud@{alias}")).await.unwrap().number;
    let none = |alias: &str| {
        refused(
            &server,
            client.get_version(format!("models/fraud@{alias}")),
            Code::NotFound,
            ErrorReason::ResourceNotFound,
        )
    };
    none("production").await;
    none("staging").await;
    assert_eq!(number("latest").await, 3);

    client.create_version("models/fraud").await.unwrap();
    assert_eq!(number("latest").await, 3, "a PENDING version is not the latest");
    client.finalize_version("models/fraud/versions/4").failed("out of memory").await.unwrap();
    assert_eq!(number("latest").await, 3, "nor is a FAILED one");

    client.transition_stage("models/fraud/versions/2", Stage::Staging).await.unwrap();
    client.transition_stage("models/fraud/versions/1", Stage::Staging).await.unwrap();
    assert_eq!(number("staging").await, 1, "the one that entered last");
    client.transition_stage("models/fraud@staging", Stage::Production).await.unwrap();
    assert_eq!((number("production").await, number("staging").await), (1, 2));
    client.transition_stage("models/fraud@production", Stage::Archived).await.unwrap();
    none("production").await;
}

#[tokio::test]
async fn what_a_name_does_not_lead_to_is_said() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "models/fraud", 1).await;
    for (name, reason) in [
        ("models/none/versions/1", ErrorReason::ResourceNotFound),
        ("models/none@latest", ErrorReason::ResourceNotFound),
        ("models/fraud/versions/2", ErrorReason::ResourceNotFound),
        ("models/fraud/versions/v2", ErrorReason::ResourceNotFound),
        ("models/fraud@champion", ErrorReason::ResourceNotFound),
    ] {
        let error = refused(&server, client.get_version(name), Code::NotFound, reason).await;
        assert!(error.is_not_found(), "{name}");
    }
    let artifact = client.get_artifact("models/fraud/versions/1/artifacts/model.onnx");
    refused(&server, artifact, Code::NotFound, ErrorReason::ResourceNotFound).await;
    refused(&server, client.get_event("events/9999-0"), Code::NotFound, ErrorReason::ResourceNotFound).await;
}

#[tokio::test]
async fn names_in_any_script_lead_back_to_the_same_thing() {
    let server = TestServer::start().await;
    let client = server.client();
    for id in ["žluťoučký-kůň", "模型", "нейро.сеть+1", "Fraud", "fraud"] {
        let made = model(&client, id).await;
        assert_eq!(made.name, format!("namespaces/default/models/{id}"));
        assert_eq!(client.get_model(format!("models/{id}")).await.unwrap(), made);
    }
    assert_eq!(client.list_models().await.unwrap().models.len(), 5, "upper and lower case are different names");
}
