//! Encryption at rest: AES-256-GCM, under a key for each namespace.
//!
//! A namespace's *data key* is made at random before the first bytes of the namespace are stored, and encrypts its chunks. It is
//! kept in the store of records, itself encrypted ("wrapped") with the *master key*, which whoever runs the server keeps elsewhere.
//! A data key never changes: to change the master key, only the data keys are wrapped anew.
//!
//! *Invariant:* a data key is written to the store only when it is wrapped, and no key is ever logged or printed.

pub(crate) mod data;
pub mod master;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// How many bytes a key has.
pub(crate) const KEY: usize = 32;
/// By how much encrypting makes bytes longer.
#[cfg(test)]
pub(crate) const LONGER: usize = NONCE_LEN + 16;

/// A key of AES-256. Its bytes are overwritten when it is dropped. (What the cipher makes of it for the time of a call is not.)
#[derive(Clone)]
pub(crate) struct Key(Box<Zeroizing<[u8; KEY]>>);

/// The system gives no random numbers, or there are more bytes than a cipher takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes can't be encrypted")]
pub(crate) struct CipherFailed;

impl From<ring::error::Unspecified> for CipherFailed {
    fn from(_: ring::error::Unspecified) -> Self {
        Self
    }
}

impl Key {
    /// One that nobody else has.
    pub(crate) fn random() -> Result<Self, CipherFailed> {
        let mut key = Self(Box::default());
        SystemRandom::new().fill(&mut key.0[..])?;
        Ok(key)
    }

    /// The key with these bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Box::default());
        (bytes.len() == KEY).then(|| key.0.copy_from_slice(bytes))?;
        Some(key)
    }

    /// For its id, and to be wrapped.
    pub(crate) fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    fn cipher(&self) -> Result<LessSafeKey, CipherFailed> {
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0[..])?))
    }

    /// Encrypts bytes: the nonce, the ciphertext and its tag, behind what is in `out` already. They can be read only as bytes `about`
    /// the same.
    ///
    /// The nonce is random. By NIST SP 800-38D a key is good for 2^32 of them.
    pub(crate) fn encrypt(&self, bytes: &[u8], about: &[u8], out: &mut Vec<u8>) -> Result<(), CipherFailed> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce)?;
        out.reserve_exact(NONCE_LEN + bytes.len() + AES_256_GCM.tag_len());
        out.extend_from_slice(&nonce);
        let begin = out.len();
        out.extend_from_slice(bytes);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.cipher()?.seal_in_place_separate_tag(nonce, Aad::from(about), &mut out[begin..])?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// What was encrypted with this key, as bytes `about` the same; `None` if it was not.
    pub(crate) fn decrypt(&self, encrypted: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = encrypted.split_first_chunk()?;
        let mut bytes = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.cipher().ok()?.open_in_place(nonce, Aad::from(about), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// Without the bytes.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cipher_is_aes_256_gcm_as_everybody_has_it() {
        // Test case 14 of McGrew and Viega, *The Galois/Counter Mode of Operation*: all zero.
        let key = Key::read(&[0; 32]).unwrap();
        let expected = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919";
        let expected: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&expected[2 * i..][..2], 16).unwrap()).collect();
        let encrypted = [vec![0; NONCE_LEN], expected].concat();
        assert_eq!(key.decrypt(&encrypted, b""), Some(vec![0; 16]));
    }

    #[test]
    fn what_is_encrypted_comes_back_and_never_looks_the_same() {
        let key = Key::random().unwrap();
        let (mut once, mut again) = (b"begin".to_vec(), b"begin".to_vec());
        key.encrypt(b"the bytes", b"about", &mut once).unwrap();
        key.encrypt(b"the bytes", b"about", &mut again).unwrap();
        assert_ne!(once, again);
        assert_eq!(once.len(), 5 + 9 + LONGER);
        for encrypted in [once, again] {
            assert_eq!(key.decrypt(&encrypted[5..], b"about").as_deref(), Some(b"the bytes".as_slice()));
            assert_eq!(key.decrypt(&encrypted[5..], b"above"), None);
            assert_eq!(Key::random().unwrap().decrypt(&encrypted[5..], b"about"), None);
        }
        for length in 0..LONGER {
            assert_eq!(key.decrypt(&vec![0; length], b""), None);
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = Key::read(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "Key");
        assert!(Key::read(&[7; 31]).is_none() && Key::read(&[7; 33]).is_none());
    }
}
