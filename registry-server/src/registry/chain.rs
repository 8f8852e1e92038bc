//! The hash chain over the events: nobody can change, drop or insert one unseen.

use bytes::Bytes;
use prost::Message;
use registry_proto::v1 as pb;
use sha2::{Digest, Sha256};

/// What comes before the first event.
pub(crate) const START: [u8; 32] = [0; 32];

/// Links an event to the one before: sets its hash to `SHA-256(previous hash || event without its hash)`, and answers the event's
/// bytes with it. The encoding is deterministic: prost writes fields by number and leaves defaults out, and maps are sorted. The
/// hash is the last field, so that what was hashed need not be encoded again.
pub(crate) fn link(previous: &[u8], event: &mut pb::Event) -> Vec<u8> {
    event.hash = Bytes::new();
    let mut bytes = event.encode_to_vec();
    event.hash = Bytes::copy_from_slice(&Sha256::new().chain_update(previous).chain_update(&bytes).finalize());
    prost::encoding::bytes::encode(HASH_FIELD, &event.hash, &mut bytes);
    bytes
}

/// The number of `Event.hash`.
const HASH_FIELD: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_event_and_cover_what_came_before() {
        let mut event = pb::Event { name: "events/1-0".to_owned(), comment: "why".to_owned(), ..Default::default() };
        let bytes = link(&START, &mut event);
        assert_eq!(bytes, event.encode_to_vec());
        let unhashed = pb::Event { hash: Bytes::new(), ..event.clone() };
        let expected = Sha256::new().chain_update(START).chain_update(unhashed.encode_to_vec()).finalize();
        assert_eq!(event.hash, expected.as_slice());

        let first = event.hash.clone();
        link(&first, &mut event);
        assert_ne!(event.hash, first, "the same event behind another one has another hash");
    }
}
