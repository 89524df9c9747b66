//! Members, and which teams they are in.

use crate::{
    domain::{
        access::Role,
        decision::DenialCode,
        entity::{Member, Membership},
        event::Event,
        id::{DEFAULT_TEAM, MemberId, TeamId},
        money::Factor,
        policy::{AllocationPlace, Place, Policy},
    },
    engine::{
        conflict::Conflict,
        table::{Entity, KeyRow, Row},
        turn::{
            Outcome, Turn,
            control::{free, live, policy::NewPolicy},
        },
    },
};

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberChange {
    pub name: Option<String>,
    pub email: Option<String>,
    pub role: Option<Role>,
    pub disabled: Option<bool>,
    pub policy: Option<Policy>,
    /// Lets limits of the policy begin to count anew.
    pub restart_spending: bool,
}

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembershipChange {
    /// Limits of its own from now on, not the team's.
    pub policy: Option<Policy>,
    /// `false` goes back to the team's.
    pub overrides: Option<bool>,
    /// Lets limits begin to count anew.
    pub restart_spending: bool,
}

impl Turn<'_> {
    /// Adds a member to its first teams.
    ///
    /// # Errors
    /// [`Conflict`] when the id is or was in use, the e-mail address is another's, there are too many, a team is missing, or
    /// the policy doesn't fit.
    pub fn create_member(&mut self, member: Member, teams: &[TeamId], policy: &Policy) -> Outcome<()> {
        self.add_member(member, teams, policy, self.state.organization.credit_factor)
    }

    /// The same, with credit caps judged by another factor than the organization's.
    pub(super) fn add_member(
        &mut self,
        member: Member,
        teams: &[TeamId],
        policy: &Policy,
        factor: Factor,
    ) -> Outcome<()> {
        self.check_organization()?;
        free(&self.state.members, &member.id, member.id.as_str())?;
        if self.state.members.live_count() > 0 {
            self.check_team_account("another member")?;
        }
        Self::check_count("members", self.state.members.live_count(), self.bounds().members)?;
        self.check_email(&member.id, &member.email)?;
        for team in teams {
            live(&self.state.teams, team, team.as_str())?;
        }
        let id = member.id.clone();
        let place = Place::Member(id.clone());
        self.check_member_budget(policy)?;
        self.check_policy(&place, policy, factor)?;
        self.emit(Event::MemberSet(Box::new(member)));
        for team in teams {
            // Teams are a set, even where they are named twice.
            if self.state.memberships.find_live(&(team.clone(), id.clone())).is_none() {
                self.join(team, &id, None, false);
            }
        }
        self.set_policy(place, NewPolicy { policy, restart: false });
        Ok(())
    }

    /// A personal account has no team budgets.
    fn check_member_budget(&self, policy: &Policy) -> Outcome<()> {
        if policy.limits.is_empty() { Ok(()) } else { self.check_team_account("a budget of a member") }
    }

    /// One person is one member: its address stands once in an organization.
    pub(super) fn check_email(&self, id: &MemberId, email: &str) -> Outcome<()> {
        let taken = self.state.member_by_email(email).filter(|member| member.id != *id);
        let exists = |member: &Member| Conflict::EmailTaken { email: email.to_owned(), member: member.id.clone() };
        taken.map_or(Ok(()), |member| Err(exists(member)))
    }

    /// # Errors
    /// [`Conflict`] when there is no such member, it is the last owner, or the policy doesn't fit.
    pub fn update_member(&mut self, id: &MemberId, change: MemberChange) -> Outcome<()> {
        let before = live(&self.state.members, id, id.as_str())?.clone();
        let place = Place::Member(id.clone());
        let MemberChange { name, email, role, disabled, policy, restart_spending: restart } = change;
        let policy = policy.as_ref().map(|policy| NewPolicy { policy, restart });
        self.check_change(&place, policy)?;
        if let Some(NewPolicy { policy, .. }) = policy {
            self.check_member_budget(policy)?;
        }
        let stops = disabled == Some(true) && !before.disabled;
        if stops || role.is_some_and(|role| role != Role::Owner) {
            self.check_owner_left(&before)?;
        }
        let mut next = before;
        next.name = name.unwrap_or(next.name);
        next.email = email.unwrap_or(next.email);
        next.role = role.unwrap_or(next.role);
        next.disabled = disabled.unwrap_or(next.disabled);
        next.update_time = self.now;
        self.check_email(id, &next.email)?;
        self.emit(Event::MemberSet(Box::new(next)));
        self.finish_change(place, policy, stops.then_some(DenialCode::MemberInactive));
        // Its owner may have lost the right to set it.
        self.stop_unpayable_auto_top_up();
        Ok(())
    }

    /// Removes a member with its memberships, keys and payment methods.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such member, or it is the last owner.
    pub fn delete_member(&mut self, id: &MemberId) -> Outcome<()> {
        let member = live(&self.state.members, id, id.as_str())?.clone();
        self.check_owner_left(&member)?;
        self.emit(Event::MemberSet(Box::new(Member { deleted: true, update_time: self.now, ..member })));
        self.end_place(Place::Member(id.clone()), DenialCode::MemberInactive);
        self.end_below(self.state.memberships.of_member(id, 0).map(|(place, _)| place).collect());
        self.end_counters(|_, member| member == id);
        self.end_methods(Some(id));
        Ok(())
    }

    /// With limits of its own, or with those that the team sets for each of its members.
    fn join(&mut self, team: &TeamId, member: &MemberId, own: Option<&Policy>, restart: bool) {
        // One that was in the team before has a row of then.
        let is_new = self.state.memberships.find(&(team.clone(), member.clone())).is_none();
        self.emit(Event::MembershipSet(Box::new(Membership {
            team: team.clone(),
            member: member.clone(),
            overrides: own.is_some(),
            deleted: false,
            create_time: self.now,
            update_time: self.now,
        })));
        let policy = own.cloned().unwrap_or_else(|| self.member_policy(team));
        let place = Place::Membership(team.clone(), member.clone());
        self.set_policy(place, NewPolicy { policy: &policy, restart });
        if is_new && team.as_str() == DEFAULT_TEAM {
            self.give_signup_credits(team, member);
        }
    }

    fn member_policy(&self, team: &TeamId) -> Policy {
        self.state.teams.find(team).map(|row| row.entity.member_policy.clone()).unwrap_or_default()
    }

    /// Puts a member into a team, for the first time or again. An empty policy means the team's own for its members.
    ///
    /// # Errors
    /// [`Conflict`] when either is missing, the member is in it, the policy doesn't fit, or one of its limits would count from zero
    /// where it counted before and `restart` doesn't say so.
    pub fn create_membership(
        &mut self,
        team: &TeamId,
        member: &MemberId,
        policy: &Policy,
        restart: bool,
    ) -> Outcome<()> {
        self.check_organization()?;
        live(&self.state.teams, team, team.as_str())?;
        live(&self.state.members, member, member.as_str())?;
        if self.state.memberships.find_live(&(team.clone(), member.clone())).is_some() {
            return Err(Conflict::Exists { kind: Membership::KIND, id: format!("{team}/{member}") });
        }
        self.check_member_budget(policy)?;
        let place = Place::Membership(team.clone(), member.clone());
        self.check_policy(&place, policy, self.state.organization.credit_factor)?;
        let own = (!policy.limits.is_empty()).then_some(policy);
        let of_team = self.member_policy(team);
        self.check_restart(&place, NewPolicy { policy: own.unwrap_or(&of_team), restart })?;
        self.join(team, member, own, restart);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when the member isn't in the team or the policy doesn't fit.
    pub fn update_membership(&mut self, team: &TeamId, member: &MemberId, change: MembershipChange) -> Outcome<()> {
        let id = (team.clone(), member.clone());
        let mut next = live(&self.state.memberships, &id, &format!("{team}/{member}"))?.clone();
        let place = Place::Membership(team.clone(), member.clone());
        let MembershipChange { policy, overrides, restart_spending: restart } = change;
        let policy = if overrides == Some(false) { Some(self.member_policy(team)) } else { policy };
        let policy = policy.as_ref().map(|policy| NewPolicy { policy, restart });
        self.check_change(&place, policy)?;
        if let Some(NewPolicy { policy, .. }) = policy {
            self.check_member_budget(policy)?;
        }
        next.overrides = overrides.unwrap_or(next.overrides || policy.is_some());
        next.update_time = self.now;
        self.emit(Event::MembershipSet(Box::new(next)));
        self.finish_change(place, policy, None);
        Ok(())
    }

    /// Takes a member out of a team.
    ///
    /// # Errors
    /// [`Conflict`] when it isn't in it or keys of the membership are left.
    pub fn delete_membership(&mut self, team: &TeamId, member: &MemberId) -> Outcome<()> {
        let id = (team.clone(), member.clone());
        let membership = live(&self.state.memberships, &id, &format!("{team}/{member}"))?.clone();
        let place = self.state.memberships.place(&id);
        let left = place.and_then(|place| self.state.keys.of_membership(place).next());
        if let Some((_, Row { entity: KeyRow { key, .. }, .. })) = left {
            let problem = format!("key {} belongs to member {member} in team {team}; delete it first", key.id);
            return Err(Conflict::Precondition(problem));
        }
        self.end_membership(membership);
        Ok(())
    }

    pub(super) fn end_membership(&mut self, membership: Membership) {
        let (team, member) = (membership.team.clone(), membership.member.clone());
        self.emit(Event::MembershipSet(Box::new(Membership { deleted: true, update_time: self.now, ..membership })));
        let (place, policy) = (Place::Membership(team.clone(), member.clone()), &Policy::default());
        self.set_policy(place, NewPolicy { policy, restart: false });
        self.end_allocation(AllocationPlace::Member(team, member));
    }
}
