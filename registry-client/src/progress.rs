//! How far a transfer is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a transfer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The artifact that has just advanced: its path in the version.
    pub path: Arc<str>,
    /// Bytes that are where they should be so far, of all files together. Goes back when some have to be sent again.
    pub done: u64,
    /// How many of these went over the network: the others were there already.
    pub moved: u64,
    /// Bytes of all files together; unknown when a reader of unknown length is uploaded.
    pub total: Option<u64>,
}

/// Counts the bytes of a transfer of one or many files and tells the caller.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    pub(crate) total: Option<u64>,
    done: Arc<AtomicU64>,
    moved: Arc<AtomicU64>,
    callback: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

impl Meter {
    pub(crate) fn report_to(&mut self, callback: impl Fn(Progress) + Send + Sync + 'static) {
        self.callback = Some(Arc::new(callback));
    }

    /// Counts from the beginning, and tells the same caller.
    #[cfg(feature = "oci")]
    pub(crate) fn again(&self) -> Self {
        Self { callback: self.callback.clone(), ..Self::default() }
    }

    pub(crate) fn file(&self, path: &str) -> FileMeter {
        FileMeter { meter: self.clone(), path: path.into() }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("total", &self.total).field("done", &self.done).finish_non_exhaustive()
    }
}

/// One file's part in a [`Meter`].
#[derive(Clone)]
pub(crate) struct FileMeter {
    meter: Meter,
    path: Arc<str>,
}

impl FileMeter {
    /// So many bytes went over the network.
    pub(crate) fn moved(&self, bytes: usize) {
        self.meter.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        self.there(bytes);
    }

    /// So many bytes did not have to.
    pub(crate) fn there(&self, bytes: usize) {
        let done = self.meter.done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if let Some(callback) = &self.meter.callback {
            let moved = self.meter.moved.load(Ordering::Relaxed);
            callback(Progress { path: self.path.clone(), done, moved, total: self.meter.total });
        }
    }

    /// So many bytes count no more: they have to be sent again.
    pub(crate) fn lost(&self, bytes: usize) {
        self.meter.done.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}
