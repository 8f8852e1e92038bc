//! The case of finding what a record was before: the log tells of each write which one it replaces.

use std::collections::HashMap;

use super::*;

/// Looks at the records that it writes, as registries do. A key that is given several times is written as often.
struct Looks(Vec<Change>);

#[async_trait]
impl Decision for Looks {
    async fn decide(&self, tx: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        for change in &self.0 {
            let (Change::Put(key, ..) | Change::Remove(key)) = change;
            let there = tx.get(SHIP, &[*key]).await?;
            match change {
                Change::Put(key, payload, place) if there.is_none() => {
                    tx.create(changed(*key, payload, *place)).await?;
                }
                Change::Put(key, payload, place) => tx.put(changed(*key, payload, *place)).await?,
                Change::Remove(key) => tx.remove(SHIP, &[*key]).await?,
            }
        }
        Ok(Some(Bytes::from_static(b"looked")))
    }
}

pub(in crate::store) async fn a_write_tells_which_one_it_replaces<B: Backend>() {
    let backend = B::open().await;
    let put = |key: u8, size: usize, port: Option<u8>| Change::Put(key, vec![key; size], port);
    let history = [
        vec![put(1, 1, None), put(2, 40_000, Some(1))],
        vec![put(2, 10, Some(2))],
        vec![Change::Remove(1), put(1, 2, None), put(1, 3, Some(3))],
        vec![Change::Remove(1), Change::Remove(2)],
        vec![Change::Remove(1), put(2, 5, None)],
        vec![put(1, 1, None), put(2, 6, None)],
    ];
    let commit = async |store: &dyn Store, changes: &Vec<Change>| {
        store.commit(Arc::new(Looks(changes.clone()))).await.unwrap();
    };
    for changes in &history[..4] {
        commit(backend.store(), changes).await;
    }
    // What is in no memory any more is asked for.
    let backend = backend.reopen().await;
    // And several that are decided together see each other.
    let store = backend.store();
    futures::join!(commit(store, &history[4]), commit(store, &history[5]));
    // A write that nobody looked for may not know, but says nothing wrong.
    store.commit(Writes::changes(vec![put(1, 4, None), put(3, 1, None)], false)).await.unwrap();

    let mut there: HashMap<Bytes, Revision> = HashMap::new();
    let changes = store.changes(0, 100).await.unwrap();
    for entry in &changes {
        for write in &entry.writes {
            let before = there.get(&write.key).copied().unwrap_or(0);
            let known = write.replaced.unwrap_or(before);
            assert_eq!(known, before, "revision {} of {:?}", entry.revision, write.key);
            assert!(write.replaced.is_some() || entry.revision == 7, "revision {}: {:?}", entry.revision, write.key);
            match write.value {
                Some(_) => there.insert(write.key.clone(), entry.revision),
                None => there.remove(&write.key),
            };
        }
    }
    assert_eq!(changes.len(), 7);
    // A restored store has it from the other one, and goes on.
    let restored = B::open().await;
    restored.store().restore(changes, true).await.unwrap();
    commit(restored.store(), &vec![put(1, 9, None)]).await;
    assert_eq!(restored.store().changes(7, 1).await.unwrap()[0].writes[0].replaced, Some(7));
}
