//! The newest groups of the log, as they were written: who follows it closely need not read them from the disk and unpack them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::store::{Revision, logged};
use crate::stored::LogGroup;

/// How many bytes of entries are kept.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

/// Some groups that follow each other up to the newest one.
#[derive(Debug, Default)]
pub(super) struct Recent {
    groups: VecDeque<(Arc<LogGroup>, usize)>,
    bytes: usize,
}

impl Recent {
    /// Keeps a group that goes on where the one before ends, and lets old ones go for it.
    pub(super) fn keep(&mut self, group: LogGroup) {
        let bytes = group.entries.iter().map(logged::size_of).sum();
        self.groups.push_back((Arc::new(group), bytes));
        self.bytes += bytes;
        while self.bytes > KEPT_BYTES {
            let Some((_, bytes)) = self.groups.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    /// The groups that have this revision and those behind it; `None` if the first of them is not kept any more.
    pub(super) fn from(&self, revision: Revision) -> Option<VecDeque<Arc<LogGroup>>> {
        let first = |group: &LogGroup| group.entries.first().map_or(0, |entry| entry.revision);
        let at = self.groups.partition_point(|(group, _)| first(group) <= revision).checked_sub(1)?;
        Some(self.groups.range(at..).map(|(group, _)| Arc::clone(group)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::LogEntry;

    fn group(first: Revision, count: Revision, bytes: usize) -> LogGroup {
        let events = bytes::Bytes::from(vec![0; bytes]);
        let entry = |revision| LogEntry { revision, events: events.clone(), writes: Vec::new() };
        LogGroup { entries: (first..first + count).map(entry).collect() }
    }

    #[test]
    fn the_newest_groups_are_kept_up_to_so_many_bytes() {
        let mut recent = Recent::default();
        assert_eq!(recent.from(1), None);
        for at in 0..12 {
            recent.keep(group(1 + 3 * at, 3, 1024 * 1024));
        }
        // Two of twelve groups have room.
        let from = |revision| {
            recent.from(revision).map(|groups| groups.iter().map(|group| group.entries[0].revision).collect::<Vec<_>>())
        };
        assert_eq!(from(30), None, "it is not kept any more");
        assert_eq!(from(31), Some(vec![31, 34]));
        assert_eq!(from(33), Some(vec![31, 34]));
        assert_eq!(from(36), Some(vec![34]));
        recent.keep(group(37, 1, 9 * 1024 * 1024));
        assert_eq!(recent.from(37), None, "alone it is too much");
        recent.keep(group(38, 1, 1));
        assert_eq!(recent.from(37), None, "no gap");
        assert_eq!(recent.from(38).map(|groups| groups.len()), Some(1));
    }
}
