//! Progress bars for transfers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use registry_client::Progress;

use crate::output::bytes;

/// Where bars are drawn: on standard error, if it is a terminal on which a cursor can move.
pub(crate) fn target() -> ProgressDrawTarget {
    let moves = std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    if moves { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

/// A bar that counts what is done.
pub(crate) fn counted(doing: &str, what: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{doing} {{wide_bar}} {{pos}}/{{len}} {what}  {{eta}} left"));
    // As below.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), target()).with_style(style)
}

/// A bar that follows a transfer: bytes, rate, time left. Hidden when stderr is no terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    moved: Arc<AtomicU64>,
}

impl Bar {
    pub(crate) fn new(what: &str) -> Self {
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
        );
        // The template is fixed: if indicatif could not read it, its own style serves.
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(0), target());
        Self { bar: bar.with_style(style).with_message(what.to_owned()), moved: Arc::default() }
    }

    /// What moves the bar.
    pub(crate) fn follow(&self) -> impl Fn(Progress) + Send + Sync + 'static {
        let (bar, moved) = (self.bar.clone(), Arc::clone(&self.moved));
        move |progress: Progress| {
            if let Some(total) = progress.total {
                bar.set_length(total);
            }
            bar.set_position(progress.done);
            moved.fetch_max(progress.moved, Ordering::Relaxed);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(self) -> Moved {
        self.bar.finish_and_clear();
        Moved(self.moved.load(Ordering::Relaxed))
    }
}

/// How many bytes went over the network.
#[derive(Clone, Copy)]
pub(crate) struct Moved(u64);

impl Moved {
    /// So many bytes, and, if these were fewer, how many were `sent` or `fetched`.
    pub(crate) fn of(self, size: i64, how: &str) -> String {
        match i64::try_from(self.0) {
            Ok(moved) if moved < size => format!("{} ({} {how})", bytes(size), bytes(moved)),
            _ => bytes(size),
        }
    }
}
