//! Members, in and out.

use std::sync::Arc;

use super::{
    convert::{
        limits::limit_states,
        mask::Mask,
        name_in, optional,
        page::{size_in, token_in, token_out},
        policy::{policy_in, policy_out},
        repeatable, required,
        time::timestamp_out,
    },
    proto::{self, member_service_server::MemberService},
    serve::serve,
};
use crate::{
    domain::{
        entity::Member,
        error::Invalid,
        id::{MemberId, OrganizationId, TeamId, check_text},
    },
    service::{Caller, Error, MemberChange, NewMember, Repeatable, Service, View},
};

/// Longest e-mail address (RFC 5321), in bytes.
const MAX_EMAIL: usize = 320;

pub(super) struct MemberApi(pub(super) Arc<Service>);

serve! {
    MemberService, MemberApi {
        create_member(CreateMemberRequest) -> CreateMemberResponse = create.await;
        get_member(GetMemberRequest) -> GetMemberResponse = get;
        list_members(ListMembersRequest) -> ListMembersResponse = list;
        update_member(UpdateMemberRequest) -> UpdateMemberResponse = update.await;
        delete_member(DeleteMemberRequest) -> DeleteMemberResponse = delete.await;
    }
}

impl MemberApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateMemberRequest,
    ) -> Result<proto::CreateMemberResponse, Error> {
        let (request, fingerprint) = repeatable(&message, &message.request_id)?;
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
        } = required("member", member)?;
        let organization = OrganizationId::parse("member.organization_id", &organization_id)?;
        let teams = team_ids.iter().enumerate().map(|(i, team)| TeamId::parse(&format!("team_ids[{i}]"), team));
        let new = NewMember {
            id: optional("member.id", &id, MemberId::parse)?,
            name: name_in("member.name", name)?,
            email: email_in(email)?,
            disabled,
            policy: policy_in("member.policy", policy)?,
            teams: teams.collect::<Result<_, _>>()?,
        };
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let view = self.0.create_member(caller, &organization, new, repeatable).await?;
        Ok(proto::CreateMemberResponse { member: Some(out(&organization, view)) })
    }

    fn get(&self, _: &Caller, message: proto::GetMemberRequest) -> Result<proto::GetMemberResponse, Error> {
        let proto::GetMemberRequest { organization_id, member_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.member(&organization, &MemberId::parse("member_id", &member_id)?)?;
        Ok(proto::GetMemberResponse { member: Some(out(&organization, view)) })
    }

    fn list(&self, _: &Caller, message: proto::ListMembersRequest) -> Result<proto::ListMembersResponse, Error> {
        let proto::ListMembersRequest { organization_id, page_size, page_token } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let from = token_in("members", &page_token)?.unwrap_or(0);
        let listed = self.0.list_members(&organization, from, size_in(page_size)?)?;
        let members = listed.views.into_iter().map(|view| out(&organization, view)).collect();
        Ok(proto::ListMembersResponse { members, next_page_token: token_out("members", listed.next) })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdateMemberRequest,
    ) -> Result<proto::UpdateMemberResponse, Error> {
        let proto::UpdateMemberRequest { member, update_mask } = message;
        let mask = Mask::of(update_mask, &["name", "email", "disabled", "policy"])?;
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
        } = required("member", member)?;
        let organization = OrganizationId::parse("member.organization_id", &organization_id)?;
        let change = MemberChange {
            name: mask.pick("name", || name_in("member.name", name))?,
            email: mask.pick("email", || email_in(email))?,
            disabled: mask.pick("disabled", || Ok(disabled))?,
            policy: mask.pick("policy", || policy_in("member.policy", policy))?,
        };
        let view = self.0.update_member(caller, &organization, &MemberId::parse("member.id", &id)?, change).await?;
        Ok(proto::UpdateMemberResponse { member: Some(out(&organization, view)) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteMemberRequest,
    ) -> Result<proto::DeleteMemberResponse, Error> {
        let proto::DeleteMemberRequest { organization_id, member_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        self.0.delete_member(caller, &organization, &MemberId::parse("member_id", &member_id)?).await?;
        Ok(proto::DeleteMemberResponse {})
    }
}

fn email_in(email: String) -> Result<String, Invalid> {
    check_text("member.email", &email, MAX_EMAIL)?;
    Ok(email)
}

fn out(organization: &OrganizationId, view: View<Member>) -> proto::Member {
    let View { entity, policy, limits } = view;
    let Member { id, name, email, disabled, deleted: _, create_time, update_time } = entity;
    proto::Member {
        organization_id: organization.to_string(),
        id: id.to_string(),
        name,
        email,
        disabled,
        policy: Some(policy_out(&policy)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
        limits: limit_states(&limits),
    }
}
