//! `quotactl wallet`: the balance, and how it is filled.

use clap::Subcommand;
use quotad::api::proto::{GetBalanceRequest, GetBalanceResponse, TopUpRequest, TopUpResponse, TopUpState, WalletMode};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, decimal, mint},
    context::Context,
    failure::Failure,
    format::{amount, instant, thousands},
    names::{dashed, name},
    output::{Column, Item, number, text},
};

mod auto_top_up;
mod order;
mod payment_method;

use auto_top_up::AutoTopUpCommand;
use order::OrderCommand;
use payment_method::PaymentMethodCommand;

const EXAMPLES: &str = "\
Examples:
  quotactl wallet top-up 25 --org acme --reason 'invoice 1204'
  quotactl wallet payment-method add --org acme --label 'Visa 4242' --provider-token tok_1
  quotactl wallet top-up 25 --org acme --method method-7
  quotactl wallet order decide order-1 settled --org acme --reference bank-77
  quotactl wallet auto-top-up set --org acme --enable --threshold 10 --amount 50 --method method-7 --monthly-cap 200
  quotactl wallet balance --org acme

An operator's top-up settles at once, a member's when its payment is confirmed.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum WalletCommand {
    /// Adds money
    #[command(visible_alias = "topup")]
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
        /// The payment method, the caller's own; left to the provider to ask if left out
        #[arg(long, default_value = "", hide_default_value = true)]
        method: String,
    },
    /// Shows what there is, what of it is held, and what is left
    Balance {
        #[command(flatten)]
        org: Organization,
    },
    /// Orders of money, and what became of their payments
    #[command(subcommand)]
    Order(OrderCommand),
    /// One's own payment methods; nobody else sees them
    #[command(subcommand)]
    PaymentMethod(PaymentMethodCommand),
    /// Orders money by itself when the balance is low
    #[command(subcommand, visible_alias = "auto-topup")]
    AutoTopUp(AutoTopUpCommand),
}

impl WalletCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.server.wallets();
        match self {
            Self::TopUp { amount, org, request_id, reason, method } => {
                let request_id = request_id.map_or_else(mint, Ok)?;
                let request = TopUpRequest {
                    organization_id: org.id,
                    amount_usd: amount,
                    request_id: request_id.clone(),
                    reason,
                    payment_method_id: method,
                    ..TopUpRequest::default()
                };
                // Whoever lost the answer needs the id to ask again without paying twice.
                let answer = client.top_up(request).await.inspect_err(|_| eprintln!("request id: {request_id}"))?;
                context.out.item(&answer.into_inner())
            }
            Self::Balance { org } => {
                context.out.item(&client.get_balance(GetBalanceRequest { organization_id: org.id }).await?.into_inner())
            }
            Self::Order(command) => command.run(context).await,
            Self::PaymentMethod(command) => command.run(context).await,
            Self::AutoTopUp(command) => command.run(context).await,
        }
    }
}

impl Item for TopUpResponse {
    const COLUMNS: &'static [Column] = &[
        text("order"),
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
            order.id.clone(),
            order.request_id.clone(),
            amount(&order.amount_usd),
            dashed::<TopUpState>(order.state),
            order::entry(&order),
            instant(order.create_time.as_ref()),
            amount(&self.balance_usd),
            if self.replayed { "yes: this request id was paid before".to_owned() } else { String::new() },
        ]
    }

    fn json(&self) -> Value {
        let order = self.order.as_ref().map(Item::json);
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
