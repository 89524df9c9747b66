//! `quotactl replay`: sends a recorded trace of LLM requests to a server, measures, and compares its own total with the
//! books'.

use std::{fs::File, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use futures::{StreamExt as _, stream};
use indicatif::ProgressBar;
use quotad::{
    api::proto::{ListTransactionsRequest, Payer},
    clock::Stopwatch,
    domain::time::Span,
};

use self::{
    books::Books,
    drive::Drive,
    report::{Ledger, Report},
    tally::Tally,
    trace::Row,
};
use crate::{
    arguments::{key_payer, mint, secret_payer},
    context::Context,
    failure::Failure,
    progress::progress_bar,
    service_access::ServiceAccess,
};

mod books;
mod drive;
mod report;
mod tally;
#[cfg(test)]
mod tests;
mod trace;

const EXAMPLES: &str = "\
Examples:
  quotactl replay trace.csv --org acme --key ada-laptop --model small
  quotactl replay trace.csv --org acme --key k1 --key k2 --model small --speed max --in-flight 256
  quotactl replay trace.csv --key k1 --model small --speed 10 --limit 500 --json

The trace is a CSV file with the columns TIMESTAMP (2023-11-16 18:17:03.97), ContextTokens and GeneratedTokens. Each \
row is one Reserve with its context tokens and --max-output, then one Commit with its real counts. Calls that fail \
because the server is out of reach are repeated under the same request id, so that nothing is charged twice. Ctrl-C \
stops sending and reports.

With --org the ledger's totals before and after must differ by exactly what was committed, else it exits 1: keep other \
traffic off that organization meanwhile.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Replay {
    /// The trace: a CSV file, described below
    trace: PathBuf,
    #[command(flatten)]
    payers: Payers,
    /// The model that every row asks for
    #[arg(long)]
    model: String,
    /// The organization of the keys, whose ledger is compared
    #[arg(long, env = "QUOTAD_ORG")]
    org: Option<String>,
    /// How fast: 1 is as recorded, 10 ten times that, max as fast as can be
    #[arg(long, default_value = "1", value_parser = parse_speed)]
    speed: Speed,
    /// How many rows may be under way at one time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Output tokens to reserve for each row
    #[arg(long, default_value_t = 1024, value_name = "N")]
    max_output: u64,
    /// Replay only the first rows
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// For how many seconds to repeat a call while the server is out of reach
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    patience: u64,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Payers {
    /// A key's id, repeatable: rows take turns
    #[arg(long = "key", value_name = "ID")]
    keys: Vec<String>,
    /// A key's secret, repeatable
    #[arg(long = "api-key", value_name = "SECRET")]
    api_keys: Vec<String>,
}

impl Payers {
    fn list(&self) -> Vec<Payer> {
        self.keys.iter().map(key_payer).chain(self.api_keys.iter().map(secret_payer)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    Max,
    Times(f64),
}

/// Reads `max` or a factor from 0.001 to 1,000,000.
fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let factor = text.parse().ok().filter(|factor| (0.001..=1e6).contains(factor));
    factor.map(Speed::Times).ok_or_else(|| "give max or a factor from 0.001 to 1000000".to_owned())
}

impl Speed {
    /// When a row is due that was recorded at `offset`.
    fn due(self, offset: Duration) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            Self::Times(factor) => offset.div_f64(factor),
        }
    }
}

impl Replay {
    pub(crate) async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let bar = if context.out.is_json() { ProgressBar::hidden() } else { progress_bar(None) };
        let report = self.measure(context, &bar).await?;
        if context.out.is_json() {
            context.out.value(&report.json())?;
        } else {
            context.out.text(&report.text())?;
        }
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn measure(&self, context: &Context, bar: &ProgressBar) -> Result<Report, Failure> {
        let file = File::open(&self.trace)
            .map_err(|error| Failure::file("trace", &self.trace, format!("can't be read: {error}")))?;
        let rows = trace::read(file, self.limit)
            .map_err(|problem| Failure::file("trace", &self.trace, problem.to_string()))?;
        let lasts = self.speed.due(rows.last().map(|row| row.offset).unwrap_or_default());
        let seconds = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
        let before = self.books(context).await?;

        let access = ServiceAccess::open(&context.server, Span::seconds(seconds.saturating_add(3600))).await?;
        let run = mint()?;
        let drive = Drive {
            client: access.connection().quota(),
            payers: self.payers.list(),
            model: self.model.clone(),
            run: run.clone(),
            max_output: self.max_output,
            patience: Duration::from_secs(self.patience),
        };
        bar.set_length(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        let watch = Stopwatch::start();
        let sent = self.send(drive, rows, bar).await;
        let elapsed = watch.elapsed();
        bar.finish_and_clear();
        access.close().await;

        let tally = sent?;
        let ledger = match (before, self.books(context).await?) {
            (Some(before), Some(after)) => Ledger::Compared(after.since(&before)),
            _ => Ledger::NotCompared,
        };
        Ok(Report { run, elapsed, tally, ledger })
    }

    /// Sends the rows, each when it is due and a place in flight is free. Ctrl-C ends the sending; what is under way is
    /// still awaited.
    async fn send(&self, drive: Drive, rows: Vec<Row>, bar: &ProgressBar) -> Result<Tally, Failure> {
        let drive = Arc::new(drive);
        let watch = Stopwatch::start();
        let due = stream::iter(rows).then(|row| {
            let wait = self.speed.due(row.offset).saturating_sub(watch.elapsed());
            async move {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                row
            }
        });
        let due = due.take_until(Box::pin(tokio::signal::ctrl_c()));
        let in_flight = usize::try_from(self.in_flight).unwrap_or(usize::MAX);
        let results = due
            .map(|row| {
                let drive = Arc::clone(&drive);
                // A task each, so that all cores take part.
                tokio::spawn(async move { drive.row(&row).await })
            })
            .buffer_unordered(in_flight);
        let mut results = std::pin::pin!(results);
        let mut tally = Tally::new()?;
        while let Some(result) = results.next().await {
            tally.add(result.map_err(|error| Failure::other(format!("a row's task ended early: {error}")))?);
            bar.inc(1);
        }
        Ok(tally)
    }

    /// The ledger's totals now, if an organization is given.
    async fn books(&self, context: &Context) -> Result<Option<Books>, Failure> {
        let Some(org) = self.org.as_ref().filter(|org| !org.is_empty()) else { return Ok(None) };
        let request = ListTransactionsRequest {
            organization_id: org.clone(),
            page_size: 1,
            ..ListTransactionsRequest::default()
        };
        let answer = context.server.ledger().list_transactions(request).await?.into_inner();
        Books::read(&answer.totals.unwrap_or_default()).map(Some)
    }
}
