//! Invitations, in and out.

use super::{MemberApi, out, role_in, role_out};
use crate::{
    api::{
        convert::{
            mask::Mask,
            name_in, optional,
            page::{page_in, query_name, token_out},
            policy::{is_set, policy_in, policy_out},
            repeatable, required, set_in,
            time::{span_in, timestamp_out},
        },
        proto,
        serve::{scoped, unscoped},
    },
    domain::{
        access::{Invitation, InvitationState},
        contact::check_email,
        error::Invalid,
        id::{InvitationId, MemberId, OrganizationId, TeamId},
        price::PriceBook,
        time::Span,
    },
    service::{Accepted, Caller, Error, InvitationFilter, InvitationView, NewInvitation, Repeatable},
};

const MIN_TTL: Span = Span::HOUR;
const MAX_TTL: Span = Span::seconds(30 * 86_400);
const DEFAULT_TTL: Span = Span::seconds(7 * 86_400);

fn sets_limits(request: &proto::CreateInvitationRequest) -> bool {
    request.invitation.as_ref().is_some_and(|invitation| is_set(invitation.policy.as_ref()))
}

scoped! {
    CreateInvitationRequest: invitation.organization_id, of Invitation(invitation.id), sets_limits sets_limits;
    GetInvitationRequest: organization_id, of Invitation(invitation_id);
    ListInvitationsRequest: organization_id;
    UpdateInvitationRequest: invitation.organization_id, of Invitation(invitation.id), fields update_mask;
    ResendInvitationRequest: organization_id, of Invitation(invitation_id);
    RevokeInvitationRequest: organization_id, of Invitation(invitation_id);
}

// Which organization it is about stands in the token.
unscoped! { AcceptInvitationRequest }

fn ttl_in(ttl: Option<prost_types::Duration>) -> Result<Span, Invalid> {
    let Some(ttl) = ttl else { return Ok(DEFAULT_TTL) };
    let ttl = span_in("ttl", &ttl)?;
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Ok(ttl);
    }
    let seconds = ttl.as_micros() / 1_000_000;
    Err(Invalid::new("ttl", format!("{seconds} s is not from 1 hour to 30 days")))
}

impl MemberApi {
    pub(super) async fn invite(
        &self,
        caller: &Caller,
        message: proto::CreateInvitationRequest,
    ) -> Result<proto::CreateInvitationResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let proto::CreateInvitationRequest { invitation, ttl, request_id: _ } = message;
        let proto::Invitation {
            organization_id,
            id,
            email,
            name,
            role,
            team_ids,
            policy,
            state: _,
            member_id: _,
            invited_by: _,
            expire_time: _,
            create_time: _,
            update_time: _,
        } = required("invitation", invitation)?;
        let organization = OrganizationId::parse("invitation.organization_id", &organization_id)?;
        check_email("invitation.email", &email)?;
        let new = NewInvitation {
            id: optional("invitation.id", &id, InvitationId::parse)?,
            email,
            name: name_in("invitation.name", name)?,
            role: role_in("invitation.role", role)?.unwrap_or_default(),
            teams: set_in("invitation.team_ids", &team_ids, TeamId::parse)?,
            policy: policy_in("invitation.policy", policy)?,
            ttl: ttl_in(ttl)?,
        };
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let (view, token) = self.0.create_invitation(caller, &organization, new, repeatable).await?;
        let invitation = Some(invitation_out(&organization, view, Some(&self.0.prices())));
        Ok(proto::CreateInvitationResponse { invitation, token: token.unwrap_or_default() })
    }

    pub(super) fn invitation(
        &self,
        _: &Caller,
        message: proto::GetInvitationRequest,
    ) -> Result<proto::GetInvitationResponse, Error> {
        let proto::GetInvitationRequest { organization_id, invitation_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.invitation(&organization, &InvitationId::parse("invitation_id", &invitation_id)?)?;
        Ok(proto::GetInvitationResponse {
            invitation: Some(invitation_out(&organization, view, Some(&self.0.prices()))),
        })
    }

    pub(super) async fn invitations(
        &self,
        caller: &Caller,
        message: proto::ListInvitationsRequest,
    ) -> Result<proto::ListInvitationsResponse, Error> {
        let filters = proto::ListInvitationsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("invitations", &filters);
        let proto::ListInvitationsRequest { organization_id, states, search, page_size, page_token } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let states = states.into_iter().enumerate().map(state_in).collect::<Result<_, _>>()?;
        let filter = InvitationFilter { states, search };
        let at = page_in(&list, page_size, &page_token)?;
        let found = self.0.list_invitations(caller, &organization, &filter, at).await?;
        let invitations = found.items.into_iter().map(|view| invitation_out(&organization, view, None)).collect();
        Ok(proto::ListInvitationsResponse { invitations, next_page_token: token_out(&list, found.next) })
    }

    pub(super) async fn change_invitation(
        &self,
        caller: &Caller,
        message: proto::UpdateInvitationRequest,
    ) -> Result<proto::UpdateInvitationResponse, Error> {
        let proto::UpdateInvitationRequest { invitation, update_mask } = message;
        Mask::of(update_mask, &["policy"])?;
        let proto::Invitation { organization_id, id, policy, .. } = required("invitation", invitation)?;
        let organization = OrganizationId::parse("invitation.organization_id", &organization_id)?;
        let id = InvitationId::parse("invitation.id", &id)?;
        let policy = policy_in("invitation.policy", policy)?;
        let view = self.0.set_invitation_policy(caller, &organization, &id, policy).await?;
        Ok(proto::UpdateInvitationResponse {
            invitation: Some(invitation_out(&organization, view, Some(&self.0.prices()))),
        })
    }

    pub(super) async fn resend(
        &self,
        caller: &Caller,
        message: proto::ResendInvitationRequest,
    ) -> Result<proto::ResendInvitationResponse, Error> {
        let proto::ResendInvitationRequest { organization_id, invitation_id, ttl } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = InvitationId::parse("invitation_id", &invitation_id)?;
        let (view, token) = self.0.resend_invitation(caller, &organization, &id, ttl_in(ttl)?).await?;
        Ok(proto::ResendInvitationResponse {
            invitation: Some(invitation_out(&organization, view, Some(&self.0.prices()))),
            token,
        })
    }

    pub(super) async fn revoke(
        &self,
        caller: &Caller,
        message: proto::RevokeInvitationRequest,
    ) -> Result<proto::RevokeInvitationResponse, Error> {
        let proto::RevokeInvitationRequest { organization_id, invitation_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = InvitationId::parse("invitation_id", &invitation_id)?;
        let view = self.0.revoke_invitation(caller, &organization, &id).await?;
        Ok(proto::RevokeInvitationResponse {
            invitation: Some(invitation_out(&organization, view, Some(&self.0.prices()))),
        })
    }

    pub(super) async fn accept(
        &self,
        caller: &Caller,
        message: proto::AcceptInvitationRequest,
    ) -> Result<proto::AcceptInvitationResponse, Error> {
        let proto::AcceptInvitationRequest { invitation_token, name, member_id } = message;
        let token = Some(invitation_token.as_str()).filter(|token| !token.is_empty());
        let member = optional("member_id", &member_id, MemberId::parse)?;
        let name = Some(name_in("name", name)?).filter(|name| !name.is_empty());
        let Accepted { organization, member, secret } = self.0.accept_invitation(caller, token, member, name).await?;
        let member = Some(out(&organization, member, Some(&self.0.prices())));
        Ok(proto::AcceptInvitationResponse { member, secret: secret.unwrap_or_default() })
    }
}

fn state_in((i, state): (usize, i32)) -> Result<&'static str, Invalid> {
    match proto::InvitationState::try_from(state) {
        Ok(proto::InvitationState::Pending) => Ok("pending"),
        Ok(proto::InvitationState::Accepted) => Ok("accepted"),
        Ok(proto::InvitationState::Revoked) => Ok("revoked"),
        Ok(proto::InvitationState::Expired) => Ok("expired"),
        Ok(proto::InvitationState::Unspecified) | Err(_) => {
            let problem = format!("{state} is no state of an invitation; leave states empty for all");
            Err(Invalid::new(format!("states[{i}]"), problem))
        }
    }
}

fn invitation_out(
    organization: &OrganizationId,
    view: InvitationView,
    prices: Option<&PriceBook>,
) -> proto::Invitation {
    let InvitationView { invitation, expired } = view;
    let Invitation { id, email, name, role, teams, policy, invited_by, state, expire_time, create_time, update_time } =
        invitation;
    let (state, member) = match state {
        InvitationState::Pending if expired => (proto::InvitationState::Expired, String::new()),
        InvitationState::Pending => (proto::InvitationState::Pending, String::new()),
        InvitationState::Accepted(member) => (proto::InvitationState::Accepted, member.to_string()),
        InvitationState::Revoked => (proto::InvitationState::Revoked, String::new()),
    };
    proto::Invitation {
        organization_id: organization.to_string(),
        id: id.to_string(),
        email,
        name,
        role: role_out(role).into(),
        team_ids: teams.iter().map(ToString::to_string).collect(),
        policy: Some(policy_out(&policy.limits, prices)),
        state: state.into(),
        member_id: member,
        invited_by: invited_by.as_str().to_owned(),
        expire_time: Some(timestamp_out(expire_time)),
        create_time: Some(timestamp_out(create_time)),
        update_time: Some(timestamp_out(update_time)),
    }
}
