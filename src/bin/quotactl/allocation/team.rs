//! `quotactl allocation team`.

use clap::Subcommand;
use quotad::api::proto::{ListTeamAllocationsRequest, TeamAllocation, UpdateTeamAllocationRequest};
use serde_json::{Value, json};

use super::Given;
use crate::{
    arguments::{Organization, decimal, paths},
    context::Context,
    failure::{Failure, required},
    format::{amount, thousands},
    output::{Column, Item, number, text},
    paging::Paging,
};

const EXAMPLES: &str = "\
Examples:
  quotactl allocation team list --org acme
  quotactl allocation team set research --org acme --monthly 4000 --extra 500
  quotactl allocation team set research --org acme --auto-approve-reserve 200
  quotactl allocation team set research --org acme --none";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TeamAllocationCommand {
    /// Lists teams with their credits
    List {
        #[command(flatten)]
        org: Organization,
        /// Only those with this in their name or id
        #[arg(long, default_value = "", hide_default_value = true)]
        search: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Changes what is given; refused where the organization hasn't so much
    Set {
        /// The team's id
        team: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        given: Given,
        /// Approves requests by themselves up to so many credits in a cycle; 0: all by hand
        #[arg(long, value_name = "CREDITS", value_parser = decimal)]
        auto_approve_reserve: Option<String>,
    },
}

impl TeamAllocationCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.allocations(), context.out);
        match self {
            Self::List { org, search, paging } => {
                let mut total = 0;
                let page = async |page_size, page_token| {
                    let (organization_id, search) = (org.id.clone(), search.clone());
                    let request = ListTeamAllocationsRequest { organization_id, search, page_size, page_token };
                    let page = client.list_team_allocations(request).await?.into_inner();
                    total = page.total_size;
                    Ok((page.teams, page.next_page_token))
                };
                let listed = paging.collect(page).await?;
                out.counted("teams", &listed, total)
            }
            Self::Set { team, org, given, auto_approve_reserve } => {
                let (monthly, extra, mut named) = given.fields();
                if auto_approve_reserve.is_some() {
                    named.push("auto_approve_reserve");
                }
                if named.is_empty() {
                    let flags = "--monthly, --extra, --none, --auto-approve-reserve";
                    return Err(Failure::other(format!("nothing to change; give at least one of {flags}")));
                }
                let allocation = TeamAllocation {
                    organization_id: org.id,
                    team_id: team,
                    monthly,
                    extra,
                    auto_approve_reserve: auto_approve_reserve.unwrap_or_default(),
                    ..TeamAllocation::default()
                };
                let request =
                    UpdateTeamAllocationRequest { allocation: Some(allocation), update_mask: Some(paths(named)) };
                let answer = client.update_team_allocation(request).await?.into_inner();
                out.item(&required(answer.allocation, "allocation")?)
            }
        }
    }
}

impl Item for TeamAllocation {
    const COLUMNS: &'static [Column] = &[
        text("team"),
        text("name"),
        number("members"),
        number("used"),
        number("monthly"),
        number("extra"),
        number("distributed"),
        number("available"),
        number("auto-approve"),
    ];

    fn cells(&self) -> Vec<String> {
        let reserve = match (self.auto_approved.as_str(), amount(&self.auto_approve_reserve)) {
            ("" | "0", reserve) => reserve,
            (given, reserve) => format!("{} of {reserve}", amount(given)),
        };
        vec![
            self.team_id.clone(),
            self.name.clone(),
            thousands(self.member_count),
            amount(&self.used),
            amount(&self.monthly),
            amount(&self.extra),
            amount(&self.distributed),
            amount(&self.available),
            reserve,
        ]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "team_id": self.team_id,
            "name": self.name,
            "monthly": self.monthly,
            "extra": self.extra,
            "auto_approve_reserve": self.auto_approve_reserve,
            "member_count": self.member_count,
            "used": self.used,
            "distributed": self.distributed,
            "shared_used": self.shared_used,
            "available": self.available,
            "auto_approved": self.auto_approved,
            "credits_tracked": self.credits_tracked,
        })
    }
}
