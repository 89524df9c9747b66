//! The server's program: reads the settings, serves until told to stop, and says with its exit code how it ended.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use quotad::{config::ServeArgs, server::keep_files_private};

mod demo;
mod serve;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// May this request run, and who pays? Quota decisions for LLM inference over gRPC.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server; what happens without a command
    Serve(Box<ServeArgs>),
    Demo(demo::DemoArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    keep_files_private();
    let Cli { command, serve } = Cli::parse();
    let outcome = match command {
        Some(Command::Demo(args)) => demo::run(&args).await.map_err(|error| error.to_string()),
        Some(Command::Serve(args)) => serve::run(&args).await.map_err(|error| error.to_string()),
        None => serve::run(&serve).await.map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quotad: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_may_stand_with_or_without_the_command() {
        Cli::command().debug_assert();
        let plain = Cli::try_parse_from(["quotad", "--listen", "127.0.0.1:0"]).unwrap();
        let named = Cli::try_parse_from(["quotad", "serve", "--listen", "127.0.0.1:0"]).unwrap();
        let Some(Command::Serve(args)) = named.command else { panic!("no command") };
        assert_eq!(plain.serve, *args);
    }
}
