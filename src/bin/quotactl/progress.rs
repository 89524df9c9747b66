//! How far something is, on standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// On standard error; hides itself where that is no terminal.
pub(crate) fn progress_bar(length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {elapsed} (eta {eta})") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
