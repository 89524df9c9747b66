//! A share of a whole as a bar of blocks.

use rust_decimal::{Decimal, prelude::ToPrimitive as _};

const WIDTH: usize = 20;
/// Eighths of a block, from one to seven.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// `part` of `whole` as a bar of [`WIDTH`] at most; a part beyond the whole fills it, one above nothing shows something.
pub(crate) fn bar(part: &str, whole: &str) -> String {
    let read = |text: &str| text.parse::<Decimal>().unwrap_or_default().max(Decimal::ZERO);
    let (part, whole) = (read(part), read(whole));
    if whole.is_zero() || part.is_zero() {
        return String::new();
    }
    let eighths = (part.min(whole) / whole * Decimal::from(WIDTH * 8)).round().to_usize().unwrap_or(0).max(1);
    let mut bar = "█".repeat(eighths / 8);
    if let Some(rest) = (eighths % 8).checked_sub(1) {
        bar.push(PARTS[rest]);
    }
    bar
}

/// The same, filled up to its width so that what is missing is seen too.
pub(crate) fn gauge(part: &str, whole: &str) -> String {
    let bar = bar(part, whole);
    let missing = WIDTH - bar.chars().count();
    format!("{bar}{}", "░".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_the_share() {
        assert_eq!(bar("1", "1"), "█".repeat(20));
        assert_eq!(bar("5", "10"), "█".repeat(10));
        assert_eq!(bar("0.01", "1000"), "▏");
        assert_eq!(bar("20", "10"), "█".repeat(20));
        for (part, whole) in [("0", "10"), ("1", "0"), ("-1", "10"), ("", ""), ("1", "")] {
            assert_eq!(bar(part, whole), "", "{part} of {whole}");
        }
    }

    #[test]
    fn gauges_show_what_is_missing() {
        assert_eq!(gauge("25", "100"), format!("{}{}", "█".repeat(5), "░".repeat(15)));
        assert_eq!(gauge("0", "100"), "░".repeat(20));
    }
}
