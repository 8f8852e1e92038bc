//! A file for a secret that is shown once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// A new file that only its owner reads. It is there before the secret, which can't be asked for again; without one it is removed.
pub(super) struct SecretFile {
    path: PathBuf,
    /// `None` once it has the secret.
    file: Option<File>,
}

impl SecretFile {
    /// Makes the file; it must not be there yet.
    pub(super) fn create(path: PathBuf) -> Result<Self, String> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path, file: Some(file) })
    }

    /// Writes the secret, and a line's end.
    pub(super) fn write(mut self, secret: &str) -> io::Result<PathBuf> {
        if let Some(file) = &mut self.file {
            writeln!(file, "{secret}")?;
            file.sync_all()?;
        }
        self.file = None;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // It has nothing in it that anybody could miss.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
