//! `quotactl wallet auto-top-up`.

use clap::{Args, Subcommand};
use quotad::api::proto::{AutoTopUp, GetAutoTopUpRequest, UpdateAutoTopUpRequest};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, decimal, paths},
    context::Context,
    failure::{Failure, required},
    format::{amount, instant, instant_json},
    output::{Column, Item, number, text},
};

const EXAMPLES: &str = "\
Examples:
  quotactl wallet auto-top-up show --org acme
  quotactl wallet auto-top-up set --org acme --enable --threshold 10 --amount 50 --method method-7 --monthly-cap 200
  quotactl wallet auto-top-up set --org acme --disable";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AutoTopUpCommand {
    /// Shows it, and why it is off or waits
    #[command(visible_alias = "get")]
    Show {
        #[command(flatten)]
        org: Organization,
    },
    /// Changes what is given; orders at once where the wallet is low, and forgets declines
    Set {
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
    },
}

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Args)]
pub(crate) struct Fields {
    /// Lets it order
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Switches it off
    #[arg(long)]
    disable: bool,
    /// Orders when what is left of the balance falls below it
    #[arg(long, value_name = "USD", value_parser = decimal)]
    threshold: Option<String>,
    /// Least of an order, which else is as much as is missing
    #[arg(long, value_name = "USD", value_parser = decimal)]
    amount: Option<String>,
    /// Balance that an order fills the wallet up to; the threshold if none is set
    #[arg(long, value_name = "USD", value_parser = decimal)]
    target: Option<String>,
    /// Orders fill the wallet up to the threshold
    #[arg(long, conflicts_with = "target")]
    no_target: bool,
    /// What pays: a payment method of the caller's own
    #[arg(long, value_name = "ID")]
    method: Option<String>,
    /// Most that a calendar month may order
    #[arg(long, value_name = "USD", value_parser = decimal)]
    monthly_cap: Option<String>,
    /// A month may order whatever it takes
    #[arg(long, conflicts_with = "monthly_cap")]
    no_monthly_cap: bool,
}

impl Fields {
    fn request(self, organization_id: String) -> Result<UpdateAutoTopUpRequest, Failure> {
        let given = [
            ("enabled", self.enable || self.disable),
            ("threshold_usd", self.threshold.is_some()),
            ("amount_usd", self.amount.is_some()),
            ("target_usd", self.target.is_some() || self.no_target),
            ("payment_method_id", self.method.is_some()),
            ("monthly_cap_usd", self.monthly_cap.is_some() || self.no_monthly_cap),
        ];
        let named: Vec<_> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        if named.is_empty() {
            return Err(Failure::other("nothing to change; see `quotactl wallet auto-top-up set --help`"));
        }
        let auto_top_up = AutoTopUp {
            organization_id,
            enabled: self.enable,
            threshold_usd: self.threshold.unwrap_or_default(),
            amount_usd: self.amount.unwrap_or_default(),
            target_usd: self.target.unwrap_or_default(),
            payment_method_id: self.method.unwrap_or_default(),
            monthly_cap_usd: self.monthly_cap.unwrap_or_default(),
            ..AutoTopUp::default()
        };
        Ok(UpdateAutoTopUpRequest { auto_top_up: Some(auto_top_up), update_mask: Some(paths(named)) })
    }
}

impl AutoTopUpCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.server.wallets();
        let auto = match self {
            Self::Show { org } => {
                client.get_auto_top_up(GetAutoTopUpRequest { organization_id: org.id }).await?.into_inner().auto_top_up
            }
            Self::Set { org, fields } => {
                client.update_auto_top_up(fields.request(org.id)?).await?.into_inner().auto_top_up
            }
        };
        context.out.item(&required(auto, "auto_top_up")?)
    }
}

impl Item for AutoTopUp {
    const COLUMNS: &'static [Column] = &[
        text("auto top-up"),
        number("below (USD)"),
        number("amount (USD)"),
        number("up to (USD)"),
        number("monthly cap"),
        text("method"),
        text("switched off"),
        text("waits until"),
        text("under way"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            match (self.enabled, self.wallet_enforced) {
                (true, true) => "on",
                (true, false) => "on (wallet off)",
                (false, _) => "off",
            }
            .to_owned(),
            amount(&self.threshold_usd),
            amount(&self.amount_usd),
            amount(&self.target_usd),
            amount(&self.monthly_cap_usd),
            self.payment_method_id.clone(),
            self.disabled_reason.clone(),
            instant(self.pause_until.as_ref()),
            self.pending_order_id.clone(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "enabled": self.enabled,
            "threshold_usd": self.threshold_usd,
            "amount_usd": self.amount_usd,
            "target_usd": self.target_usd,
            "payment_method_id": self.payment_method_id,
            "monthly_cap_usd": self.monthly_cap_usd,
            "disabled_reason": self.disabled_reason,
            "pause_until": instant_json(self.pause_until.as_ref()),
            "pending_order_id": self.pending_order_id,
            "wallet_enforced": self.wallet_enforced,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_given_fields_are_changed() {
        let none = Fields {
            enable: false,
            disable: false,
            threshold: None,
            amount: None,
            target: None,
            no_target: false,
            method: None,
            monthly_cap: None,
            no_monthly_cap: false,
        };
        let fields = Fields { disable: true, no_monthly_cap: true, ..none };
        let request = fields.request("acme".into()).unwrap();
        assert_eq!(request.update_mask.unwrap().paths, ["enabled", "monthly_cap_usd"]);
        let none = Fields {
            enable: false,
            disable: false,
            threshold: None,
            amount: None,
            target: None,
            no_target: false,
            method: None,
            monthly_cap: None,
            no_monthly_cap: false,
        };
        assert!(none.request("acme".into()).unwrap_err().to_string().contains("--help"));
    }
}
