//! Members who speak for themselves: each with a role and an access token, over a connection of its own.

use quotad::{
    api::proto::{
        self, Alert, AlertKind, AlertState, Invitation, LimitState, Member, MemberBudget, MemberToken, Organization,
        Policy, Role, Team, WalletMode,
    },
    client::Connection,
};
use tonic::{Response, Status};

use crate::{
    messages::{Failure, check, failure, mask, usd},
    world::{ACME, World},
};

/// Everybody's domain.
pub(crate) const DOMAIN: &str = "example.com";

pub(crate) fn outcome<T>(answer: Result<Response<T>, Status>) -> Result<T, Failure> {
    answer.map(Response::into_inner).map_err(|status| failure(&status))
}

/// Set a member's limits, as the caller behind the connection.
pub(crate) async fn set_member_policy(by: &Connection, member: &str, policy: Option<Policy>) -> Result<(), Failure> {
    let member = Member { organization_id: ACME.into(), id: member.into(), policy, ..Member::default() };
    let update =
        proto::UpdateMemberRequest { member: Some(member), update_mask: mask(&["policy"]), ..Default::default() };
    outcome(by.members().update_member(update).await).map(drop)
}

pub(crate) async fn get_member(by: &Connection, member: &str) -> Result<Member, Failure> {
    let get = proto::GetMemberRequest { organization_id: ACME.into(), member_id: member.into() };
    Ok(outcome(by.members().get_member(get).await)?.member.unwrap())
}

/// An empty `member` means the caller.
pub(crate) async fn budget_of(by: &Connection, member: &str) -> Result<Vec<MemberBudget>, Failure> {
    let get = proto::GetMemberBudgetRequest { organization_id: ACME.into(), member_id: member.into() };
    Ok(outcome(by.members().get_member_budget(get).await)?.budgets)
}

/// Sets the limits that cap each member of a team separately.
pub(crate) async fn set_member_limits(by: &Connection, team: &str, policy: Option<Policy>) -> Result<Team, Failure> {
    let team = Team { organization_id: ACME.into(), id: team.into(), member_policy: policy, ..Team::default() };
    let update =
        proto::UpdateTeamRequest { team: Some(team), update_mask: mask(&["member_policy"]), ..Default::default() };
    Ok(outcome(by.teams().update_team(update).await)?.team.unwrap())
}

pub(crate) fn invitation(email: &str) -> Invitation {
    Invitation { organization_id: ACME.into(), email: email.into(), ..Invitation::default() }
}

/// Answers the token too.
pub(crate) async fn invite(by: &Connection, invitation: Invitation) -> Result<(Invitation, String), Failure> {
    let new = proto::CreateInvitationRequest { invitation: Some(invitation), ..Default::default() };
    let made = outcome(by.members().create_invitation(new).await)?;
    Ok((made.invitation.unwrap(), made.token))
}

impl World {
    /// A member of `acme` with this role and an e-mail address in [`DOMAIN`].
    pub(crate) async fn person(&self, id: &str, role: Role) -> Connection {
        self.person_of(ACME, id, role).await
    }

    pub(crate) async fn person_of(&self, organization: &str, id: &str, role: Role) -> Connection {
        let member = Member {
            organization_id: organization.into(),
            id: id.into(),
            email: format!("{id}@{DOMAIN}"),
            role: role.into(),
            ..Member::default()
        };
        let new = proto::CreateMemberRequest { member: Some(member), ..Default::default() };
        self.operator.members().create_member(new).await.unwrap();
        self.access(organization, id).await
    }

    /// A new access token of a member.
    pub(crate) async fn access(&self, organization: &str, member: &str) -> Connection {
        let token =
            MemberToken { organization_id: organization.into(), member_id: member.into(), ..MemberToken::default() };
        let new = proto::CreateMemberTokenRequest { token: Some(token) };
        let secret = self.operator.tokens().create_member_token(new).await.unwrap().into_inner().secret;
        self.speaking(&secret)
    }

    pub(crate) fn speaking(&self, token: &str) -> Connection {
        self.operator.with_token(token).unwrap()
    }

    /// Accepts with the invitation's own token. Answers the new member and its connection.
    pub(crate) async fn accept(&self, token: &str, member_id: &str) -> (Member, Connection) {
        let accept = proto::AcceptInvitationRequest { member_id: member_id.into(), ..Default::default() };
        let accepted = self.speaking(token).members().accept_invitation(accept).await.unwrap().into_inner();
        (accepted.member.unwrap(), self.speaking(&accepted.secret))
    }

    /// A personal account with its only member, the owner.
    pub(crate) async fn personal(&self, id: &str, owner: &str) -> Connection {
        let organization = Organization {
            id: id.into(),
            kind: proto::AccountKind::Personal.into(),
            wallet_mode: WalletMode::Enforced.into(),
            ..Organization::default()
        };
        let new = proto::CreateOrganizationRequest { organization: Some(organization), ..Default::default() };
        self.operator.organizations().create_organization(new).await.unwrap();
        self.person_of(id, owner, Role::Owner).await
    }

    /// A limit on the path of a key, as it stands now.
    pub(crate) async fn standing(&self, key_id: &str, limit_id: &str) -> LimitState {
        let (_, limits) = self.check(check(key_id, usd("0"))).await;
        let found = limits.into_iter().find(|limit| limit.limit_id == limit_id);
        found.unwrap_or_else(|| panic!("no limit {limit_id} on the path of {key_id}"))
    }

    /// Spent and remaining of a limit on the path of a key.
    pub(crate) async fn spent(&self, key_id: &str, limit_id: &str) -> (String, String) {
        let LimitState { spent, remaining, .. } = self.standing(key_id, limit_id).await;
        (spent, remaining)
    }

    /// The alerts of `acme` of these kinds, all if none are named; the newest first.
    pub(crate) async fn alerts(&self, kinds: &[AlertKind]) -> Vec<Alert> {
        let kinds = kinds.iter().map(|kind| i32::from(*kind)).collect();
        let list = proto::ListAlertsRequest { organization_id: ACME.into(), kinds, ..Default::default() };
        self.operator.alerts().list_alerts(list).await.unwrap().into_inner().alerts
    }

    /// The same, once an attempt to deliver each of them was made: that happens behind the scenes.
    pub(crate) async fn tried_alerts(&self, kinds: &[AlertKind]) -> Vec<Alert> {
        let tried = |alert: &Alert| {
            let attempts = alert.mail.as_ref().map_or(0, |mail| mail.attempts);
            alert.state() != AlertState::Pending || attempts > 0
        };
        let all = async {
            loop {
                let alerts = self.alerts(kinds).await;
                if alerts.iter().all(tried) {
                    return alerts;
                }
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, all).await.expect("an attempt to deliver each alert")
    }
}
