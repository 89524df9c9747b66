//! Colours, on terminals that have them.

use std::{
    env,
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

use clap::ColorChoice;

/// What was asked for; decided once, before anything is printed.
static CHOICE: OnceLock<ColorChoice> = OnceLock::new();

pub(crate) fn choose(choice: ColorChoice) {
    // The first choice is the only one.
    let _ = CHOICE.set(choice);
}

fn wanted(is_terminal: bool) -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    match CHOICE.get() {
        Some(ColorChoice::Always) => true,
        Some(ColorChoice::Auto) => {
            is_terminal && !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
        Some(ColorChoice::Never) | None => false,
    }
}

fn styled(text: &str, code: &str, is_terminal: bool) -> String {
    if wanted(is_terminal) { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Of titles, on standard output.
pub(crate) fn bold(text: &str) -> String {
    styled(text, "1", io::stdout().is_terminal())
}

/// Of failures, on standard error.
pub(crate) fn alarming(text: &str) -> String {
    styled(text, "1;31", io::stderr().is_terminal())
}

/// Of questions, on standard error.
pub(crate) fn asking(text: &str) -> String {
    styled(text, "1;33", io::stderr().is_terminal())
}
