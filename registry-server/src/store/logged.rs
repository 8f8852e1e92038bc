//! Writes as the log keeps them, for every backend the same: what one store logged, another one can restore.

use crate::stored;
use crate::stored::logged_write::Value;
use bytes::Bytes;

use super::{Kind, Place, Put, Revision, StoreError};

fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

/// A record's write, or with `None` its removal, and the revision of the record that was there, if that is known: 0 if there was none.
pub(super) fn write_of(kind: Kind, key: &[u8], put: Option<&Put>, replaced: Option<Revision>) -> stored::LoggedWrite {
    stored::LoggedWrite {
        kind: kind.0.into(),
        key: Bytes::copy_from_slice(key),
        places: put.map(|put| store_places(&put.places)).unwrap_or_default(),
        value: put.map(|put| Value::Payload(put.payload.clone())),
        replaced,
    }
}

/// Places as they are stored.
pub(super) fn store_places<'a>(places: impl IntoIterator<Item = &'a Place>) -> Vec<stored::Place> {
    let stored = |place: &Place| stored::Place { slot: place.slot.into(), value: Bytes::copy_from_slice(&place.value) };
    places.into_iter().map(stored).collect()
}

/// Places as they were before they were stored.
pub(super) fn read_places(places: &[stored::Place]) -> Result<Vec<Place>, StoreError> {
    let read = |place: &stored::Place| {
        let slot = u8::try_from(place.slot).map_err(|_| damaged(format!("slot {}", place.slot)))?;
        Ok(Place { slot, value: place.value.to_vec() })
    };
    places.iter().map(read).collect()
}

/// The kind of the record that was written.
pub(super) fn kind_of(write: &stored::LoggedWrite) -> Result<Kind, StoreError> {
    u8::try_from(write.kind).map(Kind).map_err(|_| damaged(format!("kind {}", write.kind)))
}

/// The log entry of a revision, with each payload once.
pub(super) fn entry(revision: Revision, events: Bytes, mut writes: Vec<stored::LoggedWrite>) -> stored::LogEntry {
    for write in &mut writes {
        refer_to_events(write, &events);
    }
    stored::LogEntry { revision, events, writes }
}

/// Replaces a payload that stands in the events as well, as the state after a change usually does, by its place there: the log
/// need not hold it twice.
fn refer_to_events(write: &mut stored::LoggedWrite, events: &Bytes) {
    const WORTH_IT: usize = 64;
    /// A search for more than this takes long to prepare.
    const BEGINNING: usize = 32;
    let Some(Value::Payload(payload)) = &write.value else { return };
    if payload.len() < WORTH_IT {
        return;
    }
    let mut places = memchr::memmem::find_iter(events, &payload[..BEGINNING]);
    if let Some(offset) = places.find(|offset| events[*offset..].starts_with(payload)) {
        let range = stored::Range { offset: offset as u64, length: payload.len() as u64 };
        write.value = Some(Value::InEvents(range));
    }
}

/// What a logged write did: the record that it wrote, or `None` if it removed it.
pub(crate) fn read_write(
    write: &stored::LoggedWrite,
    events: &Bytes,
) -> Result<(Kind, Bytes, Option<Put>), StoreError> {
    let kind = kind_of(write)?;
    let payload = match &write.value {
        None => None,
        Some(Value::Payload(payload)) => Some(payload.clone()),
        Some(Value::InEvents(range)) => Some(slice(events, range)?),
    };
    let put = match payload {
        None => None,
        Some(payload) => Some(Put { kind, key: write.key.to_vec(), payload, places: read_places(&write.places)? }),
    };
    Ok((kind, write.key.clone(), put))
}

fn slice(events: &Bytes, range: &stored::Range) -> Result<Bytes, StoreError> {
    let start = usize::try_from(range.offset).map_err(damaged)?;
    let end = start.saturating_add(usize::try_from(range.length).map_err(damaged)?);
    if end > events.len() {
        return Err(damaged("the log refers to bytes behind its events"));
    }
    Ok(events.slice(start..end))
}

/// Fails unless the entries go on behind `newest` without a gap.
pub(super) fn check_follows(newest: Revision, entries: &[stored::LogEntry]) -> Result<(), StoreError> {
    for (expected, entry) in (newest + 1..).zip(entries) {
        if entry.revision != expected {
            return Err(damaged(format!("the log has revision {} where {expected} belongs", entry.revision)));
        }
    }
    Ok(())
}

/// Fails if the first entry that was found behind a revision is not the next one: that was dropped.
pub(super) fn check_there(after: Revision, first: Option<Revision>) -> Result<(), StoreError> {
    match first {
        Some(oldest) if oldest > after + 1 => Err(StoreError::Compacted { oldest }),
        _ => Ok(()),
    }
}

/// How many bytes an entry has with its writes, about.
pub(super) fn size_of(entry: &stored::LogEntry) -> usize {
    let payload = |write: &stored::LoggedWrite| match &write.value {
        Some(Value::Payload(payload)) => payload.len(),
        Some(Value::InEvents(_)) | None => 0,
    };
    entry.events.len() + entry.writes.iter().map(payload).sum::<usize>()
}
