//! Teams and memberships, in and out.

use std::sync::Arc;

use super::{
    convert::{
        etag_in,
        limits::limit_states,
        mask::Mask,
        name_in, optional,
        page::{page_in, query_name, token_out},
        policy::{is_set, policy_in, policy_out},
        repeatable, required,
        time::timestamp_out,
    },
    proto::{self, team_service_server::TeamService},
    serve::{scoped, serve},
};
use crate::{
    domain::{
        entity::{Membership, Team},
        id::{MemberId, OrganizationId, TeamId},
        price::PriceBook,
    },
    service::{Caller, Error, MembershipChange, MembershipFilter, NewTeam, Repeatable, Service, TeamChange, View},
};

pub(super) struct TeamApi(pub(super) Arc<Service>);

serve! {
    TeamService, TeamApi {
        create_team(CreateTeamRequest) -> CreateTeamResponse = create.await;
        get_team(GetTeamRequest) -> GetTeamResponse = get;
        list_teams(ListTeamsRequest) -> ListTeamsResponse = list.await;
        update_team(UpdateTeamRequest) -> UpdateTeamResponse = update.await;
        delete_team(DeleteTeamRequest) -> DeleteTeamResponse = delete.await;
        create_membership(CreateMembershipRequest) -> CreateMembershipResponse = join.await;
        get_membership(GetMembershipRequest) -> GetMembershipResponse = membership;
        list_memberships(ListMembershipsRequest) -> ListMembershipsResponse = memberships;
        update_membership(UpdateMembershipRequest) -> UpdateMembershipResponse = change_membership.await;
        delete_membership(DeleteMembershipRequest) -> DeleteMembershipResponse = leave.await;
    }
}

fn sets_limits(request: &proto::CreateTeamRequest) -> bool {
    let sets = |team: &proto::Team| is_set(team.policy.as_ref()) || is_set(team.member_policy.as_ref());
    request.team.as_ref().is_some_and(sets)
}

scoped! {
    CreateTeamRequest: team.organization_id, sets_limits sets_limits;
    GetTeamRequest: organization_id;
    ListTeamsRequest: organization_id;
    UpdateTeamRequest: team.organization_id, fields update_mask;
    DeleteTeamRequest: organization_id;
    CreateMembershipRequest: membership.organization_id;
    GetMembershipRequest: organization_id;
    ListMembershipsRequest: organization_id;
    UpdateMembershipRequest: membership.organization_id, fields update_mask;
    DeleteMembershipRequest: organization_id;
}

impl TeamApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateTeamRequest,
    ) -> Result<proto::CreateTeamResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let proto::Team {
            organization_id,
            id,
            name,
            disabled,
            policy,
            create_time: _,
            update_time: _,
            limits: _,
            member_policy,
            etag: _,
        } = required("team", message.team)?;
        let organization = OrganizationId::parse("team.organization_id", &organization_id)?;
        let new = NewTeam {
            id: optional("team.id", &id, TeamId::parse)?,
            name: name_in("team.name", name)?,
            disabled,
            policy: policy_in("team.policy", policy)?,
            member_policy: policy_in("team.member_policy", member_policy)?,
        };
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let view = self.0.create_team(caller, &organization, new, repeatable).await?;
        Ok(proto::CreateTeamResponse { team: Some(out(&organization, view, Some(&self.0.prices()))) })
    }

    fn get(&self, _: &Caller, message: proto::GetTeamRequest) -> Result<proto::GetTeamResponse, Error> {
        let proto::GetTeamRequest { organization_id, team_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.team(&organization, &TeamId::parse("team_id", &team_id)?)?;
        Ok(proto::GetTeamResponse { team: Some(out(&organization, view, Some(&self.0.prices()))) })
    }

    async fn list(&self, caller: &Caller, message: proto::ListTeamsRequest) -> Result<proto::ListTeamsResponse, Error> {
        let list = query_name(
            "teams",
            &proto::ListTeamsRequest { page_size: 0, page_token: String::new(), ..message.clone() },
        );
        let proto::ListTeamsRequest { organization_id, page_size, page_token, search } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let at = page_in(&list, page_size, &page_token)?;
        let found = self.0.list_teams(caller, &organization, &search, at).await?;
        let teams = found.items.into_iter().map(|view| out(&organization, view, None)).collect();
        Ok(proto::ListTeamsResponse { teams, next_page_token: token_out(&list, found.next), total_size: found.total })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateTeamRequest,
    ) -> Result<proto::UpdateTeamResponse, Error> {
        let proto::UpdateTeamRequest { team, update_mask, restart_spending } = message;
        let mask = Mask::of(update_mask, &["name", "disabled", "policy", "member_policy"])?;
        let proto::Team {
            organization_id,
            id,
            name,
            disabled,
            policy,
            create_time: _,
            update_time: _,
            limits: _,
            member_policy,
            etag,
        } = required("team", team)?;
        let organization = OrganizationId::parse("team.organization_id", &organization_id)?;
        let change = TeamChange {
            name: mask.pick("name", || name_in("team.name", name))?,
            disabled: mask.pick("disabled", || Ok(disabled))?,
            policy: mask.pick("policy", || policy_in("team.policy", policy))?,
            member_policy: mask.pick("member_policy", || policy_in("team.member_policy", member_policy))?,
            restart_spending,
        };
        let id = TeamId::parse("team.id", &id)?;
        let view = self.0.update_team(caller, &organization, &id, change, etag_in(&etag)).await?;
        Ok(proto::UpdateTeamResponse { team: Some(out(&organization, view, Some(&self.0.prices()))) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteTeamRequest,
    ) -> Result<proto::DeleteTeamResponse, Error> {
        let proto::DeleteTeamRequest { organization_id, team_id, etag } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        self.0.delete_team(caller, &organization, &TeamId::parse("team_id", &team_id)?, etag_in(&etag)).await?;
        Ok(proto::DeleteTeamResponse {})
    }

    async fn join(
        &self,
        caller: &Caller,
        message: proto::CreateMembershipRequest,
    ) -> Result<proto::CreateMembershipResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let proto::Membership {
            organization_id,
            team_id,
            member_id,
            policy,
            create_time: _,
            update_time: _,
            limits: _,
            overrides: _,
            etag: _,
        } = required("membership", message.membership)?;
        let organization = OrganizationId::parse("membership.organization_id", &organization_id)?;
        let team = TeamId::parse("membership.team_id", &team_id)?;
        let member = MemberId::parse("membership.member_id", &member_id)?;
        let policy = policy_in("membership.policy", policy)?;
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let policy = (&policy, message.restart_spending);
        let view = self.0.create_membership(caller, &organization, (&team, &member), policy, repeatable).await?;
        Ok(proto::CreateMembershipResponse {
            membership: Some(membership_out(&organization, view, Some(&self.0.prices()))),
        })
    }

    fn membership(
        &self,
        _: &Caller,
        message: proto::GetMembershipRequest,
    ) -> Result<proto::GetMembershipResponse, Error> {
        let proto::GetMembershipRequest { organization_id, team_id, member_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let (team, member) = (TeamId::parse("team_id", &team_id)?, MemberId::parse("member_id", &member_id)?);
        let view = self.0.membership(&organization, &team, &member)?;
        Ok(proto::GetMembershipResponse {
            membership: Some(membership_out(&organization, view, Some(&self.0.prices()))),
        })
    }

    fn memberships(
        &self,
        _: &Caller,
        message: proto::ListMembershipsRequest,
    ) -> Result<proto::ListMembershipsResponse, Error> {
        let filters = proto::ListMembershipsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("memberships", &filters);
        let proto::ListMembershipsRequest { organization_id, team_id, member_id, page_size, page_token } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let filter = MembershipFilter {
            team: optional("team_id", &team_id, TeamId::parse)?,
            member: optional("member_id", &member_id, MemberId::parse)?,
        };
        let found = self.0.list_memberships(&organization, &filter, page_in(&list, page_size, &page_token)?)?;
        let memberships = found.items.into_iter().map(|view| membership_out(&organization, view, None)).collect();
        Ok(proto::ListMembershipsResponse { memberships, next_page_token: token_out(&list, found.next) })
    }

    async fn change_membership(
        &self,
        caller: &Caller,
        message: proto::UpdateMembershipRequest,
    ) -> Result<proto::UpdateMembershipResponse, Error> {
        let proto::UpdateMembershipRequest { membership, update_mask, restart_spending } = message;
        let mask = Mask::of(update_mask, &["policy", "overrides"])?;
        let proto::Membership {
            organization_id,
            team_id,
            member_id,
            policy,
            create_time: _,
            update_time: _,
            limits: _,
            overrides,
            etag,
        } = required("membership", membership)?;
        let organization = OrganizationId::parse("membership.organization_id", &organization_id)?;
        let team = TeamId::parse("membership.team_id", &team_id)?;
        let member = MemberId::parse("membership.member_id", &member_id)?;
        let change = MembershipChange {
            policy: mask.pick("policy", || policy_in("membership.policy", policy))?,
            overrides: mask.pick("overrides", || Ok(overrides))?,
            restart_spending,
        };
        let view = self.0.update_membership(caller, &organization, (&team, &member), change, etag_in(&etag)).await?;
        Ok(proto::UpdateMembershipResponse {
            membership: Some(membership_out(&organization, view, Some(&self.0.prices()))),
        })
    }

    async fn leave(
        &self,
        caller: &Caller,
        message: proto::DeleteMembershipRequest,
    ) -> Result<proto::DeleteMembershipResponse, Error> {
        let proto::DeleteMembershipRequest { organization_id, team_id, member_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let (team, member) = (TeamId::parse("team_id", &team_id)?, MemberId::parse("member_id", &member_id)?);
        self.0.delete_membership(caller, &organization, &team, &member).await?;
        Ok(proto::DeleteMembershipResponse {})
    }
}

fn out(organization: &OrganizationId, view: View<Team>, prices: Option<&PriceBook>) -> proto::Team {
    let View { entity, policy, limits, etag } = view;
    let Team { id, name, member_policy, disabled, deleted: _, create_time, update_time } = entity;
    proto::Team {
        organization_id: organization.to_string(),
        id: id.to_string(),
        name,
        disabled,
        policy: Some(policy_out(&policy, prices)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        limits: limit_states(&limits),
        member_policy: Some(policy_out(&member_policy.limits, prices)),
        etag,
    }
}

fn membership_out(
    organization: &OrganizationId,
    view: View<Membership>,
    prices: Option<&PriceBook>,
) -> proto::Membership {
    let View { entity, policy, limits, etag } = view;
    let Membership { team, member, overrides, deleted: _, create_time, update_time } = entity;
    proto::Membership {
        organization_id: organization.to_string(),
        team_id: team.to_string(),
        member_id: member.to_string(),
        policy: Some(policy_out(&policy, prices)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        limits: limit_states(&limits),
        overrides,
        etag,
    }
}
