//! `ModelService`.

use registry_client::known::model_type;
use registry_client::pb::{ErrorReason, MetricDirection, Model};
use registry_tests::{TestServer, model, ready};
use tonic::Code;

use registry_tests::expect::refused;

#[tokio::test]
async fn a_model_is_answered_as_it_was_made() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = client
        .create_model("namespaces/risk/models/fraud")
        .display_name("Fraud – karty")
        .description("Řekne, co je podvod.")
        .model_type(model_type::ANOMALY_DETECTION)
        .owner("ada")
        .team("risk")
        .project("cards")
        .tag("tier", "1")
        .metric_direction("lift", MetricDirection::HigherIsBetter)
        .await
        .unwrap();
    assert_eq!(made.name, "namespaces/risk/models/fraud");
    assert_eq!(
        (made.display_name.as_str(), made.description.as_str(), made.model_type.as_str()),
        ("Fraud – karty", "Řekne, co je podvod.", model_type::ANOMALY_DETECTION)
    );
    assert_eq!((made.owner.as_str(), made.team.as_str(), made.project.as_str()), ("ada", "risk", "cards"));
    assert_eq!(made.tags["tier"], "1");
    assert_eq!(made.metric_directions["lift"], i32::from(MetricDirection::HigherIsBetter));
    assert_eq!(
        (made.revision, made.creator.as_str(), made.version_count, made.latest_version.as_str()),
        (1, "tester", 0, "")
    );
    assert!(!made.uid.is_empty() && !made.etag.is_empty());
    assert!(made.create_time.is_some() && made.update_time == made.create_time && made.delete_time.is_none());
    assert_eq!(client.get_model("namespaces/risk/models/fraud").await.unwrap(), made);
}

#[tokio::test]
async fn what_is_output_only_is_ignored_when_a_model_is_made() {
    let server = TestServer::start().await;
    let forged = Model {
        name: "namespaces/other/models/x".to_owned(),
        uid: "mine".to_owned(),
        version_count: 7,
        latest_version: "models/x/versions/1".to_owned(),
        aliases: [("champion".to_owned(), "models/x/versions/1".to_owned())].into(),
        stages: vec![Default::default()],
        etag: "mine".to_owned(),
        revision: 99,
        creator: "mine".to_owned(),
        purge_time: Some(Default::default()),
        create_time: Some(Default::default()),
        delete_time: Some(Default::default()),
        ..Default::default()
    };
    let made = server.client().create_model("fraud").model(forged.clone()).await.unwrap();
    assert_eq!(made.name, "namespaces/default/models/fraud");
    assert!(made.uid != forged.uid && made.etag != forged.etag);
    assert_eq!((made.version_count, made.latest_version.as_str()), (0, ""));
    assert_eq!((made.revision, made.creator.as_str()), (1, "tester"));
    assert!(made.aliases.is_empty() && made.stages.is_empty());
    assert_eq!((made.delete_time, made.purge_time), (None, None));
    assert_ne!(made.create_time, forged.create_time);
}

#[tokio::test]
async fn an_update_takes_what_the_mask_names_and_maps_as_a_whole() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = client.create_model("fraud").owner("ada").team("risk").tag("a", "1").tag("b", "2").await.unwrap();

    let change = Model {
        name: "models/fraud".to_owned(),
        owner: "bob".to_owned(),
        tags: [("c".to_owned(), "3".to_owned())].into(),
        etag: made.etag.clone(),
        ..Default::default()
    };
    let tagged = client.update_model(change.clone()).fields(["tags"]).await.unwrap();
    assert_eq!((tagged.owner.as_str(), tagged.tags.clone()), ("ada", change.tags.clone()));
    assert_ne!(tagged.etag, made.etag, "an update gives a new etag");
    assert_eq!((tagged.uid, tagged.create_time), (made.uid, made.create_time));

    // Without a mask: what is not empty.
    let filled = client.update_model(Model { etag: String::new(), ..change.clone() }).await.unwrap();
    assert_eq!((filled.owner.as_str(), filled.team.as_str()), ("bob", "risk"));

    // All of them: also what is empty.
    let all = Model { name: "models/fraud".to_owned(), ..Default::default() };
    let emptied = client.update_model(all).fields(["*"]).await.unwrap();
    assert_eq!((emptied.owner.as_str(), emptied.team.as_str(), emptied.tags.len()), ("", "", 0));
    assert_eq!(client.get_model("models/fraud").await.unwrap(), emptied);
}

#[tokio::test]
async fn an_etag_changes_with_the_model_but_not_as_versions_are_added() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = model(&client, "fraud").await;
    ready(&client, "models/fraud").await;
    let grown = client.get_model("models/fraud").await.unwrap();
    assert_eq!(grown.etag, made.etag);
    assert_eq!((grown.version_count, grown.latest_version.as_str()), (1, "namespaces/default/models/fraud/versions/1"));

    let aliased = client.set_alias("models/fraud", "champion", "1").etag(&made.etag).await.unwrap();
    assert_ne!(aliased.etag, made.etag);
    client.transition_stage("models/fraud/versions/1", registry_client::pb::Stage::Production).await.unwrap();
    let promoted = client.get_model("models/fraud").await.unwrap();
    assert_ne!(promoted.etag, aliased.etag);
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_also_if_a_deleted_model_has_it() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, "fraud").await;
    let again = || client.create_model("models/fraud");
    let error = refused(&server, again(), Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
    assert!(error.is_already_exists());
    client.delete_model("models/fraud").await.unwrap();
    refused(&server, again(), Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
    // Another namespace has names of its own.
    model(&client, "namespaces/risk/models/fraud").await;
}

#[tokio::test]
async fn what_is_not_there_is_named_in_the_error() {
    let server = TestServer::start().await;
    let client = server.client();
    let expect = |error: registry_client::Error, name: &str| {
        assert!(error.is_not_found());
        let missing = error.status().unwrap().resource.clone().unwrap();
        assert_eq!((missing.resource_type.as_str(), missing.resource_name.as_str()), ("modelregistry.dev/Model", name));
    };
    let (code, missing) = (Code::NotFound, ErrorReason::ResourceNotFound);
    let name = "namespaces/default/models/none";
    expect(refused(&server, client.get_model("models/none"), code, missing).await, name);
    expect(refused(&server, client.create_version("models/none"), code, missing).await, name);
    expect(refused(&server, client.delete_model("models/none"), code, missing).await, name);
    expect(refused(&server, client.undelete_model("models/none"), code, missing).await, name);
    expect(refused(&server, client.rollback("models/none"), code, missing).await, name);
    expect(refused(&server, client.set_alias("models/none", "a", "1"), code, missing).await, name);
    expect(refused(&server, client.prune_versions("models/none", 1), code, missing).await, name);
    let update = client.update_model(Model { name: "models/none".to_owned(), ..Default::default() });
    expect(refused(&server, update, code, missing).await, name);
}

#[tokio::test]
async fn models_survive_a_restart() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let before = client.create_model("fraud").owner("ada").await.unwrap();
    server.restart().await;
    assert_eq!(client.get_model("models/fraud").await.unwrap(), before);
}

#[tokio::test]
async fn health_is_serving_for_each_service() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel());
    for service in ["", "Model", "Version", "Lifecycle", "Artifact", "Event"] {
        let service = if service.is_empty() { String::new() } else { format!("modelregistry.v1.{service}Service") };
        let answer = health.check(HealthCheckRequest { service: service.clone() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
}
