//! `quotactl`: quotad from the command line. Thin: parses, resolves the settings, runs one command, maps its end to an exit
//! code. Everything it shows comes from the API, or for books that no server has from the library; it decides nothing.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use quotad::server::keep_files_private;

use crate::{
    cli::{Cli, Command},
    context::Context,
    failure::Failure,
    output::{Output, escaped_json, escaped_lines},
};

mod alert;
mod allocation;
mod arguments;
mod audit;
mod backup;
mod bar;
mod bench;
mod budget;
mod check;
mod cli;
mod completion;
mod confirm;
mod context;
mod contexts;
mod failure;
mod format;
mod invite;
mod invocation;
mod journal;
mod key;
mod ledger;
mod limits;
mod member;
mod names;
mod org;
mod output;
mod overview;
mod paging;
mod place;
mod policy;
mod policy_file;
mod price;
mod progress;
mod replay;
mod request;
mod rule;
mod service_access;
mod settings;
mod status;
mod store;
mod style;
mod taken;
mod team;
mod token;
mod usage;
mod wallet;
mod watch;
mod whoami;

/// A load generator allocates as much as the server does, and must cost less.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // Backups, exports and lists of keys are their user's own.
    keep_files_private();
    let cli = match invocation::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let json = cli.global.json;
    style::choose(cli.global.color);
    match run(cli).await {
        Ok(code) => code,
        Err(failure) => {
            if json {
                eprintln!("{}", escaped_json(&format!("{:#}", failure.json())));
            } else {
                eprintln!("{} {}", style::alarming("error:"), escaped_lines(&failure.to_string()));
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Remote(command) => command.run(&Context::open(&global).await?).await,
        Command::Local(command) => command.run(&global, Output::new(&global)).await.map(|()| ExitCode::SUCCESS),
    }
}
