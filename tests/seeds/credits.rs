//! What administrators and members do about credits, each in one call.

use quotad::{
    api::proto::{
        self, AllocationSettings, Cadence, CreditOverview, CreditRequest, CreditRequestState, MemberAllocation,
        TeamAllocation,
    },
    client::Connection,
};

use crate::{
    messages::{Failure, charge, failure, mask, usd},
    world::{ACME, World},
};

pub(crate) fn team(monthly: &str, extra: &str) -> TeamAllocation {
    TeamAllocation {
        organization_id: ACME.into(),
        team_id: "default".into(),
        monthly: monthly.into(),
        extra: extra.into(),
        ..TeamAllocation::default()
    }
}

pub(crate) fn member(id: &str, monthly: &str, extra: &str) -> MemberAllocation {
    MemberAllocation {
        organization_id: ACME.into(),
        team_id: "default".into(),
        member_id: id.into(),
        monthly: monthly.into(),
        extra: extra.into(),
        ..MemberAllocation::default()
    }
}

/// A member with its own access token.
pub(crate) struct Person(pub(crate) Connection);

impl World {
    pub(crate) async fn try_settings(
        &self,
        settings: AllocationSettings,
        paths: &[&str],
        validate_only: bool,
    ) -> Result<CreditOverview, Failure> {
        let settings = Some(AllocationSettings { organization_id: ACME.into(), ..settings });
        let update_mask = mask(paths);
        let update =
            proto::UpdateAllocationSettingsRequest { settings, update_mask, validate_only, restart_spending: true };
        let answer = self.operator.allocations().update_allocation_settings(update).await;
        answer.map(|answer| answer.into_inner().overview.unwrap()).map_err(|status| failure(&status))
    }

    pub(crate) async fn total(&self, credits: &str) -> CreditOverview {
        let settings = AllocationSettings { credits_per_cycle: credits.into(), ..AllocationSettings::default() };
        self.try_settings(settings, &["credits_per_cycle"], false).await.unwrap()
    }

    pub(crate) async fn cadence(&self, cadence: Cadence) -> CreditOverview {
        let settings = AllocationSettings { cadence: cadence.into(), ..AllocationSettings::default() };
        self.try_settings(settings, &["cadence"], false).await.unwrap()
    }

    pub(crate) async fn reset(&self, validate_only: bool) -> CreditOverview {
        let reset = proto::ResetCycleRequest { organization_id: ACME.into(), validate_only };
        self.operator.allocations().reset_cycle(reset).await.unwrap().into_inner().overview.unwrap()
    }

    pub(crate) async fn overview(&self) -> CreditOverview {
        let asked = proto::GetOverviewRequest { organization_id: ACME.into() };
        self.operator.allocations().get_overview(asked).await.unwrap().into_inner().overview.unwrap()
    }

    pub(crate) async fn try_allot_team(
        &self,
        allocation: TeamAllocation,
        paths: &[&str],
    ) -> Result<TeamAllocation, tonic::Status> {
        let update = proto::UpdateTeamAllocationRequest { allocation: Some(allocation), update_mask: mask(paths) };
        let answer = self.operator.allocations().update_team_allocation(update).await?;
        Ok(answer.into_inner().allocation.unwrap())
    }

    pub(crate) async fn allot_team(&self, monthly: &str, extra: &str) -> TeamAllocation {
        self.try_allot_team(team(monthly, extra), &["monthly", "extra"]).await.unwrap()
    }

    pub(crate) async fn auto_approve(&self, reserve: &str) {
        let allocation = TeamAllocation { auto_approve_reserve: reserve.into(), ..team("", "") };
        self.try_allot_team(allocation, &["auto_approve_reserve"]).await.unwrap();
    }

    pub(crate) async fn try_allot(
        &self,
        id: &str,
        monthly: &str,
        extra: &str,
    ) -> Result<(MemberAllocation, TeamAllocation), tonic::Status> {
        let allocation = Some(member(id, monthly, extra));
        let update = proto::UpdateMemberAllocationRequest { allocation, update_mask: mask(&["monthly", "extra"]) };
        let answer = self.operator.allocations().update_member_allocation(update).await?.into_inner();
        Ok((answer.allocation.unwrap(), answer.team.unwrap()))
    }

    pub(crate) async fn allot(&self, id: &str, monthly: &str, extra: &str) -> (MemberAllocation, TeamAllocation) {
        self.try_allot(id, monthly, extra).await.unwrap()
    }

    pub(crate) async fn members_of(
        &self,
        team: &str,
        search: &str,
        page_size: i32,
        page_token: &str,
    ) -> (Vec<MemberAllocation>, String, u32) {
        let asked = proto::ListMemberAllocationsRequest {
            organization_id: ACME.into(),
            team_id: team.into(),
            search: search.into(),
            page_size,
            page_token: page_token.into(),
        };
        let listed = self.operator.allocations().list_member_allocations(asked).await.unwrap().into_inner();
        (listed.members, listed.next_page_token, listed.total_size)
    }

    pub(crate) async fn credits_of(&self, id: &str) -> MemberAllocation {
        let (members, ..) = self.members_of("default", id, 10, "").await;
        members.into_iter().find(|member| member.member_id == id).unwrap()
    }

    pub(crate) async fn team_credits(&self) -> TeamAllocation {
        self.overview().await.teams.into_iter().find(|team| team.team_id == "default").unwrap()
    }

    /// A member with a key of the same name, in the default team.
    pub(crate) async fn joined(&self, id: &str, email: &str) -> Person {
        let member = proto::Member {
            organization_id: ACME.into(),
            id: id.into(),
            name: format!("{id} of Acme"),
            email: email.into(),
            ..proto::Member::default()
        };
        let new = proto::CreateMemberRequest { member: Some(member), ..proto::CreateMemberRequest::default() };
        self.operator.members().create_member(new).await.unwrap();
        self.key(id, id, "default").await;
        self.signed_in(id).await
    }

    pub(crate) async fn signed_in(&self, id: &str) -> Person {
        let token =
            proto::MemberToken { organization_id: ACME.into(), member_id: id.into(), ..proto::MemberToken::default() };
        let new = proto::CreateMemberTokenRequest { token: Some(token) };
        let secret = self.operator.tokens().create_member_token(new).await.unwrap().into_inner().secret;
        Person(self.operator.with_token(&secret).unwrap())
    }

    /// Books credits at once; false where they are refused.
    pub(crate) async fn spend(&self, key: &str, id: &str, credits: &str) -> bool {
        self.charge(charge(key, id, usd(credits))).await.unwrap().is_ok()
    }

    pub(crate) async fn decide(&self, id: &str, amount: Option<&str>) -> Result<CreditRequest, tonic::Status> {
        let (organization_id, credit_request_id) = (ACME.into(), id.into());
        let mut requests = self.operator.credit_requests();
        let note = String::from("as agreed");
        let request = if let Some(amount) = amount {
            let amount = amount.into();
            let approve = proto::ApproveCreditRequestRequest { organization_id, credit_request_id, amount, note };
            requests.approve_credit_request(approve).await?.into_inner().request
        } else {
            let deny = proto::DenyCreditRequestRequest { organization_id, credit_request_id, note };
            requests.deny_credit_request(deny).await?.into_inner().request
        };
        Ok(request.unwrap())
    }

    pub(crate) async fn requests(&self, states: &[CreditRequestState]) -> Vec<CreditRequest> {
        let asked = proto::ListCreditRequestsRequest {
            organization_id: ACME.into(),
            states: states.iter().map(|state| i32::from(*state)).collect(),
            ..proto::ListCreditRequestsRequest::default()
        };
        self.operator.credit_requests().list_credit_requests(asked).await.unwrap().into_inner().requests
    }
}

impl Person {
    pub(crate) async fn ask(&self, amount: &str) -> CreditRequest {
        let submit = proto::SubmitCreditRequestRequest {
            organization_id: ACME.into(),
            amount: amount.into(),
            reason: "a launch".into(),
            ..proto::SubmitCreditRequestRequest::default()
        };
        let answer = self.0.credit_requests().submit_credit_request(submit).await.unwrap();
        answer.into_inner().request.unwrap()
    }
}
