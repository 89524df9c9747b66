//! Asks before what can't be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::failure::Failure;

/// True when somebody at a terminal says yes.
///
/// # Errors
/// Where nobody can be asked: a script says `--yes`.
pub(crate) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::other(format!("{question} Nobody is there to answer; say --yes if so")));
    }
    let unread = |error: io::Error| Failure::other(format!("no answer can be read: {error}"));
    eprint!("{question} [y/N] ");
    io::stderr().flush().map_err(unread)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(unread)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("yeah\n", false)] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
