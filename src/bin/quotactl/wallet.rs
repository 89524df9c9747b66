//! `quotactl wallet`.

use clap::Subcommand;
use quotad::api::proto::{GetBalanceRequest, GetBalanceResponse, TopUpRequest, TopUpResponse, TopUpState, WalletMode};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, decimal, mint},
    context::Context,
    failure::Failure,
    format::{amount, instant, instant_json, thousands},
    names::name,
    output::{Column, Item, number, text},
};

const EXAMPLES: &str = "\
Examples:
  quotactl wallet top-up 25 --org acme --reason 'invoice 1204'
  quotactl wallet balance --org acme";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum WalletCommand {
    /// Adds money
    TopUp {
        /// USD, above 0
        #[arg(value_parser = decimal)]
        amount: String,
        #[command(flatten)]
        org: Organization,
        /// Names the payment: the same id never credits twice. Minted and shown if left out
        #[arg(long)]
        request_id: Option<String>,
        /// Free text for the ledger
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Shows what there is, what of it is held, and what is left
    Balance {
        #[command(flatten)]
        org: Organization,
    },
}

impl WalletCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.server.wallets();
        match self {
            Self::TopUp { amount, org, request_id, reason } => {
                let request_id = request_id.map_or_else(mint, Ok)?;
                let request = TopUpRequest {
                    organization_id: org.id,
                    amount_usd: amount,
                    request_id: request_id.clone(),
                    reason,
                    ..TopUpRequest::default()
                };
                // Whoever lost the answer needs the id to ask again without paying twice.
                let answer = client.top_up(request).await.inspect_err(|_| eprintln!("request id: {request_id}"))?;
                context.out.item(&answer.into_inner())
            }
            Self::Balance { org } => {
                context.out.item(&client.get_balance(GetBalanceRequest { organization_id: org.id }).await?.into_inner())
            }
        }
    }
}

impl Item for TopUpResponse {
    const COLUMNS: &'static [Column] = &[
        text("request id"),
        number("amount (USD)"),
        text("state"),
        number("entry"),
        text("created"),
        number("balance (USD)"),
        text("replayed"),
    ];

    fn cells(&self) -> Vec<String> {
        let order = self.order.clone().unwrap_or_default();
        vec![
            order.request_id,
            amount(&order.amount_usd),
            name::<TopUpState>(order.state),
            if order.entry == 0 { String::new() } else { thousands(order.entry) },
            instant(order.create_time.as_ref()),
            amount(&self.balance_usd),
            if self.replayed { "yes: this request id was paid before".to_owned() } else { String::new() },
        ]
    }

    fn json(&self) -> Value {
        let order = self.order.as_ref().map(|order| {
            json!({
                "organization_id": order.organization_id,
                "request_id": order.request_id,
                "amount_usd": order.amount_usd,
                "state": name::<TopUpState>(order.state),
                "entry": order.entry,
                "create_time": instant_json(order.create_time.as_ref()),
            })
        });
        json!({ "order": order, "balance_usd": self.balance_usd, "replayed": self.replayed })
    }
}

impl Item for GetBalanceResponse {
    const COLUMNS: &'static [Column] =
        &[number("balance (USD)"), number("held"), number("available"), text("wallet"), number("as of entry")];

    fn cells(&self) -> Vec<String> {
        vec![
            amount(&self.balance_usd),
            amount(&self.held_usd),
            amount(&self.available_usd),
            name::<WalletMode>(self.wallet_mode),
            thousands(self.as_of_entry),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "balance_usd": self.balance_usd,
            "held_usd": self.held_usd,
            "available_usd": self.available_usd,
            "wallet_mode": name::<WalletMode>(self.wallet_mode),
            "as_of_entry": self.as_of_entry,
        })
    }
}
