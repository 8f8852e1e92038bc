//! Messages of a watch as they go over the wire: gRPC's prefix, then a `WatchEventsResponse`.
//!
//! The log has the events of a revision as a `WatchedEvents`, which is what a watch sends. So nothing is encoded again: a message is
//! made of parts of the log's bytes, which all watchers share.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::encoding::{DecodeContext, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message as _};
use registry_common::frames::{HEAD_BYTES, before_field, framed};
use registry_proto::v1 as pb;

use crate::store::StoreError;

/// How much of a message is handed to the connection at once: HTTP/2's usual frame. So much waits, a few times, for each reader that
/// takes nothing.
pub(super) const PIECE: usize = 16 * 1024;
/// The number of `WatchEventsResponse.events`.
const EVENTS: u32 = 2;
/// The number of `WatchedEvents.events`.
const EVENT: u32 = 2;
/// The number of `WatchedEvents.hash`, which the log does not have.
const HASH: u32 = 3;

/// A message in its frame, or several that fit into a piece.
#[derive(Debug)]
pub(super) struct Frame {
    parts: Vec<Bytes>,
}

impl Frame {
    /// Of a whole revision, as [`whole`] made it.
    pub(super) fn whole(frame: Bytes) -> Self {
        Self { parts: vec![frame] }
    }

    /// Of a message that is not in the log.
    pub(super) fn of(response: &pb::WatchEventsResponse) -> Self {
        Self::whole(framed(&response.encode_to_vec(), 0))
    }

    /// Of those events of a revision that are chosen, in the order in which they were decoded.
    pub(super) fn some(whole: &Bytes, chosen: impl IntoIterator<Item = bool>) -> Result<Self, StoreError> {
        let damaged = |error: DecodeError| StoreError::Damaged(error.to_string());
        let Split { revision, events, hash } = split(whole).map_err(damaged)?;
        let events: Vec<_> = events.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).collect();
        let length = revision.len() + events.iter().map(|(event, _)| event.len()).sum::<usize>() + hash.len();
        let mut parts = vec![before_field(EVENTS, length), revision];
        parts.extend(events.into_iter().map(|(event, _)| event).chain([hash]));
        Ok(Self { parts })
    }

    /// Puts another one behind it, if both fit into a piece.
    pub(super) fn join(&mut self, mut other: Self) -> bool {
        let fits = self.len() + other.len() <= PIECE;
        if fits {
            self.parts.append(&mut other.parts);
        }
        fits
    }

    fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// What comes behind an offset; `None` at the end. A short message is shared. Of a long one the piece is a copy: the connection
    /// would keep all of it for a part.
    pub(super) fn piece(&self, offset: usize) -> Option<Bytes> {
        if let [only] = self.parts.as_slice()
            && offset == 0
            && only.len() <= PIECE
        {
            return Some(only.clone());
        }
        let mut piece = BytesMut::with_capacity(self.len().saturating_sub(offset).min(PIECE));
        let mut skip = offset;
        for part in &self.parts {
            let rest = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            piece.extend_from_slice(&rest[..rest.len().min(PIECE - piece.len())]);
        }
        (!piece.is_empty()).then(|| piece.freeze())
    }
}

/// The frame of all events of a revision, from the log's bytes, with the hash of the last one.
pub(in crate::registry) fn whole(events: &Bytes, hash: &Bytes) -> Bytes {
    let mut field = Vec::new();
    if !hash.is_empty() {
        prost::encoding::bytes::encode(HASH, hash, &mut field);
    }
    [before_field(EVENTS, events.len() + field.len()).as_ref(), events, &field].concat().into()
}

/// The events of a whole frame, each as it is encoded.
pub(in crate::registry) fn events(whole: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
    split(whole).and_then(Split::into_events)
}

/// The same of the log's bytes.
pub(in crate::registry) fn events_of(logged: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
    split_message(logged.clone()).and_then(Split::into_events)
}

/// The fields of a whole frame.
#[derive(Default)]
struct Split {
    revision: Bytes,
    events: Vec<Bytes>,
    hash: Bytes,
}

impl Split {
    fn into_events(self) -> Result<Vec<Bytes>, DecodeError> {
        let content = |mut field: Bytes| {
            decode_key(&mut field)?;
            decode_varint(&mut field)?;
            Ok(field)
        };
        self.events.into_iter().map(content).collect()
    }
}

fn split(whole: &Bytes) -> Result<Split, DecodeError> {
    let mut rest = whole.slice(HEAD_BYTES.min(whole.len())..);
    decode_key(&mut rest)?;
    decode_varint(&mut rest)?;
    split_message(rest)
}

/// Of a `WatchedEvents`.
fn split_message(mut rest: Bytes) -> Result<Split, DecodeError> {
    let mut split = Split::default();
    while rest.has_remaining() {
        let field = rest.clone();
        let (tag, wire_type) = decode_key(&mut rest)?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
        let field = field.slice(..field.len() - rest.len());
        match tag {
            EVENT => split.events.push(field),
            HASH => split.hash = field,
            _ => split.revision = field,
        }
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use registry_proto::v1::watch_events_response::Response;

    use super::*;

    const HASHED: Bytes = Bytes::from_static(&[7; 32]);

    fn event(name: &str, comment: usize) -> pb::Event {
        pb::Event { resource_name: name.to_owned(), comment: "x".repeat(comment), ..Default::default() }
    }

    /// What a reader makes of it, and in how many pieces it came.
    fn read(frame: &Frame) -> (pb::WatchEventsResponse, usize) {
        let (mut bytes, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = frame.piece(bytes.len()) {
            assert!(piece.len() <= PIECE);
            bytes.extend_from_slice(&piece);
            pieces += 1;
        }
        assert_eq!(bytes[0], 0, "not compressed");
        assert_eq!(u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize, bytes.len() - HEAD_BYTES);
        (pb::WatchEventsResponse::decode(&bytes[HEAD_BYTES..]).unwrap(), pieces)
    }

    fn response(events: &[pb::Event]) -> pb::WatchEventsResponse {
        let events = pb::WatchedEvents { revision: 7, events: events.to_vec(), hash: HASHED };
        pb::WatchEventsResponse { response: Some(Response::Events(events)) }
    }

    #[test]
    fn a_frame_is_the_message_that_would_be_encoded() {
        for comment in [0, 100, PIECE, 3 * PIECE + 1] {
            let events = [event("a", comment), event("b", 1), event("c", comment)];
            let log = pb::WatchedEvents { revision: 7, events: events.to_vec(), ..Default::default() };
            let log = Bytes::from(log.encode_to_vec());
            let bytes = whole(&log, &HASHED);
            let encoded: Vec<_> = events.iter().map(|event| Bytes::from(event.encode_to_vec())).collect();
            assert_eq!(super::events(&bytes).unwrap(), encoded);
            assert_eq!(events_of(&log).unwrap(), encoded);
            let (read_back, pieces) = read(&Frame::whole(bytes.clone()));
            assert_eq!(read_back, response(&events));
            assert_eq!(pieces, bytes.len().div_ceil(PIECE));
            for chosen in [[true, false, true], [false, true, false], [true, true, true]] {
                let kept: Vec<_> =
                    events.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(event, _)| event.clone()).collect();
                assert_eq!(read(&Frame::some(&bytes, chosen).unwrap()).0, response(&kept), "{chosen:?}");
            }
            assert_eq!(read(&Frame::of(&response(&events))).0, response(&events));
        }
    }

    #[test]
    fn messages_are_joined_as_long_as_they_fit_into_a_piece() {
        let of = |comment| Frame::of(&response(&[event("a", comment)]));
        let mut joined = of(100);
        let short = joined.piece(0).unwrap();
        for count in 2.. {
            let fits = joined.len() + short.len() <= PIECE;
            assert_eq!(joined.join(of(100)), fits, "{count}");
            if !fits {
                break;
            }
            assert_eq!(joined.piece(0).unwrap(), short.repeat(count));
        }
        assert_eq!(joined.piece(joined.len()), None);
    }
}
