//! The chain of hashes through the events, as far as it can be told from their bytes.

use sha2::{Digest as _, Sha256};

use super::Hash;

/// What comes before the first event.
pub const CHAIN_START: Hash = Hash([0; 32]);

/// An event ends with its hash: field 16, of 32 bytes.
const HASH_FIELD: [u8; 3] = [0x82, 0x01, 32];

/// The hash that an event's bytes end with, and what it is a hash of besides the one before: `None` if they end otherwise.
fn split(event: &[u8]) -> Option<(&[u8], Hash)> {
    let (rest, hash) = event.split_last_chunk::<32>()?;
    Some((rest.strip_suffix(&HASH_FIELD)?, Hash(*hash)))
}

/// The hash of an event by which the next one follows it, from the bytes of the event.
pub fn hash_of(event: &[u8]) -> Option<Hash> {
    split(event).map(|(_, hash)| hash)
}

/// Whether an event, by its bytes, is what its hash says, and follows one with the hash `previous`.
pub fn follows(previous: Hash, event: &[u8]) -> bool {
    let linked = |rest| Hash(Sha256::new().chain_update(previous.0).chain_update(rest).finalize().into());
    split(event).is_some_and(|(rest, hash)| linked(rest) == hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some bytes with the hash that follows this one.
    fn event(previous: Hash, bytes: &[u8]) -> Vec<u8> {
        let hash = Sha256::new().chain_update(previous.0).chain_update(bytes).finalize();
        [bytes, &HASH_FIELD, &hash].concat()
    }

    #[test]
    fn an_event_follows_one_other_and_is_not_changed() {
        let first = event(CHAIN_START, b"first");
        let second = event(hash_of(&first).unwrap(), b"second");
        assert!(follows(CHAIN_START, &first) && follows(hash_of(&first).unwrap(), &second));
        assert!(!follows(CHAIN_START, &second), "with a gap");
        let changed = [b"First".as_slice(), &first[5..]].concat();
        assert!(!follows(CHAIN_START, &changed));
        for short in [&b""[..], &first[first.len() - 34..], b"no hash"] {
            assert!(hash_of(short).is_none() && !follows(CHAIN_START, short));
        }
    }
}
