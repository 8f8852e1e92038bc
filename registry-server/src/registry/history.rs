//! The events of the past, in pages: the audit trail.

use std::sync::Arc;

use prost_types::Timestamp;
use registry_proto::v1 as pb;
use tokio::task::yield_now;

use super::commit::event_reference;
use super::events::Selection;
use super::lists::{Listed, Page, page_token_invalid};
use super::tail::READ;
use super::told::Told;
use super::{Registry, kinds};
use crate::error::Error;
use crate::rules::names::{MODELS, Name};
use crate::store::{Range, Revision, SCAN_BYTES, Source, StoreError};

/// How many revisions a page looks at, at most.
const LOOKED_AT: usize = 5_000;
/// How many revisions are read at once backwards, of which a page may need the last ones only.
const WINDOW: Revision = 64;
/// How much of a revision's hash a position has: enough to tell two histories apart.
const HASH_BYTES: usize = 8;

/// When events happened that somebody wants: from the first time on, up to the second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Period {
    pub(crate) start: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
}

impl Registry {
    /// Events of the past: about as many as the page holds, since a revision is not split.
    pub(crate) async fn list_events(
        &self,
        selection: &Selection,
        period: Period,
        page: &Page,
    ) -> Result<Listed<pb::Event>, Error> {
        let position = match &page.after {
            None => None,
            Some(position) => {
                let (revision, hash) = position.split_first_chunk().ok_or_else(page_token_invalid)?;
                let revision = Revision::from_be_bytes(*revision);
                self.tail.check_position(revision, hash, self.store.newest().await?).await?;
                Some(revision)
            }
        };
        self.parent_must_exist(selection).await?;
        let oldest = self.store.oldest().await?;
        // What was then may be what was dropped.
        let since = async |time| match self.first_since(oldest, time).await? {
            first if first == oldest && oldest > 1 => Err(StoreError::Compacted { oldest }.into()),
            first => Ok::<_, Error>(first),
        };
        // Revisions between these two, without them. A page that is not the first begins where the one before ended.
        let mut after = match (position, period.start) {
            (Some(position), _) if !page.reverse => position,
            (_, Some(start)) => since(start).await? - 1,
            (_, None) => oldest - 1,
        };
        let mut before = match (position, period.end) {
            (Some(position), _) if page.reverse => position,
            (_, Some(end)) => since(end).await?,
            (_, None) => Revision::MAX,
        };
        let model = selection.parent.as_ref().filter(|parent| parent.of().parent.is_some());
        let model = model.map(|parent| parent.within(&MODELS));
        let (mut items, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
        // The page ends after the revision that was looked at last.
        let mut next = None;
        loop {
            let entries = match (&model, page.reverse) {
                (Some(model), reverse) => self.entries_of(model, after, before, reverse).await?,
                (None, false) => self.tail.read(after, READ).await?,
                (None, true) => self.entries_before(after, before).await?,
            };
            let entries: Vec<_> =
                entries.into_iter().filter(|entry| (after + 1..before).contains(&entry.revision)).collect();
            if entries.is_empty() {
                return Ok(Listed::of(items, None));
            }
            // Looking at many may take a while.
            yield_now().await;
            for entry in entries {
                let wanted: Vec<_> = entry.events.iter().filter(|event| selection.takes(event)).collect();
                let size: usize = wanted.iter().map(|event| event.encoded.len()).sum();
                // A revision is not split, and may fill a page of its own.
                if !items.is_empty() && bytes + size > SCAN_BYTES {
                    return Ok(Listed::of(items, next));
                }
                bytes += size;
                (if page.reverse { before = entry.revision } else { after = entry.revision });
                looked_at += 1;
                next = Some(position_after(&entry));
                let first = items.len();
                for event in wanted {
                    items.push(event.decoded()?);
                }
                if page.reverse {
                    items[first..].reverse();
                }
                if items.len() >= page.size || looked_at >= LOOKED_AT {
                    return Ok(Listed::of(items, next));
                }
            }
        }
    }

    /// The first revision at or after a time, from the oldest on; the one after the newest if there is none. Times never decrease along the log. One that
    /// can't be read counts as later.
    pub(super) async fn first_since(&self, oldest: Revision, time: Timestamp) -> Result<Revision, Error> {
        let (mut low, mut high) = (oldest, self.store.newest().await? + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_with_time(middle, high).await? {
                Some((readable, then)) if (then.seconds, then.nanos) < (time.seconds, time.nanos) => low = readable + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The first revision between two, without the second, whose time is known.
    async fn first_with_time(&self, from: Revision, to: Revision) -> Result<Option<(Revision, Timestamp)>, Error> {
        for revision in from..to {
            let events = self.tail.events_of(revision).await?;
            if let Some(time) = events.first().and_then(|event| event.create_time) {
                return Ok(Some((revision, time)));
            }
        }
        Ok(None)
    }

    /// Some revisions between two, the newest first.
    async fn entries_before(&self, after: Revision, before: Revision) -> Result<Vec<Arc<Told>>, Error> {
        let before = before.min(self.store.newest().await? + 1);
        let mut window = WINDOW;
        loop {
            let from = after.max(before.saturating_sub(window + 1));
            let mut entries = self.tail.read(from, WINDOW as usize).await?;
            // The read ends with the bytes that it may have: the newest ones may be missing.
            let complete = entries.last().is_none_or(|entry| entry.revision + 1 >= before);
            if complete || window == 1 {
                entries.retain(|entry| entry.revision < before);
                entries.reverse();
                return Ok(entries);
            }
            window /= 2;
        }
    }

    /// Some revisions between two that have events of a model, found without reading the others.
    async fn entries_of(
        &self,
        model: &Name,
        after: Revision,
        before: Revision,
        reverse: bool,
    ) -> Result<Vec<Arc<Told>>, Error> {
        let from = if reverse { before } else { after };
        let range =
            Range { prefix: model.prefix(), after: Some(event_reference(&model.prefix(), from)), reverse, limit: READ };
        let mut entries = Vec::new();
        for hit in self.store.scan(Source::Kind(kinds::EVENT_REFERENCE), &range).await? {
            let revision = hit.record.revision;
            // Of what was dropped from the log the references are there still.
            if revision <= after {
                break;
            }
            entries.extend(self.tail.entry(revision).await?);
        }
        Ok(entries)
    }
}

/// The position after a revision, in its history.
fn position_after(entry: &Told) -> Vec<u8> {
    let hash = entry.hash();
    [entry.revision.to_be_bytes().as_slice(), hash.get(..HASH_BYTES).unwrap_or_default()].concat()
}
