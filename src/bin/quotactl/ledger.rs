//! `quotactl ledger`: the entries, and whether they add up.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use prost_types::Timestamp;
use quotad::api::proto::{
    Difference, ListTransactionsRequest, ListTransactionsResponse, Transaction, TransactionKind, TransactionTotals,
    VerifyRequest, VerifyResponse,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, one_of},
    context::Context,
    failure::Failure,
    format::{amount, instant, instant_json, parse_instant, thousands},
    names::name,
    output::{Column, Item, Listed, Output, jsons, number, tabulated, text},
    paging::Paging,
};

const EXAMPLES: &str = "\
Examples:
  quotactl ledger list --org acme --team research --start 2026-11-01T00:00:00Z --limit 20
  quotactl ledger list --org acme --kind top-up --all --json
  quotactl ledger verify
  quotactl ledger verify --org acme";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum LedgerCommand {
    /// Lists entries, newest first, with the sums over all that match
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        paging: Paging,
    },
    /// Recomputes balances and budgets from the entries; exits 0 if they agree, 1 if not
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
    /// Entries at or after this instant, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    start: Option<Timestamp>,
    /// Entries before this instant, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    end: Option<Timestamp>,
}

const KINDS: [&str; 5] = ["top-up", "commit", "charge", "expiry", "late-commit"];

impl Filter {
    fn request(&self, page_size: i32, page_token: String) -> ListTransactionsRequest {
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
        }
    }
}

impl LedgerCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let (mut client, out) = (context.server.ledger(), context.out);
        match self {
            Self::List { filter, paging } => {
                // Totals and as_of_entry as of the first page, the newest entries.
                let mut first: Option<ListTransactionsResponse> = None;
                let page = async |page_size, page_token| {
                    let request = filter.request(page_size, page_token);
                    let mut page = client.list_transactions(request).await?.into_inner();
                    let answer = (std::mem::take(&mut page.transactions), page.next_page_token.clone());
                    first.get_or_insert(page);
                    Ok(answer)
                };
                let listed = paging.collect(page).await?;
                list(out, &listed, &first.unwrap_or_default())?;
                Ok(ExitCode::SUCCESS)
            }
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
    out.text(&format!("\n{}; as of entry {}", totals_text(&totals), thousands(first.as_of_entry)))
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
        "{} organizations, {} entries, {} budget windows",
        thousands(answer.organizations),
        thousands(answer.entries),
        thousands(answer.windows),
    );
    if out.is_json() {
        out.value(&json!({
            "organizations": answer.organizations,
            "entries": answer.entries,
            "windows": answer.windows,
            "differences": jsons(&answer.differences),
        }))?;
    } else if clean {
        out.text(&format!("the books add up: {checked}"))?;
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

impl Item for Transaction {
    const COLUMNS: &'static [Column] = &[
        number("entry"),
        text("time"),
        text("kind"),
        text("key"),
        text("team"),
        text("model"),
        number("input"),
        number("output"),
        number("cost (USD)"),
        number("credits"),
        number("wallet"),
        number("balance"),
    ];

    fn cells(&self) -> Vec<String> {
        let tokens = |count: fn(&quotad::api::proto::BookedUsage) -> i64| {
            self.usage.as_ref().map(|usage| thousands(count(usage))).unwrap_or_default()
        };
        vec![
            thousands(self.entry),
            instant(self.time.as_ref()),
            name::<TransactionKind>(self.kind).replace('_', "-"),
            self.key_id.clone(),
            self.team_id.clone(),
            self.model.clone(),
            tokens(|usage| usage.input_tokens),
            tokens(|usage| usage.output_tokens),
            amount(&self.cost_usd),
            amount(&self.credits),
            amount(&self.wallet_usd),
            amount(&self.balance_usd),
        ]
    }

    fn json(&self) -> Value {
        let usage = self.usage.as_ref().map(|usage| {
            json!({
                "input_tokens": usage.input_tokens,
                "cached_input_tokens": usage.cached_input_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
                "output_tokens": usage.output_tokens,
                "requests": usage.requests,
            })
        });
        let overage = self.overage.as_ref().map(|over| {
            json!({ "usd": over.usd, "credits": over.credits, "tokens": over.tokens, "requests": over.requests })
        });
        json!({
            "organization_id": self.organization_id,
            "entry": self.entry,
            "kind": name::<TransactionKind>(self.kind),
            "time": instant_json(self.time.as_ref()),
            "occurred_at": instant_json(self.occurred_at.as_ref()),
            "key_id": self.key_id,
            "member_id": self.member_id,
            "team_id": self.team_id,
            "model": self.model,
            "usage": usage,
            "cost_usd": self.cost_usd,
            "credits": self.credits,
            "wallet_usd": self.wallet_usd,
            "balance_usd": self.balance_usd,
            "request_id": self.request_id,
            "reservation_id": self.reservation_id,
            "overage": overage,
            "price": self.price.as_ref().map(Item::json),
            "labels": self.labels,
            "actor": self.actor,
            "reason": self.reason,
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

    #[test]
    fn a_transaction_in_json_has_the_names_of_the_api_and_says_what_is_unset() {
        let entry = Transaction {
            entry: 7,
            kind: TransactionKind::LateCommit.into(),
            cost_usd: "-0.5".into(),
            labels: [("replay".to_owned(), "x".to_owned())].into(),
            ..Transaction::default()
        };
        let value = entry.json();
        assert_eq!((value["entry"].as_u64(), value["kind"].as_str()), (Some(7), Some("late_commit")));
        assert_eq!((value["cost_usd"].as_str(), value["labels"]["replay"].as_str()), (Some("-0.5"), Some("x")));
        assert!(value["usage"].is_null() && value["price"].is_null() && value["time"].is_null());
    }
}
