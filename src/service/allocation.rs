//! Credits handed out per cycle: what administrators set and see.

use super::{Caller, Error, Service};
use crate::{
    domain::{
        allocation::{Allocation, AllocationSettings, Cadence},
        entity::AccountKind,
        id::{MemberId, OrganizationId, TeamId},
        money::Nanos,
        period::Window,
        zone::Zone,
    },
    engine::{
        conflict::Conflict,
        state::{AccountCredits, Credits, OrganizationState, TeamCredits},
        turn::{AllocationChange, Outcome, Turn},
    },
};

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
    pub account: AccountCredits,
    pub teams: Vec<TeamView>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamView {
    pub team: TeamId,
    pub name: String,
    pub credits: TeamCredits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberCredits {
    pub team: TeamId,
    pub member: MemberId,
    pub name: String,
    pub email: String,
    pub allocation: Allocation,
    /// Of its own where it has one, else of the pool.
    pub used: Nanos,
}

/// A page of what matches a search, where the next one begins, and how many match in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    pub items: Vec<T>,
    pub next: Option<u32>,
    pub total: u32,
}

/// Whether one of the texts holds what is searched for, whatever the case.
pub(super) fn matches(search: &str, texts: &[&str]) -> bool {
    let search = search.to_lowercase();
    search.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&search))
}

/// Cuts a page out of what matches.
pub(super) fn page<T>(matching: impl Iterator<Item = (u32, T)>, from: u32, limit: usize) -> Found<T> {
    let (mut items, mut next, mut total) = (Vec::new(), None, 0);
    for (place, item) in matching {
        total += 1;
        if place < from {
            continue;
        }
        if items.len() < limit {
            items.push(item);
        } else if next.is_none() {
            next = Some(place);
        }
    }
    Found { items, next, total }
}

fn team_view(credits: Credits<'_>, place: u32) -> Option<TeamView> {
    let team = &credits.state.teams.row(place)?.entity;
    Some(TeamView { team: team.id.clone(), name: team.name.clone(), credits: credits.team(place) })
}

fn overview(credits: Credits<'_>) -> CreditOverview {
    let live = credits.state.teams.all().filter(|(_, row)| !row.entity.deleted);
    CreditOverview {
        account: credits.account(),
        teams: live.filter_map(|(place, _)| team_view(credits, place)).collect(),
    }
}

fn member_credits(state: &OrganizationState, place: u32) -> Option<MemberCredits> {
    let membership = &state.memberships.row(place)?.entity;
    let member = &state.members.find(&membership.member)?.entity;
    let allocation = state.allocations.member(place).allocation;
    let used = if allocation.total().is_some() { state.own_used(place) } else { state.allocations.used(place) };
    Some(MemberCredits {
        team: membership.team.clone(),
        member: membership.member.clone(),
        name: member.name.clone(),
        email: member.email.clone(),
        allocation,
        used,
    })
}

impl Service {
    /// Reads the state in the cycle that runs now: one that is due begins first.
    async fn at_cycle<T>(
        &self,
        organization: &OrganizationId,
        read: impl FnOnce(&OrganizationState) -> Outcome<T>,
    ) -> Result<T, Error> {
        let system = Caller::system();
        self.change(&system, organization, |turn| {
            if turn.state.organization.kind == AccountKind::Personal {
                return Err(Conflict::TeamAccountRequired { what: "the allocation of credits" });
            }
            turn.tick();
            read(turn.state)
        })
        .await
    }

    /// # Errors
    /// [`Error`] for a personal account, or when there is no such organization.
    pub async fn allocation_settings(&self, organization: &OrganizationId) -> Result<AllocationSettings, Error> {
        self.at_cycle(organization, |state| Ok(state.allocations.settings)).await
    }

    /// With `validate_only` answers what would be, and changes nothing.
    ///
    /// # Errors
    /// [`Error`] for a personal account, or a cap on credits that aren't tracked.
    pub async fn update_allocation_settings(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        change: SettingsChange,
        validate_only: bool,
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
            turn.set_allocation_settings(next)?;
            Ok((next, overview(turn.state.credits())))
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
            Ok(overview(turn.state.credits()))
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
        self.at_cycle(organization, |state| {
            let mut allocations = state.allocations_in(cycle);
            allocations.settings = settings;
            Ok(overview(Credits { state, allocations: &allocations }))
        })
        .await
    }

    /// # Errors
    /// [`Error`] for a personal account.
    pub async fn credit_overview(&self, organization: &OrganizationId) -> Result<CreditOverview, Error> {
        self.at_cycle(organization, |state| Ok(overview(state.credits()))).await
    }

    /// # Errors
    /// [`Error`] for a personal account.
    pub async fn list_team_credits(
        &self,
        organization: &OrganizationId,
        search: &str,
        from: u32,
        limit: usize,
    ) -> Result<Found<TeamView>, Error> {
        self.at_cycle(organization, |state| {
            let live = state.teams.all().filter(|(_, row)| !row.entity.deleted);
            let found = live.filter(|(_, row)| matches(search, &[&row.entity.name, row.entity.id.as_str()]));
            let page = page(found.map(|(place, _)| (place, place)), from, limit);
            let items = page.items.into_iter().filter_map(|place| team_view(state.credits(), place)).collect();
            Ok(Found { items, next: page.next, total: page.total })
        })
        .await
    }

    /// # Errors
    /// [`Error`] when there is no such team, or for a personal account.
    pub async fn list_member_credits(
        &self,
        organization: &OrganizationId,
        team: &TeamId,
        search: &str,
        from: u32,
        limit: usize,
    ) -> Result<Found<MemberCredits>, Error> {
        self.at_cycle(organization, |state| {
            let missing = || Conflict::NotFound { kind: "team", id: team.to_string() };
            state.teams.find_live(team).ok_or_else(missing)?;
            let of_team = state.memberships.all().filter(|(_, row)| row.entity.team == *team && !row.entity.deleted);
            let found = of_team.filter(|(_, row)| {
                let member = state.members.find(&row.entity.member).map(|row| &row.entity);
                member.is_some_and(|member| matches(search, &[&member.name, &member.email, member.id.as_str()]))
            });
            let page = page(found.map(|(place, _)| (place, place)), from, limit);
            let items = page.items.into_iter().filter_map(|place| member_credits(state, place)).collect();
            Ok(Found { items, next: page.next, total: page.total })
        })
        .await
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
