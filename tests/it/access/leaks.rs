//! What is refused tells nothing of what there is.

use registry_client::pb;
use registry_client::{Error, RegistryClient};
use registry_tests::{model_with, soon};
use uuid::Uuid;

use super::{Secured, denied};

/// What a caller learns of an error, with the name taken out that they have asked for.
fn learned<T: std::fmt::Debug>(answer: Result<T, Error>, model: &str) -> String {
    format!("{:?}", denied(answer)).replace(model, "MODEL")
}

/// Asks the same of a model that is there and of one that is not.
macro_rules! same {
    ($client:ident, |$model:ident| $call:expr) => {{
        let [there, not_there] = ["fraud", "nothing"].map(|$model| async move { learned($call.await, $model) });
        assert_eq!(there.await, not_there.await, "{}", stringify!($call));
    }};
}

#[tokio::test]
async fn a_missing_and_a_hidden_resource_look_the_same() {
    let secured = Secured::start().await;
    let hidden = |model: &str| format!("namespaces/risk/models/{model}");
    model_with(&secured.admin, &hidden("fraud"), 2).await;
    secured.admin.set_alias(hidden("fraud"), "champion", "1").await.unwrap();
    let ana = &secured.user("users/ana", &[("admin", "namespaces/play")]).await;
    let version = |model: &str| format!("{}/versions/1", hidden(model));

    same!(ana, |model| ana.get_model(hidden(model)));
    same!(ana, |model| ana.get_version(version(model)));
    same!(ana, |model| ana.get_version(format!("{}@champion", hidden(model))));
    same!(ana, |model| ana.get_version(format!("{}@latest", hidden(model))));
    same!(ana, |model| ana.get_artifact(format!("{}/artifacts/a.bin", version(model))));
    same!(ana, |model| ana.list_versions(hidden(model)));
    same!(ana, |model| ana.list_events().parent(hidden(model)));
    same!(ana, |model| ana.list_artifacts(version(model)));
    same!(ana, |model| ana.delete_model(hidden(model)).validate_only(true));
    same!(ana, |model| ana.set_alias(hidden(model), "stable", "1"));
    same!(ana, |model| ana.create_version(hidden(model)).validate_only(true));
    same!(ana, |model| ana.call(pb::CountVersionsRequest {
        parent: hidden(model),
        fields: vec!["framework".to_owned()],
        ..Default::default()
    }));
    same!(ana, |model| ana
        .call(pb::CompareVersionsRequest { names: vec![version(model), version(model)], ..Default::default() }));
    // Bindings that do not exist, and such as are on something else.
    let [first, none] = ["first-admin", "nothing"].map(|id| async move { learned(ana.get_binding(id).await, id) });
    assert_eq!(first.await, none.await);

    // A request whose form is wrong is refused for the same reason as one that is right.
    denied(ana.call(pb::GetModelRequest { name: "namespaces/risk/models/!".to_owned(), ..Default::default() }).await);
}

#[tokio::test]
async fn what_a_version_was_made_from_is_not_found_out_by_making_one() {
    let secured = Secured::start().await;
    model_with(&secured.admin, "namespaces/risk/models/fraud", 1).await;
    let ana = secured.user("users/ana", &[("publisher", "namespaces/play")]).await;
    ana.create_model("namespaces/play/models/toy").await.unwrap();
    for base in ["namespaces/risk/models/fraud/versions/1", "namespaces/risk/models/nothing/versions/1"] {
        let version = pb::Version { base_versions: vec![base.to_owned()], ..Default::default() };
        let parent = "namespaces/play/models/toy".to_owned();
        denied(ana.call(pb::CreateVersionRequest { parent, version: Some(version), ..Default::default() }).await);
    }
}

#[tokio::test]
async fn the_answer_of_a_request_is_for_those_alone_who_may_make_it() {
    let secured = Secured::start().await;
    let create = |client: &RegistryClient, id: &str| {
        let (model_id, request_id) = ("toy".to_owned(), id.to_owned());
        let parent = "namespaces/play".to_owned();
        client.call(pb::CreateModelRequest { parent, model_id, request_id, ..Default::default() })
    };
    let id = Uuid::now_v7().to_string();
    let ana = secured.user("users/ana", &[("publisher", "namespaces/play")]).await;
    let bob = secured.user("users/bob", &[]).await;
    let made = create(&ana, &id).await.unwrap();
    assert_eq!(create(&ana, &id).await.unwrap(), made, "the same request has the same answer");
    // Also by its id.
    denied(create(&bob, &id).await);
    secured.admin.delete_binding("users-ana-0").await.unwrap();
    denied(create(&ana, &id).await);
}

#[tokio::test]
async fn a_watch_of_what_is_hidden_does_not_begin() {
    let secured = Secured::start().await;
    model_with(&secured.admin, "namespaces/risk/models/fraud", 1).await;
    let ana = secured.user("users/ana", &[("viewer", "namespaces/play")]).await;
    for parent in ["namespaces/risk", "namespaces/risk/models/fraud", "namespaces/risk/models/nothing"] {
        let mut watch = ana.watch().parent(parent).stream();
        denied(soon(watch.try_next()).await);
    }
}
