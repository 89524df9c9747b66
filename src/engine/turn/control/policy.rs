//! The limits of a place: which go on counting, and which begin anew.

use crate::{
    domain::{
        decision::DenialCode,
        event::{Event, LimitNo, NumberedLimit},
        id::{MemberId, TeamId},
        money::{Factor, Nanos},
        period::Period,
        policy::{Limit, Place, Policy, Unit},
    },
    engine::{
        conflict::{Conflict, WouldRestart},
        limit::{LimitEntry, scope_of},
        state::MAX_RETIRED,
        turn::{Outcome, Turn},
    },
};

/// A policy to be set, and whether limits may begin to count anew by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewPolicy<'a> {
    pub policy: &'a Policy,
    pub restart: bool,
}

impl Turn<'_> {
    /// Ends the limits of a place that doesn't come back, and what they counted. Comes before the keys below end, so that their
    /// work hears the true cause.
    pub(super) fn end_place(&mut self, place: Place, code: DenialCode) {
        self.revoke_under(&place, code);
        self.end_limits(place);
    }

    fn end_limits(&mut self, place: Place) {
        if !self.state.limits_of(&place).is_empty() || !self.state.retired.of(&place).is_empty() {
            self.emit(Event::PolicySet { place, limits: Vec::new(), retired: Box::default() });
        }
    }

    /// Forgets what memberships that can't come back have counted.
    pub(super) fn end_counters(&mut self, is_of: impl Fn(&TeamId, &MemberId) -> bool) {
        for place in self.state.retired.memberships(is_of).cloned().collect::<Vec<_>>() {
            self.end_limits(place);
        }
    }

    pub(super) fn check_change(&self, place: &Place, policy: Option<NewPolicy<'_>>) -> Outcome<()> {
        self.check_organization()?;
        let Some(new) = policy else { return Ok(()) };
        self.check_policy(place, new.policy, self.state.organization.credit_factor)?;
        self.check_restart(place, new)
    }

    pub(super) fn check_policy(&self, place: &Place, policy: &Policy, factor: Factor) -> Outcome<()> {
        if *place != Place::Ceiling && !policy.limits.is_empty() && self.state.limits_of(place).is_empty() {
            Self::check_count("policies", self.state.policies, self.bounds().policies)?;
        }
        self.check_credits(place, policy, factor)
    }

    pub(super) fn finish_change(&mut self, place: Place, policy: Option<NewPolicy<'_>>, stops: Option<DenialCode>) {
        if let Some(code) = stops {
            self.revoke_under(&place, code);
        }
        if let Some(new) = policy {
            self.set_policy(place, new);
        }
    }

    /// While credits aren't tracked a credit cap can't be set; those that were set before stay and don't bind.
    pub(super) fn check_credits(&self, place: &Place, policy: &Policy, factor: Factor) -> Outcome<()> {
        if factor.is_on() {
            return Ok(());
        }
        let known = |limit: &Limit| self.active(place).any(|(_, old)| *old.limit == *limit);
        match policy.limits.iter().find(|limit| limit.unit() == Unit::Credits && !known(limit)) {
            None => Ok(()),
            Some(limit) => Err(Conflict::Precondition(format!(
                "{} caps credits, which aren't tracked while the organization's credit_factor is 0; set one first",
                limit.id()
            ))),
        }
    }

    fn active(&self, place: &Place) -> impl Iterator<Item = (LimitNo, &LimitEntry)> {
        self.state.limits_of(place).iter().filter_map(|no| Some((*no, self.state.limit(*no)?)))
    }

    /// The limit that was removed last comes first.
    fn removed(&self, place: &Place) -> impl Iterator<Item = (LimitNo, &LimitEntry)> {
        let removed = &self.state.retired;
        removed.of(place).iter().rev().filter_map(|no| Some((*no, removed.find(*no)?)))
    }

    /// Returns whether something is spent or held that forgetting the limit would lose.
    pub(super) fn counts(&self, entry: &LimitEntry) -> bool {
        let standing = entry.standing(self.now);
        (standing.spent, standing.held) != (0, 0)
    }

    /// # Errors
    /// [`WouldRestart`] when a limit would count from zero in place of one of its id that counts something, and nobody said so.
    pub(super) fn check_restart(&self, place: &Place, NewPolicy { policy, restart }: NewPolicy<'_>) -> Outcome<()> {
        if restart {
            return Ok(());
        }
        for limit in &policy.limits {
            let same_id = |(_, old): &(LimitNo, &LimitEntry)| old.limit.id() == limit.id();
            let active = self.active(place).find(same_id);
            let forgets = match active {
                Some((_, old)) if old.limit.is_continued_by(limit) => None,
                Some((_, old)) if self.counts(old) => Some(old),
                // A member that has none starts at zero.
                None if discards(place, limit) => None,
                _ if self.removed(place).any(|(_, old)| old.limit.is_continued_by(limit)) => None,
                _ => self.removed(place).filter(same_id).map(|(_, old)| old).find(|old| self.counts(old)),
            };
            if let Some(old) = forgets {
                return Err(self.would_restart(old).into());
            }
        }
        Ok(())
    }

    pub(super) fn would_restart(&self, entry: &LimitEntry) -> WouldRestart {
        let (scope, scope_id) = scope_of(&entry.place, self.state.organization.id.as_str());
        let standing = entry.standing(self.now);
        let (sum, unit) = (standing.spent.saturating_add(standing.held), entry.limit.unit());
        let spent = if unit.is_budget() { Nanos::new(sum).to_string() } else { sum.to_string() };
        WouldRestart { scope, scope_id, limit: entry.limit.id().as_str().into(), spent, unit: unit.name() }
    }

    /// Replaces the limits of a place: one that goes on counting the same keeps its number, and so its usage, also where it was
    /// removed in between.
    pub(super) fn set_policy(&mut self, place: Place, NewPolicy { policy, restart }: NewPolicy<'_>) {
        let mut next = self.state.next_limit_no();
        let mut limits = Vec::with_capacity(policy.limits.len());
        for limit in &policy.limits {
            let continues = |(_, old): &(LimitNo, &LimitEntry)| old.limit.is_continued_by(limit);
            let removed = || self.removed(&place).filter(|_| !restart).find(continues);
            let known = self.active(&place).find(continues).or_else(removed).map(|(no, _)| no);
            let no = known.unwrap_or(LimitNo(next));
            next += u32::from(known.is_none());
            limits.push(NumberedLimit { no, limit: limit.clone() });
        }
        let is_bare = self.state.limits_of(&place).is_empty() && self.state.retired.of(&place).is_empty();
        if limits.is_empty() && is_bare {
            return;
        }
        let retired = Box::new(self.retired_by(&place, &limits, restart));
        let numbers: Vec<_> = limits.iter().map(|limit| limit.no).collect();
        self.emit(Event::PolicySet { place, limits, retired });
        self.revoke_above_caps(&numbers);
        self.tell_above(&numbers);
    }

    /// Returns those limits of a place that `limits` leave out and whose counters may be asked for again.
    fn retired_by(&self, place: &Place, limits: &[NumberedLimit], restart: bool) -> Vec<LimitNo> {
        let goes = |no: LimitNo, old: &LimitEntry| {
            // What began anew took its place: that it is forgotten was said.
            let is_forgotten = |new: &NumberedLimit| restart && old.limit.id() == new.limit.id();
            let is_replaced =
                |new: &NumberedLimit| new.no == no || old.limit.is_continued_by(&new.limit) || is_forgotten(new);
            !limits.iter().any(is_replaced) && self.counts(old)
        };
        let mut retired: Vec<_> = self.removed(place).filter(|(no, old)| goes(*no, old)).map(|(no, _)| no).collect();
        retired.reverse();
        let active = self.active(place).filter(|(no, old)| goes(*no, old) && !discards(place, &old.limit));
        retired.extend(active.map(|(no, _)| no));
        retired.drain(..retired.len().saturating_sub(MAX_RETIRED));
        retired
    }
}

/// Returns whether what a limit counted goes with it: a member's one-time budget is discarded when the member becomes unlimited.
fn discards(place: &Place, limit: &Limit) -> bool {
    matches!(place, Place::Member(_)) && limit.period() == Some(Period::OneTime)
}
