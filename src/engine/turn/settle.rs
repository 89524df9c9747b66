//! Commit and Release: what was held becomes what was used, or nothing.

use std::sync::Arc;

use smol_str::SmolStr;

use super::{Outcome, Turn, check_age, ended_otherwise};
use crate::{
    domain::{
        decision::Charged,
        error::SumTooLarge,
        event::{Booked, EntryKind, Event, Labels, Reserved, Settled, Touch},
        id::{KeyId, MemberId, Model, RequestId, TeamId},
        money::Nanos,
        operation::{Commit, DEFAULT_TTL, MAX_AGE},
        policy::Unit,
        price::Price,
        reservation_id::ReservationNo,
        time::Timestamp,
        usage::{Amounts, Usage},
    },
    engine::{
        conflict::Conflict,
        decide::{cost_of, touches_at},
        limit::amount_in,
        reservation::{End, Expired, Reservation, Settlement},
        state::OrganizationState,
    },
};

/// What a reservation's id tells of a hold that a crash forgot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    pub no: ReservationNo,
    pub key: KeyId,
    pub model: Model,
    pub admit_time: Timestamp,
}

/// What is to be booked, before it has an entry number.
pub(super) struct Bill {
    pub kind: EntryKind,
    pub reservation: Option<ReservationNo>,
    pub request: Option<RequestId>,
    pub fingerprint: u64,
    pub occurred_at: Timestamp,
    pub key: KeyId,
    pub model: Model,
    pub reserved_model: Option<Model>,
    pub price: Option<Price>,
    pub usage: Usage,
    pub total: Amounts,
    /// What expiry has booked of it.
    pub before: Booked,
    /// What its own hold still stands for.
    pub own: Amounts,
    pub wallet: bool,
    pub touches: Arc<[Touch]>,
    pub labels: Labels,
}

impl Bill {
    fn booked(&self) -> Booked {
        Booked::new(&self.usage, self.total).minus(self.before)
    }
}

impl Turn<'_> {
    /// Charges what was really used, whatever the limits say.
    ///
    /// # Errors
    /// [`Conflict`] when the reservation is unknown, too old or ended otherwise, or the cost is absurd.
    pub fn commit(&mut self, no: ReservationNo, commit: &Commit, fingerprint: u64) -> Outcome<Charged> {
        let reservation = match self.find(no)? {
            Reservation::Hold(hold) => hold,
            Reservation::Ended(ended) => {
                return match &ended.end {
                    End::Committed(settled) if settled.fingerprint == fingerprint => Ok(settled.charged(true)),
                    End::Committed(_) => Err(Conflict::SettledOtherwise),
                    end @ End::Released { .. } => Err(ended_otherwise(end)),
                };
            }
        };
        let (kind, before, own) = match &reservation.expired {
            None => (EntryKind::Commit, Booked::default(), reservation.held()),
            Some(Expired { charged }) => {
                let before = charged.as_ref().map(|settled| settled.booked).unwrap_or_default();
                (EntryKind::LateCommit, before, Amounts::ZERO)
            }
        };
        let (reserved, held, occurred_at) =
            (Arc::clone(&reservation.reserved), reservation.held(), reservation.admit_time);
        let other = commit.model.as_ref().filter(|model| **model != reserved.model);
        let (price, cost) = self.settling_cost(&reserved, other, &commit.usage, held)?;
        let bill = Bill {
            kind,
            reservation: Some(no),
            request: reserved.request.clone(),
            fingerprint,
            occurred_at,
            key: reserved.key.clone(),
            model: other.unwrap_or(&reserved.model).clone(),
            reserved_model: other.map(|_| reserved.model.clone()),
            price,
            usage: commit.usage,
            total: Amounts::new(&commit.usage, cost, reserved.factor),
            before,
            own,
            wallet: reserved.wallet,
            touches: Arc::clone(&reserved.touches),
            labels: reserved.labels.clone(),
        };
        let overage = self.overage(&bill)?;
        Ok(self.book(bill, overage))
    }

    /// What of a bill puts limits above their caps.
    ///
    /// # Errors
    /// [`SumTooLarge`] when a limit or the balance can't count the bill.
    pub(super) fn overage(&self, bill: &Bill) -> Result<Amounts, SumTooLarge> {
        overage(self.state, bill, bill.booked().amounts(), self.now)
    }

    /// A settlement is never refused for a price: where none is left, what was held is what it costs.
    pub(super) fn settling_cost(
        &self,
        reserved: &Reserved,
        other: Option<&Model>,
        usage: &Usage,
        held: Amounts,
    ) -> Outcome<(Option<Price>, Nanos)> {
        let prices = self.context.prices;
        let price = match other {
            Some(model) => prices.price(model).or(reserved.price),
            None => reserved.price.or_else(|| prices.price(&reserved.model)),
        };
        let price = price.filter(|_| usage.cost.is_none());
        Ok((price, cost_of(usage, price.as_ref())?.unwrap_or(held.usd)))
    }

    /// Books a bill under the next entry number and stops the work that it leaves no money for.
    pub(super) fn book(&mut self, bill: Bill, overage: Amounts) -> Charged {
        let booked = bill.booked();
        let is_nothing = bill.kind == EntryKind::LateCommit && booked.is_nothing();
        let wallet = if bill.wallet { -booked.cost } else { Nanos::ZERO };
        let (member, team) = match self.state.keys.find(&bill.key) {
            Some(row) => (row.entity.key.member.clone(), row.entity.key.team.clone()),
            // A key's row is never removed.
            None => (MemberId::trusted(""), TeamId::trusted("")),
        };
        let settled = Arc::new(Settled {
            entry: (!is_nothing).then_some(self.state.entry + 1),
            kind: bill.kind,
            reservation: bill.reservation,
            request: bill.request,
            fingerprint: bill.fingerprint,
            occurred_at: bill.occurred_at,
            key: bill.key,
            member,
            team,
            model: bill.model,
            reserved_model: bill.reserved_model,
            price: bill.price,
            usage: bill.usage,
            total: bill.total,
            booked,
            overage,
            wallet,
            balance: self.state.wallet.balance + wallet,
            touches: bill.touches,
            labels: bill.labels,
        });
        let (exhausted, crossed) = (self.exhausted_by(&settled), self.crossed_by(&settled));
        self.emit(Event::Settled(Arc::clone(&settled)));
        self.revoke_exhausted(exhausted);
        self.tell_crossed(crossed);
        if wallet != Nanos::ZERO {
            self.check_low_balance();
            self.check_auto_top_up();
        }
        Settlement::from(&*settled).charged(false)
    }

    /// Gives a hold back. Answers what was freed, and whether it had been before.
    ///
    /// # Errors
    /// [`Conflict`] when the reservation is unknown, too old or ended otherwise.
    pub fn release(&mut self, no: ReservationNo, reason: &SmolStr) -> Outcome<(Amounts, bool)> {
        let held = match self.find(no)? {
            Reservation::Hold(hold) => match &hold.expired {
                None => hold.held(),
                // Nothing was charged and nothing is held any more: what the caller asks for has happened.
                Some(Expired { charged: None }) => return Ok((Amounts::ZERO, true)),
                Some(Expired { charged: Some(_) }) => return Err(Conflict::ReservationExpired),
            },
            Reservation::Ended(ended) => {
                return match &ended.end {
                    End::Released { held, reason: before } if before == reason => Ok((*held, true)),
                    End::Released { .. } => Err(Conflict::SettledOtherwise),
                    end @ End::Committed(_) => Err(ended_otherwise(end)),
                };
            }
        };
        self.emit(Event::Released { reservation: no, reason: reason.clone() });
        Ok((held, false))
    }

    /// Lets a hold that a crash forgot stand again, holding nothing, so that it can be settled like any other. Changes nothing
    /// where it stands or stood already.
    ///
    /// # Errors
    /// [`Conflict`] when it is too old or its key isn't here.
    pub fn restore(&mut self, forgotten: &Forgotten) -> Outcome<()> {
        check_age(forgotten.admit_time, self.now)?;
        let key = self.state.keys.place(&forgotten.key).ok_or(Conflict::ReservationUnknown)?;
        if self.state.reservation(forgotten.no).is_some() || self.state.was_restored(forgotten.no) {
            return Ok(());
        }
        self.tick();
        self.open_counters(key);
        let touches = touches_at(self.state, key, &forgotten.model, forgotten.admit_time);
        let reserved = Reserved {
            request: None,
            fingerprint: 0,
            key: forgotten.key.clone(),
            model: forgotten.model.clone(),
            price: self.context.prices.price(&forgotten.model),
            factor: self.state.organization.credit_factor,
            usage: Usage::default(),
            held: Amounts::ZERO,
            wallet: self.state.wallet_binds(),
            touches: Arc::from(touches.as_slice()),
            expire_time: (self.now + DEFAULT_TTL).min(forgotten.admit_time + MAX_AGE),
            holder: None,
            labels: None,
        };
        let (reservation, admit_time) = (forgotten.no, forgotten.admit_time);
        self.emit(Event::Restored { reservation, admit_time, reserved: Arc::new(reserved) });
        self.revoke_restored(key, &touches);
        Ok(())
    }
}

/// What of the bill was not held and puts a limit above its cap: in each unit the worst of its limits.
///
/// # Errors
/// [`SumTooLarge`] when a limit or the balance can't count the bill.
fn overage(state: &OrganizationState, bill: &Bill, booked: Amounts, now: Timestamp) -> Result<Amounts, SumTooLarge> {
    let freed = Amounts::ZERO.minus(bill.own);
    let mut overage = Amounts::ZERO;
    for touch in bill.touches.iter().filter(|touch| touch.unit != Unit::InFlight) {
        let Some(entry) = state.limit(touch.limit) else { continue };
        let excess = entry.excess_after(touch, booked, freed, now)?;
        if !state.binds(touch.unit) {
            continue;
        }
        let not_held = amount_in(touch.unit, booked).saturating_sub(amount_in(touch.unit, bill.own)).max(0);
        let over = excess.min(not_held);
        match touch.unit {
            Unit::Usd => overage.usd = overage.usd.max(Nanos::new(over)),
            Unit::Credits => overage.credits = overage.credits.max(Nanos::new(over)),
            Unit::TokensPerMinute => overage.tokens = overage.tokens.max(over),
            Unit::RequestsPerMinute => overage.requests = overage.requests.max(over),
            Unit::InFlight => {}
        }
    }
    if bill.wallet {
        let not_held = (booked.usd - bill.own.usd).at_least_zero();
        let left = state.wallet.balance - booked.usd - (state.wallet.held - bill.own.usd);
        // With what the other holds may still charge.
        if left < -Nanos::MAX_SUM && not_held.is_positive() {
            return Err(SumTooLarge { what: String::from("what the balance is below zero") });
        }
        overage.usd = overage.usd.max((-left).at_least_zero().min(not_held));
    }
    Ok(overage)
}
