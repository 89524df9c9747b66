//! `quotactl alert`: what people were told, whether it arrived, and whom to tell.

use clap::Subcommand;
use quotad::api::proto::{
    AcknowledgeAlertRequest, Alert, AlertDelivery, AlertKind, AlertState, GetAlertRequest, ListAlertsRequest,
    SendTestAlertRequest,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, one_of},
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json},
    names::{dashed, name},
    output::{Column, Item, Output, text},
    paging::Paging,
};

mod settings;

use settings::AlertSettingsCommand;

const EXAMPLES: &str = "\
Examples:
  quotactl alert list --org acme --unacknowledged
  quotactl alert list --org acme --kind soft-budget --state undeliverable
  quotactl alert ack alert-1 --org acme
  quotactl alert settings set --org acme --recipient ops@example.org --low-balance 25
  quotactl alert test --org acme

Thresholds and recipients of one budget are given by `quotactl policy add-budget --alert --alert-to`.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AlertCommand {
    /// Lists alerts, the newest first
    List {
        #[command(flatten)]
        org: Organization,
        /// Only this kind, repeatable
        #[arg(long = "kind", value_parser = one_of::<AlertKind>(&KINDS))]
        kinds: Vec<AlertKind>,
        /// Only those in this state, repeatable
        #[arg(long = "state", value_parser = one_of::<AlertState>(&["pending", "delivered", "failed", "undeliverable"]))]
        states: Vec<AlertState>,
        /// Only those that nobody has seen to
        #[arg(long)]
        unacknowledged: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Shows an alert, and what became of it on each channel
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Notes that somebody has seen to it
    Ack {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Sends a message, to see that it arrives
    Test {
        #[command(flatten)]
        org: Organization,
        /// To this address, repeatable; to the organization's recipients if none is given
        #[arg(long = "to", value_name = "EMAIL")]
        recipients: Vec<String>,
    },
    /// Who is told, by which channels
    #[command(subcommand)]
    Settings(AlertSettingsCommand),
}

const KINDS: [&str; 10] = [
    "soft-budget",
    "budget-reached",
    "wallet-low",
    "top-up-failed",
    "auto-top-up-disabled",
    "credit-requested",
    "credit-decided",
    "invitation",
    "signup-credits-missing",
    "test",
];

impl AlertCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.alerts(), context.out);
        let alert = match self {
            Self::List { org, kinds, states, unacknowledged, paging } => {
                let page = async |page_size, page_token| {
                    let request = ListAlertsRequest {
                        organization_id: org.id.clone(),
                        kinds: kinds.iter().map(|kind| i32::from(*kind)).collect(),
                        states: states.iter().map(|state| i32::from(*state)).collect(),
                        unacknowledged,
                        page_size,
                        page_token,
                    };
                    let page = client.list_alerts(request).await?.into_inner();
                    Ok((page.alerts, page.next_page_token))
                };
                return out.list("alerts", &paging.collect(page).await?);
            }
            Self::Get { id, org } => {
                let request = GetAlertRequest { organization_id: org.id, alert_id: id };
                client.get_alert(request).await?.into_inner().alert
            }
            Self::Ack { id, org } => {
                let request = AcknowledgeAlertRequest { organization_id: org.id, alert_id: id };
                client.acknowledge_alert(request).await?.into_inner().alert
            }
            Self::Test { org, recipients } => {
                let request = SendTestAlertRequest { organization_id: org.id, recipients };
                client.send_test_alert(request).await?.into_inner().alert
            }
            Self::Settings(command) => return command.run(context).await,
        };
        print(out, &required(alert, "alert")?)
    }
}

fn print(out: Output, alert: &Alert) -> Result<(), Failure> {
    out.item(alert)?;
    if out.is_json() {
        return Ok(());
    }
    for fact in &alert.facts {
        out.text(&format!("  {}: {}", fact.label, fact.value))?;
    }
    for (channel, delivery) in [("mail", &alert.mail), ("webhook", &alert.webhook)] {
        if let Some(delivery) = delivery {
            out.text(&format!("{channel}: {}", delivered(delivery)))?;
        }
    }
    Ok(())
}

/// `pending after 2 attempts, next at …: connection refused`.
fn delivered(delivery: &AlertDelivery) -> String {
    let mut text = name::<AlertState>(delivery.state);
    if delivery.deliver_time.is_some() {
        text = format!("{text} at {}", instant(delivery.deliver_time.as_ref()));
    }
    if delivery.attempts > 0 {
        text = format!("{text} after {} attempts", delivery.attempts);
    }
    if delivery.next_attempt_time.is_some() {
        text = format!("{text}, next at {}", instant(delivery.next_attempt_time.as_ref()));
    }
    if delivery.problem.is_empty() { text } else { format!("{text}: {}", delivery.problem) }
}

fn delivery_json(delivery: &AlertDelivery) -> Value {
    json!({
        "state": name::<AlertState>(delivery.state),
        "attempts": delivery.attempts,
        "next_attempt_time": instant_json(delivery.next_attempt_time.as_ref()),
        "deliver_time": instant_json(delivery.deliver_time.as_ref()),
        "problem": delivery.problem,
    })
}

impl Item for Alert {
    const COLUMNS: &'static [Column] = &[
        text("id"),
        text("time"),
        text("kind"),
        text("subject"),
        text("state"),
        text("recipients").spare(),
        text("seen by").spare(),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            instant(self.create_time.as_ref()),
            dashed::<AlertKind>(self.kind),
            self.subject.clone(),
            name::<AlertState>(self.state),
            self.recipients.join(", "),
            self.acknowledged_by.clone(),
        ]
    }

    fn json(&self) -> Value {
        let facts = self.facts.iter().map(|fact| json!({ "label": fact.label, "value": fact.value }));
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "kind": name::<AlertKind>(self.kind),
            "subject": self.subject,
            "facts": facts.collect::<Vec<_>>(),
            "recipients": self.recipients,
            "state": name::<AlertState>(self.state),
            "mail": self.mail.as_ref().map(delivery_json),
            "webhook": self.webhook.as_ref().map(delivery_json),
            "create_time": instant_json(self.create_time.as_ref()),
            "acknowledged_by": self.acknowledged_by,
            "acknowledge_time": instant_json(self.acknowledge_time.as_ref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_says_how_far_it_is_and_why() {
        let delivery = AlertDelivery {
            state: AlertState::Pending.into(),
            attempts: 2,
            problem: "connection refused".into(),
            ..AlertDelivery::default()
        };
        assert_eq!(delivered(&delivery), "pending after 2 attempts: connection refused");
    }
}
