//! The SHA-256 of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use registry_common::hex;
use sha2::{Digest, Sha256};

use crate::Error;

/// How much is read at once.
const READ: usize = 512 << 10;

/// The SHA-256 of bytes that pass by, and how many they are.
#[derive(Clone, Default)]
pub(crate) struct Hasher {
    sha256: Sha256,
    pub(super) size: u64,
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// In lower-case hex.
    pub(crate) fn finish(self) -> String {
        hex(&self.sha256.finalize())
    }

    /// Whether there were so many bytes with this digest.
    pub(crate) fn check(self, name: &str, size: u64, sha256: &str) -> Result<(), Error> {
        let name = name.to_owned();
        if self.size != size {
            return Err(Error::SizeMismatch { name, expected: size, actual: self.size });
        }
        let actual = self.finish();
        if actual != sha256 {
            return Err(Error::DigestMismatch { name, expected: sha256.to_owned(), actual });
        }
        Ok(())
    }
}

/// Reads a whole file for its digest, and tells how many bytes were read with each piece. Blocks.
pub(crate) fn hash_file(path: &Path, mut progress: impl FnMut(usize)) -> io::Result<Hasher> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; READ];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                progress(n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
