//! The index that answers what the store's own orders can't: any condition, any order. It is derived from the store, in memory, and kept
//! by the log: each server has its own, whichever store it has.
//!
//! *Invariant:* an index at a revision knows every record as that revision left it, or as a later one did. What it finds is looked at
//! again in the record before it is answered.

mod answers;
mod column;
mod find;
mod follow;
mod holders;
mod order;
mod table;
#[cfg(test)]
mod tests;
mod texts;
mod words;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

pub(crate) use self::answers::{Counts, Place};
pub(crate) use self::order::{Order, Placed};
use self::table::Table;
pub(crate) use self::words::Spoken;
use crate::rules::expression::{Condition, Subject};
use crate::store::{Kind, Record, Revision};

/// How long a list waits for the index to know what the store does.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many records are looked at to tell which part of them a condition takes.
const SAMPLE: u64 = 128;

/// What is kept of a kind of resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Indexed {
    pub(crate) kind: Kind,
    pub(crate) of: Subject,
    /// How many parts of a key are closed by a zero byte.
    pub(crate) depth: usize,
    /// The message in a record, as it is encoded.
    pub(crate) message: fn(&Record) -> &[u8],
    /// Whether that is not deleted.
    pub(crate) live: fn(&[u8]) -> bool,
    /// The texts that it is found by.
    pub(crate) spoken: fn(&[u8]) -> Spoken<'_>,
}

/// The index of a server.
#[derive(Clone)]
pub(crate) struct Index {
    kinds: &'static [Indexed],
    tables: Arc<RwLock<Vec<Table>>>,
    state: watch::Sender<State>,
    /// The newest revision that somebody waits for.
    wanted: watch::Sender<Revision>,
    /// How much memory it may take, in bytes.
    memory: u64,
    /// Which of those who read it may do so: that takes some milliseconds of a processor.
    turns: Arc<Semaphore>,
}

/// How far an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It reads the store.
    Building,
    /// It knows everything up to a revision.
    At(Revision),
    /// It would take more memory than it may.
    TooLarge,
}

/// What an index is, for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) state: State,
    /// How many records it knows.
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) most_bytes: u64,
}

/// The records that are wanted, as an index sees it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    /// What their keys begin with.
    pub(crate) prefix: Vec<u8>,
    /// Deleted ones too, and those in what is deleted.
    pub(crate) deleted: bool,
    pub(crate) condition: Condition,
}

impl Wanted {
    /// All of a kind that are not deleted, nor in what is, by what their keys begin with.
    pub(crate) fn all_of(kind: Kind, prefix: Vec<u8>) -> Self {
        Self { kind, prefix, deleted: false, condition: Condition::All(Vec::new()) }
    }
}

/// The records that may be wanted.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    kind: Kind,
    records: RoaringBitmap,
    /// How many there are where they were looked for.
    pub(crate) of: u64,
    /// All of them are wanted, if nothing has changed since.
    pub(crate) exact: bool,
    /// Whether the condition narrowed them down.
    pub(crate) narrowed: bool,
    /// How they were found, for people.
    pub(crate) plan: String,
}

impl Candidates {
    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.records.len()
    }
}

impl Index {
    /// An index of these kinds that may take so much memory, in bytes. It is empty until it is [kept](Self::keep).
    pub(crate) fn new(kinds: &'static [Indexed], memory: u64, turns: Arc<Semaphore>) -> Self {
        let (state, _) = watch::channel(State::Building);
        let (wanted, _) = watch::channel(0);
        Self { kinds, tables: Arc::new(RwLock::new(tables(kinds))), state, wanted, memory, turns }
    }

    /// Waits until the index knows a revision. Answers how far it is then, which is less if that takes long.
    pub(crate) async fn reach(&self, revision: Revision) -> State {
        let mut state = self.state.subscribe();
        let there = *state.borrow();
        match there {
            State::At(at) if at < revision => {
                self.wanted.send_if_modified(|wanted| {
                    let more = *wanted < revision;
                    *wanted = revision.max(*wanted);
                    more
                });
                let reached = state.wait_for(|state| !matches!(state, State::At(at) if *at < revision));
                // What takes too long is as if there was none.
                timeout(PATIENCE, reached).await.ok().and_then(Result::ok).map_or(State::Building, |state| *state)
            }
            there => there,
        }
    }

    /// How far it is.
    pub(crate) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Whether it answers.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(*self.state.borrow(), State::At(_))
    }

    /// What it is now.
    pub(crate) async fn facts(&self) -> Facts {
        let state = *self.state.borrow();
        // To count the memory of a large one takes milliseconds.
        let counted = self.read(|_, tables| {
            let records = tables.iter().map(|table| table.len() as u64).sum();
            (records, tables.iter().map(|table| table.bytes() as u64).sum())
        });
        let (records, bytes) = counted.await.unwrap_or_default();
        Facts { state, records, bytes, most_bytes: self.memory }
    }

    /// Those that may be wanted.
    pub(crate) async fn find(&self, wanted: Wanted) -> Option<Candidates> {
        self.read(move |kinds, tables| {
            let (table, scope) = scope(kinds, tables, &wanted)?;
            let of = scope.len();
            let found = table.find(&wanted.condition, scope);
            let (narrowed, plan) = (found.tests > 0, find::describe(&found));
            Some(Candidates { kind: wanted.kind, records: found.records, of, exact: found.exact, narrowed, plan })
        })
        .await
        .flatten()
    }

    /// Which part of them may be wanted, by a sample: for little, and as the index is now.
    pub(crate) async fn share(&self, wanted: Wanted) -> Option<f64> {
        self.read(move |kinds, tables| {
            let (table, scope) = scope(kinds, tables, &wanted)?;
            let step = scope.len().div_ceil(SAMPLE).max(1);
            let sample = (0..scope.len()).step_by(usize::try_from(step).ok()?);
            let (mut taken, mut of) = (0_u32, 0_u32);
            for serial in sample.filter_map(|at| scope.select(u32::try_from(at).ok()?)) {
                of += 1;
                taken += u32::from(table.may_meet(&wanted.condition, serial));
            }
            Some(f64::from(taken) / f64::from(of.max(1)))
        })
        .await
        .flatten()
    }

    /// The first ones behind a position, with their keys. `None`: the index does not know the values that order them.
    pub(crate) async fn first(
        &self,
        candidates: &Arc<Candidates>,
        order: &Order,
        after: Option<&[u8]>,
        count: usize,
    ) -> Option<Vec<(Placed, Vec<u8>)>> {
        let (candidates, order, after) = (Arc::clone(candidates), order.clone(), after.map(<[u8]>::to_vec));
        self.read(move |kinds, tables| {
            let at = kinds.iter().position(|indexed| indexed.kind == candidates.kind)?;
            let table = tables.get(at)?;
            let first = table.first(&candidates.records, &order, after.as_deref(), count)?;
            Some(first.into_iter().map(|placed| (placed.clone(), table.key(placed.serial).to_vec())).collect())
        })
        .await
        .flatten()
    }

    /// Reads it on a thread for what takes a while.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&'static [Indexed], &[Table]) -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let (kinds, tables) = (self.kinds, Arc::clone(&self.tables));
        let task = move || {
            // It goes on when its caller has gone.
            let _turn = turn;
            read(kinds, &tables.read().unwrap_or_else(PoisonError::into_inner))
        };
        tokio::task::spawn_blocking(task).await.ok()
    }
}

/// The records that are chosen from.
fn scope<'t>(kinds: &[Indexed], tables: &'t [Table], wanted: &Wanted) -> Option<(&'t Table, RoaringBitmap)> {
    let at = kinds.iter().position(|indexed| indexed.kind == wanted.kind)?;
    let table = tables.get(at)?;
    let mut scope = table.scope(&wanted.prefix, wanted.deleted);
    if !wanted.deleted {
        // What lies in something that is deleted is as if it was as well.
        let above = kinds.iter().zip(tables).filter(|(indexed, _)| indexed.depth < kinds[at].depth);
        for key in above.flat_map(|(_, above)| above.deleted(&wanted.prefix)) {
            scope -= table.scope(&[key, &[0]].concat(), true);
        }
    }
    Some((table, scope))
}

fn tables(kinds: &[Indexed]) -> Vec<Table> {
    kinds.iter().map(|indexed| Table::new(indexed.of, indexed.depth)).collect()
}
