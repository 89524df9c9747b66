//! Stopping running work: who holds on what is used up, or on what was switched off.

use smallvec::SmallVec;

use super::Turn;
use crate::{
    domain::{
        decision::{DenialCode, RevocationCause},
        entity::Key,
        event::{Event, LimitNo, Settled, Touch},
        money::Nanos,
        policy::{Place, Scope, Unit},
        reservation_id::ReservationNo,
        time::Timestamp,
    },
    engine::{
        limit::{Counter, amount_in, denial_code, scope_of},
        reservation::Hold,
        state::OrganizationState,
    },
};

/// What a charge uses up. Quotas, slots and closing hours never revoke.
#[derive(Debug, Default)]
pub(super) struct Exhausted {
    limits: SmallVec<[(LimitNo, Timestamp); 2]>,
    wallet: bool,
}

impl Turn<'_> {
    /// The budgets, in their windows, that the charge makes reach their cap, and whether the balance reaches 0.
    pub(super) fn exhausted_by(&self, settled: &Settled) -> Exhausted {
        let booked = settled.booked.amounts();
        let mut exhausted = Exhausted::default();
        for touch in settled.touches.iter().filter(|touch| touch.unit.is_budget()) {
            if !self.state.binds(touch.unit) {
                continue;
            }
            let at = (touch.limit, touch.window);
            exhausted.limits.extend(self.reached_by(at, amount_in(touch.unit, booked)));
        }
        exhausted.limits.extend(self.pool_exhausted_by(settled));
        let balance = self.state.wallet.balance;
        let is_used_up = balance.is_positive() && !(balance + settled.wallet).is_positive();
        exhausted.wallet = is_used_up && self.state.wallet_binds();
        exhausted
    }

    /// The team's pool, if the charge makes it reach its cap, or makes the member begin to draw on it when it has.
    fn pool_exhausted_by(&self, settled: &Settled) -> Option<(LimitNo, Timestamp)> {
        if !self.state.binds(Unit::Credits) {
            return None;
        }
        let at = (self.state.pool_of(&settled.key)?, self.state.allocations.cycle.start);
        let entry = self.state.limit(at.0)?;
        let is_used_up = entry.standing(self.now).spent >= entry.limit.max()?;
        if !is_used_up {
            return self.reached_by(at, settled.drawn.spent.get());
        }
        let membership = self.state.keys.find(&settled.key)?.entity.membership;
        let (own, counter) = (self.state.allocations.member(membership), self.state.allocations.counter(membership));
        let may_begin = own.cap().is_none()
            && self.state.is_of_this_cycle(counter, &settled.touches)
            && !self.state.draws(membership);
        let spent = self.state.credits_of(membership).spent + settled.booked.credits;
        (may_begin && (settled.drawn.total().is_positive() || spent >= own.given())).then_some(at)
    }

    /// A budget in a window, if so much more makes it reach its cap.
    fn reached_by(&self, (limit, window): (LimitNo, Timestamp), more: i64) -> Option<(LimitNo, Timestamp)> {
        let entry = self.state.limit(limit).filter(|entry| !self.state.is_over(entry, window))?;
        let (Some(max), Counter::Budget(windows)) = (entry.limit.max(), &entry.counter) else { return None };
        let spent = windows.at(window).spent.get();
        (spent < max && spent.saturating_add(more) >= max).then_some((limit, window))
    }

    pub(super) fn revoke_exhausted(&mut self, exhausted: Exhausted) {
        for (limit, window) in exhausted.limits {
            self.revoke_on_limit(limit, window);
        }
        if exhausted.wallet {
            self.revoke_on_wallet();
        }
    }

    fn revoke_on_wallet(&mut self) {
        let cause = RevocationCause {
            code: DenialCode::WalletInsufficient,
            scope: Scope::Wallet,
            scope_id: self.state.organization.id.as_str().into(),
            limit: None,
        };
        let to_stop = holding(self.state, |held| held.reserved.wallet);
        self.revoke(&cause, to_stop);
    }

    /// After the wallet or the credit caps began to bind: what they would have stopped meanwhile.
    pub(super) fn revoke_newly_bound(&mut self, wallet: bool, credits: bool) {
        if credits {
            let limits: Vec<_> = (0..self.state.next_limit_no()).map(LimitNo).collect();
            self.revoke_above_caps(&limits);
        }
        if wallet && !self.state.wallet.balance.is_positive() {
            self.revoke_on_wallet();
        }
    }

    /// A hold that stands again after a crash: what would have stopped it meanwhile.
    pub(super) fn revoke_restored(&mut self, key: u32, touches: &[Touch]) {
        let Some(path) = self.state.path(key) else { return };
        let (key, member) = (&path.key.entity.key, &path.member.entity);
        let (team, organization) = (&path.team.entity, &self.state.organization);
        let places = [
            (key.deleted, Place::Key(key.id.clone()), DenialCode::KeyUnknown),
            (key.disabled, Place::Key(key.id.clone()), DenialCode::KeyDisabled),
            (member.disabled || member.deleted, Place::Member(member.id.clone()), DenialCode::MemberInactive),
            (team.disabled || team.deleted, Place::Team(team.id.clone()), DenialCode::TeamInactive),
            (organization.is_inactive(), Place::Organization, DenialCode::OrganizationInactive),
        ];
        if let Some((_, place, code)) = places.into_iter().find(|(is_off, ..)| *is_off) {
            return self.revoke_under(&place, code);
        }
        let pool = path.pool;
        let limits: SmallVec<[LimitNo; 12]> = touches.iter().map(|touch| touch.limit).chain(pool).collect();
        self.revoke_above_caps(&limits);
        self.revoke_newly_bound(self.state.wallet_binds(), false);
    }

    /// After limits were changed: those budgets that now stand at or above their cap, in whichever window.
    pub(super) fn revoke_above_caps(&mut self, limits: &[LimitNo]) {
        for no in limits {
            let Some(entry) = self.state.limit(*no) else { continue };
            let (Some(max), true) = (entry.limit.max(), self.state.binds(entry.limit.unit())) else { continue };
            let Counter::Budget(windows) = &entry.counter else { continue };
            let reached: SmallVec<[Timestamp; 2]> = windows
                .iter()
                .filter(|(start, counted)| counted.spent >= Nanos::new(max) && !self.state.is_over(entry, *start))
                .map(|(start, _)| start)
                .collect();
            for window in reached {
                self.revoke_on_limit(*no, window);
            }
        }
    }

    fn revoke_on_limit(&mut self, limit: LimitNo, window: Timestamp) {
        let Some(entry) = self.state.limit(limit) else { return };
        let (scope, scope_id) = scope_of(&entry.place, self.state.organization.id.as_str());
        let cause = RevocationCause {
            code: denial_code(entry.limit.unit()),
            scope,
            scope_id,
            limit: Some(entry.limit.id().clone()),
        };
        let (state, is_pool) = (&*self.state, entry.is_pool());
        let to_stop = holding(state, |held| {
            if is_pool {
                return state.draws_on(limit, held);
            }
            held.reserved.touches.iter().any(|touch| touch.limit == limit && touch.window == window)
        });
        self.revoke(&cause, to_stop);
    }

    /// Everything under a place that was switched off.
    pub(super) fn revoke_under(&mut self, place: &Place, code: DenialCode) {
        // A member may leave many keys, while others hold much.
        if let Place::Key(id) = place
            && self.state.keys.place(id).is_none_or(|key| self.state.open_count_of(key) == 0)
        {
            return;
        }
        let (scope, scope_id) = scope_of(place, self.state.organization.id.as_str());
        let cause = RevocationCause { code, scope, scope_id, limit: None };
        let under = |key: &Key| match place {
            Place::Key(id) => key.id == *id,
            Place::Member(member) => key.member == *member,
            Place::Team(team) => key.team == *team,
            Place::Membership(team, member) => key.team == *team && key.member == *member,
            Place::Organization => true,
            // Those are used up, not switched off.
            Place::Rule(..) | Place::Allocation(_) | Place::Ceiling => false,
        };
        let state = &*self.state;
        let to_stop =
            holding(state, |held| state.keys.find(&held.reserved.key).is_some_and(|row| under(&row.entity.key)));
        self.revoke(&cause, to_stop);
    }

    fn revoke(&mut self, cause: &RevocationCause, to_stop: Vec<ReservationNo>) {
        for no in to_stop {
            self.emit(Event::Revoked { reservation: no, cause: Box::new(cause.clone()) });
            let revocation = self.state.hold(no).and_then(Hold::revocation);
            self.revocations.extend(revocation);
        }
    }
}

/// The open reservations, not stopped yet, that hold so.
fn holding(state: &OrganizationState, holds: impl Fn(&Hold) -> bool) -> Vec<ReservationNo> {
    let running = state.open().filter(|hold| hold.revoked().is_none());
    running.filter(|hold| holds(hold)).map(|hold| hold.no).collect()
}
