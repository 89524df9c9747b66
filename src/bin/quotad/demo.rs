//! `quotad demo`: the main job in a minute, on a server of its own, over real gRPC.

use std::{sync::Arc, time::Duration};

use clap::Args;
use parking_lot::Mutex;
use quotad::{
    api::proto::{GetBalanceRequest, ListTransactionsRequest, TransactionKind, VerifyRequest},
    client::{ConnectError, Connection, GateError, explain},
    clock::SystemClock,
    config::{Connections, Settings},
    domain::{error::Invalid, money::Nanos},
    notify::Network,
    server::{Running, ServeError, serve},
    telemetry::{Telemetry, TelemetryError},
};
use tonic::Status;

mod board;
mod seed;
mod traffic;

use board::Board;
use seed::{KEYS, ORGANIZATION};

/// Watch quotad work: a server on a temporary directory, an organization, a few hundred requests, and the books
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  quotad demo          serve on until Ctrl-C, to try grpcurl and quotactl\n  \
                        quotad demo --exit   end with 0 if the books add up, else with 1")]
pub(crate) struct DemoArgs {
    /// End when the books are shown, instead of serving until Ctrl-C
    #[arg(long)]
    exit: bool,
    /// Address to listen on; a free port of this machine if not given
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: std::net::SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Setting(#[from] Invalid),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", explain(.0))]
    Status(Box<Status>),
    #[error(transparent)]
    Gate(Box<GateError>),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the server's answer has no {0}")]
    Incomplete(&'static str),
    #[error("what should have been granted was refused: {0}")]
    Refused(String),
    #[error("the books don't add up")]
    Books,
}

impl From<Status> for DemoError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<GateError> for DemoError {
    fn from(error: GateError) -> Self {
        Self::Gate(Box::new(error))
    }
}

pub(crate) async fn run(args: &DemoArgs) -> Result<(), DemoError> {
    let directory = tempfile::Builder::new().prefix("quotad-demo-").tempdir()?;
    let settings = Settings {
        listen: args.listen,
        data_dir: directory.path().to_owned(),
        // Whoever tries it has the receiver here.
        webhook_allow: Network::parse_list("webhook_allow", "127.0.0.0/8,::1")?,
        log: String::from("warn"),
        connections: Connections { max_call_wait: Duration::from_secs(5), ..Connections::default() },
        ..Settings::default()
    };
    let telemetry = Telemetry::start(&settings)?;
    let running =
        serve(&settings, Arc::clone(&telemetry.metrics), |at_least| Arc::new(SystemClock::start(at_least))).await?;
    println!("quotad {} on {}\ndata in {}\n", env!("CARGO_PKG_VERSION"), running.address, directory.path().display());
    let outcome = play(&running).await;
    if let (Ok(token), false) = (&outcome, args.exit) {
        invite(&running, token);
        tokio::signal::ctrl_c().await?;
    }
    running.shutdown().await?;
    outcome.map(|_| ())
}

/// Seeds, drives and shows; answers the service token.
async fn play(running: &Running) -> Result<String, DemoError> {
    let operator = Connection::open(&format!("http://{}", running.address), &running.operator_token).await?;
    let token = seed::seed(&operator).await?;
    let gateway = operator.with_token(&token)?;
    let board = Arc::new(Mutex::new(Board::default()));
    {
        let mut redraw = tokio::time::interval(Duration::from_millis(100));
        let mut traffic = std::pin::pin!(traffic::drive(&gateway, &board));
        loop {
            tokio::select! {
                done = &mut traffic => break done?,
                _ = redraw.tick() => board.lock().draw(false),
            }
        }
    }
    traffic::run_away(&gateway, &board).await?;
    // Nobody else counts any more.
    let mut board = std::mem::take(&mut *board.lock());
    board.draw(true);
    println!();
    for event in &board.events {
        println!("{}", board::wrapped(event));
    }
    books(&operator, &board).await?;
    Ok(token)
}

/// Compares what the caller counted with the ledger, key by key, and has the ledger verified.
async fn books(operator: &Connection, board: &Board) -> Result<(), DemoError> {
    let mut agree = true;
    println!("\nThe books of {ORGANIZATION}");
    for (row, (key, ..)) in board.rows.iter().zip(KEYS) {
        let (entries, cost) = ledger_of(operator, key).await?;
        agree &= (entries, cost) == (row.committed, row.cost);
        println!("  {key:<14} {entries:>5} entries {:>12.6} USD", cost.to_decimal());
    }
    let (committed, cost) = board.total();
    let request = GetBalanceRequest { organization_id: ORGANIZATION.to_owned() };
    let wallet = operator.wallets().get_balance(request).await?.into_inner();
    let paid_in = parse(seed::TOP_UP_USD)?;
    agree &= parse(&wallet.balance_usd)? == paid_in - cost && parse(&wallet.held_usd)? == Nanos::ZERO;
    println!("  balance        {} USD of {paid_in} paid in, {} held", wallet.balance_usd, wallet.held_usd);
    let request = VerifyRequest { organization_id: ORGANIZATION.to_owned() };
    let verified = operator.ledger().verify(request).await?.into_inner();
    for difference in &verified.differences {
        println!("  {}: the entries add up to {}, not {}", difference.what, difference.expected, difference.found);
    }
    agree &= verified.differences.is_empty() && verified.entries == committed + 1;
    if !agree {
        return Err(DemoError::Books);
    }
    let (entries, windows) = (verified.entries, verified.windows);
    println!("  verified       {entries} entries and {windows} budget windows: the books add up\n");
    Ok(())
}

async fn ledger_of(operator: &Connection, key: &str) -> Result<(u64, Nanos), DemoError> {
    let request = ListTransactionsRequest {
        organization_id: ORGANIZATION.to_owned(),
        key_id: key.to_owned(),
        kinds: vec![TransactionKind::Commit.into()],
        page_size: 1,
        ..ListTransactionsRequest::default()
    };
    let answer = operator.ledger().list_transactions(request).await?.into_inner();
    let totals = answer.totals.ok_or(DemoError::Incomplete("totals"))?;
    Ok((totals.entries, parse(&totals.cost_usd)?))
}

fn parse(usd: &str) -> Result<Nanos, DemoError> {
    Nanos::parse("amount", usd).map_err(|_| DemoError::Incomplete("amount"))
}

fn invite(running: &Running, token: &str) {
    let (address, operator) = (running.address, running.token_file.display());
    let header = format!("authorization: Bearer {token}");
    let reserve = r#"{"payer":{"key_id":"ben-agent"},"request_id":"try-1","model":"llama-3.3-70b","usage":{"input_tokens":900,"output_tokens":300}}"#;
    println!(
        "Still serving; Ctrl-C ends it. Reserve with one of these, then Commit with the\nreservation id it answers:\n"
    );
    println!("  grpcurl -plaintext -H '{header}' \\");
    println!("    -d '{reserve}' \\");
    println!("    {address} quotad.v1.QuotaService/Reserve\n");
    println!("  buf curl --protocol grpc --http2-prior-knowledge \\");
    println!("    -H '{header}' --reflect-header '{header}' \\");
    println!("    -d '{reserve}' \\");
    println!("    http://{address}/quotad.v1.QuotaService/Reserve\n");
    println!("  export QUOTAD_ENDPOINT=http://{address} QUOTAD_TOKEN_FILE={operator} QUOTAD_ORG={ORGANIZATION}");
    println!("  alias quotactl='cargo run -q --release --bin quotactl --'    # where it isn't installed");
    println!("  quotactl policy get --team research");
    println!("  quotactl ledger list --limit 5");
    println!("  quotactl check --key cleo-batch --model {} --input-tokens 900 --output-tokens 300\n", seed::LARGE);
}
