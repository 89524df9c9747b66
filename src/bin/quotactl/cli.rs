//! The command line as a whole: what holds for every command, and the list of commands.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ColorChoice, Parser, Subcommand};
use prost_types::Duration;
use quotad::config::Secret;

use crate::{
    alert::AlertCommand,
    allocation::AllocationCommand,
    audit::Audit,
    backup::{Backup, Restore},
    bench::Bench,
    budget::BudgetCommand,
    check::Check,
    completion::Completion,
    context::Context,
    contexts::ContextCommand,
    failure::Failure,
    format::parse_span,
    invite::InviteCommand,
    journal::JournalCommand,
    key::KeyCommand,
    ledger::LedgerCommand,
    member::MemberCommand,
    org::OrgCommand,
    output::Output,
    overview::Overview,
    policy::PolicyCommand,
    price::PriceCommand,
    replay::Replay,
    request::RequestCommand,
    rule::RuleCommand,
    status::Status,
    store::StoreCommand,
    team::TeamCommand,
    token::TokenCommand,
    usage::Usage,
    wallet::WalletCommand,
    watch::Watch,
    whoami::WhoAmI,
};

const EXAMPLES: &str = "\
Examples:
  quotactl org create acme --name 'Acme Inc'
  quotactl price set small --input 0.15 --output 0.60
  quotactl wallet top-up 25 --org acme
  quotactl member create ada --org acme
  quotactl key create ada-laptop --org acme --member ada
  quotactl policy add-budget monthly --org acme --member ada --unit usd --max 10 --period monthly
  quotactl check --key ada-laptop --model small --input-tokens 900 --output-tokens 300
  quotactl ledger list --org acme

Settings come from flags, else from the environment, else from a TOML file with the fields endpoint, token, \
token_file and org, or with several of them by name (`quotactl context`), else from the defaults.

Times are 2026-12-01, 2026-12-01T08:00 (in UTC), RFC 3339, or from now such as -1h and +7d; spans are such as 90s, 1h30m \
and 7d.

Exit codes: 0 done, 1 failed, 2 wrong usage; `check` answers 3 when the request would be refused.";

/// Sees and changes what a quotad server keeps: who may use how much, and who paid for what.
#[derive(Debug, Parser)]
#[command(name = "quotactl", version, after_help = EXAMPLES, max_term_width = 110, propagate_version = true)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct Global {
    #[arg(long, global = true, value_name = "URL")]
    #[arg(help = "The server [env: QUOTAD_ENDPOINT] [default: http://127.0.0.1:50051]")]
    pub(crate) endpoint: Option<String>,
    #[arg(long, global = true, conflicts_with = "token_file")]
    #[arg(help = "The bearer token; better in a file, where no process list shows it [env: QUOTAD_TOKEN]")]
    pub(crate) token: Option<Secret>,
    #[arg(long, global = true, value_name = "FILE")]
    #[arg(help = "A file with the token [env: QUOTAD_TOKEN_FILE] [default: ./quotad-data/operator.token]")]
    pub(crate) token_file: Option<PathBuf>,
    #[arg(long, global = true, value_name = "FILE")]
    #[arg(help = "Settings in TOML [env: QUOTACTL_CONFIG] [default: ~/.config/quotactl.toml]")]
    pub(crate) config: Option<PathBuf>,
    #[arg(long, global = true, value_name = "NAME")]
    #[arg(help = "The server of this name in the settings [env: QUOTACTL_CONTEXT]")]
    pub(crate) context: Option<String>,
    /// Gives up a call that isn't answered within it, such as 30s; waits as long as it takes if left out
    #[arg(long, global = true, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) timeout: Option<Duration>,
    /// Answer in JSON: field names as in the API, amounts as strings; errors too, to standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Prints one field of the answer alone, such as id or order.id: for scripts
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "json")]
    pub(crate) field: Option<String>,
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto, hide_default_value = true)]
    #[arg(help = "Colours: where a terminal has them, unless NO_COLOR is set")]
    pub(crate) color: ColorChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Remote(Box<RemoteCommand>),
    #[command(flatten)]
    Local(LocalCommand),
}

/// What is asked of a server.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Organizations: who holds a wallet and a ledger
    #[command(subcommand)]
    Org(OrgCommand),
    /// Teams of an organization, and who is in them
    #[command(subcommand)]
    Team(TeamCommand),
    /// Members: the people of an organization
    #[command(subcommand)]
    Member(MemberCommand),
    /// Invitations to join an organization
    #[command(subcommand)]
    Invite(InviteCommand),
    /// API keys, each of one member in one team
    #[command(subcommand)]
    Key(KeyCommand),
    /// What caps a member over all its keys
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Access rules: credits per period and hours, for each key under them
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Credits handed out per cycle, to teams and members
    #[command(subcommand)]
    Allocation(AllocationCommand),
    /// Members asking for credits, and what was decided
    #[command(subcommand)]
    Request(RequestCommand),
    /// The cycle of credits, what is used and left of it, and every team's part
    Overview(Overview),
    /// The price book: what models cost
    #[command(subcommand)]
    Price(PriceCommand),
    /// An organization's prepaid balance, orders of money and payment methods
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Tokens: what inference servers and members authenticate with
    #[command(subcommand)]
    Token(TokenCommand),
    /// Budgets and quotas, on any place of a key's path
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The books: every charge, top-up and correction
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// What was used: sums by member, key, team, model or day
    Usage(Usage),
    /// What people were told without asking, and whether it arrived
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Who changed what in an organization, the newest first
    Audit(Audit),
    /// Which server this is, how it is, and whose token this is
    Status(Status),
    /// Whose token this is, and what it may do
    #[command(name = "whoami")]
    WhoAmI(WhoAmI),
    /// Would a request be granted? Holds nothing; exits 0 if so, 3 if not
    Check(Check),
    /// Shows revocations as they happen
    Watch(Watch),
    /// Replays a trace of LLM requests and measures
    Replay(Replay),
    /// Loads the server and measures throughput and latency
    Bench(Box<Bench>),
    #[command(subcommand)]
    Journal(JournalCommand),
}

/// What needs no server, and no token.
#[derive(Debug, Subcommand)]
pub(crate) enum LocalCommand {
    Backup(Backup),
    Restore(Restore),
    /// The books themselves, while no server runs
    #[command(subcommand)]
    Store(StoreCommand),
    /// Servers known by name
    #[command(subcommand)]
    Context(ContextCommand),
    /// Prints a script that completes commands in a shell
    Completion(Completion),
}

impl LocalCommand {
    pub(crate) async fn run(self, global: &Global, out: Output) -> Result<(), Failure> {
        match self {
            Self::Context(command) => command.run(global, out).await,
            Self::Backup(backup) => backup.run(out).await,
            Self::Restore(restore) => restore.run(out).await,
            Self::Store(command) => command.run(out).await,
            Self::Completion(completion) => completion.run(),
        }
    }
}

impl RemoteCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let done = |()| ExitCode::SUCCESS;
        match self {
            Self::Org(command) => command.run(context).await.map(done),
            Self::Team(command) => command.run(context).await.map(done),
            Self::Member(command) => command.run(context).await.map(done),
            Self::Invite(command) => command.run(context).await.map(done),
            Self::Key(command) => command.run(context).await.map(done),
            Self::Budget(command) => command.run(context).await.map(done),
            Self::Rule(command) => command.run(context).await.map(done),
            Self::Allocation(command) => command.run(context).await.map(done),
            Self::Request(command) => command.run(context).await.map(done),
            Self::Overview(overview) => overview.run(context).await.map(done),
            Self::Price(command) => command.run(context).await.map(done),
            Self::Wallet(command) => command.run(context).await.map(done),
            Self::Token(command) => command.run(context).await.map(done),
            Self::Policy(command) => command.run(context).await.map(done),
            Self::Ledger(command) => command.run(context).await,
            Self::Usage(usage) => usage.run(context).await.map(done),
            Self::Alert(command) => command.run(context).await.map(done),
            Self::Audit(audit) => audit.run(context).await.map(done),
            Self::Status(command) => command.run(context).await.map(done),
            Self::WhoAmI(command) => command.run(context).await.map(done),
            Self::Check(check) => check.run(context).await,
            Self::Watch(watch) => watch.run(context).await.map(done),
            Self::Replay(replay) => replay.run(context).await,
            Self::Bench(bench) => bench.run(context).await,
            Self::Journal(command) => command.run(context).await,
        }
    }
}

#[cfg(test)]
impl RemoteCommand {
    /// What a line means that asks a server.
    pub(crate) fn of(line: &str) -> Self {
        match Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command) {
            Ok(Command::Remote(command)) => *command,
            other => panic!("{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_of_the_help_parses() {
        fn collect(command: &clap::Command, examples: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            examples.extend(help.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned));
            command.get_subcommands().for_each(|sub| collect(sub, examples));
        }
        let mut examples = Vec::new();
        collect(&Cli::command(), &mut examples);
        assert!(examples.len() > 25, "{} examples", examples.len());
        for example in examples {
            let words = example.split('\'').enumerate().flat_map(|(i, part)| match i % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                _ => vec![part.to_owned()],
            });
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{example}\n{error}");
            }
        }
    }

    #[test]
    fn global_flags_are_taken_after_the_command_too() {
        let cli = Cli::try_parse_from(["quotactl", "org", "list", "--json", "--endpoint", "http://h:1"]).unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.endpoint.as_deref(), Some("http://h:1"));
    }

    #[test]
    fn wrong_usage_is_refused_before_anything_is_sent() {
        for bad in [
            "quotactl",
            "quotactl org",
            "quotactl org create a --wallet-mode maybe",
            "quotactl org list --token a --token-file b",
            "quotactl org list --timeout 0s",
            "quotactl org list --color maybe",
            "quotactl context add a/b --endpoint http://h:1",
            "quotactl key create k --org a",
            "quotactl check --model m",
            "quotactl check --key k --api-key s --model m",
            "quotactl policy add-quota q --org a --organization --rpm 1 --tpm 2",
            "quotactl policy add-quota q --org a --organization",
            "quotactl policy add-budget b --org a --organization --period fortnightly",
            "quotactl policy get --org a --key k --member m",
            "quotactl policy add-quota q --org a --rpm 1",
            "quotactl policy remove q --org a",
            "quotactl replay t.csv --model m",
            "quotactl replay t.csv --model m --key k --speed -1",
            "quotactl bench",
            "quotactl bench --key k",
            "quotactl bench --key k --model m --prepare 1x1",
            "quotactl bench --key k --model m --remove",
            "quotactl bench --key k --model m --mix commit=1",
            "quotactl bench --key k --model m --rate 0",
            "quotactl bench --key k --model m --plot run.gif",
            "quotactl store migrate --from a",
        ] {
            assert!(Cli::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }
}
