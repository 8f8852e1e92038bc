//! The cache that followers share.

use std::fs;
use std::path::Path;
use std::time::Duration;

use registry_client::RegistryClient;
use registry_tests::{TestServer, soon};

use super::{MODEL, PRODUCTION, follow, follower, release, serves};

/// Something that happens to a version's folder.
type Damage = fn(&Path);

/// How many versions it has.
fn versions(cache: &Path) -> usize {
    fs::read_dir(cache.join("versions")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
}

#[tokio::test]
async fn what_is_damaged_is_fetched_again() {
    let (mut server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    release(&client, MODEL, "one").await;
    let folder = follow(&client, PRODUCTION, &cache).await.current().folder().to_owned();
    let damages: [(&str, Damage); 5] = [
        ("other bytes", |folder| fs::write(folder.join("model.txt"), "ONE").unwrap()),
        ("a file cut off", |folder| fs::write(folder.join("model.txt"), "").unwrap()),
        ("a file lost", |folder| fs::remove_file(folder.join("model.txt")).unwrap()),
        ("no receipt", |folder| fs::remove_file(folder.join(".model-registry.json")).unwrap()),
        ("all lost", |folder| fs::remove_dir_all(folder).unwrap()),
    ];
    for (what, damage) in damages {
        damage(&folder);
        let followed = follow(&client, PRODUCTION, &cache).await;
        assert_eq!((&*followed.current().model, followed.current().folder()), ("one", &*folder), "{what}");
    }
    // What a loader leaves there is no damage.
    fs::write(folder.join("compiled.cache"), "").unwrap();
    server.stop().await;
    let client = RegistryClient::builder(server.endpoint()).retry_for(Duration::ZERO).connect_lazy().unwrap();
    assert_eq!(follow(&client, PRODUCTION, &cache).await.current().model, "one");
    // Without the registry, damage is told, and not served.
    fs::write(folder.join("model.txt"), "ONE").unwrap();
    let error = soon(follower(&client, PRODUCTION, &cache).start()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn followers_share_a_cache() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    release(&client, MODEL, "one").await;
    let followers = futures::future::join_all((0..8).map(|_| follow(&client, PRODUCTION, &cache))).await;
    let folders: Vec<_> = followers.iter().map(|followed| followed.current().folder().to_owned()).collect();
    assert!(folders.iter().all(|folder| *folder == folders[0]), "{folders:?}");
    let second = release(&client, MODEL, "two").await;
    for followed in &followers {
        serves(followed, &[&second]).await;
        assert_eq!(followed.current().model, "two");
    }
    assert_eq!(versions(cache.path()), 2);
}

#[tokio::test]
async fn it_keeps_what_is_served_and_what_was_before_and_as_much_else_as_it_may() {
    let (server, small, large) =
        (TestServer::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let client = server.client();
    release(&client, MODEL, "0").await;
    let followed = soon(follower(&client, PRODUCTION, &small).cache_bytes(0).start()).await.unwrap();
    let hoarding = follow(&client, PRODUCTION, &large).await;
    for number in 1..5 {
        let version = release(&client, MODEL, &number.to_string()).await;
        serves(&followed, &[&version]).await;
        serves(&hoarding, &[&version]).await;
    }
    // The last swap is told before it is tidied up after.
    registry_tests::until(Duration::from_secs(20), async || (versions(small.path()) == 2).then_some(())).await;
    assert_eq!(versions(large.path()), 5);
    client.rollback(MODEL).await.unwrap();
    registry_tests::until(Duration::from_secs(20), async || (followed.current().model == "3").then_some(())).await;
}
