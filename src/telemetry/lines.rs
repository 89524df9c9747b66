//! Log lines as they can be shown, whatever people put into the values that stand in them: an event is one line, and moves no cursor.

use std::io::{self, Write};

use crate::domain::text::escaped_but_colors;

/// Writes each event, which comes in one piece.
#[derive(Debug)]
pub(super) struct Lines<W>(pub(super) W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all(escaped_but_colors(line).as_bytes())?;
        if line.len() < text.len() {
            self.0.write_all(b"\n")?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: &str) -> String {
        let mut lines = Lines(Vec::new());
        lines.write_all(event.as_bytes()).unwrap();
        String::from_utf8(lines.0).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_stands_in_its_values() {
        let plain = "2026-12-01T00:00:00Z  WARN quotad: it fails why=\"disk full\" über\n";
        assert_eq!(written(plain), plain);
        assert_eq!(
            written("a\n2026 ERROR forged\r\u{202e}b\u{9b}2J\n"),
            "a\\n2026 ERROR forged\\r\\u{202e}b\\u{9b}2J\n"
        );
    }

    #[test]
    fn colors_stay_and_other_sequences_do_not() {
        let colored = "\u{1b}[2m2026\u{1b}[0m \u{1b}[1;33m WARN\u{1b}[0m x\n";
        assert_eq!(written(colored), colored);
        assert_eq!(written("\u{1b}[2Jx\u{1b}]0;title\u{7}\u{1b}\n"), "\\u{1b}[2Jx\\u{1b}]0;title\\u{7}\\u{1b}\n");
    }
}
