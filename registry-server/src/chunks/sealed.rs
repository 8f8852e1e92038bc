//! How a chunk lies in the store: a byte that says how, then its bytes, compressed where that helps.

use bytes::Bytes;
use object_store::PutPayload;
use registry_proto::chunks::{Chunk, LARGEST};

/// The bytes as they are.
const RAW: u8 = 0;
/// The bytes in one zstd frame (RFC 8878).
const ZSTD: u8 = 1;

/// The fastest levels that still find something: the bytes should not wait for the processor.
const LEVEL: i32 = 1;
/// So much of a chunk is tried first.
const SAMPLE: usize = 16 << 10;

/// What is wrong with a stored chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// It has its digest, and was asked for with another size.
    #[error("it has {0} bytes")]
    OtherSize(usize),
    /// It is not what its name says.
    #[error("{0}")]
    Bytes(String),
}

fn damaged(problem: impl std::fmt::Display) -> Damage {
    Damage::Bytes(problem.to_string())
}

/// A chunk as it is stored. Takes the processor for a while.
pub(crate) fn seal(bytes: Bytes) -> PutPayload {
    match compress(&bytes) {
        Some(compressed) => [Bytes::from_static(&[ZSTD]), compressed.into()].into_iter().collect(),
        None => [Bytes::from_static(&[RAW]), bytes].into_iter().collect(),
    }
}

/// The bytes compressed, if that saves an eighth. Weights hardly ever give way, so a sample from the middle is tried first.
fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let helps = |before: usize, after: usize| after < before - before / 8;
    if bytes.len() > 2 * SAMPLE {
        let sample = &bytes[bytes.len() / 2..][..SAMPLE];
        let tried = zstd::bulk::compress(sample, LEVEL).ok()?;
        if !helps(sample.len(), tried.len()) {
            return None;
        }
    }
    zstd::bulk::compress(bytes, LEVEL).ok().filter(|compressed| helps(bytes.len(), compressed.len()))
}

/// The bytes of a stored chunk, which have its digest. Takes the processor for a while.
pub(crate) fn unseal(sealed: &Bytes, chunk: &Chunk) -> Result<Bytes, Damage> {
    let bytes = match sealed.first() {
        Some(&RAW) => sealed.slice(1..),
        // No more is unpacked than a chunk may have, whatever the frame says.
        Some(&ZSTD) => zstd::bulk::decompress(&sealed[1..], LARGEST).map(Bytes::from).map_err(damaged)?,
        Some(form) => return Err(damaged(format!("it has the form {form}, which is unknown"))),
        None => return Err(damaged("it is empty")),
    };
    let found = Chunk::of(&bytes);
    if found.blake3 != chunk.blake3 {
        return Err(damaged(format!("its bytes have the digest {}", found.hex())));
    }
    if found.size == chunk.size { Ok(bytes) } else { Err(Damage::OtherSize(bytes.len())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(bytes: &[u8]) -> Bytes {
        seal(Bytes::copy_from_slice(bytes)).into()
    }

    #[test]
    fn only_what_gives_way_is_compressed() {
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert_eq!(sealed(&noise).len(), noise.len() + 1);
        let text = "rmse 0.25\n".repeat(100_000);
        assert!(sealed(text.as_bytes()).len() < text.len() / 100);
        // Four bits of every byte.
        let weights: Vec<u8> = noise.iter().map(|byte| byte & 15).collect();
        assert!(sealed(&weights).len() < weights.len() * 6 / 10);
    }

    #[test]
    fn no_more_is_unpacked_than_a_chunk_may_have() {
        let bytes = vec![0; 64 << 20];
        let bomb = [vec![ZSTD], zstd::bulk::compress(&bytes, 19).unwrap()].concat();
        assert!(matches!(unseal(&bomb.into(), &Chunk::of(&bytes)), Err(Damage::Bytes(_))));
    }

    #[test]
    fn a_size_that_is_a_lie_is_told_from_damage() {
        let bytes = [7; 5000];
        for size in [1, 4999, 5001] {
            let lie = Chunk { size, ..Chunk::of(&bytes) };
            assert_eq!(unseal(&sealed(&bytes), &lie), Err(Damage::OtherSize(5000)));
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(0_u8..4, 1..5000)) {
            prop_assert_eq!(unseal(&sealed(&bytes), &Chunk::of(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn a_changed_bit_does_no_harm_unseen(bytes in proptest::collection::vec(any::<u8>(), 1..500), at: usize, bit in 0_u32..8) {
            let mut stored = sealed(&bytes).to_vec();
            let at = at % stored.len();
            stored[at] ^= 1_u8 << bit;
            // A few bits of a zstd frame say nothing.
            let found = unseal(&stored.into(), &Chunk::of(&bytes));
            prop_assert!(found.as_ref().map_or(true, |found| *found == bytes), "{:?}", found);
        }

        #[test]
        fn a_cut_is_seen_wherever_it_is(bytes in proptest::collection::vec(0_u8..4, 1..500), at: usize) {
            let stored = sealed(&bytes);
            let at = at % stored.len();
            prop_assert!(unseal(&stored.slice(..at), &Chunk::of(&bytes)).is_err());
        }
    }
}
