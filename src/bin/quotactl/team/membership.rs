//! `quotactl team member`: who is in which team, and by whose limits.

use clap::Subcommand;
use quotad::api::proto::{
    CreateMembershipRequest, DeleteMembershipRequest, GetMembershipRequest, ListMembershipsRequest, Membership,
    UpdateMembershipRequest,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Organization, paths},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json},
    limits::{limits_json, print_with_limits},
    output::{Column, Item, text},
    paging::Paging,
    policy_file, taken,
};

#[derive(Debug, Subcommand)]
pub(crate) enum MembershipCommand {
    /// Puts a member into a team
    Add {
        /// The team's id
        team: String,
        /// The member's id
        member: String,
        #[command(flatten)]
        org: Organization,
        /// Lets limits count from zero that are of another period now than the member's before
        #[arg(long)]
        restart_spending: bool,
    },
    /// Lists memberships: of a team, of a member, or all
    List {
        #[command(flatten)]
        org: Organization,
        /// Only this team's
        #[arg(long, default_value = "", hide_default_value = true)]
        team: String,
        /// Only this member's
        #[arg(long, default_value = "", hide_default_value = true)]
        member: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Shows a membership with the state of its limits
    #[command(visible_alias = "show")]
    Get {
        /// The team's id
        team: String,
        /// The member's id
        member: String,
        #[command(flatten)]
        org: Organization,
    },
    /// Gives up its own limits for those that the team has for each of its members
    Inherit {
        /// The team's id
        team: String,
        /// The member's id
        member: String,
        #[command(flatten)]
        org: Organization,
        /// Lets limits count from zero that are of another period now than the member's before
        #[arg(long)]
        restart_spending: bool,
    },
    /// Takes a member out of a team; its keys in the team must be gone
    Remove {
        /// The team's id
        team: String,
        /// The member's id
        member: String,
        #[command(flatten)]
        org: Organization,
        #[command(flatten)]
        consent: Consent,
    },
}

impl MembershipCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.teams(), context.out);
        match self {
            Self::Add { team, member, org, restart_spending } => {
                let membership =
                    Membership { organization_id: org.id, team_id: team, member_id: member, ..Membership::default() };
                let request = CreateMembershipRequest {
                    membership: Some(membership),
                    restart_spending,
                    ..CreateMembershipRequest::default()
                };
                out.item(&required(client.create_membership(request).await?.into_inner().membership, "membership")?)
            }
            Self::List { org, team, member, paging } => {
                let page = async |page_size, page_token| {
                    let request = ListMembershipsRequest {
                        organization_id: org.id.clone(),
                        team_id: team.clone(),
                        member_id: member.clone(),
                        page_size,
                        page_token,
                    };
                    let page = client.list_memberships(request).await?.into_inner();
                    Ok((page.memberships, page.next_page_token))
                };
                out.list("memberships", &paging.collect(page).await?)
            }
            Self::Get { team, member, org } => {
                let request = GetMembershipRequest { organization_id: org.id, team_id: team, member_id: member };
                let answer = client.get_membership(request).await?.into_inner();
                let membership = required(answer.membership, "membership")?;
                print_with_limits(out, &membership, &membership.limits)
            }
            Self::Inherit { team, member, org, restart_spending } => {
                let membership =
                    Membership { organization_id: org.id, team_id: team, member_id: member, ..Membership::default() };
                let request = UpdateMembershipRequest {
                    membership: Some(membership),
                    update_mask: Some(paths(["overrides"])),
                    restart_spending,
                };
                out.item(&required(client.update_membership(request).await?.into_inner().membership, "membership")?)
            }
            Self::Remove { team, member, org, consent } => {
                let question = async || taken::with_membership(&context.server, &org.id, (&team, &member)).await;
                if !consent.given(out, question).await? {
                    return Ok(());
                }
                let sentence = format!("member {member} taken out of team {team}");
                let value = json!({ "deleted": format!("{team}/{member}") });
                let request = DeleteMembershipRequest { organization_id: org.id, team_id: team, member_id: member };
                client.delete_membership(request).await?;
                out.done(&sentence, &value)
            }
        }
    }
}

impl Item for Membership {
    const COLUMNS: &'static [Column] = &[text("team"), text("member"), text("limits"), text("created").spare()];

    fn cells(&self) -> Vec<String> {
        let limits = if self.overrides { "its own" } else { "the team's" };
        vec![self.team_id.clone(), self.member_id.clone(), limits.to_owned(), instant(self.create_time.as_ref())]
    }

    fn json(&self) -> Value {
        json!({
            "organization_id": self.organization_id,
            "team_id": self.team_id,
            "member_id": self.member_id,
            "policy": policy_file::json(self.policy.as_ref()),
            "overrides": self.overrides,
            "create_time": instant_json(self.create_time.as_ref()),
            "update_time": instant_json(self.update_time.as_ref()),
            "limits": limits_json(&self.limits),
            "etag": self.etag,
        })
    }
}
