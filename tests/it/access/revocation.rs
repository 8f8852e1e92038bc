//! What is revoked is over: for calls, for streams, and for commits that are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use registry_client::pb::{Binding, ErrorReason};
use registry_client::{RegistryClient, WatchItem};
use registry_tests::{events, model, model_with, ready, soon};
use tokio::time::timeout;
use tonic::Code;

use super::{SECOND, Secured, denied, unauthenticated};

/// Reads a watch until it ends, and returns why.
async fn end(mut watch: registry_client::Items<WatchItem>) -> registry_client::Error {
    let ended = async {
        loop {
            if let Err(error) = watch.try_next().await {
                return error;
            }
        }
    };
    timeout(SECOND, ended).await.expect("the watch has to end")
}

#[tokio::test]
async fn a_stream_ends_when_its_reader_may_not_read_it_any_more() {
    let secured = Secured::start().await;
    model_with(&secured.admin, "namespaces/risk/models/fraud", 1).await;
    let ana = secured.user("users/ana", &[("viewer", "namespaces/risk")]).await;
    let mut watch = ana.watch().parent("namespaces/risk").stream();
    soon(watch.try_next()).await.unwrap();
    secured.admin.delete_binding("users-ana-0").await.unwrap();
    let error = end(watch).await;
    assert_eq!(error.code(), Some(Code::PermissionDenied), "{error:?}");
    denied(ana.get_model("namespaces/risk/models/fraud").await);

    // A token that ends ends them as well.
    let bob = secured.user("users/bob", &[("viewer", "")]).await;
    let mut watch = bob.watch().stream();
    soon(watch.try_next()).await.unwrap();
    secured.admin.revoke_token(bob.who_am_i().await.unwrap().token).await.unwrap();
    let error = end(watch).await;
    assert_eq!(error.reason(), Some(ErrorReason::TokenRevoked), "{error:?}");
    unauthenticated(bob.who_am_i().await, ErrorReason::TokenRevoked);
}

#[tokio::test]
async fn a_watch_narrows_when_its_reader_may_see_less() {
    let secured = Secured::start().await;
    let grants = [("viewer", ""), ("viewer", "namespaces/risk")];
    let ana = secured.user("users/ana", &grants).await;
    let mut watch = ana.watch().stream();
    soon(watch.try_next()).await.unwrap();
    model(&secured.admin, "namespaces/play/models/one").await;
    secured.admin.delete_binding("users-ana-0").await.unwrap();
    model(&secured.admin, "namespaces/play/models/two").await;
    model(&secured.admin, "namespaces/risk/models/three").await;
    let mut seen = Vec::new();
    while !seen.contains(&"namespaces/risk/models/three".to_owned()) {
        if let Some(WatchItem::Events { events, .. }) = soon(watch.try_next()).await.unwrap() {
            seen.extend(events.into_iter().map(|event| event.resource_name));
        }
    }
    assert!(!seen.contains(&"namespaces/play/models/two".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn groups_and_roles_are_revoked_like_bindings() {
    let secured = Secured::start().await;
    let admin = &secured.admin;
    model(admin, "fraud").await;
    admin.create_group("risk", ["users/ana"]).await.unwrap();
    admin.create_role("reader", ["models.get"]).await.unwrap();
    admin.create_binding("risk", "reader", ["groups/risk"]).await.unwrap();
    let ana = secured.user("users/ana", &[]).await;
    assert_eq!(ana.who_am_i().await.unwrap().groups, ["groups/risk"]);
    ana.get_model("fraud").await.unwrap();
    let explained = admin.explain_access("users/ana", "models.get", "fraud").await.unwrap();
    let grant = &explained.grants[0];
    assert!(explained.granted && explained.grants.len() == 1);
    assert_eq!(
        (grant.binding.as_str(), grant.role.as_str(), grant.member.as_str()),
        ("bindings/risk", "roles/reader", "groups/risk")
    );

    let mut role = admin.get_role("reader").await.unwrap();
    role.permissions = vec!["models.list".to_owned()];
    admin.update_role(role.clone()).await.unwrap();
    denied(ana.get_model("fraud").await);
    let mut role = admin.get_role("reader").await.unwrap();
    role.permissions = vec!["models.*".to_owned()];
    admin.update_role(role).await.unwrap();
    ana.get_model("fraud").await.unwrap();

    let mut group = admin.get_group("risk").await.unwrap();
    group.members = vec!["users/bob".to_owned()];
    admin.update_group(group).await.unwrap();
    denied(ana.get_model("fraud").await);
    let everybody = admin.get_binding("risk").await.unwrap();
    let everybody = Binding { members: vec!["allAuthenticated".to_owned()], ..everybody };
    admin.update_binding(everybody).await.unwrap();
    ana.get_model("fraud").await.unwrap();
    admin.delete_role("reader").await.unwrap();
    denied(ana.get_model("fraud").await);
}

#[tokio::test]
async fn no_change_is_committed_behind_its_revocation() {
    let secured = Secured::start().await;
    model(&secured.admin, "namespaces/risk/models/fraud").await;
    let writers: Vec<RegistryClient> = vec![
        secured.user("users/ana", &[("publisher", "namespaces/risk")]).await,
        secured.user("users/bob", &[("publisher", "namespaces/risk")]).await,
    ];
    for round in 0..5 {
        if round > 0 {
            for (at, user) in ["ana", "bob"].iter().enumerate() {
                let id = format!("users-{user}-0");
                secured
                    .admin
                    .create_binding(id, "publisher", [format!("users/{user}")])
                    .on("namespaces/risk")
                    .await
                    .unwrap();
                ready(&writers[at], "namespaces/risk/models/fraud").await;
            }
        }
        let over = Arc::new(AtomicBool::new(false));
        let writing: Vec<_> = writers
            .iter()
            .cloned()
            .map(|writer| {
                let over = Arc::clone(&over);
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        if let Err(error) = writer.create_version("namespaces/risk/models/fraud").await {
                            assert!(error.is_permission_denied(), "{error:?}");
                            return true;
                        }
                    }
                    false
                })
            })
            .collect();
        for id in ["users-ana-0", "users-bob-0"] {
            secured.admin.delete_binding(id).await.unwrap();
        }
        for task in writing {
            assert!(soon(task).await.unwrap(), "a writer was never refused");
        }
        over.store(true, Ordering::Relaxed);
    }
    // In the log no change by somebody comes after the revision that revoked what let them make it.
    let mut may = std::collections::BTreeMap::new();
    for event in events(&secured.admin).await {
        if let Some(user) = event.resource_name.strip_prefix("bindings/users-").and_then(|rest| rest.strip_suffix("-0"))
        {
            may.insert(format!("users/{user}"), event.r#type == "binding.created");
        } else if event.r#type == "version.created" {
            assert_eq!(may.get(&event.actor), Some(&true), "{} in revision {}", event.actor, event.revision);
        }
    }
}
