//! What may be removed for good, and when nobody can need it any more.
//!
//! A chunk is garbage when no artifact lists it. Whoever makes an artifact of chunks that are stored already (a *publisher*) races
//! with whoever removes garbage (the *sweeper*). Neither looks at a clock for that, but both at the log:
//!
//! - The sweeper finds out what is listed at a revision and which other chunks are stored, and commits that it is about to remove
//!   these: a sweep, with a generation and its chunks. It reads the log up to that commit, spares what came to be listed
//!   meanwhile, removes the rest, and commits the sweep's end.
//! - The publisher notes a generation ([`Sweep::settled`]), then looks whether its chunks are stored, then commits. The commit is
//!   refused if there were sweeps since; if one of them has a chunk of the publisher's, it waits until that sweep is over and looks
//!   again, otherwise it goes on from that generation.
//!
//! So an artifact is committed before the sweep, and spared; or after it, and then its publisher has looked behind the sweep's end
//! at everything that the sweep could remove.
//!
//! That holds if nothing is removed behind a sweep's end. But a deletion may be carried out at any time after it was asked for: a
//! machine is suspended between the two, a request waits in a queue. No lock helps, since no store looks at it when it deletes. So a
//! sweep is *over* in one of two ways, and either is a commit:
//!
//! - It *ended*: every deletion that its sweeper asked for was answered, so none is on its way.
//! - It was *given up*: by its sweeper, which got no answer, or by others, who have waited long enough. Its deletions may come at any
//!   time, so the names they go to are never used again: its chunks get new ones ([`Names`]).
//!
//! The name of a stored chunk is its digest and a generation: that of the newest sweep that was given up and had the chunk, or 0. A
//! sweep removes names that it found before it began, so their generations are smaller than its own. When it was given up, whoever
//! stores one of its chunks uses a name with its generation or a greater one, and whoever looks for one looks there: no deletion of
//! that sweep, or of one before, ever goes to such a name. Later sweeps are bound by the rule above.
//!
//! An artifact that was committed before a sweep, and spared by it, keeps its chunks where they are, even if that sweep is given up:
//! so a reader tries all names that a chunk ever had, and as long as a chunk is listed all that is stored of it stays.
//!
//! `model.rs` tries all interleavings of sweepers, publishers, deletions that are late or lost, crashes and pauses.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, SystemTime};

/// The newest sweep there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sweep {
    /// Counted from 1; 0 if there was none.
    pub(crate) generation: u64,
    /// It may still remove chunks, by the names they have now.
    pub(crate) under_way: bool,
}

impl Sweep {
    /// The newest sweep whose effect shows in whatever is looked at from now on.
    pub(crate) fn settled(self) -> u64 {
        if self.under_way { self.generation.saturating_sub(1) } else { self.generation }
    }
}

/// The generations in the names of chunks: those of the sweeps that had them and were given up.
#[derive(Debug, Clone)]
pub(crate) struct Names<C> {
    given_up: BTreeSet<u64>,
    /// Ascending.
    of: HashMap<C, Vec<u64>>,
}

impl<C> Default for Names<C> {
    fn default() -> Self {
        Self { given_up: BTreeSet::new(), of: HashMap::new() }
    }
}

impl<C: Hash + Eq> Names<C> {
    /// Learns of a sweep that was given up, and its chunks; in the order of their generations.
    pub(crate) fn give_up(&mut self, generation: u64, chunks: impl IntoIterator<Item = C>) {
        self.given_up.insert(generation);
        for chunk in chunks {
            self.of.entry(chunk).or_default().push(generation);
        }
    }

    /// The sweeps that were given up.
    pub(crate) fn given_up(&self) -> &BTreeSet<u64> {
        &self.given_up
    }

    /// Where a chunk is stored, and looked for before an artifact is made of it.
    pub(crate) fn newest(&self, chunk: &C) -> u64 {
        self.of.get(chunk).and_then(|generations| generations.last()).copied().unwrap_or(0)
    }

    /// Wherever a chunk may be, the newest first.
    pub(crate) fn all<'a>(&'a self, chunk: &C) -> impl Iterator<Item = u64> + use<'a, C> {
        self.of.get(chunk).into_iter().flatten().rev().copied().chain([0])
    }
}

/// What is to become of a stored chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// An artifact lists it.
    Listed,
    /// It was written so recently that an upload may be about to list it.
    Recent,
    /// It may go.
    Garbage,
}

/// What is to become of a chunk that was written at some time.
pub(crate) fn fate(listed: bool, written: SystemTime, now: SystemTime, grace: Duration) -> Fate {
    match now.duration_since(written) {
        _ if listed => Fate::Listed,
        Ok(age) if age >= grace => Fate::Garbage,
        // Also what seems to come from the future: the store's clock is another one.
        _ => Fate::Recent,
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
