//! `quotactl ledger`: the entries, and whether they add up.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use prost_types::Timestamp;
use quotad::api::proto::{
    Difference, ListTransactionsRequest, ListTransactionsResponse, TimeBasis, Transaction, TransactionKind,
    TransactionTotals, VerifyRequest, VerifyResponse,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, one_of},
    context::Context,
    failure::Failure,
    format::{amount, parse_instant, thousands},
    output::{Column, Item, Listed, Output, jsons, number, prose, tabulated, text},
    paging::Paging,
};

mod correct;
mod export;
mod transaction;

use correct::Correct;
use export::Export;

const EXAMPLES: &str = "\
Examples:
  quotactl ledger list --org acme --team research --start 2026-11-01T00:00:00Z --limit 20
  quotactl ledger list --org acme --kind top-up --all --json
  quotactl ledger export --org acme --csv november.csv --start 2026-11-01T00:00:00Z --end 2026-12-01T00:00:00Z
  quotactl ledger correct 17 0.25 --org acme --reason 'answer was cut short'
  quotactl ledger verify
  quotactl ledger verify --org acme";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum LedgerCommand {
    /// Lists entries, newest first, with the sums over all that match
    List {
        #[command(flatten)]
        filter: Filter,
        /// Whether --start and --end are about when entries were booked or when what they book was used
        #[arg(long, default_value = "booked", value_parser = one_of::<TimeBasis>(&BASES))]
        by: TimeBasis,
        #[command(flatten)]
        paging: Paging,
    },
    /// Writes all entries that match as CSV; --start and --end are about when it was used, as in `quotactl usage`
    Export(Export),
    /// Books a refund or adjustment of an earlier entry, which stays as it is
    Correct(Correct),
    /// Compares memory with the journal and with what the entries of the books come to; exits 0 if they agree, 1 if not
    Verify {
        /// Only this organization
        #[arg(long, default_value = "", hide_default_value = true)]
        org: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    org: Organization,
    /// Only this key's
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
    /// Only this member's
    #[arg(long, default_value = "", hide_default_value = true)]
    member: String,
    /// Only this team's
    #[arg(long, default_value = "", hide_default_value = true)]
    team: String,
    /// Only this model's
    #[arg(long, default_value = "", hide_default_value = true)]
    model: String,
    /// Only this kind, repeatable
    #[arg(long = "kind", value_parser = one_of::<TransactionKind>(&KINDS))]
    kinds: Vec<TransactionKind>,
    /// Entries at or after this instant
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
    start: Option<Timestamp>,
    /// Entries before this instant
    #[arg(long, value_name = "TIME", value_parser = parse_instant, allow_hyphen_values = true)]
    end: Option<Timestamp>,
}

const BASES: [&str; 2] = ["booked", "used"];
const KINDS: [&str; 9] =
    ["top-up", "commit", "charge", "expiry", "late-commit", "refund", "adjustment", "reversal", "release"];

impl Filter {
    fn request(&self, by: TimeBasis, page_size: i32, page_token: String) -> ListTransactionsRequest {
        ListTransactionsRequest {
            organization_id: self.org.id.clone(),
            key_id: self.key.clone(),
            member_id: self.member.clone(),
            team_id: self.team.clone(),
            model: self.model.clone(),
            kinds: self.kinds.iter().map(|kind| i32::from(*kind)).collect(),
            start_time: self.start,
            end_time: self.end,
            page_size,
            page_token,
            time_basis: by.into(),
        }
    }
}

impl LedgerCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let (mut client, out) = (context.server.ledger(), context.out);
        match self {
            Self::List { filter, by, paging } => {
                // Totals and as_of_entry as of the first page, the newest entries.
                let mut first: Option<ListTransactionsResponse> = None;
                let page = async |page_size, page_token| {
                    let request = filter.request(by, page_size, page_token);
                    let mut page = client.list_transactions(request).await?.into_inner();
                    let answer = (std::mem::take(&mut page.transactions), page.next_page_token.clone());
                    first.get_or_insert(page);
                    Ok(answer)
                };
                let listed = paging.collect(page).await?;
                list(out, &listed, &first.unwrap_or_default())?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Export(export) => export.run(context).await.map(|()| ExitCode::SUCCESS),
            Self::Correct(correct) => correct.run(context).await.map(|()| ExitCode::SUCCESS),
            Self::Verify { org } => {
                let answer = client.verify(VerifyRequest { organization_id: org }).await?.into_inner();
                verified(out, &answer)
            }
        }
    }
}

fn list(out: Output, listed: &Listed<Transaction>, first: &ListTransactionsResponse) -> Result<(), Failure> {
    let totals = first.totals.clone().unwrap_or_default();
    if out.is_json() {
        return out.value(&json!({
            "transactions": jsons(&listed.items),
            "more": listed.more,
            "as_of_entry": first.as_of_entry,
            "totals": totals_json(&totals),
        }));
    }
    out.list("transactions", listed)?;
    out.text(&format!(
        "\n{}",
        prose(&format!("{}; as of entry {}", totals_text(&totals), thousands(first.as_of_entry)))
    ))
}

fn totals_text(totals: &TransactionTotals) -> String {
    format!(
        "total of {} entries: {} USD, {} credits, {} input and {} output tokens, {} requests",
        thousands(totals.entries),
        amount(&totals.cost_usd),
        amount(&totals.credits),
        thousands(totals.input_tokens),
        thousands(totals.output_tokens),
        thousands(totals.requests),
    )
}

pub(crate) fn totals_json(totals: &TransactionTotals) -> Value {
    json!({
        "entries": totals.entries,
        "cost_usd": totals.cost_usd,
        "credits": totals.credits,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "requests": totals.requests,
    })
}

fn verified(out: Output, answer: &VerifyResponse) -> Result<ExitCode, Failure> {
    let clean = answer.differences.is_empty();
    let checked = format!(
        "{} organizations, {} entries, {} budget windows, {} events of the journal",
        thousands(answer.organizations),
        thousands(answer.entries),
        thousands(answer.windows),
        thousands(answer.replayed),
    );
    if out.is_json() {
        out.value(&json!({
            "organizations": answer.organizations,
            "entries": answer.entries,
            "windows": answer.windows,
            "replayed": answer.replayed,
            "differences": jsons(&answer.differences),
        }))?;
    } else if clean {
        out.text(&prose(&format!("memory, journal and books agree: {checked}")))?;
    } else {
        let count = answer.differences.len();
        out.text(&format!("{}\n\n{count} differences in {checked}", tabulated(&answer.differences)))?;
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Item for Difference {
    const COLUMNS: &'static [Column] = &[text("organization"), text("what"), number("expected"), number("found")];

    fn cells(&self) -> Vec<String> {
        vec![self.organization_id.clone(), self.what.clone(), amount(&self.expected), amount(&self.found)]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "what": self.what,
            "expected": self.expected,
            "found": self.found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_read_as_one_line() {
        let totals = TransactionTotals {
            entries: 8819,
            cost_usd: "1234.5".into(),
            credits: "0".into(),
            input_tokens: 18_059_000,
            output_tokens: 245_896,
            requests: 8819,
        };
        assert_eq!(
            totals_text(&totals),
            "total of 8,819 entries: 1,234.5 USD, 0 credits, 18,059,000 input and 245,896 output tokens, 8,819 requests"
        );
    }
}
