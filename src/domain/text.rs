//! Texts that people give: how long they may be, and what may stand in them. A character is a character, however many bytes it takes.

use std::{borrow::Cow, fmt::Write as _};

use super::error::Invalid;

/// Begins the sequences that terminals obey.
const ESCAPE: char = '\u{1b}';

/// Whether a character changes how text is shown without being seen itself: control characters, escapes of terminals among them,
/// marks of direction, characters of no width, and separators of lines. With them one name passes for another.
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Shortens a value for an error message, so that a hostile one can't fill a log.
pub(super) fn shown(value: &str) -> String {
    let head: String = value.chars().take(40).collect();
    let tail = if head.len() < value.len() { "…" } else { "" };
    format!("\"{}\"{tail}", escaped(&head.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A text as it can be shown to people in one line, whatever stands in it.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            c if is_hidden(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The same, but for colors: what is printed has its own.
pub fn escaped_but_colors(line: &str) -> Cow<'_, str> {
    if !line.contains(ESCAPE) {
        return escaped(line);
    }
    let mut out = String::with_capacity(line.len() + 8);
    let mut rest = line;
    while let Some(at) = rest.find(ESCAPE) {
        let (before, sequence) = rest.split_at(at);
        out.push_str(&escaped(before));
        let (color, after) = sequence.split_at(color(sequence));
        out.push_str(color);
        rest = after;
        if color.is_empty() {
            let (escape, after) = rest.split_at(ESCAPE.len_utf8());
            out.push_str(&escaped(escape));
            rest = after;
        }
    }
    out.push_str(&escaped(rest));
    Cow::Owned(out)
}

/// The length of the sequence that sets a color, 0 where it does something else.
fn color(sequence: &str) -> usize {
    let Some(parameters) = sequence.strip_prefix("\u{1b}[") else { return 0 };
    let digits = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters[digits..].starts_with('m') { sequence.len() - parameters.len() + digits + 1 } else { 0 }
}

fn check_length(field: &str, value: &str, max: usize) -> Result<(), Invalid> {
    // Bytes are counted first: no text has more characters.
    if value.len() <= max {
        return Ok(());
    }
    let length = value.chars().count();
    if length <= max {
        return Ok(());
    }
    let problem = format!("{} is {length} characters long; at most {max} are allowed", shown(value));
    Err(Invalid::new(field, problem))
}

fn check_characters(field: &str, value: &str, allowed: impl Fn(char) -> bool) -> Result<(), Invalid> {
    match value.chars().find(|c| is_hidden(*c) && !allowed(*c)) {
        None => Ok(()),
        Some(c) if c.is_control() => Err(Invalid::new(field, format!("{} holds control characters", shown(value)))),
        Some(c) => {
            let problem = format!("{} holds U+{:04X}, which isn't seen", shown(value), u32::from(c));
            Err(Invalid::new(field, problem))
        }
    }
}

/// Checks free text: at most `max` characters, none hidden but line breaks and tabs.
///
/// # Errors
/// [`Invalid`] for `field` when it is longer or holds others.
pub fn check_text(field: &str, value: &str, max: usize) -> Result<(), Invalid> {
    check_length(field, value, max)?;
    check_characters(field, value, |c| c == '\n' || c == '\t')
}

/// Checks a name: at most `max` characters on one line, none hidden.
///
/// # Errors
/// [`Invalid`] for `field` when it is longer or holds others.
pub fn check_line(field: &str, value: &str, max: usize) -> Result<(), Invalid> {
    check_length(field, value, max)?;
    check_characters(field, value, |_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each breaks a line, moves a terminal's cursor, turns the direction of what follows, or isn't seen.
    const HIDDEN: [&str; 14] = [
        "\u{0}",
        "\r",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{85}",
        "\u{9b}31m",
        "\u{202e}",
        "\u{2066}",
        "\u{200b}",
        "\u{200f}",
        "\u{61c}",
        "\u{2028}",
        "\u{2029}",
        "\u{feff}",
    ];

    #[test]
    fn names_hold_nothing_that_is_not_seen() {
        for hidden in HIDDEN.into_iter().chain(["\n", "\t"]) {
            let value = format!("Ann{hidden}Lee");
            assert!(check_line("name", &value, 256).is_err(), "{value:?}");
            assert_eq!(check_text("note", &value, 256).is_ok(), matches!(hidden, "\n" | "\t"), "{value:?}");
        }
        for seen in ["Ann Lee", "Łukasz Żółć", "王小明", "محمد", "אביגיל", "नेहा", "Zoë 🚀", "O’Neil–Smith"]
        {
            assert_eq!(check_line("name", seen, 256), Ok(()));
        }
    }

    // P19
    #[test]
    fn characters_are_counted_not_bytes() {
        for character in ["x", "é", "字", "𝄞"] {
            assert_eq!(check_text("note", &character.repeat(1024), 1024), Ok(()), "{character}");
            let problem = check_line("name", &character.repeat(1025), 1024).unwrap_err().problem;
            assert!(problem.contains("1025 characters") && problem.len() < 300, "{problem}");
        }
    }

    #[test]
    fn what_is_hidden_is_shown_escaped() {
        assert!(matches!(escaped("Ann Lee 字"), Cow::Borrowed("Ann Lee 字")));
        assert_eq!(escaped("a\u{202e}b\u{1b}[2Jc\nd\te"), r"a\u{202e}b\u{1b}[2Jc\nd\te");
        for hidden in HIDDEN {
            assert!(!escaped(hidden).contains(is_hidden) && !shown(hidden).contains(is_hidden), "{hidden:?}");
        }
    }
}
