//! `quotactl ledger export`: every entry that matches, as CSV. Amounts and times as the API has them, nothing rounded.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use quotad::api::proto::{BookedUsage, TimeBasis, Transaction, TransactionKind};
use rust_decimal::Decimal;
use serde_json::json;

use super::{BASES, Filter};
use crate::{
    arguments::one_of,
    context::Context,
    failure::Failure,
    format::{instant, thousands},
    names::name,
    progress::progress_bar,
};

const EXAMPLES: &str = "\
Examples:
  quotactl ledger export --org acme --csv november.csv --start 2026-11-01T00:00:00Z --end 2026-12-01T00:00:00Z
  quotactl ledger export --org acme --csv booked.csv --by booked --start 2026-11-01T00:00:00Z --end 2026-12-01T00:00:00Z
  quotactl ledger export --org acme --member ada --csv -";

const PAGE: i32 = 1000;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    #[command(flatten)]
    filter: Filter,
    /// Whether --start and --end are about when what entries book was used, as in `quotactl usage`, or when they were booked
    #[arg(long, default_value = "used", value_parser = one_of::<TimeBasis>(&BASES))]
    by: TimeBasis,
    /// The file to write; - for standard output
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,
}

const HEADER: [&str; 23] = [
    "entry",
    "time",
    "occurred_at",
    "kind",
    "member_id",
    "key_id",
    "team_id",
    "model",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "requests",
    "cost_usd",
    "credits",
    "wallet_usd",
    "balance_usd",
    "request_id",
    "actor",
    "reason",
    "corrects_entry",
    "order_id",
    "labels",
];

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let to_stdout = self.csv == Path::new("-");
        let target: Box<dyn Write> = if to_stdout {
            Box::new(io::stdout().lock())
        } else {
            Box::new(File::create(&self.csv).map_err(|error| self.unwritten(&error))?)
        };
        let entries = self.write(context, csv::Writer::from_writer(target)).await?;
        if to_stdout {
            return Ok(());
        }
        let sentence = format!("{} entries written to {}", thousands(entries), self.csv.display());
        context.out.done(&sentence, &json!({ "entries": entries, "file": self.csv.display().to_string() }))
    }

    /// Page by page, so that a long ledger needs no memory.
    async fn write(&self, context: &Context, mut writer: csv::Writer<Box<dyn Write>>) -> Result<u64, Failure> {
        let mut client = context.server.ledger();
        let bar = progress_bar(None);
        writer.write_record(HEADER).map_err(|error| self.unwritten(&error))?;
        let (mut entries, mut token) = (0, String::new());
        loop {
            let page = client.list_transactions(self.filter.request(self.by, PAGE, token)).await?.into_inner();
            bar.set_length(page.totals.as_ref().map_or(0, |totals| totals.entries));
            for entry in &page.transactions {
                writer.write_record(record(entry)).map_err(|error| self.unwritten(&error))?;
                entries += 1;
            }
            bar.set_position(entries);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        writer.flush().map_err(|error| self.unwritten(&error))?;
        bar.finish_and_clear();
        Ok(entries)
    }

    fn unwritten(&self, error: &impl ToString) -> Failure {
        Failure::file("CSV file", &self.csv, format!("can't be written: {}", error.to_string()))
    }
}

fn record(entry: &Transaction) -> [String; HEADER.len()] {
    let tokens = |count: fn(&BookedUsage) -> i64| entry.usage.as_ref().map(|usage| count(usage).to_string());
    let nonzero = |number: u64| if number == 0 { String::new() } else { number.to_string() };
    [
        entry.entry.to_string(),
        instant(entry.time.as_ref()),
        instant(entry.occurred_at.as_ref()),
        name::<TransactionKind>(entry.kind),
        text(&entry.member_id),
        text(&entry.key_id),
        text(&entry.team_id),
        text(&entry.model),
        tokens(|usage| usage.input_tokens).unwrap_or_default(),
        tokens(|usage| usage.cached_input_tokens).unwrap_or_default(),
        tokens(|usage| usage.cache_write_tokens).unwrap_or_default(),
        tokens(|usage| usage.output_tokens).unwrap_or_default(),
        tokens(|usage| usage.requests).unwrap_or_default(),
        amount(&entry.cost_usd),
        amount(&entry.credits),
        amount(&entry.wallet_usd),
        amount(&entry.balance_usd),
        text(&entry.request_id),
        text(&entry.actor),
        text(&entry.reason),
        nonzero(entry.corrects_entry),
        text(&entry.order_id),
        labels(&entry.labels),
    ]
}

/// The labels in the order of their names, as a JSON object; nothing where there are none.
fn labels(labels: &HashMap<String, String>) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let sorted: BTreeMap<_, _> = labels.iter().collect();
    text(&json!(sorted).to_string())
}

/// A number stays one, minus sign and all; anything else in its column is text.
fn amount(given: &str) -> String {
    if given.parse::<Decimal>().is_ok() { given.to_owned() } else { text(given) }
}

/// Text that a spreadsheet would run as a formula, with an apostrophe before it, which makes it text there.
///
/// Spreadsheets look past spaces, quotes and control characters, and some take the wide forms of the signs for the signs.
fn text(given: &str) -> String {
    let skipped = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\'' | '"' | '\u{feff}');
    let first = given.trim_start_matches(skipped).chars().next();
    let is_formula = matches!(first, Some('=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'));
    if is_formula || given.starts_with(['\t', '\r', '\n']) { format!("'{given}") } else { given.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_row_under_its_header() {
        let entry = Transaction {
            entry: 7,
            kind: TransactionKind::LateCommit.into(),
            member_id: "ada".into(),
            usage: Some(BookedUsage { input_tokens: 1200, ..BookedUsage::default() }),
            cost_usd: "-0.5".into(),
            reason: "=1+1".into(),
            ..Transaction::default()
        };
        let record = record(&entry);
        let cell = |name: &str| record[HEADER.iter().position(|header| *header == name).unwrap()].as_str();
        assert_eq!((cell("entry"), cell("kind"), cell("member_id")), ("7", "late_commit", "ada"));
        assert_eq!((cell("input_tokens"), cell("cost_usd"), cell("corrects_entry")), ("1200", "-0.5", ""));
        assert_eq!(cell("reason"), "'=1+1");
    }

    // P8
    #[test]
    fn no_text_of_others_is_a_formula() {
        let formula = || String::from("=HYPERLINK(\"http://x\")");
        let entry = Transaction {
            member_id: formula(),
            key_id: formula(),
            team_id: formula(),
            model: formula(),
            cost_usd: formula(),
            credits: formula(),
            wallet_usd: formula(),
            balance_usd: formula(),
            request_id: formula(),
            actor: formula(),
            reason: formula(),
            order_id: formula(),
            ..Transaction::default()
        };
        for (header, cell) in HEADER.iter().zip(record(&entry)) {
            assert!(!cell.starts_with('='), "{header}: {cell}");
        }
        for bad in
            ["=1", "+1", "-1", "@SUM(1)", "\t=1", "\r1", "\n1", " =1", "\u{a0}=1", "\"=1\"", "'=1", "\u{feff}@a", "＝1"]
        {
            assert_eq!(text(bad), format!("'{bad}"));
        }
        for plain in ["", "member:ada", "gpt-5", "a=b", "1", "{\"a\":\"=1\"}"] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn negative_amounts_stay_numbers() {
        for number in ["-0.5", "12.000000001", "0"] {
            assert_eq!(amount(number), number);
        }
        assert_eq!(amount("-1+1"), "'-1+1");
    }

    #[test]
    fn labels_are_one_cell_in_the_order_of_their_names() {
        let given = [("team", "=1+1"), ("app", "chat")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(labels(&HashMap::from(given)), r#"{"app":"chat","team":"=1+1"}"#);
        assert_eq!(labels(&HashMap::new()), "");
    }
}
