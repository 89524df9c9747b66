//! Members asking for credits, and what is decided.

use super::{Outcome, Turn, control::live};
use crate::{
    domain::{
        alert::AlertKind,
        allocation::{CreditRequest, CreditRequestState},
        bounds::Bounds,
        event::Event,
        id::{CreditRequestId, MemberId, TeamId},
        money::Nanos,
        policy::AllocationPlace,
    },
    engine::{
        conflict::Conflict,
        state::Counted,
        table::Entity,
        turn::{alert::Notice, control::free},
    },
};

impl Turn<'_> {
    /// Submits a request. One that fits what is left of the team's auto-approve reserve, and of the team, is granted at once.
    ///
    /// # Errors
    /// [`Conflict`] when the member isn't in the team, has asked too often, or for a personal account.
    pub fn submit_credit_request(
        &mut self,
        id: CreditRequestId,
        (team, member): (&TeamId, &MemberId),
        amount: Nanos,
        reason: String,
    ) -> Outcome<()> {
        self.check_organization()?;
        self.check_team_account("a request for credits")?;
        free(&self.state.credit_requests, &id, id.as_str())?;
        live(&self.state.memberships, &(team.clone(), member.clone()), &format!("{team}/{member}"))?;
        self.check_may_ask(member)?;
        self.tick();
        let place = self.state.teams.place(team).unwrap_or(u32::MAX);
        let allocated = self.state.allocations.team(place);
        let next = self.with_extra(team, member, amount).ok().filter(|next| {
            allocated.approved + amount <= allocated.reserve && self.check_own(team, member, *next).is_ok()
        });
        let approved = next.filter(|_| self.state.organization.credit_factor.is_on());
        let is_approved = approved.is_some();
        let request = CreditRequest {
            id,
            member: member.clone(),
            team: team.clone(),
            amount,
            reason,
            state: if is_approved { CreditRequestState::AutoApproved } else { CreditRequestState::Pending },
            approved: if is_approved { amount } else { Nanos::ZERO },
            note: String::new(),
            decided_by: None,
            create_time: self.now,
            decide_time: is_approved.then_some(self.now),
        };
        self.emit(Event::CreditRequestSet(Box::new(request.clone())));
        if let Some(next) = approved {
            self.set_allocation(AllocationPlace::Member(team.clone(), member.clone()), next);
            self.tell_decided(&request);
        } else {
            self.tell_submitted(&request);
        }
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when as many requests of the member await a decision as may, or who acts has submitted too many of late.
    fn check_may_ask(&self, member: &MemberId) -> Outcome<()> {
        if self.is_exempt() {
            return Ok(());
        }
        let Bounds { credit_requests, credit_requests_per_day, .. } = self.bounds();
        let what = "undecided requests for credits of one member";
        Self::check_count(what, self.state.undecided.of(member), credit_requests)?;
        let counted = Counted::CreditRequests(self.context.actor.clone());
        self.check_frequency(&counted, "requests for credits of one member in a day", 1, credit_requests_per_day)
    }

    /// Grants a request, whole or in part: `None` grants what was asked for.
    ///
    /// # Errors
    /// [`Conflict`] when it was decided before, more than asked for is granted, or the team has less left.
    pub fn approve_credit_request(&mut self, id: &CreditRequestId, amount: Option<Nanos>, note: String) -> Outcome<()> {
        self.tick();
        let request = self.pending_request(id)?;
        self.check_credits_tracked()?;
        let approved = amount.unwrap_or(request.amount);
        if approved > request.amount {
            let problem = format!(
                "{} credits are more than the {} asked for; grant at most those",
                approved.shown(),
                request.amount.shown()
            );
            return Err(Conflict::Precondition(problem));
        }
        let (team, member) = (request.team.clone(), request.member.clone());
        live(&self.state.memberships, &(team.clone(), member.clone()), &format!("{team}/{member}"))?;
        let next = self.with_extra(&team, &member, approved)?;
        self.check_own(&team, &member, next)?;
        self.decide_request(request, CreditRequestState::Approved, approved, note);
        self.set_allocation(AllocationPlace::Member(team, member), next);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when it was decided before.
    pub fn deny_credit_request(&mut self, id: &CreditRequestId, note: String) -> Outcome<()> {
        let request = self.pending_request(id)?;
        self.decide_request(request, CreditRequestState::Denied, Nanos::ZERO, note);
        Ok(())
    }

    fn pending_request(&self, id: &CreditRequestId) -> Outcome<CreditRequest> {
        self.check_organization()?;
        self.check_team_account("a request for credits")?;
        let missing = || Conflict::NotFound { kind: CreditRequest::KIND, id: id.to_string() };
        let request = self.state.credit_requests.find(id).map(|row| row.entity.clone()).ok_or_else(missing)?;
        if request.state == CreditRequestState::Pending {
            return Ok(request);
        }
        let problem = format!("credit request {id} was decided already: {}", request.state.name());
        Err(Conflict::Precondition(problem))
    }

    fn decide_request(&mut self, request: CreditRequest, state: CreditRequestState, approved: Nanos, note: String) {
        let (decided_by, decide_time) = (Some(self.context.actor.clone()), Some(self.now));
        let request = CreditRequest { state, approved, note, decided_by, decide_time, ..request };
        self.emit(Event::CreditRequestSet(Box::new(request.clone())));
        self.tell_decided(&request);
    }

    fn facts(&self, request: &CreditRequest) -> Vec<(&'static str, String)> {
        let name = self.state.members.find(&request.member).map(|row| row.entity.name.clone()).unwrap_or_default();
        vec![
            ("request", request.id.to_string()),
            ("member", format!("{} {name}", request.member).trim_end().to_owned()),
            ("team", request.team.to_string()),
            ("asked for", request.amount.shown()),
            ("reason", request.reason.clone()),
        ]
    }

    fn tell_submitted(&mut self, request: &CreditRequest) {
        self.notice(Notice {
            kind: AlertKind::CreditRequested,
            cause: None,
            subject: format!("{} asks for {} credits", request.member, request.amount.shown()),
            facts: self.facts(request),
            recipients: Vec::new(),
        });
    }

    fn tell_decided(&mut self, request: &CreditRequest) {
        let mut facts = self.facts(request);
        facts.push(("decision", request.state.name().to_owned()));
        facts.push(("granted", request.approved.shown()));
        if !request.note.is_empty() {
            facts.push(("note", request.note.clone()));
        }
        let email = self.state.members.find(&request.member).map(|row| row.entity.email.clone()).unwrap_or_default();
        self.notice(Notice {
            kind: AlertKind::CreditDecided,
            cause: None,
            subject: format!(
                "Your request for {} credits: {}",
                request.amount.shown(),
                request.state.name().replace('_', " ")
            ),
            facts,
            recipients: if email.is_empty() { Vec::new() } else { vec![email] },
        });
    }
}
