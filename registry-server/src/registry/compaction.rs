//! Dropping the beginning of the log, once it is old enough and the archive has it.

use std::time::{Duration, SystemTime};

use super::Registry;
use super::forgetting::forgotten_up_to;
use crate::error::Error;
use crate::store::Revision;

/// Into how many files, at least, goes what is logged in the time that the log is kept. A file goes when all in it is old: a revision may
/// stay longer by that part of the time.
const PIECES: u32 = 8;

/// What has to be in the log still.
struct Needed {
    /// The first revision that is not old enough.
    young: Revision,
    /// The newest one in the archive, with which that goes on.
    archived: Revision,
    /// The newest one whose request id is forgotten: a repeated request is answered with what is in the log.
    forgotten: Revision,
}

impl Needed {
    /// The first revision that has to stay.
    fn first(&self) -> Revision {
        self.young.min(self.archived).min(self.forgotten + 1)
    }
}

impl Registry {
    /// Drops what is in the log for longer than `keep`, if the archive has it, which goes on behind the revision `archived`. With `dry_run`
    /// it only counts. Answers how many revisions were dropped.
    pub(crate) async fn drop_old_log(
        &self,
        now: SystemTime,
        keep: Duration,
        archived: Revision,
        dry_run: bool,
    ) -> Result<i64, Error> {
        let oldest = self.store.oldest().await?;
        // A time before all clocks is earlier than any revision.
        let Some(since) = now.checked_sub(keep) else { return Ok(0) };
        let young = self.first_since(oldest, since.into()).await?;
        let recent = self.first_since(oldest, (now - keep / PIECES).into()).await?;
        let needed = Needed { young, archived, forgotten: forgotten_up_to(&*self.store).await? };
        let first = needed.first();
        if dry_run {
            return Ok(first.saturating_sub(oldest).cast_signed());
        }
        let first = self.store.compact(first, recent).await?;
        self.tail.drop_before(first);
        let dropped = first.saturating_sub(oldest);
        if dropped > 0 {
            tracing::info!(oldest = first, dropped, "dropped the beginning of the log");
        }
        Ok(dropped.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_young_or_not_archived_or_may_be_repeated_stays() {
        for (young, archived, forgotten, first) in
            [(10, 20, 15, 10), (10, 9, 15, 9), (10, 20, 7, 8), (10, 10, 9, 10), (10, 0, 20, 0), (1, 20, 20, 1)]
        {
            let needed = Needed { young, archived, forgotten };
            assert_eq!(needed.first(), first, "{young} {archived} {forgotten}");
        }
    }
}
