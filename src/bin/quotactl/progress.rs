//! How far something is, on standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// On standard error; hides itself where that is no terminal.
pub(crate) fn progress_bar(length: Option<u64>) -> ProgressBar {
    styled(length, "{bar:40} {pos}/{len}  {per_sec}  {elapsed} (eta {eta})")
}

/// The same, of bytes.
pub(crate) fn bytes_bar(length: u64) -> ProgressBar {
    styled(Some(length), "{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {elapsed} (eta {eta})")
}

fn styled(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
