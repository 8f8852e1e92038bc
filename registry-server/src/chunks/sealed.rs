//! How a chunk lies in the store: a byte that says how, then its bytes, compressed where that helps, and encrypted if the registry
//! has a master key.

use std::cell::RefCell;

use bytes::Bytes;
use object_store::PutPayload;
use registry_common::chunks::{Chunk, LARGEST};
use zstd::bulk::Compressor;

use crate::encryption::{CipherFailed, Key};

/// The bytes as they are.
const RAW: u8 = 0;
/// The bytes in one zstd frame (RFC 8878).
const ZSTD: u8 = 1;
/// Added to one of the above: what that says is encrypted with AES-256-GCM, and stands between its nonce (12 bytes) and its tag (16
/// bytes). Authenticated with it are the form, the chunk's BLAKE3, and the namespace.
const ENCRYPTED: u8 = 2;

/// The fastest levels that still find something: the bytes should not wait for the processor.
const LEVEL: i32 = 1;
/// So much of a chunk is tried first.
const SAMPLE: usize = 16 << 10;

/// What chunks are encrypted with.
#[derive(Debug)]
pub(super) struct Lock {
    /// Whose chunks.
    pub(super) namespace: String,
    /// The namespace's data key.
    pub(super) key: Key,
}

impl Lock {
    fn about(&self, form: u8, chunk: &Chunk) -> Vec<u8> {
        [&[form], chunk.blake3.as_slice(), self.namespace.as_bytes()].concat()
    }
}

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
pub(super) fn seal(bytes: Bytes, chunk: &Chunk, lock: Option<&Lock>) -> Result<PutPayload, CipherFailed> {
    let (form, bytes) = match compress(&bytes) {
        Some(compressed) => (ZSTD, compressed.into()),
        None => (RAW, bytes),
    };
    let Some(lock) = lock else {
        return Ok([Bytes::copy_from_slice(&[form]), bytes].into_iter().collect());
    };
    let form = form | ENCRYPTED;
    let mut sealed = vec![form];
    lock.key.encrypt(&bytes, &lock.about(form, chunk), &mut sealed)?;
    Ok(sealed.into())
}

/// Whether a key is needed to read a stored chunk.
pub(super) fn is_encrypted(sealed: &[u8]) -> bool {
    sealed.first().is_some_and(|form| form & ENCRYPTED != 0)
}

/// The bytes compressed, if that saves an eighth. Weights hardly ever give way, so a sample from the middle is tried first.
fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let helps = |before: usize, after: usize| after < before - before / 8;
    if bytes.len() > 2 * SAMPLE {
        let sample = &bytes[bytes.len() / 2..][..SAMPLE];
        let tried = pack(sample)?;
        if !helps(sample.len(), tried.len()) {
            return None;
        }
    }
    pack(bytes).filter(|compressed| helps(bytes.len(), compressed.len()))
}

thread_local! {
    /// For few bytes it takes longer to make one than to use it. Of many, one for each thread would take too much memory.
    static PACKER: Option<RefCell<Compressor<'static>>> = Compressor::new(LEVEL).ok().map(RefCell::new);
}

fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() > SAMPLE {
        return zstd::bulk::compress(bytes, LEVEL).ok();
    }
    PACKER.with(|packer| packer.as_ref()?.try_borrow_mut().ok()?.compress(bytes).ok())
}

/// The bytes of a stored chunk, which have its digest. Takes the processor for a while.
pub(super) fn unseal(sealed: &Bytes, chunk: &Chunk, lock: Option<&Lock>) -> Result<Bytes, Damage> {
    let Some(&form) = sealed.first() else { return Err(damaged("it is empty")) };
    let packed = match lock {
        _ if !is_encrypted(sealed) => sealed.slice(1..),
        Some(lock) => {
            let packed = lock.key.decrypt(&sealed[1..], &lock.about(form, chunk));
            packed.ok_or_else(|| damaged("its namespace's key does not open it"))?.into()
        }
        None => return Err(damaged("it is encrypted, and its namespace has no key")),
    };
    let bytes = match form & !ENCRYPTED {
        RAW => packed,
        // No more is unpacked than a chunk may have, whatever the frame says.
        ZSTD => zstd::bulk::decompress(&packed, LARGEST).map(Bytes::from).map_err(damaged)?,
        _ => return Err(damaged(format!("it has the form {form}, which is unknown"))),
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
    use crate::encryption::LONGER;

    fn sealed(bytes: &[u8]) -> Bytes {
        sealed_with(bytes, None)
    }

    fn sealed_with(bytes: &[u8], lock: Option<&Lock>) -> Bytes {
        seal(Bytes::copy_from_slice(bytes), &Chunk::of(bytes), lock).unwrap().into()
    }

    fn lock(namespace: &str, key: u8) -> Lock {
        Lock { namespace: namespace.to_owned(), key: Key::read(&[key; 32]).unwrap() }
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
        for bytes in [noise.as_slice(), text.as_bytes(), &weights] {
            assert_eq!(sealed_with(bytes, Some(&lock("risk", 1))).len(), sealed(bytes).len() + LONGER);
        }
    }

    #[test]
    fn what_was_stored_before_encryption_was_on_is_read() {
        let bytes = b"0.25".repeat(100);
        assert_eq!(unseal(&sealed(&bytes), &Chunk::of(&bytes), Some(&lock("risk", 1))).unwrap(), bytes);
        assert!(unseal(&sealed_with(&bytes, Some(&lock("risk", 1))), &Chunk::of(&bytes), None).is_err());
    }

    #[test]
    fn no_more_is_unpacked_than_a_chunk_may_have() {
        let bytes = vec![0; 64 << 20];
        let bomb = [vec![ZSTD], zstd::bulk::compress(&bytes, 19).unwrap()].concat();
        assert!(matches!(unseal(&bomb.into(), &Chunk::of(&bytes), None), Err(Damage::Bytes(_))));
    }

    #[test]
    fn a_size_that_is_a_lie_is_told_from_damage() {
        let bytes = [7; 5000];
        for size in [1, 4999, 5001] {
            let lie = Chunk { size, ..Chunk::of(&bytes) };
            assert_eq!(unseal(&sealed(&bytes), &lie, None), Err(Damage::OtherSize(5000)));
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(0_u8..4, 1..5000)) {
            prop_assert_eq!(unseal(&sealed(&bytes), &Chunk::of(&bytes), None).unwrap(), bytes);
        }

        #[test]
        fn encrypted_bytes_come_back_and_only_with_their_key(bytes in proptest::collection::vec(0_u8..4, 1..5000), key: u8, other: u8) {
            let (chunk, stored) = (Chunk::of(&bytes), sealed_with(&bytes, Some(&lock("risk", key))));
            prop_assert_eq!(unseal(&stored, &chunk, Some(&lock("risk", key))).unwrap(), bytes.clone());
            prop_assert!(unseal(&stored, &chunk, Some(&lock("play", key))).is_err());
            prop_assert_eq!(unseal(&stored, &chunk, Some(&lock("risk", other))).is_ok(), key == other);
            // Nor is it taken for another chunk.
            let another = Chunk { blake3: [0; 32], ..chunk };
            prop_assert!(unseal(&stored, &another, Some(&lock("risk", key))).is_err());
        }

        #[test]
        fn a_changed_bit_of_an_encrypted_chunk_is_seen_wherever_it_is(bytes in proptest::collection::vec(0_u8..4, 1..500), at: usize, bit in 0_u32..8) {
            let lock = lock("risk", 1);
            let mut stored = sealed_with(&bytes, Some(&lock)).to_vec();
            let at = at % stored.len();
            stored[at] ^= 1_u8 << bit;
            prop_assert!(unseal(&stored.into(), &Chunk::of(&bytes), Some(&lock)).is_err());
        }

        #[test]
        fn a_cut_of_an_encrypted_chunk_is_seen_wherever_it_is(bytes in proptest::collection::vec(0_u8..4, 1..500), at: usize) {
            let lock = lock("risk", 1);
            let stored = sealed_with(&bytes, Some(&lock));
            let at = at % stored.len();
            prop_assert!(unseal(&stored.slice(..at), &Chunk::of(&bytes), Some(&lock)).is_err());
        }

        #[test]
        fn a_changed_bit_does_no_harm_unseen(bytes in proptest::collection::vec(any::<u8>(), 1..500), at: usize, bit in 0_u32..8) {
            let mut stored = sealed(&bytes).to_vec();
            let at = at % stored.len();
            stored[at] ^= 1_u8 << bit;
            // A few bits of a zstd frame say nothing.
            let found = unseal(&stored.into(), &Chunk::of(&bytes), None);
            prop_assert!(found.as_ref().map_or(true, |found| *found == bytes), "{:?}", found);
        }

        #[test]
        fn a_cut_is_seen_wherever_it_is(bytes in proptest::collection::vec(0_u8..4, 1..500), at: usize) {
            let stored = sealed(&bytes);
            let at = at % stored.len();
            prop_assert!(unseal(&stored.slice(..at), &Chunk::of(&bytes), None).is_err());
        }
    }
}
