//! The places that carry a policy, each read and written through its own service.

use clap::Args;
use quotad::{
    api::proto::{
        GetInvitationRequest, GetKeyRequest, GetMemberRequest, GetMembershipRequest, GetOrganizationRequest,
        GetTeamRequest, Invitation, Key, LimitState, Member, Membership, Organization, Policy, Scope, Team,
        UpdateInvitationRequest, UpdateKeyRequest, UpdateMemberRequest, UpdateMembershipRequest,
        UpdateOrganizationRequest, UpdateTeamRequest,
    },
    client::Connection,
};

use crate::{
    arguments::{self, paths},
    failure::{Failure, required},
};

#[derive(Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    pub(crate) org: arguments::Organization,
    /// This key
    #[arg(long, conflicts_with_all = ["member", "team"])]
    pub(crate) key: Option<String>,
    /// This member: over all its teams, or in the one that --team names
    #[arg(long)]
    pub(crate) member: Option<String>,
    /// This team
    #[arg(long)]
    pub(crate) team: Option<String>,
    /// With --team: what caps each member of the team separately, unless the member has a policy of its own there
    #[arg(long, requires = "team", conflicts_with = "member")]
    pub(crate) each_member: bool,
    /// This invitation: what the member will have from the start
    #[arg(long, value_name = "ID", conflicts_with_all = ["key", "member", "team"])]
    pub(crate) invitation: Option<String>,
    /// The organization itself
    #[arg(long, conflicts_with_all = ["key", "member", "team", "invitation"])]
    pub(crate) organization: bool,
    /// The operator's ceiling on the organization, beside its own policy
    #[arg(long, conflicts_with_all = ["key", "member", "team", "invitation", "organization"])]
    pub(crate) ceiling: bool,
}

/// A place that was named: what changes a whole organization's limits is never what was left out.
#[derive(Debug, Args)]
#[group(
    id = "named place",
    required = true,
    multiple = true,
    args = ["key", "member", "team", "invitation", "organization", "ceiling"]
)]
pub(crate) struct NamedPlace {
    #[command(flatten)]
    pub(crate) place: Place,
}

/// A [`Place`]'s answers fitted together.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) policy: Policy,
    /// How they stand; empty for what only will be somebody's.
    pub(crate) limits: Vec<LimitState>,
    /// Sent with the change, so that of two editors the later one is refused. Invitations have none.
    etag: String,
}

impl Found {
    pub(crate) fn new(policy: Option<Policy>, limits: Vec<LimitState>, etag: String) -> Self {
        Self { policy: policy.unwrap_or_default(), limits, etag }
    }
}

impl Place {
    /// `member ada in team research`.
    pub(crate) fn name(&self) -> String {
        match (&self.invitation, &self.key, &self.member, &self.team) {
            (Some(id), ..) => format!("invitation {id}"),
            (None, Some(id), ..) => format!("key {id}"),
            (None, None, Some(member), Some(team)) => format!("member {member} in team {team}"),
            (None, None, Some(member), None) => format!("member {member}"),
            (None, None, None, Some(team)) if self.each_member => format!("each member of team {team}"),
            (None, None, None, Some(team)) => format!("team {team}"),
            (None, None, None, None) if self.ceiling => format!("the ceiling of organization {}", self.org.id),
            (None, None, None, None) => format!("organization {}", self.org.id),
        }
    }

    pub(crate) async fn read(&self, server: &Connection) -> Result<Found, Failure> {
        let organization_id = self.org.id.clone();
        if let Some(invitation_id) = self.invitation.clone() {
            let request = GetInvitationRequest { organization_id, invitation_id };
            let answer = server.members().get_invitation(request).await?.into_inner();
            let invitation = required(answer.invitation, "invitation")?;
            return Ok(Found::new(invitation.policy, Vec::new(), String::new()));
        }
        Ok(match (self.key.clone(), self.team.clone(), self.member.clone()) {
            (Some(key_id), ..) => {
                let request = GetKeyRequest { organization_id, key_id };
                let key = required(server.keys().get_key(request).await?.into_inner().key, "key")?;
                Found::new(key.policy, key.limits, key.etag)
            }
            (None, Some(team_id), Some(member_id)) => {
                let request = GetMembershipRequest { organization_id, team_id, member_id };
                let answer = server.teams().get_membership(request).await?.into_inner();
                let membership = required(answer.membership, "membership")?;
                Found::new(membership.policy, membership.limits, membership.etag)
            }
            (None, None, Some(member_id)) => {
                let request = GetMemberRequest { organization_id, member_id };
                let member = required(server.members().get_member(request).await?.into_inner().member, "member")?;
                Found::new(member.policy, member.limits, member.etag)
            }
            (None, Some(team_id), None) => {
                let request = GetTeamRequest { organization_id, team_id };
                let team = required(server.teams().get_team(request).await?.into_inner().team, "team")?;
                if self.each_member {
                    Found::new(team.member_policy, Vec::new(), team.etag)
                } else {
                    Found::new(team.policy, team.limits, team.etag)
                }
            }
            (None, None, None) => {
                let request = GetOrganizationRequest { organization_id };
                let answer = server.organizations().get_organization(request).await?.into_inner();
                let organization = required(answer.organization, "organization")?;
                if self.ceiling {
                    let mut limits = organization.limits;
                    limits.retain(|limit| limit.scope() == Scope::Ceiling);
                    Found::new(organization.ceiling, limits, organization.etag)
                } else {
                    Found::new(organization.policy, organization.limits, organization.etag)
                }
            }
        })
    }

    /// Sets the policy in the place of the one that was found. Limits begin to count anew only where that is said.
    pub(crate) async fn write(
        &self,
        server: &Connection,
        policy: Policy,
        found: &Found,
        restart_spending: bool,
    ) -> Result<(), Failure> {
        let (organization_id, policy, etag) = (self.org.id.clone(), Some(policy), found.etag.clone());
        let field = match (self.each_member, self.ceiling) {
            (true, _) => "member_policy",
            (_, true) => "ceiling",
            _ => "policy",
        };
        let update_mask = Some(paths([field]));
        if let Some(id) = self.invitation.clone() {
            let invitation = Some(Invitation { organization_id, id, policy, ..Invitation::default() });
            server.members().update_invitation(UpdateInvitationRequest { invitation, update_mask }).await?;
            return Ok(());
        }
        match (self.key.clone(), self.team.clone(), self.member.clone()) {
            (Some(id), ..) => {
                let key = Some(Key { organization_id, id, policy, etag, ..Key::default() });
                server.keys().update_key(UpdateKeyRequest { key, update_mask, restart_spending }).await?;
            }
            (None, Some(team_id), Some(member_id)) => {
                let membership =
                    Some(Membership { organization_id, team_id, member_id, policy, etag, ..Membership::default() });
                server
                    .teams()
                    .update_membership(UpdateMembershipRequest { membership, update_mask, restart_spending })
                    .await?;
            }
            (None, None, Some(id)) => {
                let member = Some(Member { organization_id, id, policy, etag, ..Member::default() });
                server.members().update_member(UpdateMemberRequest { member, update_mask, restart_spending }).await?;
            }
            (None, Some(id), None) => {
                let (policy, member_policy) = if self.each_member { (None, policy) } else { (policy, None) };
                let team = Some(Team { organization_id, id, policy, member_policy, etag, ..Team::default() });
                server.teams().update_team(UpdateTeamRequest { team, update_mask, restart_spending }).await?;
            }
            (None, None, None) => {
                let (policy, ceiling) = if self.ceiling { (None, policy) } else { (policy, None) };
                let organization =
                    Some(Organization { id: organization_id, policy, ceiling, etag, ..Organization::default() });
                let request = UpdateOrganizationRequest { organization, update_mask, restart_spending };
                server.organizations().update_organization(request).await?;
            }
        }
        Ok(())
    }
}
