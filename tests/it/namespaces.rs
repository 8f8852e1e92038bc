//! Namespaces as a kind of resource.

use std::pin::pin;

use futures::{StreamExt as _, TryStreamExt as _};
use registry_client::known::event_type;
use registry_client::pb::{ErrorReason, Namespace};
use registry_client::{Code, RegistryClient, WatchItem};
use registry_tests::expect::{invalid, refused};
use registry_tests::{TestServer, events, soon};

async fn names(client: &RegistryClient, show_deleted: bool) -> Vec<String> {
    let listed = client.list_namespaces().show_deleted(show_deleted).page_size(1).stream();
    listed.map_ok(|namespace| namespace.name).try_collect().await.unwrap()
}

#[tokio::test]
async fn the_first_model_makes_its_namespace() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("namespaces/risk/models/fraud").await.unwrap();
    client.create_model("namespaces/risk/models/score").await.unwrap();
    let made = client.get_namespace("risk").await.unwrap();
    assert_eq!((made.name.as_str(), made.creator.as_str(), made.revision), ("namespaces/risk", "tester", 1));
    assert_eq!(names(&client, false).await, ["namespaces/risk"]);
    let told: Vec<_> = events(&client).await.into_iter().map(|event| (event.revision, event.r#type)).collect();
    let told: Vec<_> = told.iter().map(|(revision, r#type)| (*revision, r#type.as_str())).collect();
    let (namespace, model) = (event_type::NAMESPACE_CREATED, event_type::MODEL_CREATED);
    assert_eq!(told, [(1, namespace), (1, model), (2, model)]);
}

#[tokio::test]
async fn a_namespace_lives_as_other_resources_do() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = client.create_namespace("risk").display_name("Risk").tag("floor", "3").await.unwrap();
    assert_eq!((made.display_name.as_str(), made.tags["floor"].as_str()), ("Risk", "3"));
    let taken = client.create_namespace("risk").await.unwrap_err();
    assert_eq!(taken.reason(), Some(ErrorReason::ResourceAlreadyExists));

    let change = Namespace { name: "risk".to_owned(), description: "of loss".to_owned(), ..Default::default() };
    let changed = client.update_namespace(change.clone()).await.unwrap();
    assert_eq!((changed.description.as_str(), changed.display_name.as_str()), ("of loss", "Risk"));
    let late = Namespace { etag: made.etag, ..change };
    assert!(client.update_namespace(late).await.unwrap_err().is_conflict());

    // Nothing is no short form of the default namespace.
    invalid(&server, client.delete_namespace(""), &[("name", ErrorReason::NameInvalid)]).await;
    let nameless = Namespace { description: "of all".to_owned(), ..Default::default() };
    invalid(&server, client.update_namespace(nameless), &[("namespace.name", ErrorReason::NameInvalid)]).await;
    client.delete_namespace("risk").await.unwrap();
    assert_eq!(names(&client, false).await, Vec::<String>::new());
    assert_eq!(names(&client, true).await, ["namespaces/risk"]);
    let model = client.create_model("namespaces/risk/models/fraud");
    refused(&server, model, Code::FailedPrecondition, ErrorReason::ResourceDeleted).await;
    client.undelete_namespace("risk").await.unwrap();
    client.create_model("namespaces/risk/models/fraud").await.unwrap();
}

#[tokio::test]
async fn a_namespace_with_models_stays() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("namespaces/risk/models/fraud").await.unwrap();
    let delete = client.delete_namespace("risk");
    refused(&server, delete, Code::FailedPrecondition, ErrorReason::ResourceProtected).await;
    client.delete_model("namespaces/risk/models/fraud").await.unwrap();
    client.delete_namespace("risk").await.unwrap();
    // It comes back before what is in it.
    let undelete = client.undelete_model("namespaces/risk/models/fraud");
    refused(&server, undelete, Code::FailedPrecondition, ErrorReason::ResourceDeleted).await;
    client.undelete_namespace("risk").await.unwrap();
    client.undelete_model("namespaces/risk/models/fraud").await.unwrap();
}

#[tokio::test]
async fn a_snapshot_has_the_namespace_before_what_is_in_it() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("namespaces/risk/models/fraud").await.unwrap();
    client.create_namespace("empty").await.unwrap();
    let mut watch = pin!(client.watch().from_snapshot().stream());
    let mut names = Vec::new();
    loop {
        match soon(watch.next()).await.unwrap().unwrap() {
            WatchItem::Snapshot { events, .. } => names.extend(events.into_iter().map(|event| event.resource_name)),
            WatchItem::Bookmark { .. } => break,
            _ => {}
        }
    }
    assert_eq!(names, ["namespaces/empty", "namespaces/risk", "namespaces/risk/models/fraud"]);
}
