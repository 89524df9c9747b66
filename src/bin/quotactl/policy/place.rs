//! The five places that carry a policy, each read and written through its own service.

use clap::Args;
use quotad::{
    api::proto::{
        GetKeyRequest, GetMemberRequest, GetMembershipRequest, GetOrganizationRequest, GetTeamRequest, Key, LimitState,
        Member, Membership, Organization, Policy, Team, UpdateKeyRequest, UpdateMemberRequest, UpdateMembershipRequest,
        UpdateOrganizationRequest, UpdateTeamRequest,
    },
    client::Connection,
};

use crate::{
    arguments,
    failure::{Failure, required},
};

#[derive(Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    org: arguments::Organization,
    /// This key
    #[arg(long, conflicts_with_all = ["member", "team"])]
    key: Option<String>,
    /// This member: over all its teams, or in the one that --team names
    #[arg(long)]
    member: Option<String>,
    /// This team
    #[arg(long)]
    team: Option<String>,
}

/// A [`Place`]'s answers fitted together.
type State = (Policy, Vec<LimitState>);

impl Place {
    pub(super) async fn read(&self, server: &Connection) -> Result<State, Failure> {
        let organization_id = self.org.id.clone();
        let (policy, limits) = match (&self.key, &self.team, &self.member) {
            (Some(key), ..) => {
                let request = GetKeyRequest { organization_id, key_id: key.clone() };
                let key = required(server.keys().get_key(request).await?.into_inner().key, "key")?;
                (key.policy, key.limits)
            }
            (None, Some(team), Some(member)) => {
                let request =
                    GetMembershipRequest { organization_id, team_id: team.clone(), member_id: member.clone() };
                let answer = server.teams().get_membership(request).await?.into_inner();
                let membership = required(answer.membership, "membership")?;
                (membership.policy, membership.limits)
            }
            (None, None, Some(member)) => {
                let request = GetMemberRequest { organization_id, member_id: member.clone() };
                let member = required(server.members().get_member(request).await?.into_inner().member, "member")?;
                (member.policy, member.limits)
            }
            (None, Some(team), None) => {
                let request = GetTeamRequest { organization_id, team_id: team.clone() };
                let team = required(server.teams().get_team(request).await?.into_inner().team, "team")?;
                (team.policy, team.limits)
            }
            (None, None, None) => {
                let request = GetOrganizationRequest { organization_id };
                let answer = server.organizations().get_organization(request).await?.into_inner();
                let organization = required(answer.organization, "organization")?;
                (organization.policy, organization.limits)
            }
        };
        Ok((policy.unwrap_or_default(), limits))
    }

    pub(super) async fn write(&self, server: &Connection, policy: Policy) -> Result<(), Failure> {
        let (organization_id, policy) = (self.org.id.clone(), Some(policy));
        let update_mask = Some(prost_types::FieldMask { paths: vec!["policy".to_owned()] });
        match (self.key.clone(), self.team.clone(), self.member.clone()) {
            (Some(id), ..) => {
                let key = Some(Key { organization_id, id, policy, ..Key::default() });
                server.keys().update_key(UpdateKeyRequest { key, update_mask }).await?;
            }
            (None, Some(team_id), Some(member_id)) => {
                let membership =
                    Some(Membership { organization_id, team_id, member_id, policy, ..Membership::default() });
                server.teams().update_membership(UpdateMembershipRequest { membership, update_mask }).await?;
            }
            (None, None, Some(id)) => {
                let member = Some(Member { organization_id, id, policy, ..Member::default() });
                server.members().update_member(UpdateMemberRequest { member, update_mask }).await?;
            }
            (None, Some(id), None) => {
                let team = Some(Team { organization_id, id, policy, ..Team::default() });
                server.teams().update_team(UpdateTeamRequest { team, update_mask }).await?;
            }
            (None, None, None) => {
                let organization = Some(Organization { id: organization_id, policy, ..Organization::default() });
                let request = UpdateOrganizationRequest { organization, update_mask };
                server.organizations().update_organization(request).await?;
            }
        }
        Ok(())
    }
}
