//! `quotactl wallet order`.

use clap::Subcommand;
use quotad::api::proto::{
    DecideTopUpOrderRequest, GetTopUpOrderRequest, ListTopUpOrdersRequest, PaymentOutcome, TopUpOrder, TopUpState,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, one_of},
    context::Context,
    failure::{Failure, required},
    format::{amount, instant, instant_json, thousands},
    names::{dashed, name},
    output::{Column, Item, number, text},
    paging::Paging,
};

const EXAMPLES: &str = "\
Examples:
  quotactl wallet order list --org acme --state pending
  quotactl wallet order decide order-1 settled --org acme --reference bank-77
  quotactl wallet order decide order-1 soft-declined --org acme --reason 'card limit'";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum OrderCommand {
    /// Lists orders, the newest first
    List {
        #[command(flatten)]
        org: Organization,
        /// Only those in this state, repeatable
        #[arg(long = "state", value_parser = one_of::<TopUpState>(&["pending", "settled", "failed", "reversed"]))]
        states: Vec<TopUpState>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Shows an order
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Says what became of its payment, as the operator has it from the bank
    Decide {
        /// Its id
        id: String,
        /// What became of it
        #[arg(value_parser = one_of::<PaymentOutcome>(&OUTCOMES))]
        outcome: PaymentOutcome,
        #[command(flatten)]
        org: Organization,
        /// The provider's name for the payment
        #[arg(long, default_value = "", hide_default_value = true)]
        reference: String,
        /// Why it failed or was reversed
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

const OUTCOMES: [&str; 4] = ["settled", "soft-declined", "hard-declined", "reversed"];

impl OrderCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.wallets(), context.out);
        let order = match self {
            Self::List { org, states, paging } => {
                let page = async |page_size, page_token| {
                    let states = states.iter().map(|state| i32::from(*state)).collect();
                    let request =
                        ListTopUpOrdersRequest { organization_id: org.id.clone(), states, page_size, page_token };
                    let page = client.list_top_up_orders(request).await?.into_inner();
                    Ok((page.orders, page.next_page_token))
                };
                return out.list("orders", &paging.collect(page).await?);
            }
            Self::Get { id, org } => {
                let request = GetTopUpOrderRequest { organization_id: org.id, order_id: id };
                client.get_top_up_order(request).await?.into_inner().order
            }
            Self::Decide { id, outcome, org, reference, reason } => {
                let request = DecideTopUpOrderRequest {
                    organization_id: org.id,
                    order_id: id,
                    outcome: outcome.into(),
                    provider_reference: reference,
                    reason,
                };
                client.decide_top_up_order(request).await?.into_inner().order
            }
        };
        out.item(&required(order, "order")?)
    }
}

/// The ledger entry that settled it; none before.
pub(super) fn entry(order: &TopUpOrder) -> String {
    if order.entry == 0 { String::new() } else { thousands(order.entry) }
}

impl Item for TopUpOrder {
    const COLUMNS: &'static [Column] = &[
        text("id"),
        text("created"),
        text("by"),
        number("amount (USD)"),
        text("state"),
        number("entry"),
        text("reference").spare(),
        text("reason").spare(),
        text("failure"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            instant(self.create_time.as_ref()),
            self.actor.clone(),
            amount(&self.amount_usd),
            dashed::<TopUpState>(self.state),
            entry(self),
            self.provider_reference.clone(),
            self.reason.clone(),
            self.failure.clone(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "request_id": self.request_id,
            "amount_usd": self.amount_usd,
            "state": name::<TopUpState>(self.state),
            "entry": self.entry,
            "actor": self.actor,
            "reason": self.reason,
            "provider_reference": self.provider_reference,
            "failure": self.failure,
            "create_time": instant_json(self.create_time.as_ref()),
            "update_time": instant_json(self.update_time.as_ref()),
        })
    }
}
