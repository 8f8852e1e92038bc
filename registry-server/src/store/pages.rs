//! Long scans.

use std::collections::VecDeque;

use super::{Hit, Range, Read, Source, StoreError};

/// All records of a source in their order, read a page at a time.
pub(crate) struct Pages {
    source: Source,
    range: Option<Range>,
    page: VecDeque<Hit>,
}

impl Pages {
    const SIZE: usize = 1000;

    /// All of them.
    pub(crate) fn of(source: Source) -> Self {
        Self::under(source, Vec::new())
    }

    /// Those under a prefix.
    pub(crate) fn under(source: Source, prefix: Vec<u8>) -> Self {
        Self { source, range: Some(Range::first(prefix, Self::SIZE)), page: VecDeque::new() }
    }

    /// The next record.
    pub(crate) async fn next<R: Read + ?Sized>(&mut self, records: &R) -> Result<Option<Hit>, StoreError> {
        if self.page.is_empty()
            && let Some(mut range) = self.range.take()
        {
            self.page = records.scan(self.source, &range).await?.into();
            if let Some(last) = self.page.back() {
                range.after = Some(last.position.clone());
                self.range = Some(range);
            }
        }
        Ok(self.page.pop_front())
    }
}
