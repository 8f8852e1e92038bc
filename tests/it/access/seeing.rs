//! Lists and watches have what their caller may see.

use registry_client::WatchItem;
use registry_client::pb::{self, Event};
use registry_tests::{events, model, model_with, soon};

use super::{Secured, denied};

fn names<T>(items: Vec<T>, name: impl Fn(T) -> String) -> Vec<String> {
    items.into_iter().map(name).collect()
}

/// Some namespaces with models, of which Ana sees one namespace, and one model of another.
async fn prepared() -> (Secured, registry_client::RegistryClient) {
    let secured = Secured::start().await;
    for name in ["play/models/toy", "risk/models/churn", "risk/models/fraud", "secret/models/plan"] {
        model_with(&secured.admin, &format!("namespaces/{name}"), 2).await;
    }
    let grants = [("viewer", "namespaces/play"), ("viewer", "namespaces/risk/models/fraud")];
    let ana = secured.user("users/ana", &grants).await;
    (secured, ana)
}

#[tokio::test]
async fn lists_have_what_their_caller_may_see() {
    let (secured, ana) = prepared().await;
    let namespaces = ana.list_namespaces().await.unwrap().namespaces;
    assert_eq!(names(namespaces, |one| one.name), ["namespaces/play"]);
    let models = ana.list_models().parent("namespaces/risk").await.unwrap().models;
    assert_eq!(names(models, |one| one.name), ["namespaces/risk/models/fraud"]);
    let versions = ana.list_versions("namespaces/risk/models/-").await.unwrap().versions;
    let fraud = |number: i64| format!("namespaces/risk/models/fraud/versions/{number}");
    let mut seen = names(versions, |one| one.name);
    seen.sort();
    assert_eq!(seen, [fraud(1), fraud(2)]);
    denied(ana.list_models().parent("namespaces/secret").await);
    denied(ana.list_models().parent("namespaces/nothing").await);
    // What only the whole list tells is for those who see all of it.
    denied(ana.list_models().parent("namespaces/risk").count(true).await);
    let sorted = pb::ListModelsRequest {
        order_by: "team desc".to_owned(),
        parent: "namespaces/risk".to_owned(),
        ..Default::default()
    };
    denied(ana.call(sorted).await);
    let filtered = ana.list_models().parent("namespaces/risk").filter("model.version_count == 2").await.unwrap().models;
    assert_eq!(names(filtered, |one| one.name), ["namespaces/risk/models/fraud"]);
    denied(ana.list_webhooks().await);
    denied(ana.list_usage().await);
    // The past as well.
    let revision = ana.get_model("namespaces/risk/models/fraud").await.unwrap().revision;
    let past = pb::ListModelsRequest { revision, parent: "namespaces/risk".to_owned(), ..Default::default() };
    assert_eq!(names(ana.call(past).await.unwrap().models, |one| one.name), ["namespaces/risk/models/fraud"]);
    assert_eq!(secured.admin.list_models().parent("namespaces/risk").await.unwrap().models.len(), 2);
}

#[tokio::test]
async fn a_page_does_not_tell_whether_something_hidden_follows() {
    let secured = Secured::start().await;
    for name in ["a", "b", "c", "d"] {
        model_with(&secured.admin, &format!("namespaces/risk/models/{name}"), 1).await;
    }
    let seen = ["a", "c"].map(|name| ("viewer", format!("namespaces/risk/models/{name}")));
    let ana = secured.user("users/ana", &seen.each_ref().map(|(role, name)| (*role, name.as_str()))).await;
    let page = async |page_token: String| {
        let parent = "namespaces/risk".to_owned();
        let models = pb::ListModelsRequest { parent, page_size: 1, page_token, ..Default::default() };
        let models = ana.call(models).await.unwrap();
        (names(models.models, |one| one.name), models.next_page_token)
    };
    let (first, token) = page(String::new()).await;
    assert_eq!(first, ["namespaces/risk/models/a"]);
    let (last, token) = page(token).await;
    assert_eq!((last, token.as_str()), (vec!["namespaces/risk/models/c".to_owned()], ""));

    let parent = "namespaces/risk/models/-".to_owned();
    let versions = pb::ListVersionsRequest { parent, page_size: 2, ..Default::default() };
    let versions = ana.call(versions).await.unwrap();
    assert_eq!((versions.versions.len(), versions.next_page_token.as_str()), (2, ""));
}

fn is_seen(event: &Event) -> bool {
    let name = &event.resource_name;
    name.starts_with("namespaces/play") || name.starts_with("namespaces/risk/models/fraud")
}

#[tokio::test]
async fn the_audit_trail_has_what_its_reader_may_see() {
    let (secured, ana) = prepared().await;
    let all = events(&secured.admin).await;
    let expected: Vec<_> = all.iter().filter(|event| is_seen(event)).cloned().collect();
    assert!(expected.len() > 3 && expected.len() < all.len());
    assert_eq!(events(&ana).await, expected);
    for event in &all {
        let read = ana.get_event(&event.name).await;
        if is_seen(event) {
            assert_eq!(read.unwrap(), *event);
        } else {
            denied(read);
        }
    }
    denied(ana.get_event("events/999999-0").await);
    denied(ana.list_events().parent("namespaces/secret").await);
}

#[tokio::test]
async fn a_watch_sends_what_its_reader_may_see() {
    let (secured, ana) = prepared().await;
    let mut watch = ana.watch().from_snapshot().stream();
    let mut seen = Vec::new();
    loop {
        match soon(watch.try_next()).await.unwrap().unwrap() {
            WatchItem::Snapshot { events, .. } => seen.extend(events),
            WatchItem::Bookmark { .. } => break,
            _ => {}
        }
    }
    assert!(!seen.is_empty() && seen.iter().all(is_seen), "{seen:?}");
    let fraud = |event: &Event| event.resource_name.starts_with("namespaces/risk/models/fraud");
    assert!(seen.iter().any(fraud));
    model(&secured.admin, "namespaces/secret/models/other").await;
    model(&secured.admin, "namespaces/play/models/other").await;
    let next = loop {
        if let WatchItem::Events { events, .. } = soon(watch.try_next()).await.unwrap().unwrap() {
            break events;
        }
    };
    assert_eq!(names(next, |event| event.resource_name), ["namespaces/play/models/other"]);
}
