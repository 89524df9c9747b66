//! `quotactl ledger correct`.

use clap::Args;
use quotad::api::proto::{CorrectEntryRequest, TransactionKind};
use serde_json::json;

use crate::{
    arguments::{Organization, decimal, mint, one_of},
    context::Context,
    failure::Failure,
    format::{amount, thousands},
};

const EXAMPLES: &str = "\
Examples:
  quotactl ledger correct 17 0.25 --org acme --reason 'answer was cut short'
  quotactl ledger correct 3 -5 --kind adjustment --org acme --reason 'credited twice'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Correct {
    /// The entry that is put right
    entry: u64,
    /// What it does to the balance: USD, negative to take back of a top-up
    #[arg(value_parser = decimal, allow_negative_numbers = true)]
    amount: String,
    #[command(flatten)]
    org: Organization,
    /// A refund gives back of a charge; an adjustment does either
    #[arg(long, default_value = "refund", value_parser = one_of::<TransactionKind>(&["refund", "adjustment"]))]
    kind: TransactionKind,
    /// Why, for the ledger
    #[arg(long)]
    reason: String,
    /// Names the correction: the same id never books twice. Minted and shown if left out
    #[arg(long)]
    request_id: Option<String>,
}

impl Correct {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let request_id = self.request_id.map_or_else(mint, Ok)?;
        let request = CorrectEntryRequest {
            organization_id: self.org.id,
            entry: self.entry,
            kind: self.kind.into(),
            amount_usd: self.amount,
            reason: self.reason,
            request_id: request_id.clone(),
        };
        // Whoever lost the answer needs the id to ask again without booking twice.
        let answer = context.server.wallets().correct_entry(request).await;
        let answer = answer.inspect_err(|_| eprintln!("request id: {request_id}"))?.into_inner();
        let again = if answer.replayed { ", before" } else { "" };
        let sentence = format!(
            "booked as entry {}{again}; the balance is {} USD",
            thousands(answer.entry),
            amount(&answer.balance_usd)
        );
        let value = json!({
            "entry": answer.entry,
            "balance_usd": answer.balance_usd,
            "replayed": answer.replayed,
            "request_id": request_id,
        });
        context.out.done(&sentence, &value)
    }
}
