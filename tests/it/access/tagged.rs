//! What is bound to the tags of namespaces: those of a team, those of a project.

use std::collections::BTreeMap;

use registry_client::WatchItem;
use registry_client::pb::{Binding, ErrorReason, Namespace};
use registry_tests::{model, soon};

use super::{Secured, denied};

const FRAUD: &str = "namespaces/risk/models/fraud";

fn team(name: &str) -> BTreeMap<String, String> {
    [("team".to_owned(), name.to_owned())].into()
}

fn risk(tags: BTreeMap<String, String>) -> Namespace {
    Namespace { name: "namespaces/risk".to_owned(), tags, ..Namespace::default() }
}

#[tokio::test]
async fn whoever_has_a_role_by_a_tag_has_it_while_the_namespace_has_the_tag() {
    let secured = Secured::start().await;
    let admin = &secured.admin;
    model(admin, FRAUD).await;
    model(admin, "namespaces/other/models/secret").await;
    let ana = secured.user("users/ana", &[]).await;
    admin.create_binding("team", "viewer", ["users/ana"]).on_namespaces_with(team("risk")).await.unwrap();
    denied(ana.get_model(FRAUD).await);

    admin.update_namespace(risk(team("risk"))).fields(["tags"]).await.unwrap();
    ana.get_model(FRAUD).await.expect("what is said after the change is decided by it");
    let seen = ana.list_namespaces().await.unwrap().namespaces;
    assert_eq!(seen.iter().map(|seen| seen.name.as_str()).collect::<Vec<_>>(), ["namespaces/risk"]);
    denied(ana.get_model("namespaces/other/models/secret").await);
    denied(ana.delete_model(FRAUD).await);
    let explained = admin.explain_access("users/ana", "models.get", FRAUD).await.unwrap();
    let by: Vec<_> = explained.grants.iter().map(|grant| (grant.binding.as_str(), grant.resource.as_str())).collect();
    assert_eq!(by, [("bindings/team", "namespaces/risk")]);
    let mut watch = ana.watch().parent("namespaces/risk").from_snapshot().stream();
    while !matches!(soon(watch.try_next()).await.unwrap(), Some(WatchItem::Bookmark { .. })) {}

    admin.update_namespace(risk(team("other"))).fields(["tags"]).await.unwrap();
    denied(ana.get_model(FRAUD).await);
    let error = loop {
        match soon(watch.try_next()).await {
            Ok(item) => assert!(item.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(ErrorReason::PermissionDenied), "{error:?}");
}

#[tokio::test]
async fn who_tags_a_namespace_has_what_that_gives() {
    let secured = Secured::start().await;
    let admin = &secured.admin;
    model(admin, FRAUD).await;
    admin.create_role("tagger", ["namespaces.*"]).await.unwrap();
    let tagger = secured.user("users/eve", &[("tagger", "")]).await;
    let owner = secured.user("users/ana", &[("admin", "namespaces/risk")]).await;
    // It is the server's: an admin of a namespace makes none.
    denied(owner.create_binding("team", "viewer", ["users/bob"]).on_namespaces_with(team("risk")).await);
    admin.create_binding("team", "viewer", ["users/bob"]).on_namespaces_with(team("risk")).await.unwrap();

    let tag = async |by: &registry_client::RegistryClient, tags| by.update_namespace(risk(tags)).fields(["tags"]).await;
    tag(&tagger, team("unbound")).await.unwrap();
    let error = denied(tag(&tagger, team("risk")).await);
    assert!(error.to_string().contains("namespaces/risk"), "{error}");
    denied(tagger.create_namespace("new").tag("team", "risk").await);
    tagger.create_namespace("new").tag("team", "unbound").await.unwrap();
    tag(&owner, team("risk")).await.unwrap();
    // Nor is it taken away by somebody who does not have it.
    denied(tag(&tagger, BTreeMap::new()).await);
    tagger.update_namespace(Namespace { display_name: "Risk".to_owned(), ..risk(team("risk")) }).await.unwrap();
}

#[tokio::test]
async fn a_binding_is_on_a_resource_or_on_tags() {
    let secured = Secured::start().await;
    let admin = &secured.admin;
    let both =
        admin.create_binding("x", "viewer", ["users/bob"]).on("namespaces/risk").on_namespaces_with(team("risk"));
    assert!(both.await.unwrap_err().is_invalid_argument());
    let made = admin.create_binding("x", "viewer", ["users/bob"]).on_namespaces_with(team("risk")).await.unwrap();
    let moved = Binding { namespace_tags: team("other"), ..made };
    assert!(admin.update_binding(moved).fields(["namespace_tags"]).await.unwrap_err().is_invalid_argument());
}
