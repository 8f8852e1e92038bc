//! What the lane knows of the records: so that it asks the database only for those that it has not seen lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::store::{Kind, Place, Revision};

/// A record with its places, which writing it again needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) revision: Revision,
    pub(super) payload: Bytes,
    pub(super) places: Vec<Place>,
}

/// A record, or `None`: it is not there.
pub(super) type State = Option<Arc<Cell>>;

/// About what an entry takes besides its bytes.
const OVERHEAD: usize = 160;

type Generation = HashMap<Kind, HashMap<Vec<u8>, State>>;

/// Records in two generations: what is used moves to the young one, and when that has grown to half of what is allowed, the old one
/// is forgotten and the young one becomes old.
#[derive(Debug)]
struct Generations {
    young: Generation,
    old: Generation,
    young_bytes: usize,
    half: usize,
}

impl Generations {
    fn get(&mut self, kind: Kind, key: &[u8]) -> Option<State> {
        if let Some(state) = self.young.get(&kind).and_then(|keys| keys.get(key)) {
            return Some(state.clone());
        }
        let (key, state) = self.old.get_mut(&kind)?.remove_entry(key)?;
        self.insert(kind, key, state.clone());
        Some(state)
    }

    fn insert(&mut self, kind: Kind, key: Vec<u8>, state: State) {
        self.young_bytes += OVERHEAD + key.len() + state.as_ref().map_or(0, |cell| cell.payload.len());
        self.young.entry(kind).or_default().insert(key, state);
        if self.young_bytes > self.half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

/// A bounded cache of records.
#[derive(Debug)]
pub(super) struct Cache(Mutex<Generations>);

impl Cache {
    pub(super) fn new(bytes: usize) -> Self {
        let (young, old) = (Generation::new(), Generation::new());
        Self(Mutex::new(Generations { young, old, young_bytes: 0, half: bytes / 2 }))
    }

    /// A panic can come between no two steps that belong together.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a record.
    pub(super) fn get(&self, kind: Kind, key: &[u8]) -> Option<State> {
        self.lock().get(kind, key)
    }

    pub(super) fn insert(&self, records: impl IntoIterator<Item = (Kind, Vec<u8>, State)>) {
        let mut generations = self.lock();
        for (kind, key, state) in records {
            generations.insert(kind, key, state);
        }
    }

    /// Forgets a record that somebody else wrote.
    pub(super) fn forget(&self, kind: Kind, key: &[u8]) {
        let Generations { young, old, .. } = &mut *self.lock();
        for generation in [young, old] {
            generation.get_mut(&kind).map(|keys| keys.remove(key));
        }
    }

    pub(super) fn clear(&self) {
        let mut generations = self.lock();
        generations.young.clear();
        generations.old.clear();
        generations.young_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cell = |byte: u8| {
            let payload = Bytes::from(vec![byte; 1000]);
            Some(Arc::new(Cell { revision: 1, payload, places: Vec::new() }))
        };
        let cache = Cache::new(20_000);
        cache.insert([(Kind(1), b"used".to_vec(), cell(0))]);
        cache.insert([(Kind(1), b"not there".to_vec(), None)]);
        for key in 1..100u8 {
            cache.insert([(Kind(1), vec![key], cell(key))]);
            assert_eq!(cache.get(Kind(1), b"used"), Some(cell(0)));
            assert_eq!(cache.get(Kind(1), &[key]), Some(cell(key)));
        }
        assert_eq!(cache.get(Kind(1), &[1]), None);
        assert_eq!(cache.get(Kind(1), b"not there"), None);
        cache.forget(Kind(1), b"used");
        assert_eq!(cache.get(Kind(1), b"used"), None);
    }
}
