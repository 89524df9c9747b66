//! What administrators change: entities, their policies, rules. Here is what all kinds share.

use smol_str::SmolStr;

use super::{Outcome, Turn};
use crate::{
    domain::{
        decision::DenialCode,
        entity::{Key, Membership},
        event::{Event, LimitNo, NumberedLimit},
        id::RequestId,
        money::Factor,
        policy::{Limit, Place, Policy, Unit},
    },
    engine::{
        conflict::Conflict,
        state::Taken,
        table::{Entity, Find},
    },
};

mod invitation;
mod key;
mod member;
mod organization;
mod rule;
mod team;

pub use key::KeyChange;
pub use member::{MemberChange, MembershipChange};
pub use organization::OrganizationChange;
pub use rule::RuleChange;
pub use team::TeamChange;

/// The entity, if it is there and not deleted.
pub(super) fn live<'a, E: Entity + 'a>(table: &'a impl Find<E>, id: &E::Id, name: &str) -> Outcome<&'a E> {
    match table.find(id) {
        Some(row) if row.entity.is_deleted() => Err(Conflict::Gone { kind: E::KIND, id: name.to_owned() }),
        Some(row) => Ok(&row.entity),
        None => Err(Conflict::NotFound { kind: E::KIND, id: name.to_owned() }),
    }
}

/// Refuses an id that is or was in use.
pub(super) fn free<E: Entity>(table: &impl Find<E>, id: &E::Id, name: &str) -> Outcome<()> {
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

    fn end_below(&mut self, of: impl Fn(&Membership) -> bool, owns: impl Fn(&Key) -> bool) {
        let keys: Vec<_> = self.state.keys.live().map(|row| &row.entity.key).filter(|key| owns(key)).cloned().collect();
        for key in keys {
            self.end_key(key);
        }
        let gone: Vec<_> =
            self.state.memberships.live().map(|row| &row.entity).filter(|entity| of(entity)).cloned().collect();
        for membership in gone {
            self.end_membership(membership);
        }
    }

    /// Comes before the keys below end, so that their work hears the true cause.
    fn end_place(&mut self, place: Place, code: DenialCode) {
        self.revoke_under(&place, code);
        self.set_policy(place, &Policy::default());
    }

    fn check_change(&self, place: &Place, policy: Option<&Policy>) -> Outcome<()> {
        self.check_organization()?;
        policy.map_or(Ok(()), |policy| self.check_policy(place, policy, self.state.organization.credit_factor))
    }

    fn check_policy(&self, place: &Place, policy: &Policy, factor: Factor) -> Outcome<()> {
        if *place != Place::Ceiling && !policy.limits.is_empty() && self.state.limits_of(place).is_empty() {
            Self::check_count("policies", self.state.policies, self.bounds().policies)?;
        }
        self.check_credits(place, policy, factor)
    }

    /// # Errors
    /// [`Conflict::TooMany`] when there may be no more.
    pub(super) fn check_count(what: &'static str, count: u32, max: u32) -> Outcome<()> {
        if count < max { Ok(()) } else { Err(Conflict::TooMany { what, max }) }
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
        limits.into_iter().filter_map(|no| self.state.limit(no).map(|entry| (no, &*entry.limit)))
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
        self.tell_above(&numbers);
    }
}
