//! Members, in and out.

use std::sync::Arc;

use super::{
    allocation::member_out,
    convert::{
        etag_in,
        limits::{limit_state, limit_states, period_out, unit_out},
        mask::Mask,
        name_in, optional,
        page::{page_in, query_name, token_out},
        policy::{is_set, policy_in, policy_out},
        repeatable, required, set_in,
        time::timestamp_out,
        usage::nanos_out,
    },
    proto::{self, member_service_server::MemberService},
    serve::{scoped, serve},
};
use crate::{
    domain::{
        access::Role,
        contact::check_email,
        entity::Member,
        error::Invalid,
        id::{MemberId, OrganizationId, TeamId},
        policy::{Budget, Limit, Unit},
        price::PriceBook,
    },
    service::{Caller, Error, MemberBudgets, MemberChange, MemberView, NewMember, Repeatable, Service, View},
};

mod invitation;

pub(super) struct MemberApi(pub(super) Arc<Service>);

serve! {
    MemberService, MemberApi {
        create_member(CreateMemberRequest) -> CreateMemberResponse = create.await;
        get_member(GetMemberRequest) -> GetMemberResponse = get;
        list_members(ListMembersRequest) -> ListMembersResponse = list.await;
        update_member(UpdateMemberRequest) -> UpdateMemberResponse = update.await;
        delete_member(DeleteMemberRequest) -> DeleteMemberResponse = delete.await;
        get_member_budget(GetMemberBudgetRequest) -> GetMemberBudgetResponse = budget.await;
        create_invitation(CreateInvitationRequest) -> CreateInvitationResponse = invite.await;
        get_invitation(GetInvitationRequest) -> GetInvitationResponse = invitation;
        list_invitations(ListInvitationsRequest) -> ListInvitationsResponse = invitations.await;
        update_invitation(UpdateInvitationRequest) -> UpdateInvitationResponse = change_invitation.await;
        resend_invitation(ResendInvitationRequest) -> ResendInvitationResponse = resend.await;
        revoke_invitation(RevokeInvitationRequest) -> RevokeInvitationResponse = revoke.await;
        accept_invitation(AcceptInvitationRequest) -> AcceptInvitationResponse = accept.await;
    }
}

fn sets_limits(request: &proto::CreateMemberRequest) -> bool {
    request.member.as_ref().is_some_and(|member| is_set(member.policy.as_ref()))
}

scoped! {
    CreateMemberRequest: member.organization_id, sets_limits sets_limits;
    GetMemberRequest: organization_id;
    ListMembersRequest: organization_id;
    UpdateMemberRequest: member.organization_id, fields update_mask;
    DeleteMemberRequest: organization_id;
    GetMemberBudgetRequest: organization_id, of Member(member_id);
}

impl MemberApi {
    async fn budget(
        &self,
        caller: &Caller,
        message: proto::GetMemberBudgetRequest,
    ) -> Result<proto::GetMemberBudgetResponse, Error> {
        let proto::GetMemberBudgetRequest { organization_id, member_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let member = optional("member_id", &member_id, MemberId::parse)?.or_else(|| caller.member.clone());
        let nobody = || Invalid::new("member_id", "is missing; the operator is no member itself");
        let found = self.0.member_budgets(&organization, &member.ok_or_else(nobody)?).await?;
        let MemberBudgets { member, policy, limits, allocations, credits_tracked } = found;
        let budgets = policy.iter().filter_map(|limit| {
            let Limit::Budget(Budget { max: Some(max), period, .. }) = limit else { return None };
            Some(proto::MemberBudget {
                r#type: period_out(period).kind,
                unit: unit_out(limit.unit()).into(),
                limit: nanos_out(*max),
                binding: credits_tracked || limit.unit() != Unit::Credits,
            })
        });
        let budgets = budgets.collect();
        let limits = limits.into_iter().map(|(limit, key)| proto::MemberLimit {
            limit: Some(limit_state(&limit)),
            key_id: key.map(|key| key.to_string()).unwrap_or_default(),
        });
        let limits = limits.collect();
        let allocations = allocations.into_iter().map(|credits| member_out(&organization, credits)).collect();
        Ok(proto::GetMemberBudgetResponse { member_id: member.to_string(), budgets, limits, allocations })
    }

    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateMemberRequest,
    ) -> Result<proto::CreateMemberResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let proto::CreateMemberRequest { member, team_ids, request_id: _ } = message;
        let proto::Member {
            organization_id,
            id,
            name,
            email,
            disabled,
            policy,
            create_time: _,
            update_time: _,
            limits: _,
            role,
            etag: _,
            credits_used: _,
        } = required("member", member)?;
        let organization = OrganizationId::parse("member.organization_id", &organization_id)?;
        let new = NewMember {
            id: optional("member.id", &id, MemberId::parse)?,
            name: name_in("member.name", name)?,
            email: email_in(email)?,
            role: role_in("member.role", role)?.unwrap_or_default(),
            disabled,
            policy: policy_in("member.policy", policy)?,
            teams: set_in("team_ids", &team_ids, TeamId::parse)?,
        };
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let view = self.0.create_member(caller, &organization, new, repeatable).await?;
        Ok(proto::CreateMemberResponse { member: Some(out(&organization, view, Some(&self.0.prices()))) })
    }

    fn get(&self, _: &Caller, message: proto::GetMemberRequest) -> Result<proto::GetMemberResponse, Error> {
        let proto::GetMemberRequest { organization_id, member_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.member(&organization, &MemberId::parse("member_id", &member_id)?)?;
        Ok(proto::GetMemberResponse { member: Some(out(&organization, view, Some(&self.0.prices()))) })
    }

    async fn list(
        &self,
        caller: &Caller,
        message: proto::ListMembersRequest,
    ) -> Result<proto::ListMembersResponse, Error> {
        let filters = proto::ListMembersRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("members", &filters);
        let proto::ListMembersRequest { organization_id, page_size, page_token, search } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let at = page_in(&list, page_size, &page_token)?;
        let found = self.0.list_members(caller, &organization, &search, at).await?;
        let members = found.items.into_iter().map(|view| out(&organization, view, None)).collect();
        Ok(proto::ListMembersResponse {
            members,
            next_page_token: token_out(&list, found.next),
            total_size: found.total,
        })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateMemberRequest,
    ) -> Result<proto::UpdateMemberResponse, Error> {
        let proto::UpdateMemberRequest { member, update_mask, restart_spending } = message;
        let mask = Mask::of(update_mask, &["name", "email", "role", "disabled", "policy"])?;
        let proto::Member {
            organization_id,
            id,
            name,
            email,
            disabled,
            policy,
            create_time: _,
            update_time: _,
            limits: _,
            role,
            etag,
            credits_used: _,
        } = required("member", member)?;
        let organization = OrganizationId::parse("member.organization_id", &organization_id)?;
        let change = MemberChange {
            name: mask.pick("name", || name_in("member.name", name))?,
            email: mask.pick("email", || email_in(email))?,
            role: mask.pick("role", || required_role("member.role", role))?,
            disabled: mask.pick("disabled", || Ok(disabled))?,
            policy: mask.pick("policy", || policy_in("member.policy", policy))?,
            restart_spending,
        };
        let id = MemberId::parse("member.id", &id)?;
        let view = self.0.update_member(caller, &organization, &id, change, etag_in(&etag)).await?;
        Ok(proto::UpdateMemberResponse { member: Some(out(&organization, view, Some(&self.0.prices()))) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteMemberRequest,
    ) -> Result<proto::DeleteMemberResponse, Error> {
        let proto::DeleteMemberRequest { organization_id, member_id, etag } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = MemberId::parse("member_id", &member_id)?;
        self.0.delete_member(caller, &organization, &id, etag_in(&etag)).await?;
        Ok(proto::DeleteMemberResponse {})
    }
}

/// May be left out.
fn email_in(email: String) -> Result<String, Invalid> {
    if !email.is_empty() {
        check_email("member.email", &email)?;
    }
    Ok(email)
}

/// `None` where it is unspecified.
pub(super) fn role_in(field: &str, role: i32) -> Result<Option<Role>, Invalid> {
    match proto::Role::try_from(role) {
        Ok(proto::Role::Unspecified) => Ok(None),
        Ok(proto::Role::Owner) => Ok(Some(Role::Owner)),
        Ok(proto::Role::Admin) => Ok(Some(Role::Admin)),
        Ok(proto::Role::FinanceAdmin) => Ok(Some(Role::FinanceAdmin)),
        Ok(proto::Role::Developer) => Ok(Some(Role::Developer)),
        Ok(proto::Role::Basic) => Ok(Some(Role::Basic)),
        Err(_) => Err(Invalid::new(field, format!("{role} is none of ROLE_OWNER to ROLE_BASIC"))),
    }
}

fn required_role(field: &str, role: i32) -> Result<Role, Invalid> {
    let missing = || Invalid::new(field, "is unspecified; give one of ROLE_OWNER to ROLE_BASIC");
    role_in(field, role)?.ok_or_else(missing)
}

pub(super) fn role_out(role: Role) -> proto::Role {
    match role {
        Role::Owner => proto::Role::Owner,
        Role::Admin => proto::Role::Admin,
        Role::FinanceAdmin => proto::Role::FinanceAdmin,
        Role::Developer => proto::Role::Developer,
        Role::Basic => proto::Role::Basic,
    }
}

pub(super) fn out(
    organization: &OrganizationId,
    MemberView { view, used }: MemberView,
    prices: Option<&PriceBook>,
) -> proto::Member {
    let View { entity, policy, limits, etag } = view;
    let Member { id, name, email, role, disabled, deleted: _, create_time, update_time } = entity;
    proto::Member {
        organization_id: organization.to_string(),
        id: id.to_string(),
        name,
        email,
        disabled,
        policy: Some(policy_out(&policy, prices)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        limits: limit_states(&limits),
        role: role_out(role).into(),
        etag,
        credits_used: nanos_out(used),
    }
}
