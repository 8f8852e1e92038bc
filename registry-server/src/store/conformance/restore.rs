//! The cases of restores: what one store changed becomes the state of another one.

use std::sync::Arc;

use super::*;

/// A store with records that were written, replaced, moved in an index and removed.
pub(super) async fn with_a_past<B: Backend>() -> B {
    let backend = B::open().await;
    let store = backend.store();
    for revision in 0..30u8 {
        let place = (revision % 3 > 0).then_some([revision % 5]);
        let mut put = put(&[revision % 7], &[revision; 100], place.as_ref().map(|place| place.as_slice()));
        put.places.extend((0..revision % 4).map(|flag| Place { slot: BY_FLAG.slot, value: vec![flag] }));
        store.commit(Arc::new(LogsItsPayload(put))).await.unwrap();
    }
    store.commit(Writes::changes(vec![Change::Remove(3), Change::Put(4, vec![1], Some(9))], false)).await.unwrap();
    backend
}

pub(in crate::store) async fn what_one_store_changed_another_restores<B: Backend>() {
    let (from, to) = (with_a_past::<B>().await, B::open().await);
    let mut newest = 0;
    for limit in [1, 7, usize::MAX] {
        let changes = from.store().changes(newest, limit).await.unwrap();
        assert_eq!(changes.len(), limit.min(31 - newest as usize));
        newest += changes.len() as Revision;
        assert_eq!(to.store().restore(changes, true).await.unwrap(), newest);
    }
    assert!(from.store().changes(newest, 1).await.unwrap().is_empty());
    assert_eq!(to.store().restore(Vec::new(), true).await.unwrap(), newest);
    assert_eq!((newest, head(to.store())), (31, 31));
    let to = to.reopen().await;
    let expected = contents(from.store()).await;
    assert_eq!(contents(to.store()).await, expected);
    let found = |source| &expected.0[LAYOUT.sources().position(|other| other == source).unwrap()];
    assert_eq!(found(Source::Kind(SHIP)).len(), 6);
    assert!(!found(Source::Index(BY_PORT)).is_empty() && !found(Source::Index(BY_FLAG)).is_empty());
    // What was restored can be restored from, and its places are known when its records are replaced.
    assert_eq!(to.store().changes(0, 100).await.unwrap(), from.store().changes(0, 100).await.unwrap());
    for store in [from.store(), to.store()] {
        store.commit(Writes::changes((0..7).map(Change::Remove).collect(), false)).await.unwrap();
        for index in [BY_PORT, BY_FLAG] {
            assert!(keys(store, Source::Index(index), Range::first(Vec::new(), 10)).await.is_empty());
        }
    }
}

pub(in crate::store) async fn a_restore_with_a_gap_changes_nothing<B: Backend>() {
    let (from, to) = (with_a_past::<B>().await, B::open().await);
    let changes = |range: std::ops::Range<usize>| async {
        let changes = from.store().changes(0, 100).await.unwrap();
        changes[range].to_vec()
    };
    to.store().restore(changes(0..5).await, true).await.unwrap();
    let before = contents(to.store()).await;
    let mut with_a_gap = changes(5..10).await;
    with_a_gap.remove(2);
    let mut unreadable = changes(5..8).await;
    unreadable[2].writes[0].kind = 99;
    let mut misplaced = changes(5..8).await;
    misplaced[2].writes[0].places[0].slot = 99;
    for wrong in [with_a_gap, changes(4..6).await, changes(6..7).await, unreadable, misplaced] {
        let refused = to.store().restore(wrong, true).await;
        assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
        assert_eq!(contents(to.store()).await, before);
        assert_eq!(head(to.store()), 5);
    }
    assert_eq!(to.store().restore(changes(5..31).await, true).await.unwrap(), 31);
    assert_eq!(contents(to.store()).await, contents(from.store()).await);
}

pub(in crate::store) async fn a_store_is_whole_again_with_the_last_step_of_a_restore<B: Backend>() {
    let (from, to) = (with_a_past::<B>().await, B::open().await);
    let changes = from.store().changes(0, 100).await.unwrap();
    assert!(to.store().whole().await.unwrap());
    to.store().restore(changes[..9].to_vec(), false).await.unwrap();
    let to = to.reopen().await;
    assert!(!to.store().whole().await.unwrap());
    to.store().restore(changes[9..].to_vec(), false).await.unwrap();
    to.store().restore(Vec::new(), true).await.unwrap();
    assert!(to.store().whole().await.unwrap());
    assert!(to.reopen().await.store().whole().await.unwrap());
}

pub(in crate::store) async fn a_store_keeps_its_identity_and_is_restored_without_another_s<B: Backend>() {
    let (from, to) = (with_a_past::<B>().await, B::open().await);
    let identity = to.store().identity().await.unwrap();
    to.store().restore(from.store().changes(0, 100).await.unwrap(), true).await.unwrap();
    assert_eq!(to.store().identity().await.unwrap(), identity);
    let to = to.reopen().await;
    assert_eq!(to.store().identity().await.unwrap(), identity);
    assert_ne!(from.store().identity().await.unwrap(), identity);
}

pub(in crate::store) async fn changes_end_when_they_have_enough<B: Backend>() {
    let backend = B::open().await;
    for key in 0..4u8 {
        write(backend.store(), &[key], &vec![key; SCAN_BYTES / 2]).await;
    }
    assert_eq!(backend.store().changes(0, 100).await.unwrap().len(), 2);
    assert_eq!(backend.store().changes(1, 1).await.unwrap().len(), 1);
    assert_eq!(backend.store().changes(3, 100).await.unwrap().len(), 1);
}
