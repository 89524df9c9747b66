//! `quotactl team`, and `team member` for who is in which.

use clap::{Args, Subcommand};
use quotad::api::proto::{
    CreateTeamRequest, DeleteTeamRequest, GetTeamRequest, ListTeamsRequest, Team, UpdateTeamRequest,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, Switch, mask},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json},
    limits::{limits_json, print_with_limits},
    org::state,
    output::{Column, Item, text},
    paging::Paging,
    policy_file, taken,
};

mod membership;

use membership::MembershipCommand;

const EXAMPLES: &str = "\
Examples:
  quotactl team create research --org acme --name Research
  quotactl team list --org acme --search sear
  quotactl team member add research ada --org acme
  quotactl team member list --org acme --team research
  quotactl team member remove research ada --org acme
  quotactl policy add-budget monthly --org acme --team research --max 500 --soft 400 --alert-to ops@example.org
  quotactl budget set --each-of research --org acme --monthly 20
  quotactl team member inherit research ada --org acme";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TeamCommand {
    /// Creates a team
    Create {
        /// Its id; minted by the server if left out
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
    },
    /// Shows a team with the state of its limits
    #[command(visible_alias = "show")]
    Get {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Lists teams
    List {
        #[command(flatten)]
        org: Organization,
        /// Only those with this in their name or id
        #[arg(long, default_value = "", hide_default_value = true)]
        search: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Changes the fields that are given
    Update {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        fields: Fields,
    },
    /// Ends a team for good: its keys stop at once
    Delete {
        /// Its id
        id: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        consent: Consent,
    },
    /// Who is in which team
    #[command(subcommand)]
    Member(MembershipCommand),
}

#[derive(Debug, Args)]
pub(crate) struct Fields {
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    switch: Switch,
}

impl Fields {
    fn team(self, organization_id: String, id: String) -> Team {
        Team {
            organization_id,
            id,
            name: self.name.unwrap_or_default(),
            disabled: self.switch.disabled().unwrap_or_default(),
            ..Team::default()
        }
    }
}

impl TeamCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.teams(), context.out);
        match self {
            Self::Create { id, org, fields } => {
                let request = CreateTeamRequest { team: Some(fields.team(org.id, id)), request_id: String::new() };
                out.item(&required(client.create_team(request).await?.into_inner().team, "team")?)
            }
            Self::Get { id, org } => {
                let request = GetTeamRequest { organization_id: org.id, team_id: id };
                let team = required(client.get_team(request).await?.into_inner().team, "team")?;
                print_with_limits(out, &team, &team.limits)
            }
            Self::List { org, search, paging } => {
                let mut total = 0;
                let page = async |page_size, page_token| {
                    let request = ListTeamsRequest {
                        organization_id: org.id.clone(),
                        page_size,
                        page_token,
                        search: search.clone(),
                    };
                    let page = client.list_teams(request).await?.into_inner();
                    total = page.total_size;
                    Ok((page.teams, page.next_page_token))
                };
                let listed = paging.collect(page).await?;
                out.counted("teams", &listed, total)
            }
            Self::Update { id, org, fields } => {
                let update_mask =
                    mask(&[("name", fields.name.is_some()), ("disabled", fields.switch.disabled().is_some())])?;
                let request =
                    UpdateTeamRequest { team: Some(fields.team(org.id, id)), update_mask, ..Default::default() };
                out.item(&required(client.update_team(request).await?.into_inner().team, "team")?)
            }
            Self::Delete { id, org, consent } => {
                if !consent.given(out, async || taken::with_team(&context.server, &org.id, &id).await).await? {
                    return Ok(());
                }
                let request =
                    DeleteTeamRequest { organization_id: org.id, team_id: id.clone(), ..DeleteTeamRequest::default() };
                client.delete_team(request).await?;
                out.done(&format!("team {id} deleted"), &json!({ "deleted": id }))
            }
            Self::Member(command) => command.run(context).await,
        }
    }
}

impl Item for Team {
    const COLUMNS: &'static [Column] = &[text("id"), text("name"), text("state"), text("created").spare()];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.name.clone(), state(self.disabled), instant(self.create_time.as_ref())]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "id": self.id,
            "name": self.name,
            "disabled": self.disabled,
            "policy": policy_file::json(self.policy.as_ref()),
            "member_policy": policy_file::json(self.member_policy.as_ref()),
            "create_time": instant_json(self.create_time.as_ref()),
            "update_time": instant_json(self.update_time.as_ref()),
            "limits": limits_json(&self.limits),
            "etag": self.etag,
        })
    }
}
