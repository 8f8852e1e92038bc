//! How much memory a process takes.

use crate::Failure;

/// What a process of this machine takes, in bytes.
///
/// # Errors
/// If there is none, or this is not Linux.
pub(super) fn resident(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|error| format!("can't read {path}: {error}"))?;
    of_status(&status).ok_or_else(|| format!("{path} does not say how much memory it takes").into())
}

fn of_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_where_linux_says_it() {
        assert_eq!(of_status("Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t  12 kB\n"), Some(12 * 1024));
        for none in ["", "Name:\tkthread\nState:\tS\n", "VmRSS:\t12 MB\n"] {
            assert_eq!(of_status(none), None, "{none:?}");
        }
    }
}
