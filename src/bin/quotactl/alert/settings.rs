//! `quotactl alert settings`.

use clap::{Args, Subcommand};
use quotad::api::proto::{AlertSettings, GetAlertSettingsRequest, UpdateAlertSettingsRequest};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, decimal, edited, paths},
    context::Context,
    failure::{Failure, required},
    format::amount,
    output::{Column, Item, number, text},
};

const EXAMPLES: &str = "\
Examples:
  quotactl alert settings set --org acme --recipient ops@example.org --recipient cfo@example.org --low-balance 25
  quotactl alert settings set --org acme --add-recipient cto@example.org --remove-recipient cfo@example.org
  quotactl alert settings set --org acme --webhook-url https://example.org/quotad
  quotactl alert settings set --org acme --no-webhook --no-recipients --no-low-balance";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AlertSettingsCommand {
    /// Shows them
    #[command(visible_alias = "get")]
    Show {
        #[command(flatten)]
        org: Organization,
    },
    /// Changes what is given
    Set {
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct Fields {
    /// Who is told, repeatable: in place of those before
    #[arg(long = "recipient", value_name = "EMAIL")]
    recipients: Vec<String>,
    /// Who is told too, repeatable: besides those before
    #[arg(long = "add-recipient", value_name = "EMAIL", conflicts_with_all = ["recipients", "no_recipients"])]
    added: Vec<String>,
    /// Who isn't told any more, repeatable
    #[arg(long = "remove-recipient", value_name = "EMAIL", conflicts_with_all = ["recipients", "no_recipients"])]
    removed: Vec<String>,
    /// The owners, admins and finance admins are told
    #[arg(long, conflicts_with = "recipients")]
    no_recipients: bool,
    /// Where alerts are posted, signed as Standard Webhooks says
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// What they are signed with: whsec_ and Base64; minted and shown once if left out
    #[arg(long, value_name = "SECRET", requires = "webhook_url")]
    webhook_secret: Option<String>,
    /// Posts no alerts
    #[arg(long, conflicts_with = "webhook_url")]
    no_webhook: bool,
    /// Alerts when the balance falls below it
    #[arg(long, value_name = "USD", value_parser = decimal)]
    low_balance: Option<String>,
    /// Never alerts of the balance
    #[arg(long, conflicts_with = "low_balance")]
    no_low_balance: bool,
}

impl Fields {
    fn request(self, organization_id: String) -> Result<UpdateAlertSettingsRequest, Failure> {
        let given = [
            ("recipients", !self.recipients.is_empty() || self.no_recipients),
            ("webhook_url", self.webhook_url.is_some() || self.no_webhook),
            ("webhook_secret", self.webhook_secret.is_some()),
            ("low_balance_usd", self.low_balance.is_some() || self.no_low_balance),
        ];
        let named: Vec<_> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        if named.is_empty() {
            return Err(Failure::other("nothing to change; see `quotactl alert settings set --help`"));
        }
        let settings = AlertSettings {
            organization_id,
            recipients: self.recipients,
            webhook_url: self.webhook_url.unwrap_or_default(),
            webhook_secret: self.webhook_secret.unwrap_or_default(),
            low_balance_usd: self.low_balance.unwrap_or_default(),
            wallet_enforced: false,
        };
        Ok(UpdateAlertSettingsRequest { settings: Some(settings), update_mask: Some(paths(named)) })
    }
}

impl AlertSettingsCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.alerts(), context.out);
        match self {
            Self::Show { org } => {
                let request = GetAlertSettingsRequest { organization_id: org.id };
                let answer = client.get_alert_settings(request).await?.into_inner();
                out.item(&required(answer.settings, "settings")?)
            }
            Self::Set { org, mut fields } => {
                if !(fields.added.is_empty() && fields.removed.is_empty()) {
                    let request = GetAlertSettingsRequest { organization_id: org.id.clone() };
                    let answer = client.get_alert_settings(request).await?.into_inner();
                    let before = required(answer.settings, "settings")?.recipients;
                    let (added, removed) = (std::mem::take(&mut fields.added), std::mem::take(&mut fields.removed));
                    fields.recipients = edited(before, added, &removed)?;
                    fields.no_recipients = fields.recipients.is_empty();
                }
                let answer = client.update_alert_settings(fields.request(org.id)?).await?.into_inner();
                let settings = required(answer.settings, "settings")?;
                let minted = answer.minted_webhook_secret;
                if out.is_json() {
                    return out.value(&json!({ "settings": settings.json(), "minted_webhook_secret": minted }));
                }
                out.item(&settings)?;
                if minted.is_empty() {
                    return Ok(());
                }
                out.text(&format!("\nsecret       {minted}\nIt is shown this once; webhooks are signed with it."))
            }
        }
    }
}

impl Item for AlertSettings {
    const COLUMNS: &'static [Column] = &[text("recipients"), text("webhook"), number("low balance")];

    fn cells(&self) -> Vec<String> {
        let recipients = match &self.recipients[..] {
            [] => "the owners, admins and finance admins".to_owned(),
            recipients => recipients.join(", "),
        };
        let low = amount(&self.low_balance_usd);
        let is_idle = !self.low_balance_usd.is_empty() && !self.wallet_enforced;
        let low = if is_idle { format!("{low} (wallet off)") } else { low };
        vec![recipients, self.webhook_url.clone(), low]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "recipients": self.recipients,
            "webhook_url": self.webhook_url,
            "low_balance_usd": self.low_balance_usd,
            "wallet_enforced": self.wallet_enforced,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_given_fields_are_changed() {
        let fields = Fields { no_webhook: true, low_balance: Some("25".into()), ..Fields::default() };
        let request = fields.request("acme".into()).unwrap();
        assert_eq!(request.update_mask.unwrap().paths, ["webhook_url", "low_balance_usd"]);
        assert!(Fields::default().request("acme".into()).unwrap_err().to_string().contains("--help"));
    }
}
