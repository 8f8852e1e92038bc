//! The cases of a log whose beginning is dropped.

use super::*;
use crate::store::conformance::restore::with_a_past;

/// Drops what it can. Whole pieces go, and some begin only with the next commit.
async fn drop_some(store: &dyn Store) -> Revision {
    for step in 0..3u8 {
        let oldest = store.compact(head(store), head(store)).await.unwrap();
        if oldest > 1 {
            return oldest;
        }
        write(store, b"meanwhile", &[step]).await;
    }
    panic!("nothing was dropped");
}

pub(in crate::store) async fn the_beginning_of_the_log_can_be_dropped<B: Backend>() {
    let backend = with_a_past::<B>().await;
    let store = backend.store();
    assert_eq!(
        (store.oldest().await.unwrap(), store.compact(0, 0).await.unwrap(), store.compact(1, 0).await.unwrap()),
        (1, 1, 1)
    );
    write(store, b"another", b"").await;
    let all = store.changes(0, usize::MAX).await.unwrap();
    let oldest = drop_some(store).await;
    assert_eq!(store.oldest().await.unwrap(), oldest);
    let records = scans(store).await;

    let backend = backend.reopen().await;
    let store = backend.store();
    assert_eq!((store.oldest().await.unwrap(), scans(store).await), (oldest, records));
    for after in [0, oldest - 2] {
        for refused in [store.log(after, 5).await.map(drop), store.changes(after, 5).await.map(drop)] {
            assert!(matches!(refused, Err(StoreError::Compacted { oldest: there }) if there == oldest), "{refused:?}");
        }
    }
    let kept = store.changes(oldest - 1, usize::MAX).await.unwrap();
    let both = &all[all.len().min(oldest as usize - 1)..];
    assert_eq!(kept[..both.len()], *both);
    assert_eq!(store.log(head(store), 5).await.unwrap(), []);
    assert_eq!(write(store, b"next", b"").await, kept.last().unwrap().revision + 1);
}

pub(in crate::store) async fn the_newest_revision_is_never_dropped<B: Backend>() {
    let backend = B::open().await;
    assert_eq!(backend.store().compact(Revision::MAX, Revision::MAX).await.unwrap(), 1);
    let backend = with_a_past::<B>().await;
    for _ in 0..3 {
        let store = backend.store();
        let oldest = store.compact(Revision::MAX, Revision::MAX).await.unwrap();
        let newest = head(store);
        assert!(oldest <= newest);
        assert_eq!(store.log(newest - 1, 5).await.unwrap().len(), 1);
        assert_eq!(write(store, b"next", b"").await, newest + 1);
    }
    assert!(backend.store().oldest().await.unwrap() > 31);
    let backend = backend.reopen().await;
    assert_eq!(head(backend.store()), 34);
}
