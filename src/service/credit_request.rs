//! Requests for credits: submitted by members, decided by finance.

use std::collections::BTreeSet;

use super::{
    Caller, Error, Repeatable, Service,
    listing::{Found, Order, Page, page_of},
    secret,
};
use crate::{
    domain::{
        allocation::{CreditRequest, CreditRequestState},
        id::{CreditRequestId, MemberId, OrganizationId, TeamId},
        money::Nanos,
    },
    engine::{
        conflict::Conflict,
        state::OrganizationState,
        table::Row,
        turn::{Outcome, Turn},
    },
};

/// A request with who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditRequestView {
    pub request: CreditRequest,
    pub name: String,
    pub email: String,
}

/// What a personal account doesn't have.
const A_REQUEST: &str = "a request for credits";

/// Which requests; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreditRequestFilter {
    pub states: BTreeSet<CreditRequestState>,
    pub member: Option<MemberId>,
    pub team: Option<TeamId>,
}

fn view(state: &OrganizationState, request: &CreditRequest) -> CreditRequestView {
    let member = state.members.find(&request.member).map(|row| &row.entity);
    let (name, email) = member.map(|member| (member.name.clone(), member.email.clone())).unwrap_or_default();
    CreditRequestView { request: request.clone(), name, email }
}

fn shown(state: &OrganizationState, id: &CreditRequestId) -> Outcome<CreditRequestView> {
    let missing = || Conflict::NotFound { kind: "credit request", id: id.to_string() };
    Ok(view(state, &state.credit_requests.find(id).ok_or_else(missing)?.entity))
}

impl Service {
    /// # Errors
    /// [`Error`] when the member isn't in the team, or for a personal account.
    pub async fn submit_credit_request(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        (team, member): (TeamId, Option<MemberId>),
        (amount, reason): (Nanos, String),
        repeatable: Repeatable<'_>,
    ) -> Result<CreditRequestView, Error> {
        let member = Self::whose(caller, member)?;
        let id = CreditRequestId::trusted(secret::new_id("request")?);
        let parse = |made: &str| CreditRequestId::trusted(made);
        let make = |turn: &mut Turn<'_>, id: &CreditRequestId| {
            turn.submit_credit_request(id.clone(), (&team, &member), amount, reason)
        };
        let show = |state: &OrganizationState, id: &CreditRequestId, _| shown(state, id);
        self.create(caller, organization, repeatable, (id, parse), make, show).await
    }

    /// # Errors
    /// [`Error`] for a personal account, or when there is no such request.
    pub fn credit_request(
        &self,
        organization: &OrganizationId,
        id: &CreditRequestId,
    ) -> Result<CreditRequestView, Error> {
        let cell = self.team_account(organization, A_REQUEST)?;
        let inner = cell.lock();
        Ok(shown(&inner.state, id)?)
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`Error`] for a personal account, or when there is no such organization.
    pub fn list_credit_requests(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        filter: &CreditRequestFilter,
        at: Page,
    ) -> Result<Found<CreditRequestView>, Error> {
        let cell = self.team_account(organization, A_REQUEST)?;
        let member = caller.only.as_ref().or(filter.member.as_ref());
        let matches = |request: &CreditRequest| {
            (filter.states.is_empty() || filter.states.contains(&request.state))
                && member.is_none_or(|member| *member == request.member)
                && filter.team.as_ref().is_none_or(|team| *team == request.team)
        };
        let pick = |state: &OrganizationState, _, row: &Row<CreditRequest>| {
            matches(&row.entity).then(|| view(state, &row.entity))
        };
        let found = page_of(&cell, (at, Order::NewestFirst), |state| &state.credit_requests, pick, |_| 1);
        let counts = &cell.lock().state.request_counts;
        Ok(found.of(counts.count(&filter.states, member, filter.team.as_ref())))
    }

    /// # Errors
    /// [`Error`] when it was decided before, more than asked for is granted, or the team has less left.
    pub async fn approve_credit_request(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &CreditRequestId,
        (amount, note): (Option<Nanos>, String),
    ) -> Result<CreditRequestView, Error> {
        self.change(caller, organization, |turn| {
            turn.approve_credit_request(id, amount, note)?;
            shown(turn.state, id)
        })
        .await
    }

    /// # Errors
    /// [`Error`] when it was decided before.
    pub async fn deny_credit_request(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &CreditRequestId,
        note: String,
    ) -> Result<CreditRequestView, Error> {
        self.change(caller, organization, |turn| {
            turn.deny_credit_request(id, note)?;
            shown(turn.state, id)
        })
        .await
    }
}
