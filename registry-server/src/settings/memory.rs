//! How much memory something may use: a size, or a share of what there is.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Size;
use super::units::Written;

/// An amount of memory: `512MiB`, or `25%` of what this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub enum Memory {
    /// So much.
    Of(Size),
    /// So many hundredths of the machine's memory or, where that is less, of what its control group may use.
    Share(u8),
}

const MIB: u64 = 1 << 20;
/// A share is never less.
const LEAST: u64 = 64 * MIB;
/// What a share is where nobody knows how much memory there is.
const UNKNOWN: u64 = 256 * MIB;

impl Memory {
    /// So many MiB.
    pub const fn of_mib(mib: u64) -> Self {
        Self::Of(Size::of_mib(mib))
    }

    /// How much that is here. A share is a whole number of MiB, and at least 64.
    pub fn size(self) -> Size {
        match self {
            Self::Of(size) => size,
            Self::Share(percent) => Size::of(share(percent, usable(Path::new("/")))),
        }
    }
}

/// A part of the memory there is, in bytes.
fn share(percent: u8, memory: Option<u64>) -> u64 {
    let share = memory.map_or(UNKNOWN, |memory| memory.saturating_mul(percent.into()) / 100);
    LEAST.max(share / MIB * MIB)
}

/// How much memory a process may use, in bytes: that of the machine or, if it is less, what one of the control groups may use that it is
/// in. The files are below a folder, which is `/` but for tests.
fn usable(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total(&text));
    machine.into_iter().chain(limits(root)).min()
}

/// The whole memory in `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}

/// The limits of this process's control groups, of the second version or the first, and of those that they lie in. In a container the
/// path may be that of the host: then its own limits are at the top.
fn limits(root: &Path) -> Vec<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (top, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = PathBuf::from(path.trim_start_matches('/'));
        let found = path.ancestors().map(|group| fs::read_to_string(root.join(top).join(group).join(file)));
        // `max` is none; nor is a number that the machine has not got, which the first version says.
        limits.extend(found.filter_map(|text| text.ok()?.trim().parse::<u64>().ok()));
    }
    limits
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.trim().strip_suffix('%') else { return text.parse().map(Self::Of) };
        match percent.trim().parse() {
            Ok(percent @ 1..=100) => Ok(Self::Share(percent)),
            _ => Err(format!("{text:?} is no part of the memory, such as 25%")),
        }
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(size) => Display::fmt(size, f),
            Self::Share(percent) => write!(f, "{percent}%"),
        }
    }
}

impl TryFrom<Written> for Memory {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        written.parse()
    }
}

impl From<Memory> for String {
    fn from(memory: Memory) -> Self {
        memory.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:          123456 kB\n");

    /// What may be used where these files are.
    fn usable_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        usable(root.path())
    }

    #[test]
    fn the_least_limit_counts() {
        const GIB: u64 = 1 << 30;
        let second = ("proc/self/cgroup", "0::/system.slice/registry.service\n");
        let first = ("proc/self/cgroup", "7:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n");
        let none = "9223372036854771712\n";
        for (files, expected) in [
            (&[][..], None),
            (&[MEMINFO], Some(8 * GIB)),
            (&[MEMINFO, second], Some(8 * GIB)),
            (&[MEMINFO, second, ("sys/fs/cgroup/system.slice/registry.service/memory.max", "max\n")], Some(8 * GIB)),
            (&[MEMINFO, second, ("sys/fs/cgroup/system.slice/registry.service/memory.max", "1073741824\n")], Some(GIB)),
            (&[MEMINFO, second, ("sys/fs/cgroup/system.slice/memory.max", "2147483648\n")], Some(2 * GIB)),
            (&[MEMINFO, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "1073741824\n")], Some(GIB)),
            (&[MEMINFO, second, ("sys/fs/cgroup/memory.max", "17179869184\n")], Some(8 * GIB)),
            (&[MEMINFO, first, ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "1073741824\n")], Some(GIB)),
            (&[MEMINFO, first, ("sys/fs/cgroup/memory/memory.limit_in_bytes", none)], Some(8 * GIB)),
            (&[second, ("sys/fs/cgroup/memory.max", "1073741824\n")], Some(GIB)),
            (&[MEMINFO, ("proc/self/cgroup", "no group\n\n")], Some(8 * GIB)),
        ] {
            assert_eq!(usable_with(files), expected, "{files:?}");
        }
    }

    #[test]
    fn a_share_is_whole_and_not_too_small() {
        for (percent, memory, mib) in [
            (25, Some(8192 * MIB), 2048),
            (25, Some(8192 * MIB + 4 * MIB - 1), 2048),
            (100, Some(1024 * MIB), 1024),
            (25, Some(128 * MIB), 64),
            (1, Some(1024 * MIB), 64),
            (25, None, 256),
        ] {
            assert_eq!(share(percent, memory) / MIB, mib, "{percent}% of {memory:?}");
        }
        assert!(Memory::Share(25).size().bytes() >= LEAST);
    }

    #[test]
    fn memory_is_written_as_it_is_read() {
        for (text, memory) in [("25%", Memory::Share(25)), ("100 %", Memory::Share(100)), ("8MiB", Memory::of_mib(8))] {
            assert_eq!(text.parse(), Ok(memory));
            assert_eq!(memory.to_string().parse(), Ok(memory));
        }
        for wrong in ["0%", "101%", "%", "2.5%", "-1%", "many%"] {
            assert!(wrong.parse::<Memory>().unwrap_err().contains("is no part of the memory"), "{wrong}");
        }
        assert!("256".parse::<Memory>().unwrap_err().contains("has no unit"));
    }
}
