//! How the log lies in its table.

use futures::future::join_all;

use super::*;
use crate::stored;

/// Logs some bytes.
struct Says(Vec<u8>);

#[async_trait]
impl Decision for Says {
    async fn decide(&self, _: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
        Ok(Some(Bytes::from(self.0.clone())))
    }
}

/// The rows of the log: the first and the last revision of each, and whether it is packed.
async fn rows(schema: &Schema) -> Vec<(i64, i64, bool)> {
    let rows = "SELECT first_revision, last_revision, octet_length(entries) < size FROM log ORDER BY last_revision";
    let rows = client(&schema.url).await.query(rows, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[tokio::test]
async fn what_is_committed_together_shares_rows_up_to_a_page() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    let other = schema.open().await;
    // As another store's, they are one batch.
    let entry = |(revision, size): (Revision, usize)| stored::LogEntry {
        revision,
        events: Bytes::from(vec![b'x'; size]),
        writes: Vec::new(),
    };
    let entries: Vec<_> = (1..).zip([3, 9_000, 9_000, 9_000, 50_000, 5]).map(entry).collect();
    store.restore(entries.clone(), true).await.unwrap();
    assert_eq!(rows(&schema).await, [(1, 3, true), (4, 4, true), (5, 5, true), (6, 6, false)]);
    for after in 0..6 {
        for limit in 1..7 {
            let wanted: Vec<_> = entries.iter().skip(after).take(limit).cloned().collect();
            assert_eq!(other.changes(after as Revision, limit).await.unwrap(), wanted, "{limit} behind {after}");
        }
    }
}

#[tokio::test]
async fn a_row_ends_what_is_read_at_once_and_the_next_read_goes_on_behind_it() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    // Bytes that can't be packed, three rows of which are more than is read at once.
    let noise = |size: usize| (0..size / 16).flat_map(|_| Uuid::new_v4().into_bytes()).collect::<Vec<_>>();
    let said = [10, 900_000, 900_000, 900_000, 10].map(noise);
    join_all(said.iter().map(|said| store.commit(Arc::new(Says(said.clone()))))).await;
    let (mut read, mut reads) = (Vec::new(), 0);
    while read.len() < said.len() {
        read.extend(store.log(read.len() as Revision, 10).await.unwrap());
        reads += 1;
    }
    let mut events: Vec<_> = read.into_iter().map(|entry| entry.events.to_vec()).collect();
    let mut expected = said.to_vec();
    events.sort_unstable();
    expected.sort_unstable();
    assert_eq!((events, reads), (expected, 2));
}

#[tokio::test]
async fn a_damaged_row_is_refused_with_its_revisions() {
    let schema = Schema::new().await;
    let store = schema.open().await;
    for damage in [
        "SET entries = set_byte(entries, 60, 255 - get_byte(entries, 60))",
        "SET entries = substring(entries for 40)",
        "SET size = size + 1",
        "SET first_revision = first_revision - 1",
    ] {
        let said = [b"what is said repeats itself; ".repeat(20), Uuid::new_v4().as_bytes().repeat(4)].concat();
        let revision = store.commit(Arc::new(Says(said))).await.unwrap().unwrap();
        let change = format!("UPDATE log {damage} WHERE last_revision = {revision}");
        client(&schema.url).await.batch_execute(&change).await.unwrap();
        let refused = store.log(revision - 1, 1).await.unwrap_err();
        let words = format!("to {revision} of the log");
        assert!(matches!(&refused, StoreError::Damaged(said) if said.contains(&words)), "{damage}: {refused}");
    }
}
