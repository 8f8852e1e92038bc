//! The cases of the slate.

use super::*;

type Value = Option<&'static [u8]>;

pub(in crate::store) async fn a_slate_is_swapped_by_one_at_a_time<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let swap = async |old: Option<&[u8]>, new: Option<&[u8]>| store.slate_swap(b"c/1", old, new).await.unwrap();
    assert_eq!(store.slate_get(b"c/1").await.unwrap(), None);
    // What is thought to be there, what is to be there, whether it is.
    let steps: [(Value, Value, bool); 10] = [
        (Some(b"a"), Some(b"b"), false),
        (None, None, true),
        (None, Some(b"a"), true),
        (None, Some(b"b"), false),
        // Somebody else was there with the same value.
        (None, Some(b"a"), true),
        (Some(b"b"), None, false),
        (Some(b"a"), Some(b""), true),
        (Some(b"a"), Some(b"c"), false),
        (Some(b""), None, true),
        (Some(b""), None, true),
    ];
    for (old, new, expected) in steps {
        let before = store.slate_get(b"c/1").await.unwrap();
        assert_eq!(swap(old, new).await, expected, "{old:?} {new:?}");
        let after = if expected { new.map(Bytes::copy_from_slice) } else { before };
        assert_eq!(store.slate_get(b"c/1").await.unwrap(), after, "{old:?} {new:?}");
    }
    let racing = (0..16_u8).map(|id| async move { store.slate_swap(b"c/2", None, Some(&[id])).await.unwrap() });
    assert_eq!(join_all(racing).await.into_iter().filter(|won| *won).count(), 1);
}

pub(in crate::store) async fn a_slate_is_no_part_of_the_log_and_is_kept<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let keys: [&[u8]; 5] = [b"b/", b"c/", b"c/\xff", b"c/a", b"d"];
    for key in keys {
        assert!(store.slate_swap(key, None, Some(key)).await.unwrap());
    }
    assert_eq!((store.newest().await.unwrap(), scans(store).await), (0, scans(B::open().await.store()).await));
    let backend = backend.reopen().await;
    let scanned = backend.store().slate_scan(b"c/").await.unwrap();
    let expected: [&[u8]; 3] = [b"c/", b"c/a", b"c/\xff"];
    assert_eq!(scanned, expected.map(|key| (Bytes::from(key), Bytes::from(key))));
    assert_eq!(backend.store().slate_scan(b"").await.unwrap().len(), 5);
}
