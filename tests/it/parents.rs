//! What lists, events and watches are of has to exist: a typo must not look like silence.

use registry_client::pb::ErrorReason;
use registry_client::{Error, RegistryClient, WatchItem};
use registry_tests::{TestServer, events_of, model_with, soon};
use tonic::Code;

/// The watch's first item, or why there is none.
async fn watched(client: &RegistryClient, parent: &str) -> Result<WatchItem, Error> {
    let first = soon(client.watch().parent(parent).stream().try_next()).await?;
    Ok(first.expect("a watch does not end by itself"))
}

#[tokio::test]
async fn a_parent_that_never_was_is_not_found() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "models/fraud", 1).await;
    let model = ("modelregistry.dev/Model", "namespaces/default/models/typo");
    let namespace = ("modelregistry.dev/Namespace", "namespaces/typo");
    let version = ("modelregistry.dev/Version", "namespaces/default/models/fraud/versions/7");
    let mut refused = Vec::new();
    for (parent, missing) in [
        ("models/typo", model),
        ("models/typo/versions/1", model),
        ("namespaces/typo", namespace),
        ("namespaces/typo/models/-", namespace),
        ("models/fraud/versions/7", version),
    ] {
        refused.push((missing, client.list_events().parent(parent).await.unwrap_err()));
        let newest_first = client.list_events().parent(parent).order_by("revision desc");
        refused.push((missing, newest_first.await.unwrap_err()));
        refused.push((missing, watched(&client, parent).await.unwrap_err()));
        for watch in [client.watch().after(0), client.watch().from_snapshot()] {
            refused.push((missing, soon(watch.parent(parent).stream().try_next()).await.unwrap_err()));
        }
    }
    refused.push((namespace, client.list_models().parent("namespaces/typo").await.unwrap_err()));
    refused.push((namespace, client.list_models().parent("namespaces/typo").show_deleted(true).await.unwrap_err()));
    for show in [false, true] {
        let list = client.list_versions("namespaces/typo/models/-").show_deleted(show);
        refused.push((namespace, list.await.unwrap_err()));
    }
    refused.push((model, client.list_versions("models/typo").await.unwrap_err()));
    refused.push((model, client.list_artifacts("models/typo/versions/1").await.unwrap_err()));
    refused.push((version, client.list_artifacts("models/fraud/versions/7").await.unwrap_err()));
    for ((resource_type, resource_name), error) in refused {
        assert!(error.is_not_found(), "{resource_name}: {error:?}");
        let status = error.status().unwrap();
        assert_eq!((status.code, status.reason), (Code::NotFound, ErrorReason::ResourceNotFound));
        let missing = status.resource.clone().unwrap();
        assert_eq!((missing.resource_type.as_str(), missing.resource_name.as_str()), (resource_type, resource_name));
    }
}

#[tokio::test]
async fn the_default_namespace_is_there_before_its_first_model() {
    let server = TestServer::start().await;
    let client = server.client();
    assert!(client.list_models().await.unwrap().models.is_empty());
    assert!(client.list_models().parent("namespaces/default").await.unwrap().models.is_empty());
    assert!(client.list_versions("models/-").await.unwrap().versions.is_empty());
    assert!(events_of(&client, "namespaces/default").await.is_empty());
    let mut watches = Vec::new();
    for parent in ["", "models/-", "namespaces/default"] {
        let mut watch = client.watch().parent(parent).stream();
        assert!(matches!(soon(watch.try_next()).await.unwrap().unwrap(), WatchItem::Created { revision: 0, .. }));
        watches.push(watch);
    }
    let made = client.create_model("fraud").await.unwrap();
    for mut watch in watches {
        let told = loop {
            match soon(watch.try_next()).await.unwrap().unwrap() {
                WatchItem::Events { revision, .. } => break revision,
                other => assert!(matches!(other, WatchItem::Bookmark { .. }), "{other:?}"),
            }
        };
        assert_eq!(told, made.revision);
    }
}

#[tokio::test]
async fn what_is_deleted_or_purged_still_has_its_events() {
    let server = TestServer::start().await;
    let client = server.client();
    let (model, version) = ("namespaces/risk/models/fraud", "namespaces/risk/models/fraud/versions/1");
    model_with(&client, model, 1).await;
    client.delete_version(version).await.unwrap();
    client.purge_version(version).await.unwrap();
    client.delete_model(model).await.unwrap();
    client.delete_namespace("risk").await.unwrap();
    for (parent, last) in
        [(version, "version.purged"), (model, "model.deleted"), ("namespaces/risk", "namespace.deleted")]
    {
        assert_eq!(events_of(&client, parent).await.last().unwrap().r#type, last, "{parent}");
        assert!(matches!(watched(&client, parent).await, Ok(WatchItem::Created { .. })), "{parent}");
    }
    assert!(client.list_models().parent("namespaces/risk").await.unwrap().models.is_empty());
}
