//! `quotactl wallet payment-method`: the caller's own, so that it takes a member's token.

use clap::Subcommand;
use quotad::api::proto::{
    CreatePaymentMethodRequest, DeletePaymentMethodRequest, ListPaymentMethodsRequest, PaymentMethod,
};
use serde_json::{Value, json};

use crate::{
    arguments::Organization,
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json},
    output::{Column, Item, Listed, text},
    taken,
};

const EXAMPLES: &str = "\
Examples:
  quotactl wallet payment-method add --org acme --label 'Visa 4242' --provider-token tok_1
  quotactl wallet payment-method list --org acme
  quotactl wallet payment-method delete method-7 --org acme";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum PaymentMethodCommand {
    /// Adds a payment method
    Add {
        #[command(flatten)]
        org: Organization,
        /// To recognise it by
        #[arg(long)]
        label: String,
        /// The provider's name for it, never a card number
        #[arg(long, value_name = "TOKEN")]
        provider_token: String,
    },
    /// Lists one's own
    List {
        #[command(flatten)]
        org: Organization,
    },
    /// Removes it
    Delete {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        consent: Consent,
    },
}

impl PaymentMethodCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.wallets(), context.out);
        match self {
            Self::Add { org, label, provider_token } => {
                let method =
                    PaymentMethod { organization_id: org.id, label, provider_token, ..PaymentMethod::default() };
                let request = CreatePaymentMethodRequest {
                    payment_method: Some(method),
                    ..CreatePaymentMethodRequest::default()
                };
                let answer = client.create_payment_method(request).await?.into_inner();
                out.item(&required(answer.payment_method, "payment_method")?)
            }
            Self::List { org } => {
                let request = ListPaymentMethodsRequest { organization_id: org.id };
                let items = client.list_payment_methods(request).await?.into_inner().payment_methods;
                out.list("payment_methods", &Listed { items, more: false })
            }
            Self::Delete { id, org, consent } => {
                let question = async || taken::with_payment_method(&context.server, &org.id, &id).await;
                if !consent.given(out, question).await? {
                    return Ok(());
                }
                let request = DeletePaymentMethodRequest { organization_id: org.id, payment_method_id: id.clone() };
                client.delete_payment_method(request).await?;
                out.done(&format!("payment method {id} deleted"), &json!({ "deleted": id }))
            }
        }
    }
}

impl Item for PaymentMethod {
    const COLUMNS: &'static [Column] = &[text("id"), text("label"), text("created")];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.label.clone(), instant(self.create_time.as_ref())]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "label": self.label,
            "create_time": instant_json(self.create_time.as_ref()),
        })
    }
}
