//! Teams and memberships.

use super::{MembershipView, Repeatable, Shared, View, check_etag, get};
use crate::{
    domain::{
        entity::{Membership, Team},
        id::{MemberId, OrganizationId, TeamId},
        policy::Policy,
        time::Timestamp,
    },
    engine::{
        state::OrganizationState,
        table::{Ordered as _, Row},
        turn::{MembershipChange, Outcome, TeamChange, Turn},
    },
    service::{
        Caller, Error, Service,
        listing::{Found, Order, Page, Search, keyed, page, page_of, place_from},
        secret,
    },
    store::Searched,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTeam {
    /// Minted if `None`.
    pub id: Option<TeamId>,
    pub name: String,
    pub disabled: bool,
    pub policy: Policy,
    /// The limits of each membership that has none of its own.
    pub member_policy: Policy,
}

/// Which memberships; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembershipFilter {
    pub team: Option<TeamId>,
    pub member: Option<MemberId>,
}

fn team_shown(state: &OrganizationState, id: &TeamId, now: Timestamp) -> Outcome<View<Team>> {
    get(state, &state.teams, (id, id.as_str()), Team::clone, now)
}

fn membership_shown(
    state: &OrganizationState,
    (team, member): (&TeamId, &MemberId),
    now: Timestamp,
) -> Outcome<MembershipView> {
    let id = (team.clone(), member.clone());
    get(state, &state.memberships, (&id, &format!("{team}/{member}")), Membership::clone, now)
}

impl Service {
    /// # Errors
    /// [`Error`] when the id is or was in use or the policy doesn't fit.
    pub async fn create_team(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewTeam,
        repeatable: Repeatable<'_>,
    ) -> Result<View<Team>, Error> {
        let id = match new.id {
            Some(id) => id,
            None => TeamId::trusted(secret::new_id("team")?),
        };
        let NewTeam { name, disabled, policy, member_policy, .. } = new;
        let make = |turn: &mut Turn<'_>, id: &TeamId| {
            let (create_time, update_time) = (turn.now(), turn.now());
            let id = id.clone();
            let team = Team { id, name, member_policy, disabled, deleted: false, create_time, update_time };
            turn.create_team(team, &policy)
        };
        let parse = |made: &str| TeamId::trusted(made);
        self.create(caller, organization, repeatable, (id, parse), make, team_shown).await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such team.
    pub fn team(&self, organization: &OrganizationId, id: &TeamId) -> Result<View<Team>, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(team_shown(&inner.state, id, self.clock.now())?)
    }

    /// # Errors
    /// [`Error`] when there is no such organization, or the books can't be searched.
    pub async fn list_teams(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        search: &str,
        at: Page,
    ) -> Result<Found<View<Team>>, Error> {
        let cell = self.organization_cell(organization)?;
        let search = Search::new(search);
        let pick = |state: &OrganizationState, row: &Row<Team>| (!row.entity.deleted).then(|| Shared::of(state, row));
        let found = if search.is_for_all() {
            let pick = |state: &OrganizationState, _, row: &Row<Team>| pick(state, row);
            let found = page_of(&cell, (at, Order::OldestFirst), |state| &state.teams, pick, Shared::weight);
            found.of(cell.lock().state.teams.live_count())
        } else {
            let matches = self.search(caller, &cell, (Searched::Teams, &search), at).await?;
            let pick = |state: &OrganizationState, id: &str| pick(state, state.teams.find(&TeamId::trusted(id))?);
            matches.page(&cell, pick, Shared::weight)
        };
        Ok(found.map(|shared| shared.view(Team::clone)))
    }

    /// # Errors
    /// [`Error`] when there is no such team or the policy doesn't fit.
    pub async fn update_team(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &TeamId,
        change: TeamChange,
        etag: Option<&str>,
    ) -> Result<View<Team>, Error> {
        self.change(caller, organization, |turn| {
            check_etag(turn.state, turn.state.teams.find_live(id), etag)?;
            turn.update_team(id, change)?;
            team_shown(turn.state, id, turn.now())
        })
        .await
    }

    /// # Errors
    /// [`Error`] when there is no such team or it is the default one.
    pub async fn delete_team(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &TeamId,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        self.change(caller, organization, |turn| {
            check_etag(turn.state, turn.state.teams.find_live(id), etag)?;
            turn.delete_team(id)
        })
        .await
    }

    /// # Errors
    /// [`Error`] when team or member is missing, the member is in it, or the policy doesn't fit.
    pub async fn create_membership(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        (team, member): (&TeamId, &MemberId),
        (policy, restart): (&Policy, bool),
        repeatable: Repeatable<'_>,
    ) -> Result<MembershipView, Error> {
        let id = format!("{team}/{member}");
        self.create(
            caller,
            organization,
            repeatable,
            (id, |made: &str| String::from(made)),
            |turn, _| turn.create_membership(team, member, policy, restart),
            |state, _, now| membership_shown(state, (team, member), now),
        )
        .await
    }

    /// # Errors
    /// [`Error::NotFound`] when the member isn't in the team.
    pub fn membership(
        &self,
        organization: &OrganizationId,
        team: &TeamId,
        member: &MemberId,
    ) -> Result<MembershipView, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(membership_shown(&inner.state, (team, member), self.clock.now())?)
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn list_memberships(
        &self,
        organization: &OrganizationId,
        filter: &MembershipFilter,
        at: Page,
    ) -> Result<Found<MembershipView>, Error> {
        let cell = self.organization_cell(organization)?;
        let matches = |membership: &Membership| {
            let team = filter.team.as_ref().is_none_or(|team| *team == membership.team);
            let member = filter.member.as_ref().is_none_or(|member| *member == membership.member);
            team && member
        };
        let now = self.clock.now();
        let pick = |state: &OrganizationState, _: u64, row: &Row<Membership>| {
            let is_wanted = !row.entity.deleted && matches(&row.entity);
            is_wanted.then(|| Shared::standing(state, row, now))
        };
        let found = page(
            &cell,
            at,
            |state, from| {
                let (table, from) = (&state.memberships, place_from(from));
                match (&filter.member, &filter.team) {
                    (Some(member), _) => keyed(table.of_member(member, from)),
                    (None, Some(team)) => keyed(table.of_team(team, from)),
                    (None, None) => keyed(table.oldest_first(from)),
                }
            },
            pick,
            Shared::weight,
        );
        Ok(found.map(|shared| shared.view(Membership::clone)))
    }

    /// # Errors
    /// [`Error`] when the member isn't in the team or the policy doesn't fit.
    pub async fn update_membership(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        (team, member): (&TeamId, &MemberId),
        change: MembershipChange,
        etag: Option<&str>,
    ) -> Result<MembershipView, Error> {
        self.change(caller, organization, |turn| {
            check_etag(turn.state, turn.state.memberships.find_live(&(team.clone(), member.clone())), etag)?;
            turn.update_membership(team, member, change)?;
            membership_shown(turn.state, (team, member), turn.now())
        })
        .await
    }

    /// # Errors
    /// [`Error`] when the member isn't in the team or keys of the membership are left.
    pub async fn delete_membership(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        team: &TeamId,
        member: &MemberId,
    ) -> Result<(), Error> {
        self.change(caller, organization, |turn| turn.delete_membership(team, member)).await
    }
}
