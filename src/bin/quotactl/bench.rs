//! `quotactl bench`: loads a server the way inference servers do, and measures.

use std::{num::NonZeroU64, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quotad::{api::proto::Usage, domain::time::Span};

use self::{
    drive::{Run, Shape},
    mix::{Mix, parse_mix},
    plot::{Picture, parse_picture},
    population::{Choice, Population, parse_exponent},
    prepare::{Prepared, Size, Wanted, parse_size},
    report::Report,
    script::Traffic,
};
use crate::{arguments::mint, context::Context, failure::Failure, format::parse_span, service_access::ServiceAccess};

mod drive;
mod mix;
mod outcome;
mod pace;
mod plot;
mod population;
mod prepare;
mod record;
mod report;
mod script;
mod session;
#[cfg(test)]
mod tests;
mod unary;
mod wire;

const EXAMPLES: &str = "\
Examples:
  quotactl bench --prepare 10x100 --remove
  quotactl bench --prepare 1x1000 --session --connections 2 --in-flight 512 --duration 30s --remove
  quotactl bench --prepare 1000x1000 --write-keys keys.txt --zipf 1.1
  quotactl bench --keys-file keys.txt --model bench --rate 20000 --duration 5m --plot load.png
  quotactl bench --key ada-laptop --model small --mix reserve=4,extend=4,commit=3,release=1,check=1 --json

A closed loop (without --rate) asks again as soon as it is answered, and finds out how much the server can do. An open \
loop (--rate) sends at equal distances whatever the server does, and finds out how long callers wait under that load: \
latency counts from the moment at which an operation was due, so that one sent late because others were slow is slow \
too. What is due while all of --connections × --in-flight are under way waits; what was never sent is told.

Single calls: of those under way a connection has at most 256 Reserves and Checks sent, as clients should, so that a Commit doesn't wait \
behind thousands of them; --in-order sends all as they begin. So does a session.

Operations take turns by their weights on each connection. A Commit, a Release and an Extend take the oldest reservation that is open; \
where none is, or --max-open are, what is possible goes first. A Commit and a Charge report half of the output tokens \
that a Reserve asks for; an Extend renews the time to live and reports no usage. What is open at the end is released, but \
with --leave-open.

Measured is what ends after --warm-up. Only what was granted counts as done. Denials are counted by code, errors by gRPC code and reason. It exits 1 if nothing \
was done. The load comes from this machine: where it is the server's too, both share its cores.";

const REQUESTS: &str = "Requests";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    #[command(flatten)]
    payers: Payers,
    #[command(flatten)]
    load: Load,
    /// The model that is asked for; with --prepare it is given a price if it has none
    #[arg(long, help_heading = REQUESTS, default_value_if("prepare", clap::builder::ArgPredicate::IsPresent, "bench"))]
    #[arg(required_unless_present = "prepare")]
    model: Option<String>,
    /// Weights of reserve, extend, commit, release, charge and check
    #[arg(long, help_heading = REQUESTS, default_value = "reserve=1,commit=1", value_name = "NAME=WEIGHT,…", value_parser = parse_mix)]
    mix: Mix,
    /// Input tokens of each request
    #[arg(long, help_heading = REQUESTS, default_value_t = 900, value_name = "N")]
    input_tokens: u64,
    /// Output tokens that each Reserve asks for
    #[arg(long, help_heading = REQUESTS, default_value_t = 300, value_name = "N")]
    output_tokens: u64,
    /// For how long a reservation lives unless extended
    #[arg(long, help_heading = REQUESTS, default_value = "10m", value_name = "SPAN", value_parser = parse_span)]
    ttl: prost_types::Duration,
    /// Draws a curve of throughput and latency, as .png or .svg
    #[arg(long, value_name = "FILE", value_parser = parse_picture)]
    plot: Option<Picture>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Keys")]
struct Payers {
    /// A file with a key's id on each line, hottest first for --zipf
    #[arg(long, value_name = "FILE", required_unless_present_any = ["prepare", "keys"])]
    keys_file: Option<PathBuf>,
    /// A key's id, repeatable
    #[arg(long = "key", value_name = "ID", conflicts_with = "keys_file")]
    keys: Vec<String>,
    /// Makes so many organizations with so many keys in each: needs the operator's token
    #[arg(long, value_name = "ORGSxKEYS", value_parser = parse_size, conflicts_with_all = ["keys_file", "keys"])]
    prepare: Option<Size>,
    /// Limits of each key that --prepare makes: a budget, requests a minute, tokens a minute, and so on
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=32))]
    limits: u8,
    /// Writes the keys that --prepare made, for a later --keys-file
    #[arg(long, value_name = "FILE", requires = "prepare", conflicts_with_all = ["keys_file", "keys"])]
    write_keys: Option<PathBuf>,
    /// Removes at the end what --prepare made
    #[arg(long, requires = "prepare", conflicts_with_all = ["keys_file", "keys"])]
    remove: bool,
    /// Pays by the keys' secrets, as inference servers do: then they, not ids, are in the files
    #[arg(long)]
    by_secret: bool,
    /// Chooses the n-th key in proportion to 1 / n^EXPONENT; without it all are alike
    #[arg(long, value_name = "EXPONENT", value_parser = parse_exponent)]
    zipf: Option<f64>,
    /// Another seed chooses other keys; the same one chooses the same
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct Load {
    /// Sends over one Session stream on each connection instead of single calls
    #[arg(long)]
    session: bool,
    /// Sends single calls as they begin, as most HTTP/2 clients do: past saturation a Commit waits behind new work
    #[arg(long, conflicts_with = "session")]
    in_order: bool,
    /// Connections to the server
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Operations under way at one time on each connection: the depth of a session
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Operations to send a second, over all connections; without it as fast as they are answered
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<NonZeroU64>,
    /// How long to measure
    #[arg(long, default_value = "10s", value_name = "SPAN", value_parser = parse_time)]
    duration: Duration,
    /// How long to load before that
    #[arg(long, default_value = "2s", value_name = "SPAN", value_parser = parse_time)]
    warm_up: Duration,
    /// Reservations that may be open at one time, over all connections
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    max_open: u32,
    /// Leaves what is open to expire, however much it is, instead of releasing it
    #[arg(long, conflicts_with = "max_open")]
    leave_open: bool,
}

/// Reads a rate from 1 to 10,000,000 a second.
fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let rate = text.parse().ok().filter(|rate: &NonZeroU64| rate.get() <= 10_000_000);
    rate.ok_or_else(|| format!("{text:?} is no rate; give a whole number from 1 to 10000000"))
}

/// Reads a span as everywhere else, parts of a second too: `0s`, `500ms`, `30s`, `5m`.
fn parse_time(text: &str) -> Result<Duration, String> {
    if let Some(millis) = text.strip_suffix("ms").and_then(|millis| millis.parse().ok()) {
        return Ok(Duration::from_millis(millis));
    }
    if text == "0s" {
        return Ok(Duration::ZERO);
    }
    let span = parse_span(text).map_err(|wrong| format!("{wrong}, or 500ms"))?;
    let span = Duration::from_secs(u64::try_from(span.seconds).unwrap_or(0));
    Some(span).filter(|span| *span <= Duration::from_hours(24)).ok_or_else(|| "give at most 24h".to_owned())
}

impl Load {
    fn shape(&self) -> Shape {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Shape {
            session: self.session,
            in_order: self.in_order,
            connections: self.connections.into(),
            in_flight: size(self.in_flight),
            max_open: (!self.leave_open).then(|| size(self.max_open)),
            rate: self.rate,
            warm_up: self.warm_up,
            duration: self.duration,
        }
    }
}

impl Bench {
    pub(crate) async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let bar = if context.out.is_json() { ProgressBar::hidden() } else { progress_bar() };
        let report = self.measure(context, &bar).await?;
        if let Some(picture) = &self.plot {
            plot::draw(picture, &report.samples, report.shape.warm_up)?;
        }
        if context.out.is_json() {
            context.out.value(&report.json())?;
        } else {
            context.out.text(&report.text())?;
        }
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn measure(&self, context: &Context, bar: &ProgressBar) -> Result<Report, Failure> {
        if self.load.duration.is_zero() {
            return Err(Failure::other("duration: 0 measures nothing; give at least 1ms"));
        }
        let run = mint()?.split_off(8);
        let model = self.model.clone().unwrap_or_default();
        let prepared = match self.payers.prepare {
            Some(size) => {
                let (limits, secrets) = (self.payers.limits.into(), self.payers.by_secret);
                let wanted = Wanted { size, model: &model, limits, secrets };
                Some(prepare::prepare(&context.server, &run, wanted, bar).await?)
            }
            None => None,
        };
        let measured = self.load(context, &run, model, prepared.as_ref(), bar).await;
        let removal = match &prepared {
            // What was measured is told all the same.
            Some(prepared) if self.payers.remove => {
                prepared.remove(&context.server, bar).await.err().map(|failure| failure.to_string())
            }
            Some(prepared) => Some(prepared.removal()),
            None => None,
        };
        match (measured, removal) {
            (Ok(report), removal) => Ok(Report { removal, ..report }),
            (Err(failure), Some(removal)) => Err(Failure::other(format!("{failure}\n{removal}"))),
            (Err(failure), None) => Err(failure),
        }
    }

    fn population(&self, prepared: Option<&Prepared>) -> Result<Population, Failure> {
        let by_secret = self.payers.by_secret;
        let population = match (prepared, &self.payers.keys_file) {
            (Some(prepared), _) => Population::new(prepared.keys.clone(), by_secret)?,
            (None, Some(path)) => Population::read(path, by_secret)?,
            (None, None) => Population::new(self.payers.keys.clone(), by_secret)?,
        };
        if let Some(path) = &self.payers.write_keys {
            population.write(path)?;
        }
        Ok(population)
    }

    async fn load(
        &self,
        context: &Context,
        run: &str,
        model: String,
        prepared: Option<&Prepared>,
        bar: &ProgressBar,
    ) -> Result<Report, Failure> {
        let population = self.population(prepared)?;
        let (keys, shape) = (population.len(), self.load.shape());
        let usage = |output_tokens| Usage { input_tokens: self.input_tokens, output_tokens, ..Usage::default() };
        let traffic = Arc::new(Traffic {
            choice: Choice::new(keys, self.payers.zipf)?,
            population,
            mix: self.mix,
            model,
            estimate: usage(self.output_tokens),
            used: usage(self.output_tokens / 2),
            ttl: self.ttl,
            run: run.to_owned(),
            seed: self.payers.seed,
        });
        let length = shape.warm_up + shape.duration;
        bar.reset();
        bar.set_length(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
        let access = ServiceAccess::open(&context.server, Span::seconds(seconds.saturating_add(3600))).await?;
        let ran = drive::run(access.connection(), &traffic, &shape, bar).await;
        access.close().await;
        let Run { load, samples, settled } = ran?;
        Ok(Report {
            run: run.to_owned(),
            keys,
            measured: load.recorder.measured()?,
            all: load.recorder.all(),
            unsent: load.pace.unsent(),
            unanswered: load.recorder.under_way(),
            settled,
            samples,
            shape,
            removal: None,
        })
    }
}

/// On standard error; hides itself where that is no terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:30} {percent}%  {elapsed}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
