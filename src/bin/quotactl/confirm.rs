//! Asks before what can't be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use serde_json::json;

use crate::{
    failure::Failure,
    output::{Output, escaped_lines},
    style,
};

/// Whether a command that takes something away may go ahead.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Consent {
    /// Goes ahead without asking; needed where nobody is at a terminal
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// False, and said so, where somebody at the terminal declined. `taken` says what goes and what goes along with it; it is
    /// only read where somebody is asked.
    ///
    /// # Errors
    /// Those of `taken`, and where nobody can be asked.
    pub(crate) async fn given(
        self,
        out: Output,
        taken: impl AsyncFnOnce() -> Result<String, Failure>,
    ) -> Result<bool, Failure> {
        if self.yes || confirmed(&taken().await?)? {
            return Ok(true);
        }
        out.done("nothing was changed", &json!({ "changed": false }))?;
        Ok(false)
    }
}

/// True when somebody at a terminal says yes.
///
/// # Errors
/// Where nobody can be asked: a script says `--yes`.
fn confirmed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::other(format!("{question} Nobody is at a terminal to answer: say --yes if so")));
    }
    let unread = |error: io::Error| Failure::other(format!("no answer can be read: {error}"));
    // What somebody called it must not look like something else, nor like an answer.
    eprint!("{} {} ", escaped_lines(question), style::asking("[y/N]"));
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
