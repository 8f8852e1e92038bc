//! Many promotions, many readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use registry_tests::{TestServer, soon};

use super::{MODEL, PRODUCTION, becomes, follow, gate, load, publish, received, release, serves};

#[tokio::test]
async fn of_promotions_in_a_row_only_the_last_is_loaded() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    release(&client, MODEL, "0").await;
    let (pass, begins, go) = gate();
    let follower = client.follow(PRODUCTION).load(move |folder, _| {
        pass();
        load(folder)
    });
    go.send(()).unwrap();
    let followed = soon(follower.cache(cache.path()).start()).await.unwrap();
    let ((), begins) = received(begins).await;
    // While one is being loaded, twenty more come.
    release(&client, MODEL, "1").await;
    let ((), begins) = received(begins).await;
    let mut last = None;
    for number in 2..22 {
        last = Some(release(&client, MODEL, &number.to_string()).await);
    }
    let last = last.unwrap();
    becomes(&followed, |status| status.desired == [last.name.clone()]).await;
    assert_eq!(followed.current().model, "0");
    go.send(()).unwrap();
    let ((), begins) = received(begins).await;
    go.send(()).unwrap();
    serves(&followed, &[&last]).await;
    assert_eq!(followed.current().model, "21");
    assert!(begins.try_recv().is_err(), "something in between was loaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_of_one_version_that_was_in_production_at_that_moment() {
    let (server, cache) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let client = server.client();
    let mut versions = Vec::new();
    for number in 1..=4 {
        versions.push(publish(&client, MODEL, &number.to_string()).await);
    }
    client.promote(&versions[0].name).await.unwrap();
    let followed = Arc::new(follow(&client, PRODUCTION, &cache).await);
    // Promotions are counted; those from the one that is served by now to the one that is on its way are right.
    let (served, promoted, over) = (AtomicI64::new(0), AtomicI64::new(0), AtomicBool::new(false));
    let shared = Arc::new((served, promoted, over));
    let read = || {
        let (followed, shared) = (Arc::clone(&followed), Arc::clone(&shared));
        thread::spawn(move || {
            let (served, promoted, over) = &*shared;
            let mut reads = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let from = served.load(Ordering::SeqCst);
                let serving = followed.current();
                let to = promoted.load(Ordering::SeqCst);
                let number = serving.version().number;
                assert_eq!(serving.model, number.to_string());
                assert!((from..=to).any(|promotion| promotion % 4 + 1 == number), "{number} is none of {from}..={to}");
                reads += 1;
            }
            reads
        })
    };
    let readers: Vec<_> = (0..8).map(|_| read()).collect();
    for promotion in 1..=50_i64 {
        let version = &versions[usize::try_from(promotion % 4).unwrap()];
        shared.1.store(promotion, Ordering::SeqCst);
        client.promote(&version.name).await.unwrap();
        serves(&followed, &[version]).await;
        shared.0.store(promotion, Ordering::SeqCst);
    }
    shared.2.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
}
