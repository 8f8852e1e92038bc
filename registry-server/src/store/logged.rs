//! Writes as the log keeps them, for every backend the same: what one store logged, another one can restore.

use bytes::Bytes;

use super::{Attribute, Index, Kind, Put, Revision, StoreError};
use crate::stored;
use crate::stored::logged_write::Value;

fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

/// A record's write, or with `None` its removal.
pub(super) fn write_of(kind: Kind, key: &[u8], put: Option<&Put>) -> stored::LoggedWrite {
    stored::LoggedWrite {
        kind: kind as u32,
        key: Bytes::copy_from_slice(key),
        attributes: put.map(|put| attributes_of(&put.attributes)).unwrap_or_default(),
        value: put.map(|put| Value::Payload(put.payload.clone())),
    }
}

/// Attributes as they are stored.
fn attributes_of(attributes: &[Attribute]) -> Vec<stored::Attribute> {
    let stored = |a: &Attribute| stored::Attribute { index: a.index as u32, value: Bytes::copy_from_slice(&a.value) };
    attributes.iter().map(stored).collect()
}

/// Attributes as they were before they were stored.
fn read_attributes(attributes: &[stored::Attribute]) -> Result<Vec<Attribute>, StoreError> {
    let read = |attribute: &stored::Attribute| {
        let index =
            Index::from_number(attribute.index).ok_or_else(|| damaged(format!("unknown index {}", attribute.index)))?;
        Ok(Attribute { index, value: attribute.value.to_vec() })
    };
    attributes.iter().map(read).collect()
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
    let kind = Kind::from_number(write.kind).ok_or_else(|| damaged("the log has an unknown kind"))?;
    let payload = match &write.value {
        None => None,
        Some(Value::Payload(payload)) => Some(payload.clone()),
        Some(Value::InEvents(range)) => Some(slice(events, range)?),
    };
    let put = match payload {
        None => None,
        Some(payload) => {
            let attributes = read_attributes(&write.attributes)?;
            Some(Put { kind, key: write.key.to_vec(), payload, attributes })
        }
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

/// How many bytes an entry has with its writes, about.
pub(super) fn size_of(entry: &stored::LogEntry) -> usize {
    let payload = |write: &stored::LoggedWrite| match &write.value {
        Some(Value::Payload(payload)) => payload.len(),
        Some(Value::InEvents(_)) | None => 0,
    };
    entry.events.len() + entry.writes.iter().map(payload).sum::<usize>()
}
