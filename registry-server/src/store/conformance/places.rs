//! The cases of records that an index lists several times, and of places that there are not.

use super::*;

fn ship(key: &[u8], payload: &[u8], flags: &[&[u8]]) -> Put {
    let places = flags.iter().map(|flag| Place { slot: BY_FLAG.slot, value: flag.to_vec() });
    Put { places: places.collect(), ..put(key, payload, None) }
}

/// Where the index of flags lists which ships, from both ends.
async fn flags(reader: &(impl Read + ?Sized), prefix: &[u8]) -> Vec<String> {
    let scan = async |range| reader.scan(Source::Index(BY_FLAG), &range).await.unwrap();
    let (forward, mut reverse) =
        (scan(Range::first(prefix.to_vec(), 100)).await, scan(Range::last(prefix.to_vec(), 100)).await);
    reverse.reverse();
    assert_eq!(forward, reverse);
    // A page at a time there are the same ones.
    let mut paged: Vec<Hit> = Vec::new();
    loop {
        let after = paged.last().map(|hit| hit.position.clone());
        let page = scan(Range { after, ..Range::first(prefix.to_vec(), 2) }).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(forward, paged);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    forward.iter().map(|hit| format!("{}={}", text(&hit.position), text(&hit.record.payload))).collect()
}

pub(in crate::store) async fn a_record_may_have_several_places_in_an_index<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let puts =
        vec![ship(b"a", b"1", &[b"red-", b"blue-", b"red-"]), ship(b"b", b"1", &[b"red-"]), ship(b"c", b"1", &[])];
    store.commit(Writes::puts(puts)).await.unwrap();
    assert_eq!(flags(store, b"").await, ["blue-a=1", "red-a=1", "red-b=1"], "twice the same counts once");
    assert_eq!(flags(store, b"red-").await, ["red-a=1", "red-b=1"]);

    let before = store.snapshot().await.unwrap();
    // One place goes, one stays, one comes; and one ship flies all of another's.
    let puts = vec![ship(b"a", b"2", &[b"red-", b"gold-"]), ship(b"c", b"2", &[b"red-", b"blue-", b"gold-"])];
    store.commit(Writes::puts(puts)).await.unwrap();
    let after = ["blue-c=2", "gold-a=2", "gold-c=2", "red-a=2", "red-b=1", "red-c=2"];
    assert_eq!(flags(store, b"").await, after);
    assert_eq!(flags(&*before, b"").await, ["blue-a=1", "red-a=1", "red-b=1"]);

    drop(before);

    let backend = backend.reopen().await;
    let store = backend.store();
    assert_eq!(flags(store, b"").await, after);
    store.commit(Writes::puts(vec![ship(b"a", b"3", &[]), ship(b"b", b"3", &[b"red-"])])).await.unwrap();
    store.commit(Writes::changes(vec![Change::Remove(b'c')], false)).await.unwrap();
    assert_eq!(flags(store, b"").await, ["red-b=3"]);
    let restored = B::open().await;
    restored.store().restore(store.changes(0, 100).await.unwrap(), true).await.unwrap();
    assert_eq!(flags(restored.store(), b"").await, ["red-b=3"]);
}

/// Writes, and looks at the flags before and after.
struct Looks(Vec<Put>, Mutex<Vec<Vec<String>>>);

#[async_trait]
impl Decision for Looks {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        let mut seen = vec![flags(&*tx, b"").await];
        for put in &self.0 {
            tx.put(put.clone()).await?;
            seen.push(flags(&*tx, b"").await);
        }
        tx.remove(SHIP, b"b").await?;
        seen.push(flags(&*tx, b"").await);
        *self.1.lock().unwrap() = seen;
        Ok(None)
    }
}

pub(in crate::store) async fn a_decision_sees_the_places_that_it_wrote<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let puts = vec![ship(b"a", b"1", &[b"red-", b"blue-"]), ship(b"b", b"1", &[b"red-"])];
    store.commit(Writes::puts(puts)).await.unwrap();
    let looks = Arc::new(Looks(
        vec![ship(b"a", b"2", &[b"red-", b"gold-"]), ship(b"c", b"2", &[b"blue-", b"gold-"])],
        Mutex::default(),
    ));
    store.commit(Arc::clone(&looks) as _).await.unwrap();
    let seen = looks.1.lock().unwrap();
    let expected: [&[&str]; 4] = [
        &["blue-a=1", "red-a=1", "red-b=1"],
        &["gold-a=2", "red-a=2", "red-b=1"],
        &["blue-c=2", "gold-a=2", "gold-c=2", "red-a=2", "red-b=1"],
        &["blue-c=2", "gold-a=2", "gold-c=2", "red-a=2"],
    ];
    assert!(seen.iter().eq(expected), "{seen:?}");
}

pub(in crate::store) async fn what_the_layout_does_not_have_is_refused<B: Backend>() {
    let backend = B::open().await;
    let store = backend.store();
    let place = |slot| Place { slot, value: vec![slot] };
    let twice = vec![place(BY_PORT.slot), Place { value: b"another".to_vec(), ..place(BY_PORT.slot) }];
    for wrong in [
        Put { kind: Kind(99), ..put(b"a", b"", None) },
        Put { places: vec![place(99)], ..put(b"a", b"", None) },
        Put { places: vec![place(BY_PORT.slot)], kind: PORT, ..put(b"a", b"", None) },
        Put { places: twice, ..put(b"a", b"", None) },
    ] {
        let refused = store.commit(Writes::puts(vec![put(b"b", b"", None), wrong])).await;
        assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    }
    assert_eq!((head(store), read(store, b"b").await), (0, None));
    let same = Put { places: vec![place(BY_PORT.slot); 2], ..put(b"a", b"", None) };
    assert_eq!(store.commit(Writes::puts(vec![same])).await.unwrap(), Some(1));
}
