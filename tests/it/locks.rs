//! Locks: nothing that they forbid happens, whichever call it comes from.

use std::time::Duration;

use futures::future::join_all;
use registry_client::known::event_type;
use registry_client::pb::{self, ErrorReason, Stage};
use registry_client::{Error, RegistryClient};
use registry_server::config::Period;
use registry_tests::expect::{invalid, refused};
use registry_tests::{TestServer, events, noise};
use tonic::Code;

const MODEL: &str = "models/fraud";

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

/// A server with a model and three READY versions, of which the first is in production and the second was.
async fn server() -> (TestServer, RegistryClient) {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("fraud").await.unwrap();
    for _ in 0..3 {
        client.create_version("fraud").finalize(true).await.unwrap();
    }
    client.promote(version(2)).await.unwrap();
    client.promote(version(1)).await.unwrap();
    client.set_alias("fraud", "old", "2").await.unwrap();
    (server, client)
}

async fn locked<'a, T: std::fmt::Debug>(server: &'a TestServer, call: impl IntoFuture<Output = Result<T, Error>> + 'a) {
    refused(server, call, Code::FailedPrecondition, ErrorReason::ResourceLocked).await;
}

fn described(name: &str) -> pb::Version {
    pb::Version { name: name.to_owned(), description: "new".to_owned(), ..Default::default() }
}

#[tokio::test]
async fn nothing_of_a_locked_model_changes() {
    let (server, client) = server().await;
    let lock = client.create_lock("fraud", "incident", "wrong scores").await.unwrap();
    assert_eq!((lock.scope(), lock.version.as_str()), (pb::LockScope::Writes, ""));
    let model = pb::Model { name: MODEL.to_owned(), description: "new".to_owned(), ..Default::default() };
    locked(&server, client.update_model(model)).await;
    locked(&server, client.create_version("fraud")).await;
    locked(&server, client.update_version(described(&version(3)))).await;
    locked(&server, client.promote(version(3))).await;
    locked(&server, client.rollback("fraud")).await;
    locked(&server, client.set_alias("fraud", "new", "3")).await;
    locked(&server, client.delete_alias("fraud", "old")).await;
    locked(&server, client.withdraw_version(version(3))).await;
    locked(&server, client.delete_version(version(3))).await;
    locked(&server, client.delete_model("fraud").force(true)).await;
    let error = client.promote(version(3)).validate_only(true).await.unwrap_err();
    assert!(error.to_string().contains("/models/fraud/locks/incident of "), "{error}");
    assert!(error.to_string().ends_with(": wrong scores"), "{error}");
    // Another model is free, and so is this one once all of its locks are released.
    client.create_model("other").await.unwrap();
    client.create_lock("fraud", "audit", "it is looked at").await.unwrap();
    client.delete_lock(&lock.name).await.unwrap();
    locked(&server, client.promote(version(3))).await;
    client.delete_lock("fraud/locks/audit").await.unwrap();
    client.promote(version(3)).await.unwrap();
}

#[tokio::test]
async fn a_locked_version_stays_where_it_is() {
    let (server, client) = server().await;
    client.create_lock(version(1), "serving", "the quarter ends").await.unwrap();
    locked(&server, client.promote(version(3))).await;
    locked(&server, client.rollback("fraud")).await;
    locked(&server, client.transition_stage(version(1), Stage::Archived)).await;
    locked(&server, client.update_version(described(&version(1)))).await;
    locked(&server, client.delete_model("fraud").force(true)).await;
    client.transition_stage(version(3), Stage::Staging).await.unwrap();
    client.set_alias("fraud", "best", "1").await.unwrap();
    // Artifacts are the version's.
    let open = client.create_version("fraud").await.unwrap().name;
    client.upload(&open, "a.bin", noise(100)).await.unwrap();
    client.create_lock(&open, "open", "wait").await.unwrap();
    locked(&server, client.delete_artifact(format!("{open}/artifacts/a.bin"))).await;
    let error = client.upload(&open, "b.bin", noise(200)).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ResourceLocked));
}

#[tokio::test]
async fn what_is_held_changes_and_is_neither_deleted_nor_purged() {
    let (server, client) = server().await;
    client.delete_version(version(3)).await.unwrap();
    client.create_lock("fraud", "case-12", "the supervisor asks for it").deletions_only().await.unwrap();
    locked(&server, client.delete_version(version(2)).force(true)).await;
    locked(&server, client.purge_version(version(3))).await;
    locked(&server, client.delete_model("fraud").force(true)).await;
    client.rollback("fraud").await.unwrap();
    client.update_version(described(&version(2))).await.unwrap();
    client.undelete_version(version(3)).await.unwrap();
    client.delete_lock("fraud/locks/case-12").await.unwrap();
    client.delete_version(version(3)).await.unwrap();
    client.purge_version(version(3)).await.unwrap();
}

#[tokio::test]
async fn the_registry_does_not_purge_what_is_held() {
    let server = TestServer::with(|config| config.purge_after = Period(Duration::ZERO)).await;
    let client = server.client();
    for model in ["held", "free"] {
        client.create_model(model).await.unwrap();
        client.create_version(model).finalize(true).await.unwrap();
        client.delete_version(format!("models/{model}/versions/1")).await.unwrap();
    }
    client.create_lock("held", "case", "kept").deletions_only().await.unwrap();
    client.collect_garbage().await.unwrap();
    let purged = async |model: &str| client.get_version(format!("models/{model}/versions/1")).await.unwrap().purged;
    assert_eq!((purged("held").await, purged("free").await), (false, true));
    client.delete_lock("held/locks/case").await.unwrap();
    client.collect_garbage().await.unwrap();
    assert!(purged("held").await);
}

#[tokio::test]
async fn no_change_is_committed_between_a_lock_and_its_release() {
    let (_server, client) = server().await;
    let writers = (0..4).map(|at| {
        let client = client.clone();
        tokio::spawn(async move {
            for step in 0..40 {
                let description = format!("{at} {step}");
                let update = pb::Version { name: version(3), description, ..Default::default() };
                match client.update_version(update).await {
                    Err(error) if error.reason() == Some(ErrorReason::ResourceLocked) => {}
                    answer => drop(answer.unwrap()),
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for _ in 0..10 {
        let lock = client.create_lock("fraud", "now", "short").await.unwrap();
        client.delete_lock(lock.name).await.unwrap();
    }
    join_all(writers).await.into_iter().for_each(|ended| ended.unwrap());
    let (mut is_locked, mut locks) = (false, 0);
    for event in events(&client).await {
        match event.r#type.as_str() {
            event_type::LOCK_CREATED => (is_locked, locks) = (true, locks + 1),
            event_type::LOCK_DELETED => is_locked = false,
            r#type => assert!(!is_locked, "{type} while it was locked"),
        }
    }
    assert_eq!(locks, 10);
}

#[tokio::test]
async fn locks_are_listed_and_bad_ones_named() {
    let (server, client) = server().await;
    client.create_lock(version(2), "b", "why").await.unwrap();
    let a = client.create_lock("fraud", "a", "why").deletions_only().await.unwrap();
    let listed = client.list_locks("fraud").await.unwrap().locks;
    let listed: Vec<_> = listed.iter().map(|lock| (lock.name.as_str(), lock.version.as_str())).collect();
    let whole = |name: &str| format!("namespaces/default/models/fraud/{name}");
    assert_eq!(listed, [(&*whole("locks/a"), ""), (&*whole("locks/b"), &*whole("versions/2"))]);
    assert_eq!(client.get_lock("fraud/locks/a").await.unwrap(), a);
    let taken = client.create_lock("fraud", "a", "again");
    refused(&server, taken, Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
    let fields = [("lock_id", ErrorReason::NameInvalid), ("lock.reason", ErrorReason::FieldRequired)];
    invalid(&server, client.create_lock("fraud", "a b", ""), &fields).await;
}

#[tokio::test]
async fn pruning_passes_over_what_is_held() {
    let (server, client) = server().await;
    for _ in 0..3 {
        client.create_version("fraud").finalize(true).await.unwrap();
    }
    client.create_lock(version(3), "case", "the supervisor asks for it").deletions_only().await.unwrap();
    let pruned = client.prune_versions("fraud", 1).await.unwrap();
    let numbers: Vec<_> = pruned.versions.iter().map(|version| version.number).collect();
    // 1 is in production, 2 has an alias, 6 is the newest.
    assert_eq!((numbers, pruned.more), (vec![4, 5], false));
    // Of a model that is locked nothing goes.
    client.create_version("fraud").finalize(true).await.unwrap();
    client.create_lock("fraud", "incident", "wrong scores").await.unwrap();
    locked(&server, client.prune_versions("fraud", 1)).await;
}
