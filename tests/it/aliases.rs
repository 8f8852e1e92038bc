//! Aliases that were set.

use registry_client::known::event_type;
use registry_client::pb::ErrorReason;
use registry_tests::expect::{invalid, refused, unchanged};
use registry_tests::{TestServer, events, model_with};
use tonic::Code;

const MODEL: &str = "models/fraud";

#[tokio::test]
async fn an_alias_points_where_it_was_set_last() {
    let server = TestServer::start().await;
    let client = server.client();
    let versions = model_with(&client, MODEL, 2).await;
    let set = client.set_alias(MODEL, "champion", "1").await.unwrap();
    assert_eq!(set.aliases, [("champion".to_owned(), versions[0].name.clone())].into());
    // By a whole name, and by another alias.
    client.set_alias(MODEL, "champion", "models/fraud/versions/2").await.unwrap();
    client.set_alias(MODEL, "challenger", "@champion").await.unwrap();
    client.set_alias(MODEL, "newest", "@latest").await.unwrap();
    let model = client.get_model(MODEL).await.unwrap();
    assert!(model.aliases.values().all(|to| *to == versions[1].name), "{:?}", model.aliases);
    assert_eq!(client.get_version("models/fraud@champion").await.unwrap().number, 2);

    let changes: Vec<_> = events(&client).await.into_iter().flat_map(|event| event.alias_changes).collect();
    assert_eq!((changes[0].from_version.as_str(), &changes[0].to_version), ("", &versions[0].name));
    assert_eq!((&changes[1].from_version, &changes[1].to_version), (&versions[0].name, &versions[1].name));
}

#[tokio::test]
async fn an_alias_stays_on_its_version_when_the_one_it_was_set_from_moves() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    client.set_alias(MODEL, "champion", "1").await.unwrap();
    client.set_alias(MODEL, "shadow", "@champion").await.unwrap();
    client.set_alias(MODEL, "champion", "2").await.unwrap();
    assert_eq!(client.get_version("models/fraud@shadow").await.unwrap().number, 1);
}

#[tokio::test]
async fn a_deleted_alias_leads_nowhere_and_is_logged() {
    let server = TestServer::start().await;
    let client = server.client();
    let versions = model_with(&client, MODEL, 1).await;
    client.set_alias(MODEL, "champion", "1").await.unwrap();
    assert!(client.delete_alias(MODEL, "champion").await.unwrap().aliases.is_empty());
    let get = client.get_version("models/fraud@champion");
    refused(&server, get, Code::NotFound, ErrorReason::ResourceNotFound).await;
    refused(&server, client.delete_alias(MODEL, "champion"), Code::NotFound, ErrorReason::ResourceNotFound).await;
    let last = events(&client).await.pop().unwrap();
    assert_eq!(
        (last.r#type.as_str(), last.resource_name.as_str()),
        (event_type::ALIAS_DELETED, "namespaces/default/models/fraud")
    );
    let change = &last.alias_changes[0];
    assert_eq!(
        (change.alias.as_str(), &change.from_version, change.to_version.as_str()),
        ("champion", &versions[0].name, "")
    );
}

#[tokio::test]
async fn reserved_and_bad_aliases_are_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    for alias in ["latest", "production", "staging", "", "@champion", "a/b", "../a", "a b", "\u{212a}"] {
        let fields = [("alias", ErrorReason::NameInvalid)];
        invalid(&server, client.set_alias(MODEL, alias, "1"), &fields).await;
        invalid(&server, client.delete_alias(MODEL, alias), &fields).await;
    }
}

#[tokio::test]
async fn an_alias_needs_a_version_of_its_model_that_is_there() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    model_with(&client, "models/other", 1).await;
    client.delete_version("models/fraud/versions/2").await.unwrap();
    let set = |version: &str| client.set_alias(MODEL, "champion", version);
    refused(&server, set("3"), Code::NotFound, ErrorReason::ResourceNotFound).await;
    refused(&server, set("2"), Code::FailedPrecondition, ErrorReason::ResourceDeleted).await;
    invalid(&server, set("models/other/versions/1"), &[("version", ErrorReason::FieldInvalid)]).await;
    invalid(&server, set("a b"), &[("version", ErrorReason::NameInvalid)]).await;
    invalid(&server, set("0"), &[("version", ErrorReason::NameInvalid)]).await;
}

#[tokio::test]
async fn an_alias_is_changed_only_in_the_state_that_the_etag_names() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let old = client.get_model(MODEL).await.unwrap().etag;
    let new = client.set_alias(MODEL, "champion", "1").etag(&old).await.unwrap().etag;
    let set = client.set_alias(MODEL, "champion", "1").etag(&old);
    let error = refused(&server, set, Code::Aborted, ErrorReason::EtagMismatch).await;
    assert!(error.is_conflict());
    let delete = client.delete_alias(MODEL, "champion");
    refused(&server, delete.clone().etag(&old), Code::Aborted, ErrorReason::EtagMismatch).await;
    let dry = unchanged(&server, delete.clone().etag(&new).validate_only(true)).await.unwrap();
    assert!(dry.aliases.is_empty());
    delete.etag(&new).await.unwrap();
}
