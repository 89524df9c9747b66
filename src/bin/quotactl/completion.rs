//! `quotactl completion`: needs no server.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{cli::Cli, failure::Failure, output::Output};

const EXAMPLES: &str = "\
Examples:
  quotactl completion bash
  quotactl completion zsh

Write it where your shell looks for completions: `> ~/.local/share/bash-completion/completions/quotactl` for bash, a \
folder of $fpath as `_quotactl` for zsh, ~/.config/fish/completions/quotactl.fish for fish.";

#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    /// A script is no JSON, whatever was asked for.
    pub(crate) fn run(self) -> Result<(), Failure> {
        Output::TEXT.text(script(self.shell).trim_end())
    }
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "quotactl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_learns_the_commands() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            assert!(script.contains("auto-top-up") && script.contains("whoami"), "{shell}");
        }
    }
}
