//! Credits handed out per cycle: what administrators set and see.

use std::sync::Arc;

use super::{
    Caller, Error, Service,
    listing::{Found, Order, Page, Search, keyed, page, page_of, place_from},
};
use crate::{
    domain::{
        allocation::{Allocation, AllocationSettings, Cadence},
        entity::{Membership, Team},
        id::{MemberId, OrganizationId, TeamId},
        money::Nanos,
        period::Window,
        zone::Zone,
    },
    engine::{
        directory::Cell,
        state::{AccountCredits, Credits, OrganizationState, TeamCredits},
        table::Row,
        turn::{AllocationChange, Outcome, Turn},
    },
    store::Searched,
};

/// What a personal account doesn't have.
const HANDED_OUT: &str = "the allocation of credits";

/// Fields to change; `None` leaves one as it is, an inner `None` unsets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SettingsChange {
    pub credits_per_cycle: Option<Option<Nanos>>,
    pub cadence: Option<Cadence>,
    pub zone: Option<Zone>,
    pub signup_credits: Option<Nanos>,
}

impl SettingsChange {
    fn of(self, before: AllocationSettings) -> AllocationSettings {
        AllocationSettings {
            credits_per_cycle: self.credits_per_cycle.unwrap_or(before.credits_per_cycle),
            cadence: self.cadence.unwrap_or(before.cadence),
            zone: self.zone.unwrap_or(before.zone),
            signup_credits: self.signup_credits.unwrap_or(before.signup_credits),
        }
    }
}

/// How an organization's credits stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditOverview {
    /// Whether the organization tracks credits: otherwise nothing here binds.
    pub credits_tracked: bool,
    pub account: AccountCredits,
    pub teams: Vec<TeamView>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamView {
    pub team: TeamId,
    pub name: String,
    pub credits: TeamCredits,
    pub credits_tracked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberCredits {
    pub team: TeamId,
    pub member: MemberId,
    pub name: String,
    pub email: String,
    pub allocation: Allocation,
    /// Of whatever it drew on.
    pub used: Nanos,
    /// Of its own; without a monthly allocation, of its extra credits and its team's pool. `None` where neither is capped.
    pub remaining: Option<Nanos>,
    pub credits_tracked: bool,
}

fn team_view(credits: Credits<'_>, place: u32) -> Option<TeamView> {
    let team = &credits.state.teams.row(place)?.entity;
    Some(TeamView {
        team: team.id.clone(),
        name: team.name.clone(),
        credits: credits.team(place),
        credits_tracked: credits.state.organization.credit_factor.is_on(),
    })
}

/// Teams that an overview shows; a list shows all.
const MOST_TEAMS: usize = 1000;

/// As it stands within a change.
fn overview_of(credits: Credits<'_>) -> CreditOverview {
    let live = credits.state.teams.all().filter(|(_, row)| !row.entity.deleted).take(MOST_TEAMS);
    CreditOverview {
        credits_tracked: credits.state.organization.credit_factor.is_on(),
        account: credits.account(),
        teams: live.filter_map(|(place, _)| team_view(credits, place)).collect(),
    }
}

/// Other settings than there are, and a cycle that began now in place of the running one.
type Supposed = Option<(AllocationSettings, Option<Window>)>;

fn supposing(state: &OrganizationState, supposed: Supposed) -> Credits<'_> {
    let stands = state.credits();
    supposed.map_or(stands, |(settings, anew)| stands.with(settings, anew))
}

/// Returns the overview as it stands, or as it would.
fn overview(cell: &Cell, supposed: Supposed) -> CreditOverview {
    let pick = |state: &OrganizationState, place, row: &Row<Team>| {
        if row.entity.deleted { None } else { team_view(supposing(state, supposed), place) }
    };
    let first = Page { from: None, limit: MOST_TEAMS };
    let teams = page_of(cell, (first, Order::OldestFirst), |state| &state.teams, pick, |_| 1).items;
    let inner = cell.lock();
    let credits_tracked = inner.state.organization.credit_factor.is_on();
    CreditOverview { credits_tracked, account: supposing(&inner.state, supposed).account(), teams }
}

pub(super) fn member_credits(state: &OrganizationState, place: u32) -> Option<MemberCredits> {
    let membership = &state.memberships.row(place)?.entity;
    let member = &state.members.find(&membership.member)?.entity;
    let (allocation, used) = (state.allocations.member(place), state.credits_of(place).spent);
    let remaining = if let Some(cap) = allocation.cap() {
        Some(cap - used)
    } else {
        let pool = state.credits().team(state.teams.place(&membership.team)?).available;
        pool.map(|pool| pool + (allocation.given() - used).at_least_zero())
    };
    Some(MemberCredits {
        team: membership.team.clone(),
        member: membership.member.clone(),
        name: member.name.clone(),
        email: member.email.clone(),
        allocation,
        used,
        remaining,
        credits_tracked: state.organization.credit_factor.is_on(),
    })
}

impl Service {
    /// Returns a team account's organization in the cycle that runs now. One that is due begins first; otherwise nothing changes.
    pub(super) async fn in_cycle(&self, organization: &OrganizationId, what: &'static str) -> Result<Arc<Cell>, Error> {
        let cell = self.team_account(organization, what)?;
        let end = cell.lock().state.allocations.cycle.end;
        if self.clock.now() >= end {
            let begin = |turn: &mut Turn<'_>| {
                turn.tick();
                Ok(())
            };
            self.change(&Caller::system(), organization, begin).await?;
        }
        Ok(cell)
    }

    /// # Errors
    /// [`Error`] for a personal account, or when there is no such organization.
    pub async fn allocation_settings(&self, organization: &OrganizationId) -> Result<AllocationSettings, Error> {
        let cell = self.in_cycle(organization, HANDED_OUT).await?;
        let inner = cell.lock();
        Ok(inner.state.allocations.settings)
    }

    /// With `validate_only` answers what would be, and changes nothing. Only with `restart` a fresh cycle forgets what was used.
    ///
    /// # Errors
    /// [`Error`] for a personal account, a cap on credits that aren't tracked, or a cycle that would forget what was used.
    pub async fn update_allocation_settings(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        change: SettingsChange,
        (validate_only, restart): (bool, bool),
    ) -> Result<(AllocationSettings, CreditOverview), Error> {
        if validate_only {
            let before = self.allocation_settings(organization).await?;
            let next = change.of(before);
            let fresh = (next.cadence, next.zone) != (before.cadence, before.zone);
            let cycle = fresh.then(|| next.cadence.cycle_from(self.clock.now(), next.zone));
            return Ok((next, self.overview_in(organization, cycle, next).await?));
        }
        self.change(caller, organization, |turn| {
            let next = change.of(turn.state.allocations.settings);
            turn.set_allocation_settings(next, restart)?;
            Ok((next, overview_of(turn.state.credits())))
        })
        .await
    }

    /// With `validate_only` answers what would be, and changes nothing.
    ///
    /// # Errors
    /// [`Error`] for a personal account.
    pub async fn reset_cycle(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        validate_only: bool,
    ) -> Result<CreditOverview, Error> {
        if validate_only {
            let settings = self.allocation_settings(organization).await?;
            let cycle = settings.cadence.cycle_from(self.clock.now(), settings.zone);
            return self.overview_in(organization, Some(cycle), settings).await;
        }
        self.change(caller, organization, |turn| {
            turn.reset_cycle()?;
            Ok(overview_of(turn.state.credits()))
        })
        .await
    }

    /// As it would be with other settings, in a cycle that began now or the running one.
    async fn overview_in(
        &self,
        organization: &OrganizationId,
        cycle: Option<Window>,
        settings: AllocationSettings,
    ) -> Result<CreditOverview, Error> {
        let cell = self.in_cycle(organization, HANDED_OUT).await?;
        Ok(overview(&cell, Some((settings, cycle))))
    }

    /// # Errors
    /// [`Error`] for a personal account.
    pub async fn credit_overview(&self, organization: &OrganizationId) -> Result<CreditOverview, Error> {
        Ok(overview(&*self.in_cycle(organization, HANDED_OUT).await?, None))
    }

    /// # Errors
    /// [`Error`] for a personal account, or when the books can't be searched.
    pub async fn list_team_credits(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        search: &str,
        at: Page,
    ) -> Result<Found<TeamView>, Error> {
        let cell = self.in_cycle(organization, HANDED_OUT).await?;
        let search = Search::new(search);
        let pick = |state: &OrganizationState, place, row: &Row<Team>| {
            if row.entity.deleted { None } else { team_view(state.credits(), place) }
        };
        if search.is_for_all() {
            let found = page_of(&cell, (at, Order::OldestFirst), |state| &state.teams, pick, |_| 1);
            return Ok(found.of(cell.lock().state.teams.live_count()));
        }
        let matches = self.search(caller, &cell, (Searched::Teams, &search), at).await?;
        let pick = |state: &OrganizationState, id: &str| {
            let place = state.teams.place(&TeamId::trusted(id))?;
            pick(state, place, state.teams.row(place)?)
        };
        Ok(matches.page(&cell, pick, |_| 1))
    }

    /// # Errors
    /// [`Error`] when there is no such team, for a personal account, or when the books can't be searched.
    pub async fn list_member_credits(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        team: &TeamId,
        search: &str,
        at: Page,
    ) -> Result<Found<MemberCredits>, Error> {
        let cell = self.in_cycle(organization, HANDED_OUT).await?;
        let members = {
            let inner = cell.lock();
            let missing = || Error::NotFound { kind: "team", id: team.to_string() };
            inner.state.teams.find_live(team).ok_or_else(missing)?;
            let place = inner.state.teams.place(team).unwrap_or(u32::MAX);
            inner.state.allocations.team(place).members
        };
        let search = Search::new(search);
        let pick = |state: &OrganizationState, place, row: &Row<Membership>| {
            let is_in = !row.entity.deleted && row.entity.team == *team;
            if is_in { member_credits(state, place) } else { None }
        };
        if search.is_for_all() {
            let found = page(
                &cell,
                at,
                |state, from| keyed(state.memberships.of_team(team, place_from(from))),
                |state, key, row| pick(state, place_from(Some(key)), row),
                |_| 1,
            );
            return Ok(found.of(members));
        }
        let matches = self.search(caller, &cell, (Searched::MembersOf(team.clone()), &search), at).await?;
        let pick = |state: &OrganizationState, id: &str| {
            let place = state.memberships.place(&(team.clone(), MemberId::trusted(id)))?;
            pick(state, place, state.memberships.row(place)?)
        };
        Ok(matches.page(&cell, pick, |_| 1))
    }

    async fn change_allocation<T>(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        change: impl FnOnce(&mut Turn<'_>) -> Outcome<()>,
        read: impl FnOnce(&OrganizationState) -> Option<T>,
    ) -> Result<T, Error> {
        let changed = self.change(caller, organization, |turn| {
            change(turn)?;
            Ok(read(turn.state))
        });
        changed.await?.ok_or_else(|| Error::Internal(String::from("an allocation was booked and lost")))
    }

    /// # Errors
    /// [`Error`] when there is no such team, it has given out more, or the organization has less left.
    pub async fn update_team_allocation(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        team: &TeamId,
        change: AllocationChange,
        reserve: Option<Nanos>,
    ) -> Result<TeamView, Error> {
        let set = |turn: &mut Turn<'_>| turn.set_team_allocation(team, change, reserve);
        let read = |state: &OrganizationState| team_view(state.credits(), state.teams.place(team)?);
        self.change_allocation(caller, organization, set, read).await
    }

    /// # Errors
    /// [`Error`] when the member isn't in the team, or the team or the organization has less left.
    pub async fn update_member_allocation(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        (team, member): (&TeamId, &MemberId),
        change: AllocationChange,
    ) -> Result<(MemberCredits, TeamView), Error> {
        let set = |turn: &mut Turn<'_>| turn.set_member_allocation(team, member, change);
        let read = |state: &OrganizationState| {
            let place = state.memberships.place(&(team.clone(), member.clone()))?;
            Some((member_credits(state, place)?, team_view(state.credits(), state.teams.place(team)?)?))
        };
        self.change_allocation(caller, organization, set, read).await
    }
}
