//! `quotactl request`: members asking for credits, and who decides.

use clap::Subcommand;
use quotad::api::proto::{
    ApproveCreditRequestRequest, CreditRequest, CreditRequestState, DenyCreditRequestRequest, GetCreditRequestRequest,
    ListCreditRequestsRequest, SubmitCreditRequestRequest,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, decimal, mint, one_of},
    context::Context,
    failure::{Failure, required},
    format::{amount, instant, instant_json},
    names::{dashed, name},
    output::{Column, Item, number, text},
    paging::Paging,
};

const EXAMPLES: &str = "\
Examples:
  quotactl request submit 100 --org acme --team research --reason 'evaluation run'
  quotactl request list --org acme --state pending
  quotactl request approve cr-1 --org acme --amount 60 --note 'the rest next week'
  quotactl request deny cr-1 --org acme --note 'use the small model'";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum RequestCommand {
    /// Asks for credits in the running cycle, for whose token it is
    Submit {
        /// Credits, above 0
        #[arg(value_parser = decimal)]
        amount: String,
        #[command(flatten)]
        org: Organization,
        /// In this team; `default` if left out
        #[arg(long, default_value = "", hide_default_value = true)]
        team: String,
        /// What for
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Lists requests, the newest first: one's own, or for those who decide everybody's
    List {
        #[command(flatten)]
        org: Organization,
        /// Only those in this state, repeatable
        #[arg(long = "state", value_parser = one_of::<CreditRequestState>(&STATES))]
        states: Vec<CreditRequestState>,
        /// Only this member's
        #[arg(long, default_value = "", hide_default_value = true)]
        member: String,
        /// Only this team's
        #[arg(long, default_value = "", hide_default_value = true)]
        team: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Shows a request
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Grants it, whole or in part
    Approve {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        /// Credits, at most what was asked for; all of it if left out
        #[arg(long, value_name = "CREDITS", value_parser = decimal)]
        amount: Option<String>,
        /// For the member
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Refuses it
    Deny {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        /// For the member
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
    },
}

const STATES: [&str; 4] = ["pending", "approved", "denied", "auto-approved"];

impl RequestCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.credit_requests(), context.out);
        let request = match self {
            Self::Submit { amount, org, team, reason } => {
                let request = SubmitCreditRequestRequest {
                    organization_id: org.id,
                    member_id: String::new(),
                    team_id: team,
                    amount,
                    reason,
                    request_id: mint()?,
                };
                client.submit_credit_request(request).await?.into_inner().request
            }
            Self::List { org, states, member, team, paging } => {
                let mut total = 0;
                let page = async |page_size, page_token| {
                    let request = ListCreditRequestsRequest {
                        organization_id: org.id.clone(),
                        states: states.iter().map(|state| i32::from(*state)).collect(),
                        member_id: member.clone(),
                        team_id: team.clone(),
                        page_size,
                        page_token,
                    };
                    let page = client.list_credit_requests(request).await?.into_inner();
                    total = page.total_size;
                    Ok((page.requests, page.next_page_token))
                };
                let listed = paging.collect(page).await?;
                return out.counted("requests", &listed, total);
            }
            Self::Get { id, org } => {
                let request = GetCreditRequestRequest { organization_id: org.id, credit_request_id: id };
                client.get_credit_request(request).await?.into_inner().request
            }
            Self::Approve { id, org, amount, note } => {
                let amount = amount.unwrap_or_default();
                let request =
                    ApproveCreditRequestRequest { organization_id: org.id, credit_request_id: id, amount, note };
                client.approve_credit_request(request).await?.into_inner().request
            }
            Self::Deny { id, org, note } => {
                let request = DenyCreditRequestRequest { organization_id: org.id, credit_request_id: id, note };
                client.deny_credit_request(request).await?.into_inner().request
            }
        };
        out.item(&required(request, "request")?)
    }
}

impl Item for CreditRequest {
    const COLUMNS: &'static [Column] = &[
        text("id"),
        text("requester"),
        text("team"),
        number("asked"),
        number("approved"),
        text("reason"),
        text("state"),
        text("date"),
        text("decided by").spare(),
        text("note").spare(),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            requester(self),
            self.team_id.clone(),
            amount(&self.amount),
            amount(&self.approved),
            self.reason.clone(),
            dashed::<CreditRequestState>(self.state),
            instant(self.create_time.as_ref()),
            self.decided_by.clone(),
            self.note.clone(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "member_id": self.member_id,
            "member_name": self.member_name,
            "member_email": self.member_email,
            "team_id": self.team_id,
            "amount": self.amount,
            "approved": self.approved,
            "reason": self.reason,
            "state": name::<CreditRequestState>(self.state),
            "note": self.note,
            "decided_by": self.decided_by,
            "create_time": instant_json(self.create_time.as_ref()),
            "decide_time": instant_json(self.decide_time.as_ref()),
        })
    }
}

/// `Ada Lovelace <ada@example.org>`, as far as it is known.
fn requester(request: &CreditRequest) -> String {
    let name = if request.member_name.is_empty() { &request.member_id } else { &request.member_name };
    if request.member_email.is_empty() { name.clone() } else { format!("{name} <{}>", request.member_email) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requester_is_named_as_far_as_known() {
        let of = |name: &str, email: &str| {
            requester(&CreditRequest {
                member_id: "ada".into(),
                member_name: name.into(),
                member_email: email.into(),
                ..CreditRequest::default()
            })
        };
        assert_eq!(of("Ada", "ada@example.org"), "Ada <ada@example.org>");
        assert_eq!(of("", ""), "ada");
    }
}
