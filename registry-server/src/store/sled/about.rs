//! What is said of a store once: a small file beside log and state, that whoever looks into the folder can read.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of the file, in the folder of the store.
pub(super) const FILE: &str = "store.json";

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// How everything lies in the store.
    pub(super) schema: u32,
    /// Which store it is.
    pub(super) identity: Uuid,
    /// It is in the middle of a restore.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) restoring: bool,
    /// Since when the machine was up that a process has the store open on, by the machine's own word for that; absent when the store was
    /// closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) open_since_boot: Option<String>,
}

impl About {
    /// Reads the file in a folder, if it is there.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it, durably: the file is the former one or this one, whatever happens.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(folder.join(FILE))?;
        File::open(folder)?.sync_all()
    }
}

/// What tells the time from when the machine was started to when it is the next time.
pub(super) fn boot() -> Option<String> {
    // On Linux; elsewhere it is not known.
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}
