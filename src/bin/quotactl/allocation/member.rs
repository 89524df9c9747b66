//! `quotactl allocation member`.

use clap::Subcommand;
use quotad::api::proto::{ListMemberAllocationsRequest, MemberAllocation, UpdateMemberAllocationRequest};
use serde_json::{Value, json};

use super::Given;
use crate::{
    arguments::{Organization, paths},
    context::Context,
    failure::{Failure, required},
    format::amount,
    output::{Column, Item, described, number, text},
    paging::Paging,
};

const EXAMPLES: &str = "\
Examples:
  quotactl allocation member list research --org acme --search ada@
  quotactl allocation member set research ada --org acme --monthly 500
  quotactl allocation member set research ada --org acme --extra 50
  quotactl allocation member set research ada --org acme --none";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum MemberAllocationCommand {
    /// Lists a team's members with their credits
    List {
        /// The team's id
        team: String,
        #[command(flatten)]
        org: Organization,
        /// Only those with this in their name, e-mail address or id
        #[arg(long, default_value = "", hide_default_value = true)]
        search: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Changes what is given; refused where the team hasn't so much
    Set {
        /// The team's id
        team: String,
        /// The member's id
        member: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        given: Given,
    },
}

impl MemberAllocationCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.allocations(), context.out);
        match self {
            Self::List { team, org, search, paging } => {
                let mut total = 0;
                let page = async |page_size, page_token| {
                    let request = ListMemberAllocationsRequest {
                        organization_id: org.id.clone(),
                        team_id: team.clone(),
                        search: search.clone(),
                        page_size,
                        page_token,
                    };
                    let page = client.list_member_allocations(request).await?.into_inner();
                    total = page.total_size;
                    Ok((page.members, page.next_page_token))
                };
                let listed = paging.collect(page).await?;
                out.counted("members", &listed, total)
            }
            Self::Set { team, member, org, given } => {
                let (monthly, extra, named) = given.fields();
                if named.is_empty() {
                    return Err(Failure::other("nothing to change; give at least one of --monthly, --extra, --none"));
                }
                let allocation = MemberAllocation {
                    organization_id: org.id,
                    team_id: team,
                    member_id: member,
                    monthly,
                    extra,
                    ..MemberAllocation::default()
                };
                let request =
                    UpdateMemberAllocationRequest { allocation: Some(allocation), update_mask: Some(paths(named)) };
                let answer = client.update_member_allocation(request).await?.into_inner();
                let allocation = required(answer.allocation, "allocation")?;
                let team = required(answer.team, "team")?;
                if out.is_json() {
                    return out.value(&json!({ "allocation": allocation.json(), "team": team.json() }));
                }
                out.text(&described(&allocation))?;
                let available = if team.available.is_empty() { "no cap".to_owned() } else { amount(&team.available) };
                out.text(&format!(
                    "\nteam {}: distributed {}, available {available}",
                    team.team_id,
                    amount(&team.distributed),
                ))
            }
        }
    }
}

impl Item for MemberAllocation {
    const COLUMNS: &'static [Column] = &[
        text("member"),
        text("name"),
        text("email"),
        number("monthly"),
        number("extra"),
        number("used"),
        number("remaining"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.member_id.clone(),
            self.name.clone(),
            self.email.clone(),
            if self.monthly.is_empty() { "shared".to_owned() } else { amount(&self.monthly) },
            amount(&self.extra),
            amount(&self.used),
            amount(&self.remaining),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "team_id": self.team_id,
            "member_id": self.member_id,
            "name": self.name,
            "email": self.email,
            "monthly": self.monthly,
            "extra": self.extra,
            "used": self.used,
            "remaining": self.remaining,
            "credits_tracked": self.credits_tracked,
        })
    }
}
