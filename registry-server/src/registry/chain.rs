//! The hash chain over the events: nobody can change, drop or insert one unseen.

use bytes::Bytes;
use prost::Message;
use registry_proto::v1 as pb;
use sha2::{Digest, Sha256};

/// What comes before the first event.
pub(crate) const START: [u8; 32] = [0; 32];

/// `SHA-256(previous hash || event without its hash)`. The event is serialized deterministically: prost writes fields by number
/// and leaves defaults out, and maps are sorted.
pub(crate) fn link(previous: &[u8], event: &pb::Event) -> Bytes {
    debug_assert!(event.hash.is_empty(), "the hash does not cover itself");
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(event.encode_to_vec());
    Bytes::copy_from_slice(&hasher.finalize())
}
