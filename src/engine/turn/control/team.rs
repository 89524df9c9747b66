//! Teams and the limits that they set for each of their members.

use crate::{
    domain::{
        allocation::Allocation,
        decision::DenialCode,
        entity::Team,
        event::Event,
        id::{DEFAULT_TEAM, TeamId},
        policy::{AllocationPlace, Place, Policy},
    },
    engine::{
        conflict::Conflict,
        turn::{
            Outcome, Turn,
            control::{free, live, policy::NewPolicy},
        },
    },
};

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeamChange {
    pub name: Option<String>,
    pub member_policy: Option<Policy>,
    pub disabled: Option<bool>,
    pub policy: Option<Policy>,
    /// Lets limits of the policies begin to count anew.
    pub restart_spending: bool,
}

impl Turn<'_> {
    /// # Errors
    /// [`Conflict`] when the id is or was in use, there are too many, or a policy doesn't fit.
    pub fn create_team(&mut self, team: Team, policy: &Policy) -> Outcome<()> {
        self.check_organization()?;
        self.check_team_account("another team")?;
        free(&self.state.teams, &team.id, team.id.as_str())?;
        Self::check_count("teams", self.state.teams.live_count(), self.bounds().teams)?;
        let place = Place::Team(team.id.clone());
        let factor = self.state.organization.credit_factor;
        self.check_policy(&place, policy, factor)?;
        self.check_policy(&place, &team.member_policy, factor)?;
        self.emit(Event::TeamSet(Box::new(team)));
        self.set_policy(place, NewPolicy { policy, restart: false });
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when there is no such team or a policy doesn't fit.
    pub fn update_team(&mut self, id: &TeamId, change: TeamChange) -> Outcome<()> {
        let mut next = live(&self.state.teams, id, id.as_str())?.clone();
        let place = Place::Team(id.clone());
        let TeamChange { name, member_policy, disabled, policy, restart_spending: restart } = change;
        let policy = policy.as_ref().map(|policy| NewPolicy { policy, restart });
        self.check_change(&place, policy)?;
        if policy.is_some_and(|new| !new.policy.limits.is_empty()) {
            self.check_team_account("a budget of a team")?;
        }
        if let Some(policy) = &member_policy {
            self.check_member_policy(id, NewPolicy { policy, restart })?;
        }
        let stops = disabled == Some(true) && !next.disabled;
        next.name = name.unwrap_or(next.name);
        next.disabled = disabled.unwrap_or(next.disabled);
        next.member_policy = member_policy.clone().unwrap_or(next.member_policy);
        next.update_time = self.now;
        self.emit(Event::TeamSet(Box::new(next)));
        self.finish_change(place, policy, stops.then_some(DenialCode::TeamInactive));
        if let Some(policy) = member_policy {
            self.set_member_limits(id, NewPolicy { policy: &policy, restart });
        }
        Ok(())
    }

    fn check_member_policy(&self, team: &TeamId, new: NewPolicy<'_>) -> Outcome<()> {
        if !new.policy.limits.is_empty() {
            self.check_team_account("a budget for each member of a team")?;
        }
        self.check_policy(&Place::Team(team.clone()), new.policy, self.state.organization.credit_factor)?;
        self.inheriting(team).iter().try_for_each(|place| self.check_restart(place, new))
    }

    /// Returns the memberships of a team that have no limits of their own.
    fn inheriting(&self, team: &TeamId) -> Vec<Place> {
        let memberships = self.state.memberships.of_team(team, 0).map(|(_, row)| &row.entity);
        let inheriting = memberships.filter(|membership| !membership.overrides);
        inheriting.map(|m| Place::Membership(m.team.clone(), m.member.clone())).collect()
    }

    /// Gives each member of the team its own copy of the limits, except those that have others of their own.
    fn set_member_limits(&mut self, team: &TeamId, new: NewPolicy<'_>) {
        for place in self.inheriting(team) {
            self.set_policy(place, new);
        }
    }

    /// Ends a team with its memberships and keys.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such team or it is the default one.
    pub fn delete_team(&mut self, id: &TeamId) -> Outcome<()> {
        let team = live(&self.state.teams, id, id.as_str())?;
        if id.as_str() == DEFAULT_TEAM {
            return Err(Conflict::Precondition(format!(
                "the team {DEFAULT_TEAM} can't be deleted; disable it instead"
            )));
        }
        let team = Team { deleted: true, update_time: self.now, ..team.clone() };
        self.emit(Event::TeamSet(Box::new(team)));
        self.end_place(Place::Team(id.clone()), DenialCode::TeamInactive);
        self.end_below(self.state.memberships.of_team(id, 0).map(|(place, _)| place).collect());
        self.end_counters(|team, _| team == id);
        self.end_allocation(AllocationPlace::Pool(id.clone()));
        Ok(())
    }

    /// What a team or a member had of its own is there for others again.
    pub(super) fn end_allocation(&mut self, place: AllocationPlace) {
        let had = match &place {
            AllocationPlace::Organization => return,
            AllocationPlace::Pool(team) => {
                self.state.teams.place(team).map(|at| self.state.allocations.team(at).allocation)
            }
            AllocationPlace::Member(team, member) => {
                let at = self.state.memberships.place(&(team.clone(), member.clone()));
                at.map(|at| self.state.allocations.member(at))
            }
        };
        if had.is_some_and(|had| had != Allocation::default()) {
            self.set_allocation(place, Allocation::default());
        }
    }
}
