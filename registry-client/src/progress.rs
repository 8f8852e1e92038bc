use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a transfer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The artifact that has just advanced: its path in the version.
    pub path: Arc<str>,
    /// Bytes transferred so far, of all files together. Goes back when a file has to start again.
    pub done: u64,
    /// Bytes of all files together; unknown when a reader of unknown length is uploaded.
    pub total: Option<u64>,
}

/// Counts the bytes of a transfer of one or many files and tells the caller.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    pub(crate) total: Option<u64>,
    done: Arc<AtomicU64>,
    callback: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

impl Meter {
    pub(crate) fn report_to(&mut self, callback: impl Fn(Progress) + Send + Sync + 'static) {
        self.callback = Some(Arc::new(callback));
    }

    /// Counts from the beginning, and tells the same caller.
    pub(crate) fn again(&self) -> Self {
        Self { callback: self.callback.clone(), ..Self::default() }
    }

    pub(crate) fn file(&self, path: &str) -> FileMeter {
        FileMeter { meter: self.clone(), path: path.into(), done: Arc::default() }
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
    done: Arc<AtomicU64>,
}

impl FileMeter {
    pub(crate) fn add(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
        let done = self.meter.done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if let Some(callback) = &self.meter.callback {
            callback(Progress { path: self.path.clone(), done, total: self.meter.total });
        }
    }

    /// The file starts again: what was counted for it counts no more.
    pub(crate) fn restart(&self) {
        self.meter.done.fetch_sub(self.done.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}
