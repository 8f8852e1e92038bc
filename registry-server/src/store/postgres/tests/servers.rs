//! Several servers on one schema.

use futures::future::join_all;

use super::*;
use crate::store::{Place, Range, Read as _, Source};

#[tokio::test]
async fn eight_servers_may_make_the_schema_at_once() {
    let schema = Schema::new().await;
    let stores = join_all((0..8).map(|_| schema.open())).await;
    let revisions = join_all(stores.iter().map(|store| store.commit(Increment::hinted()))).await;
    let mut revisions: Vec<_> = revisions.into_iter().map(|revision| revision.unwrap().unwrap()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=8).collect::<Vec<_>>());
    assert_counted(&stores[0], 8).await;
}

#[tokio::test]
async fn commits_of_two_servers_have_one_order() {
    let schema = Schema::new().await;
    let stores = [schema.open().await, schema.open().await];
    let tasks = (0..64).map(|task| {
        let store = &stores[task % 2];
        async move {
            let mut revisions = Vec::new();
            for round in 0..5 {
                // Without the hint it is read in the transaction.
                let increment = Arc::new(Increment { counter: KEY, hinted: round % 2 == 0 });
                revisions.push(store.commit(increment).await.unwrap().unwrap());
            }
            revisions
        }
    });
    let mut revisions = join_all(tasks).await.concat();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=320).collect::<Vec<_>>());
    for store in &stores {
        assert_counted(store, 320).await;
        store.head().wait_for(|head| *head == 320).await.unwrap();
    }
}

#[tokio::test]
async fn each_server_builds_on_what_the_other_wrote_last() {
    let schema = Schema::new().await;
    let stores = [schema.open().await, schema.open().await];
    for round in 0..60u64 {
        // Now and then the same one twice, so that it trusts its memory again.
        let store = &stores[usize::from(round % 3 == 1)];
        let revision = store.commit(Increment::hinted()).await.unwrap();
        assert_eq!(revision, Some(round + 1));
        assert_eq!(number_in(stores[1].get(COUNTER, KEY).await.unwrap()), round + 1);
    }
    assert_counted(&stores[0], 60).await;
}

/// Writes a record without looking at it first.
struct Blindly(Put);

#[async_trait]
impl Decision for Blindly {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        tx.put(self.0.clone()).await?;
        Ok(Some(Bytes::new()))
    }
}

#[tokio::test]
async fn a_record_that_another_server_made_is_replaced_with_its_places() {
    let schema = Schema::new().await;
    let stores = [schema.open().await, schema.open().await];
    let put = |place: u8| Put {
        places: vec![Place { slot: BY_PORT.slot, value: vec![place] }],
        ..plain(SHIP, b"v", vec![place])
    };
    for place in 0..6 {
        stores[usize::from(place % 2)].commit(Arc::new(Blindly(put(place)))).await.unwrap();
        let listed = stores[0].scan(Source::Index(BY_PORT), &Range::first(Vec::new(), 10)).await.unwrap();
        assert_eq!(listed.iter().map(|hit| hit.position.clone()).collect::<Vec<_>>(), [vec![place, b'v']]);
    }
}

/// Writes a record as one that is new, after it removed the one that was there if told so.
struct Anew {
    put: Put,
    removed: bool,
}

#[async_trait]
impl Decision for Anew {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        if self.removed {
            tx.remove(self.put.kind, &self.put.key).await?;
        }
        tx.create(self.put.clone()).await?;
        Ok(Some(Bytes::new()))
    }
}

#[tokio::test]
async fn a_record_that_was_written_as_new_is_one_like_any_other() {
    let schema = Schema::new().await;
    let stores = [schema.open().await, schema.open().await];
    let put = |place: u8| Put {
        places: vec![Place { slot: BY_PORT.slot, value: vec![place] }],
        ..plain(SHIP, b"v", vec![place])
    };
    let steps: [Arc<dyn Decision>; 5] = [
        Arc::new(Anew { put: put(0), removed: false }),
        Arc::new(Blindly(put(1))),
        Arc::new(Anew { put: put(2), removed: true }),
        Arc::new(Anew { put: put(3), removed: true }),
        Arc::new(Blindly(put(4))),
    ];
    for (place, step) in (0..).zip(steps) {
        stores[usize::from(place % 2)].commit(step).await.unwrap();
        for source in [Source::Index(BY_PORT), Source::Kind(SHIP)] {
            let found = stores[0].scan(source, &Range::first(Vec::new(), 10)).await.unwrap();
            assert_eq!(found.iter().map(|hit| hit.record.payload.to_vec()).collect::<Vec<_>>(), [[place]]);
        }
    }
}

#[tokio::test]
async fn what_the_database_refuses_fails_alone() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    // Longer than what fits in an index, and not compressible.
    let key: Vec<u8> = (0..400).flat_map(|_| Uuid::new_v4().into_bytes()).collect();
    let refused = Arc::new(Blindly(plain(PORT, &key, Vec::new())));
    let commits = (0..20).map(|i| match i {
        7 => store.commit(Arc::clone(&refused) as _),
        _ => store.commit(Increment::hinted()),
    });
    let outcomes = join_all(commits).await;
    assert!(outcomes.iter().enumerate().all(|(i, outcome)| outcome.is_ok() == (i != 7)), "{outcomes:?}");
    assert_counted(&store, 19).await;
}

#[tokio::test]
async fn a_server_hears_of_what_another_one_commits() {
    let schema = Schema::new().await;
    let (here, there) = (schema.open().await, schema.open().await);
    let mut head = there.head();
    for revision in 1..=3 {
        here.commit(Increment::hinted()).await.unwrap();
        head.wait_for(|head| *head == revision).await.unwrap();
        assert_eq!(there.log(revision - 1, 10).await.unwrap().len(), 1);
    }
}
