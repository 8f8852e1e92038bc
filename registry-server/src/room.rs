//! Room that is kept free on a disk.
//!
//! A write that fails for want of room leaves the embedded store of no use until it is opened again, so it is refused before it
//! begins. Artifacts end first: removing them takes writes to the log.

use std::io;
use std::path::Path;

const MIB: u64 = 1024 * 1024;
/// In bytes: more than the commits write that share a sync, with what sled moves about meanwhile.
pub(crate) const FOR_LOG: u64 = 32 * MIB;
/// In bytes.
pub(crate) const FOR_ARTIFACTS: u64 = 2 * FOR_LOG;

/// An error of kind `StorageFull` if fewer than `reserved` bytes are free on the disk of a folder.
pub(crate) fn check(folder: &Path, reserved: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Some file systems don't know how large they are.
    if free >= reserved || disk.f_blocks == 0 {
        return Ok(());
    }
    let problem = format!("{} MiB are free on its disk, and {} MiB stay free", free / MIB, reserved / MIB);
    Err(io::Error::new(io::ErrorKind::StorageFull, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_enough_for_less_only() {
        let folder = Path::new("/");
        check(folder, 1).unwrap();
        assert_eq!(check(folder, u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(check(Path::new("/nowhere"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
