//! What administrators change: entities and their policies.

use smol_str::SmolStr;

use super::{Outcome, Turn};
use crate::{
    domain::{
        decision::DenialCode,
        entity::{ExpiryPolicy, Key, Member, Membership, Organization, Team, WalletMode},
        event::{Event, LimitNo, NumberedLimit},
        id::{DEFAULT_TEAM, KeyId, MemberId, RequestId, TeamId},
        money::Factor,
        policy::{Limit, Models, Place, Policy, Unit},
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        state::Taken,
        table::{Entity, Table},
    },
};

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationChange {
    pub name: Option<String>,
    pub credit_factor: Option<Factor>,
    pub wallet_mode: Option<WalletMode>,
    pub expiry_policy: Option<ExpiryPolicy>,
    pub disabled: Option<bool>,
    pub policy: Option<Policy>,
}

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeamChange {
    pub name: Option<String>,
    pub disabled: Option<bool>,
    pub policy: Option<Policy>,
}

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberChange {
    pub name: Option<String>,
    pub email: Option<String>,
    pub disabled: Option<bool>,
    pub policy: Option<Policy>,
}

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChange {
    pub name: Option<String>,
    pub disabled: Option<bool>,
    pub expire_time: Option<Option<Timestamp>>,
    pub models: Option<Models>,
    pub policy: Option<Policy>,
}

/// The entity, if it is there and not deleted.
fn live<'a, E: Entity>(table: &'a Table<E>, id: &E::Id, name: &str) -> Outcome<&'a E> {
    let missing = || Conflict::NotFound { kind: E::KIND, id: name.to_owned() };
    table.find_live(id).map(|row| &row.entity).ok_or_else(missing)
}

/// Refuses an id that is or was in use.
fn free<E: Entity>(table: &Table<E>, id: &E::Id, name: &str) -> Outcome<()> {
    match table.find(id) {
        None => Ok(()),
        Some(row) if row.entity.is_deleted() => Err(Conflict::Deleted { kind: E::KIND, id: name.to_owned() }),
        Some(_) => Err(Conflict::Exists { kind: E::KIND, id: name.to_owned() }),
    }
}

impl Turn<'_> {
    /// What a creation under this request id made before; then nothing is to be created.
    ///
    /// # Errors
    /// [`Conflict::RequestReused`] when the id was used for something else.
    pub fn created_before(&self, request: Option<&RequestId>, fingerprint: u64) -> Outcome<Option<SmolStr>> {
        let Some(request) = request else { return Ok(None) };
        match self.state.taken(request) {
            None => Ok(None),
            Some(Taken::Created { fingerprint: before, id }) if *before == fingerprint => Ok(Some(id.clone())),
            Some(_) => Err(Conflict::RequestReused(request.clone())),
        }
    }

    /// Remembers what a creation under this request id made.
    pub fn take_request(&mut self, request: Option<&RequestId>, fingerprint: u64, id: &str) {
        if let Some(request) = request {
            self.emit(Event::RequestTaken { request: request.clone(), fingerprint, created: id.into() });
        }
    }

    /// The first events of an organization.
    ///
    /// # Errors
    /// [`Conflict`] when the policy doesn't fit.
    pub fn found_organization(&mut self, organization: Organization, policy: &Policy) -> Outcome<()> {
        self.check_credits(&Place::Organization, policy, organization.credit_factor)?;
        self.emit(Event::OrganizationSet(Box::new(organization)));
        self.emit(Event::TeamSet(Box::new(Team {
            id: TeamId::trusted(DEFAULT_TEAM),
            name: String::from("Default"),
            disabled: false,
            deleted: false,
            create_time: self.now,
            update_time: self.now,
        })));
        self.set_policy(Place::Organization, policy);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when the organization is deleted or the policy doesn't fit.
    pub fn update_organization(&mut self, change: OrganizationChange) -> Outcome<()> {
        self.check_organization()?;
        let mut next = self.state.organization.clone();
        let OrganizationChange { name, credit_factor, wallet_mode, expiry_policy, disabled, policy } = change;
        next.name = name.unwrap_or(next.name);
        next.credit_factor = credit_factor.unwrap_or(next.credit_factor);
        next.wallet_mode = wallet_mode.unwrap_or(next.wallet_mode);
        next.expiry_policy = expiry_policy.unwrap_or(next.expiry_policy);
        next.disabled = disabled.unwrap_or(next.disabled);
        next.update_time = self.now;
        let stops = next.disabled && !self.state.organization.disabled;
        let (had_wallet, had_credits) = (self.state.wallet_binds(), self.state.organization.credit_factor.is_on());
        if let Some(policy) = &policy {
            self.check_credits(&Place::Organization, policy, next.credit_factor)?;
        }
        self.emit(Event::OrganizationSet(Box::new(next)));
        if let Some(policy) = policy {
            self.set_policy(Place::Organization, &policy);
        }
        if stops {
            self.revoke_under(&Place::Organization, DenialCode::OrganizationInactive);
        }
        let (wallet, credits) = (self.state.wallet_binds(), self.state.organization.credit_factor.is_on());
        self.revoke_newly_bound(wallet && !had_wallet, credits && !had_credits);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when it is deleted already.
    pub fn delete_organization(&mut self) -> Outcome<()> {
        self.check_organization()?;
        let organization = Organization { deleted: true, update_time: self.now, ..self.state.organization.clone() };
        self.emit(Event::OrganizationSet(Box::new(organization)));
        self.revoke_under(&Place::Organization, DenialCode::OrganizationInactive);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when the organization is deleted.
    pub fn check_organization(&self) -> Outcome<()> {
        let organization = &self.state.organization;
        let missing = || Conflict::NotFound { kind: "organization", id: organization.id.to_string() };
        if organization.deleted { Err(missing()) } else { Ok(()) }
    }

    /// # Errors
    /// [`Conflict`] when the id is or was in use, or the policy doesn't fit.
    pub fn create_team(&mut self, team: Team, policy: &Policy) -> Outcome<()> {
        self.check_organization()?;
        free(&self.state.teams, &team.id, team.id.as_str())?;
        let place = Place::Team(team.id.clone());
        self.check_credits(&place, policy, self.state.organization.credit_factor)?;
        self.emit(Event::TeamSet(Box::new(team)));
        self.set_policy(place, policy);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when there is no such team or the policy doesn't fit.
    pub fn update_team(&mut self, id: &TeamId, change: TeamChange) -> Outcome<()> {
        let mut next = live(&self.state.teams, id, id.as_str())?.clone();
        let place = Place::Team(id.clone());
        let TeamChange { name, disabled, policy } = change;
        self.check_change(&place, policy.as_ref())?;
        let stops = disabled == Some(true) && !next.disabled;
        next.name = name.unwrap_or(next.name);
        next.disabled = disabled.unwrap_or(next.disabled);
        next.update_time = self.now;
        self.emit(Event::TeamSet(Box::new(next)));
        self.finish_change(place, policy, stops.then_some(DenialCode::TeamInactive));
        Ok(())
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
        self.end_below(|membership| membership.team == *id, |key| key.team == *id);
        Ok(())
    }

    /// Adds a member to its first teams.
    ///
    /// # Errors
    /// [`Conflict`] when the id is or was in use, a team is missing, or the policy doesn't fit.
    pub fn create_member(&mut self, member: Member, teams: &[TeamId], policy: &Policy) -> Outcome<()> {
        self.check_organization()?;
        free(&self.state.members, &member.id, member.id.as_str())?;
        for team in teams {
            live(&self.state.teams, team, team.as_str())?;
        }
        let id = member.id.clone();
        let place = Place::Member(id.clone());
        self.check_credits(&place, policy, self.state.organization.credit_factor)?;
        self.emit(Event::MemberSet(Box::new(member)));
        for team in teams {
            self.join(team, &id);
        }
        self.set_policy(place, policy);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when there is no such member or the policy doesn't fit.
    pub fn update_member(&mut self, id: &MemberId, change: MemberChange) -> Outcome<()> {
        let mut next = live(&self.state.members, id, id.as_str())?.clone();
        let place = Place::Member(id.clone());
        let MemberChange { name, email, disabled, policy } = change;
        self.check_change(&place, policy.as_ref())?;
        let stops = disabled == Some(true) && !next.disabled;
        next.name = name.unwrap_or(next.name);
        next.email = email.unwrap_or(next.email);
        next.disabled = disabled.unwrap_or(next.disabled);
        next.update_time = self.now;
        self.emit(Event::MemberSet(Box::new(next)));
        self.finish_change(place, policy, stops.then_some(DenialCode::MemberInactive));
        Ok(())
    }

    /// Removes a member with its memberships and keys.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such member.
    pub fn delete_member(&mut self, id: &MemberId) -> Outcome<()> {
        let member = live(&self.state.members, id, id.as_str())?.clone();
        self.emit(Event::MemberSet(Box::new(Member { deleted: true, update_time: self.now, ..member })));
        self.end_place(Place::Member(id.clone()), DenialCode::MemberInactive);
        self.end_below(|membership| membership.member == *id, |key| key.member == *id);
        Ok(())
    }

    fn join(&mut self, team: &TeamId, member: &MemberId) {
        self.emit(Event::MembershipSet(Box::new(Membership {
            team: team.clone(),
            member: member.clone(),
            deleted: false,
            create_time: self.now,
            update_time: self.now,
        })));
    }

    /// Puts a member into a team, for the first time or again.
    ///
    /// # Errors
    /// [`Conflict`] when either is missing, the member is in it, or the policy doesn't fit.
    pub fn create_membership(&mut self, team: &TeamId, member: &MemberId, policy: &Policy) -> Outcome<()> {
        self.check_organization()?;
        live(&self.state.teams, team, team.as_str())?;
        live(&self.state.members, member, member.as_str())?;
        if self.state.memberships.find_live(&(team.clone(), member.clone())).is_some() {
            return Err(Conflict::Exists { kind: Membership::KIND, id: format!("{team}/{member}") });
        }
        let place = Place::Membership(team.clone(), member.clone());
        self.check_credits(&place, policy, self.state.organization.credit_factor)?;
        self.join(team, member);
        self.set_policy(place, policy);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when the member isn't in the team or the policy doesn't fit.
    pub fn update_membership(&mut self, team: &TeamId, member: &MemberId, policy: Option<Policy>) -> Outcome<()> {
        let id = (team.clone(), member.clone());
        let mut next = live(&self.state.memberships, &id, &format!("{team}/{member}"))?.clone();
        let place = Place::Membership(team.clone(), member.clone());
        self.check_change(&place, policy.as_ref())?;
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
        let left =
            self.state.keys.live().map(|row| &row.entity.key).find(|key| key.team == *team && key.member == *member);
        if let Some(key) = left {
            let problem = format!("key {} belongs to member {member} in team {team}; delete it first", key.id);
            return Err(Conflict::Precondition(problem));
        }
        self.emit(Event::MembershipSet(Box::new(Membership { deleted: true, update_time: self.now, ..membership })));
        self.set_policy(Place::Membership(team.clone(), member.clone()), &Policy::default());
        Ok(())
    }

    /// Whether [`Self::create_key`] would make this key.
    ///
    /// # Errors
    /// [`Conflict`] when the id is or was in use, the member isn't in the team, or the policy doesn't fit.
    pub fn check_key(&self, key: &Key, policy: &Policy) -> Outcome<()> {
        self.check_organization()?;
        free(&self.state.keys, &key.id, key.id.as_str())?;
        live(&self.state.members, &key.member, key.member.as_str())?;
        live(&self.state.teams, &key.team, key.team.as_str())?;
        let membership = (key.team.clone(), key.member.clone());
        if self.state.memberships.find_live(&membership).is_none() {
            let problem =
                format!("member {} isn't in team {}; add it with CreateMembership first", key.member, key.team);
            return Err(Conflict::Precondition(problem));
        }
        self.check_credits(&Place::Key(key.id.clone()), policy, self.state.organization.credit_factor)
    }

    /// # Errors
    /// As [`Self::check_key`].
    pub fn create_key(&mut self, key: Key, policy: &Policy) -> Outcome<()> {
        self.check_key(&key, policy)?;
        let place = Place::Key(key.id.clone());
        self.emit(Event::KeySet(Box::new(key)));
        self.set_policy(place, policy);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when there is no such key or the policy doesn't fit.
    pub fn update_key(&mut self, id: &KeyId, change: KeyChange) -> Outcome<()> {
        let mut next = live(&self.state.keys, id, id.as_str())?.key.clone();
        let place = Place::Key(id.clone());
        let KeyChange { name, disabled, expire_time, models, policy } = change;
        self.check_change(&place, policy.as_ref())?;
        let stops = disabled == Some(true) && !next.disabled;
        next.name = name.unwrap_or(next.name);
        next.disabled = disabled.unwrap_or(next.disabled);
        next.expire_time = expire_time.unwrap_or(next.expire_time);
        next.models = models.unwrap_or(next.models);
        next.update_time = self.now;
        self.emit(Event::KeySet(Box::new(next)));
        self.finish_change(place, policy, stops.then_some(DenialCode::KeyDisabled));
        Ok(())
    }

    /// Ends a key for good.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such key.
    pub fn delete_key(&mut self, id: &KeyId) -> Outcome<()> {
        let key = live(&self.state.keys, id, id.as_str())?.key.clone();
        self.end_key(key);
        Ok(())
    }

    fn end_key(&mut self, key: Key) {
        let id = key.id.clone();
        self.emit(Event::KeySet(Box::new(Key { deleted: true, update_time: self.now, ..key })));
        self.emit(Event::PolicySet { place: Place::Key(id.clone()), limits: Vec::new() });
        self.revoke_under(&Place::Key(id), DenialCode::KeyUnknown);
    }

    fn end_below(&mut self, of: impl Fn(&Membership) -> bool, owns: impl Fn(&Key) -> bool) {
        let keys: Vec<_> = self.state.keys.live().map(|row| &row.entity.key).filter(|key| owns(key)).cloned().collect();
        for key in keys {
            self.end_key(key);
        }
        let gone: Vec<_> =
            self.state.memberships.live().map(|row| &row.entity).filter(|entity| of(entity)).cloned().collect();
        for membership in gone {
            let place = Place::Membership(membership.team.clone(), membership.member.clone());
            self.emit(Event::MembershipSet(Box::new(Membership {
                deleted: true,
                update_time: self.now,
                ..membership
            })));
            self.emit(Event::PolicySet { place, limits: Vec::new() });
        }
    }

    /// Comes before the keys below end, so that their work hears the true cause.
    fn end_place(&mut self, place: Place, code: DenialCode) {
        self.revoke_under(&place, code);
        self.set_policy(place, &Policy::default());
    }

    fn check_change(&self, place: &Place, policy: Option<&Policy>) -> Outcome<()> {
        self.check_organization()?;
        policy.map_or(Ok(()), |policy| self.check_credits(place, policy, self.state.organization.credit_factor))
    }

    fn finish_change(&mut self, place: Place, policy: Option<Policy>, stops: Option<DenialCode>) {
        if let Some(code) = stops {
            self.revoke_under(&place, code);
        }
        if let Some(policy) = policy {
            self.set_policy(place, &policy);
        }
    }

    /// While credits aren't tracked a credit cap can't be set; those that were set before stay and don't bind.
    fn check_credits(&self, place: &Place, policy: &Policy, factor: Factor) -> Outcome<()> {
        if factor.is_on() {
            return Ok(());
        }
        let known = |limit: &Limit| self.numbers(place).any(|(_, old)| old == limit);
        match policy.limits.iter().find(|limit| limit.unit() == Unit::Credits && !known(limit)) {
            None => Ok(()),
            Some(limit) => Err(Conflict::Precondition(format!(
                "{} caps credits, which aren't tracked while the organization's credit_factor is 0; set one first",
                limit.id()
            ))),
        }
    }

    fn numbers<'s>(&'s self, place: &Place) -> impl Iterator<Item = (LimitNo, &'s Limit)> {
        let limits = self.state.limits_of(place).to_vec();
        limits.into_iter().filter_map(|no| self.state.limit(no).map(|entry| (no, &entry.limit)))
    }

    /// Replaces the limits of a place: one that goes on counting the same keeps its number, and so its usage.
    fn set_policy(&mut self, place: Place, policy: &Policy) {
        let mut next = self.state.next_limit_no();
        let mut limits = Vec::with_capacity(policy.limits.len());
        for limit in &policy.limits {
            let kept = self.numbers(&place).find(|(_, old)| old.is_continued_by(limit)).map(|(no, _)| no);
            let no = kept.unwrap_or_else(|| {
                next += 1;
                LimitNo(next - 1)
            });
            limits.push(NumberedLimit { no, limit: limit.clone() });
        }
        if limits.is_empty() && self.state.limits_of(&place).is_empty() {
            return;
        }
        let numbers: Vec<_> = limits.iter().map(|limit| limit.no).collect();
        self.emit(Event::PolicySet { place, limits });
        self.revoke_above_caps(&numbers);
    }
}
