//! Proof that somebody has the bytes of an artifact: `CreateArtifactRequest.possession`.
//!
//! The digests of chunks are no proof of that: whoever reads what an artifact consists of knows them.

use std::fmt;

/// What this key is for (BLAKE3, `derive_key`).
const CONTEXT: &str = "modelregistry.dev 2026-11-29 possession of the bytes of an artifact";

/// The keyed BLAKE3 of the bytes of an artifact to be, from one piece to the next. The key is made of what it will be called, so that the
/// proof of one artifact is none of another.
#[derive(Clone)]
pub struct Possession(blake3::Hasher);

impl Possession {
    /// Of an artifact with this path of this version, as a request has them.
    pub fn new(parent: &str, path: &str) -> Self {
        let key = blake3::derive_key(CONTEXT, &[parent.as_bytes(), &[0], path.as_bytes()].concat());
        Self(blake3::Hasher::new_keyed(&key))
    }

    /// Goes on with the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The proof.
    pub fn proof(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    /// Whether this is the proof. How long that takes tells nothing of it.
    pub fn is(&self, proof: &[u8]) -> bool {
        blake3::Hash::from_slice(proof).is_ok_and(|proof| proof == self.0.finalize())
    }
}

impl fmt::Debug for Possession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Possession").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parent: &str, path: &str, bytes: &[&[u8]]) -> Possession {
        let mut possession = Possession::new(parent, path);
        bytes.iter().for_each(|bytes| possession.add(bytes));
        possession
    }

    #[test]
    fn a_proof_is_of_these_bytes_under_this_name() {
        let proof = of("models/a/versions/1", "m.bin", &[b"bytes"]).proof();
        assert!(of("models/a/versions/1", "m.bin", &[b"by", b"", b"tes"]).is(&proof));
        for other in [
            of("models/a/versions/1", "m.bin", &[b"bytes "]),
            of("models/a/versions/2", "m.bin", &[b"bytes"]),
            of("models/a/versions/1", "n.bin", &[b"bytes"]),
            of("models/a/versions/1m", ".bin", &[b"bytes"]),
        ] {
            assert!(!other.is(&proof));
        }
        assert!(!of("", "", &[]).is(&[]));
    }

    /// Whoever writes a client finds here whether theirs is right.
    #[test]
    fn an_example() {
        let proof = of("models/fraud/versions/1", "model.bin", &[b"abc"]).proof();
        assert_eq!(
            blake3::Hash::from_bytes(proof).to_hex().as_str(),
            "af2ffc99ba47fbeca2e5d21c3d8ee82b5cbdbb5887c6b13c86963dfa8e38d922"
        );
    }
}
