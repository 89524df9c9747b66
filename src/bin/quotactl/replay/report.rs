//! How a replay went, for people and for programs.

use std::{fmt::Write as _, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{books::Books, tally::Tally};
use crate::{
    format::{amount, latency, thousands},
    output::{number, table, text},
};

#[derive(Debug)]
pub(super) struct Report {
    pub(super) run: String,
    pub(super) elapsed: Duration,
    pub(super) tally: Tally,
    pub(super) ledger: Ledger,
}

#[derive(Debug)]
pub(super) enum Ledger {
    NotCompared,
    /// What the ledger gained meanwhile.
    Compared(Books),
}

impl Report {
    /// The books are as they should be, and there was a server that answered.
    pub(super) fn is_good(&self) -> bool {
        let answered = self.tally.operations() > 0 || self.tally.failures() == 0;
        answered && self.agrees().unwrap_or(true)
    }

    /// None where the ledger wasn't compared.
    fn agrees(&self) -> Option<bool> {
        match &self.ledger {
            Ledger::NotCompared => None,
            Ledger::Compared(gained) => Some(*gained == self.tally.committed),
        }
    }

    pub(super) fn text(&self) -> String {
        let tally = &self.tally;
        let mut out = String::new();
        let elapsed = latency(micros(self.elapsed));
        line(&mut out, "run", &format!("{} ({} rows in {elapsed})", self.run, thousands(tally.rows)));
        line(&mut out, "granted", &thousands(tally.granted));
        line(&mut out, "refused", &thousands(tally.refusals()));
        for (code, count) in &tally.refused {
            let _ = writeln!(out, "          {} {code}", thousands(*count));
        }
        line(&mut out, "errors", &thousands(tally.failures()));
        for (kind, errors) in &tally.errors {
            let _ = writeln!(out, "          {} {kind}, such as: {}", thousands(errors.count), errors.example);
        }
        line(&mut out, "retries", &thousands(tally.retries));
        let (requests, operations) = (self.per_second(tally.rows), self.per_second(tally.operations()));
        line(&mut out, "rate", &format!("{} requests/s, {} operations/s", thousands(requests), thousands(operations)));
        let (input, output) = (thousands(tally.committed.input), thousands(tally.committed.output));
        line(&mut out, "tokens", &format!("{input} input, {output} output"));
        line(&mut out, "cost", &format!("{} USD", amount(&tally.cost().to_string())));
        line(&mut out, "overages", &format!("{} (late commits: {})", thousands(tally.overages), thousands(tally.late)));
        let columns = [text("latency"), number("p50"), number("p99"), number("p99.9"), number("max")];
        let rows = [latencies("Reserve", &tally.reserve), latencies("Commit", &tally.commit)];
        let _ = write!(out, "\n{}\n\n{}", table(&columns, rows), self.verdict());
        out
    }

    fn verdict(&self) -> String {
        let Ledger::Compared(gained) = &self.ledger else {
            return "ledger not compared: give --org".to_owned();
        };
        let own = &self.tally.committed;
        if gained == own {
            let cost = amount(&gained.cost.normalize().to_string());
            return format!("ledger agrees: {} entries, {cost} USD", thousands(gained.entries));
        }
        let row = |what: &str, own: String, ledger: String| vec![what.to_owned(), amount(&own), amount(&ledger)];
        let rows = [
            row("entries", own.entries.to_string(), gained.entries.to_string()),
            row("USD", own.cost.normalize().to_string(), gained.cost.normalize().to_string()),
            row("input tokens", own.input.to_string(), gained.input.to_string()),
            row("output tokens", own.output.to_string(), gained.output.to_string()),
        ];
        let table = table(&[text(""), number("replay"), number("ledger")], rows);
        let uncertain = match self.tally.uncertain {
            0 => String::new(),
            some => format!("\n{} commits were never acknowledged; they may be booked or not", thousands(some)),
        };
        format!("ledger differs\n{table}{uncertain}")
    }

    pub(super) fn json(&self) -> Value {
        let tally = &self.tally;
        let books = |books: &Books| {
            json!({
                "entries": number_json(books.entries),
                "cost_usd": books.cost.normalize().to_string(),
                "input_tokens": number_json(books.input),
                "output_tokens": number_json(books.output),
            })
        };
        let errors = tally
            .errors
            .iter()
            .map(|(kind, errors)| (kind.clone(), json!({ "count": errors.count, "example": errors.example })));
        let ledger = match &self.ledger {
            Ledger::NotCompared => Value::Null,
            Ledger::Compared(gained) => books(gained),
        };
        json!({
            "run": self.run,
            "elapsed_us": micros(self.elapsed),
            "rows": tally.rows,
            "granted": tally.granted,
            "refused": tally.refused,
            "errors": errors.collect::<serde_json::Map<_, _>>(),
            "unacknowledged_commits": tally.uncertain,
            "retries": tally.retries,
            "overages": tally.overages,
            "late_commits": tally.late,
            "requests_per_second": self.per_second(tally.rows),
            "operations_per_second": self.per_second(tally.operations()),
            "reserve_us": latencies_json(&tally.reserve),
            "commit_us": latencies_json(&tally.commit),
            "totals": books(&tally.committed),
            "ledger": ledger,
            "ledger_agrees": self.agrees(),
        })
    }

    fn per_second(&self, count: u64) -> u64 {
        let rate = u128::from(count) * 1_000_000 / self.elapsed.as_micros().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name:9} {value}");
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// JSON numbers end at 64 bits; sums of token counts stay far below.
fn number_json(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
}

fn quantiles(of: &Histogram<u64>) -> [u64; 4] {
    [of.value_at_quantile(0.5), of.value_at_quantile(0.99), of.value_at_quantile(0.999), of.max()]
}

fn latencies(name: &str, of: &Histogram<u64>) -> Vec<String> {
    let cells = quantiles(of).into_iter().map(|micros| if of.is_empty() { "–".to_owned() } else { latency(micros) });
    std::iter::once(name.to_owned()).chain(cells).collect()
}

fn latencies_json(of: &Histogram<u64>) -> Value {
    let [p50, p99, p999, max] = quantiles(of);
    json!({ "count": of.len(), "p50": p50, "p99": p99, "p99_9": p999, "max": max })
}
