//! What may be removed for good, and when nobody can need it any more.
//!
//! A chunk is garbage when no artifact lists it. Whoever makes an artifact of chunks that are stored already (a *publisher*) races
//! with whoever removes garbage (the *sweeper*). Neither looks at a clock for that, but both at the log:
//!
//! - The sweeper finds out what is listed at a revision and which other chunks are stored, and commits that it is about to remove
//!   these: a sweep, with a generation and its chunks. It reads the log up to that commit, spares what came to be listed
//!   meanwhile, removes the rest, and commits the sweep's end.
//! - The publisher notes a generation ([`Sweep::settled`]), then looks whether its chunks are stored, then commits. The commit is
//!   refused if there were sweeps since; if one of them has a chunk of the publisher's, it waits for that sweep's end and looks
//!   again, otherwise it goes on from that generation.
//!
//! So an artifact is committed before the sweep, and spared; or after it, and then its publisher has looked behind the sweep's end
//! at everything that the sweep could remove.

use std::time::{Duration, SystemTime};

/// The newest sweep there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// Counted from 1; 0 if there was none.
    pub(crate) generation: u64,
    /// It may still remove chunks.
    pub(crate) under_way: bool,
}

impl Sweep {
    /// The newest sweep whose effect shows in whatever is looked at from now on.
    pub(crate) fn settled(self) -> u64 {
        if self.under_way { self.generation.saturating_sub(1) } else { self.generation }
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
mod tests;
