//! Progress bars for transfers.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use registry_client::Progress;

/// A bar that follows a transfer: bytes, rate, time left. Hidden when stderr is no terminal.
pub(crate) fn bar(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
    );
    // The template is fixed: if indicatif could not read it, its own style serves.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style).with_message(what.to_owned())
}

/// What moves a bar.
pub(crate) fn follow(bar: &ProgressBar) -> impl Fn(Progress) + Send + Sync + 'static {
    let bar = bar.clone();
    move |progress: Progress| {
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    }
}
