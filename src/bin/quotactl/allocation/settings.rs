//! `quotactl allocation settings`.

use clap::{Args, Subcommand};
use quotad::api::proto::{AllocationSettings, Cadence, GetAllocationSettingsRequest, UpdateAllocationSettingsRequest};
use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    arguments::{Organization, decimal, mask, one_of},
    confirm::Consent,
    context::Context,
    failure::{Failure, is_restart, required},
    format::amount,
    names::{dashed, name},
    output::{Column, Item, described, number, text},
    overview::{self, overview_json},
};

const EXAMPLES: &str = "\
Examples:
  quotactl allocation settings show --org acme
  quotactl allocation settings set --org acme --credits 10000 --validate-only
  quotactl allocation settings set --org acme --cadence week --signup-credits 50
  quotactl allocation settings set --org acme --no-credits

Credits per 1 USD are set by `quotactl org update --credit-factor`.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum SettingsCommand {
    /// Shows them
    #[command(visible_alias = "get")]
    Show {
        #[command(flatten)]
        org: Organization,
    },
    /// Changes what is given, for the running cycle at once; what was used stays, but in a fresh cycle, which is asked about
    Set {
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
        /// Shows what would be, and changes nothing
        #[arg(long)]
        validate_only: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Fields {
    /// The organization's credits per cycle
    #[arg(long, value_parser = decimal)]
    credits: Option<String>,
    /// The organization itself is not capped
    #[arg(long, conflicts_with = "credits")]
    no_credits: bool,
    /// How long a cycle is; another one starts afresh
    #[arg(long, value_parser = one_of::<Cadence>(&CADENCES))]
    cadence: Option<Cadence>,
    /// Zone of calendar months, IANA or UTC+8 style; another one starts a fresh cycle
    #[arg(long)]
    zone: Option<String>,
    /// Given to each new member of the team `default`, out of what it has available; 0 gives none
    #[arg(long, value_name = "CREDITS", value_parser = decimal)]
    signup_credits: Option<String>,
}

const CADENCES: [&str; 7] = ["calendar-month", "fifteen-days", "week", "day", "twelve-hours", "six-hours", "hour"];

impl SettingsCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.allocations(), context.out);
        match self {
            Self::Show { org } => {
                let request = GetAllocationSettingsRequest { organization_id: org.id };
                let answer = client.get_allocation_settings(request).await?.into_inner();
                out.item(&required(answer.settings, "settings")?)
            }
            Self::Set { org, fields, validate_only, consent } => {
                let update_mask = mask(&[
                    ("credits_per_cycle", fields.credits.is_some() || fields.no_credits),
                    ("cadence", fields.cadence.is_some()),
                    ("time_zone", fields.zone.is_some()),
                    ("signup_credits", fields.signup_credits.is_some()),
                ]);
                let update_mask = update_mask.map_err(|_| {
                    Failure::other("nothing to change; give at least one of --credits, --no-credits, --cadence, --zone, --signup-credits")
                })?;
                let settings = AllocationSettings {
                    organization_id: org.id,
                    credits_per_cycle: fields.credits.unwrap_or_default(),
                    cadence: fields.cadence.unwrap_or_default().into(),
                    time_zone: fields.zone.unwrap_or_default(),
                    signup_credits: fields.signup_credits.unwrap_or_default(),
                    credits_tracked: false,
                };
                let mut request = UpdateAllocationSettingsRequest {
                    settings: Some(settings),
                    update_mask,
                    validate_only,
                    ..Default::default()
                };
                let answer = match client.update_allocation_settings(request.clone()).await {
                    Err(status) if is_restart(&status) => {
                        let question = restarts(&status, request.settings.as_ref());
                        if !consent.given(out, async || Ok(question)).await? {
                            return Ok(());
                        }
                        request.restart_spending = true;
                        client.update_allocation_settings(request).await?
                    }
                    answer => answer?,
                };
                let answer = answer.into_inner();
                let settings = required(answer.settings, "settings")?;
                let overview = required(answer.overview, "overview")?;
                if out.is_json() {
                    return out.value(&json!({
                        "settings": settings.json(),
                        "overview": overview_json(&overview),
                        "validate_only": validate_only,
                    }));
                }
                if validate_only {
                    out.text("This would be; nothing is changed.\n")?;
                }
                out.text(&format!("{}\n", described(&settings)))?;
                overview::print(out, &overview)
            }
        }
    }
}

/// Returns what to ask where the server says that a fresh cycle would forget what was used.
fn restarts(status: &Status, settings: Option<&AllocationSettings>) -> String {
    let details = status.get_error_details();
    let used = details.error_info().and_then(|info| info.metadata.get("spent")).map_or("", String::as_str);
    let organization = settings.map_or("", |settings| settings.organization_id.as_str());
    let used = amount(used);
    format!(
        "{organization}: a fresh cycle begins; the {used} credits used return to 0, extra credits are gone. Change it?"
    )
}

impl Item for AllocationSettings {
    const COLUMNS: &'static [Column] =
        &[number("credits per cycle"), text("cadence"), text("zone"), number("signup credits")];

    fn cells(&self) -> Vec<String> {
        let cap = if self.credits_per_cycle.is_empty() { "not capped".into() } else { amount(&self.credits_per_cycle) };
        vec![cap, dashed::<Cadence>(self.cadence), self.time_zone.clone(), amount(&self.signup_credits)]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "credits_per_cycle": self.credits_per_cycle,
            "cadence": name::<Cadence>(self.cadence),
            "time_zone": self.time_zone,
            "signup_credits": self.signup_credits,
            "credits_tracked": self.credits_tracked,
        })
    }
}
