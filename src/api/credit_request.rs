//! Requests for credits, in and out.

use std::sync::Arc;

use super::{
    convert::{
        MAX_FREE_TEXT, optional,
        page::{page_in, query_name, token_out},
        repeatable,
        time::timestamp_out,
        usage::nanos_out,
    },
    proto::{self, credit_request_service_server::CreditRequestService},
    serve::{scoped, serve},
};
use crate::{
    domain::{
        allocation::{CreditRequest, CreditRequestState},
        error::Invalid,
        id::{CreditRequestId, DEFAULT_TEAM, MemberId, OrganizationId, TeamId},
        money::Nanos,
        text::check_text,
    },
    service::{Caller, CreditRequestFilter, CreditRequestView, Error, Found, Repeatable, Service},
};

pub(super) struct CreditRequestApi(pub(super) Arc<Service>);

serve! {
    CreditRequestService, CreditRequestApi {
        submit_credit_request(SubmitCreditRequestRequest) -> SubmitCreditRequestResponse = submit.await;
        get_credit_request(GetCreditRequestRequest) -> GetCreditRequestResponse = get;
        list_credit_requests(ListCreditRequestsRequest) -> ListCreditRequestsResponse = list;
        approve_credit_request(ApproveCreditRequestRequest) -> ApproveCreditRequestResponse = approve.await;
        deny_credit_request(DenyCreditRequestRequest) -> DenyCreditRequestResponse = deny.await;
    }
}

scoped! {
    SubmitCreditRequestRequest: organization_id, of Member(member_id);
    GetCreditRequestRequest: organization_id, of CreditRequest(credit_request_id);
    ListCreditRequestsRequest: organization_id, of Member(member_id);
    ApproveCreditRequestRequest: organization_id, of CreditRequest(credit_request_id);
    DenyCreditRequestRequest: organization_id, of CreditRequest(credit_request_id);
}

impl CreditRequestApi {
    async fn submit(
        &self,
        caller: &Caller,
        message: proto::SubmitCreditRequestRequest,
    ) -> Result<proto::SubmitCreditRequestResponse, Error> {
        let (request, fingerprint) = repeatable(caller, &message, &message.request_id)?;
        let proto::SubmitCreditRequestRequest { organization_id, member_id, team_id, amount, reason, request_id: _ } =
            message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let member = optional("member_id", &member_id, MemberId::parse)?;
        let team = optional("team_id", &team_id, TeamId::parse)?.unwrap_or_else(|| TeamId::trusted(DEFAULT_TEAM));
        let asked = (amount_in(&amount)?, text_in("reason", reason)?);
        let repeatable = Repeatable { request: request.as_ref(), fingerprint };
        let view = self.0.submit_credit_request(caller, &organization, (team, member), asked, repeatable).await?;
        Ok(proto::SubmitCreditRequestResponse { request: Some(out(&organization, view)) })
    }

    fn get(
        &self,
        _: &Caller,
        message: proto::GetCreditRequestRequest,
    ) -> Result<proto::GetCreditRequestResponse, Error> {
        let proto::GetCreditRequestRequest { organization_id, credit_request_id } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let view = self.0.credit_request(&organization, &id_in(&credit_request_id)?)?;
        Ok(proto::GetCreditRequestResponse { request: Some(out(&organization, view)) })
    }

    fn list(
        &self,
        caller: &Caller,
        message: proto::ListCreditRequestsRequest,
    ) -> Result<proto::ListCreditRequestsResponse, Error> {
        let filters = proto::ListCreditRequestsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("credit_requests", &filters);
        let proto::ListCreditRequestsRequest { organization_id, states, member_id, team_id, page_size, page_token } =
            message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let filter = CreditRequestFilter {
            states: states.iter().enumerate().map(|(i, state)| state_in(i, *state)).collect::<Result<_, _>>()?,
            member: optional("member_id", &member_id, MemberId::parse)?,
            team: optional("team_id", &team_id, TeamId::parse)?,
        };
        let found =
            self.0.list_credit_requests(caller, &organization, &filter, page_in(&list, page_size, &page_token)?)?;
        let Found { items, next, total } = found;
        Ok(proto::ListCreditRequestsResponse {
            requests: items.into_iter().map(|view| out(&organization, view)).collect(),
            next_page_token: token_out(&list, next),
            total_size: total,
        })
    }

    async fn approve(
        &self,
        caller: &Caller,
        message: proto::ApproveCreditRequestRequest,
    ) -> Result<proto::ApproveCreditRequestResponse, Error> {
        let proto::ApproveCreditRequestRequest { organization_id, credit_request_id, amount, note } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = id_in(&credit_request_id)?;
        let amount = if amount.is_empty() { None } else { Some(amount_in(&amount)?) };
        let granted = (amount, text_in("note", note)?);
        let view = self.0.approve_credit_request(caller, &organization, &id, granted).await?;
        Ok(proto::ApproveCreditRequestResponse { request: Some(out(&organization, view)) })
    }

    async fn deny(
        &self,
        caller: &Caller,
        message: proto::DenyCreditRequestRequest,
    ) -> Result<proto::DenyCreditRequestResponse, Error> {
        let proto::DenyCreditRequestRequest { organization_id, credit_request_id, note } = message;
        let organization = OrganizationId::parse("organization_id", &organization_id)?;
        let id = id_in(&credit_request_id)?;
        let view = self.0.deny_credit_request(caller, &organization, &id, text_in("note", note)?).await?;
        Ok(proto::DenyCreditRequestResponse { request: Some(out(&organization, view)) })
    }
}

fn id_in(id: &str) -> Result<CreditRequestId, Invalid> {
    CreditRequestId::parse("credit_request_id", id)
}

fn text_in(field: &str, text: String) -> Result<String, Invalid> {
    check_text(field, &text, MAX_FREE_TEXT)?;
    Ok(text)
}

fn amount_in(amount: &str) -> Result<Nanos, Invalid> {
    let credits = Nanos::parse("amount", amount)?;
    if !credits.is_positive() {
        return Err(Invalid::new("amount", format!("{amount:?} is no credits at all; give more than 0")));
    }
    Ok(credits)
}

fn state_in(i: usize, state: i32) -> Result<CreditRequestState, Invalid> {
    use proto::CreditRequestState as State;
    match State::try_from(state) {
        Ok(State::Pending) => Ok(CreditRequestState::Pending),
        Ok(State::Approved) => Ok(CreditRequestState::Approved),
        Ok(State::Denied) => Ok(CreditRequestState::Denied),
        Ok(State::AutoApproved) => Ok(CreditRequestState::AutoApproved),
        Ok(State::Unspecified) | Err(_) => {
            let choices = "CREDIT_REQUEST_STATE_PENDING, _APPROVED, _DENIED or _AUTO_APPROVED";
            Err(Invalid::new(format!("states[{i}]"), format!("{state} is none of {choices}")))
        }
    }
}

fn state_out(state: CreditRequestState) -> proto::CreditRequestState {
    match state {
        CreditRequestState::Pending => proto::CreditRequestState::Pending,
        CreditRequestState::Approved => proto::CreditRequestState::Approved,
        CreditRequestState::Denied => proto::CreditRequestState::Denied,
        CreditRequestState::AutoApproved => proto::CreditRequestState::AutoApproved,
    }
}

fn out(organization: &OrganizationId, view: CreditRequestView) -> proto::CreditRequest {
    let CreditRequestView { request, name, email } = view;
    let CreditRequest { id, member, team, amount, reason, state, approved, note, decided_by, create_time, decide_time } =
        request;
    proto::CreditRequest {
        organization_id: organization.to_string(),
        id: id.to_string(),
        member_id: member.to_string(),
        member_name: name,
        member_email: email,
        team_id: team.to_string(),
        amount: nanos_out(amount),
        approved: nanos_out(approved),
        reason,
        state: state_out(state).into(),
        note,
        decided_by: decided_by.map_or_else(String::new, |actor| actor.as_str().to_owned()),
        create_time: Some(timestamp_out(create_time)),
        decide_time: decide_time.map(timestamp_out),
    }
}
