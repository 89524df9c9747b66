//! Commit and Release: what was held becomes what was used, or nothing.

use std::sync::Arc;

use smol_str::SmolStr;

use super::{Outcome, Turn, check_age, ended_otherwise};
use crate::{
    domain::{
        allocation::Drawn,
        decision::{Charged, Released},
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
        decide::{cost_of, narrowed, touches_at, touches_of_ran},
        limit::amount_in,
        reservation::{End, Expired, Hold, Reservation, Settlement},
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
    pub takes_back: bool,
    /// What its own hold still stands for, and on which limits.
    pub own: Amounts,
    pub held_on: Arc<[Touch]>,
    pub wallet: bool,
    /// The limits that count it.
    pub touches: Arc<[Touch]>,
    pub labels: Labels,
    pub reason: Option<SmolStr>,
}

impl Bill {
    /// Bills usage of a reservation's own model to the limits that it was held on.
    pub(super) fn of(hold: &Hold, kind: EntryKind, usage: Usage, total: Amounts) -> Self {
        let reserved = &hold.reserved;
        Self {
            kind,
            reservation: Some(hold.no),
            request: reserved.request.clone(),
            fingerprint: 0,
            occurred_at: hold.admit_time,
            key: reserved.key.clone(),
            model: reserved.model.clone(),
            reserved_model: None,
            price: reserved.price,
            usage,
            total,
            before: Booked::default(),
            takes_back: false,
            own: if hold.is_open() { hold.held() } else { Amounts::ZERO },
            held_on: Arc::clone(&reserved.touches),
            wallet: reserved.wallet,
            touches: Arc::clone(&reserved.touches),
            labels: reserved.labels.clone(),
            reason: None,
        }
    }

    fn booked(&self) -> Booked {
        Booked::new(&self.usage, self.total).minus(self.before)
    }

    /// Returns what its own hold stands for on a limit that counts it.
    fn own_on(&self, touch: &Touch) -> Amounts {
        let is_held_on = Arc::ptr_eq(&self.held_on, &self.touches) || self.held_on.contains(touch);
        if is_held_on { self.own } else { Amounts::ZERO }
    }

    /// Returns what booking so many credits changes of what the team's pool bears: the split is made anew.
    fn drawn(&self, state: &OrganizationState, credits: Nanos) -> Drawn {
        state.redrawn(&self.key, &self.touches, credits, Nanos::ZERO - self.own.credits)
    }
}

/// What ran, and what it comes to.
struct Ran {
    usage: Usage,
    price: Option<Price>,
    cost: Nanos,
    touches: Arc<[Touch]>,
}

impl Turn<'_> {
    /// Charges what was really used, whatever the limits say, to those that bind the model that ran.
    ///
    /// # Errors
    /// [`Conflict`] when the reservation is unknown, too old or ended otherwise, or the usage is absurd.
    pub fn commit(&mut self, no: ReservationNo, commit: &Commit, fingerprint: u64) -> Outcome<Charged> {
        let hold = match self.find(no)? {
            Reservation::Hold(hold) => Hold::clone(hold),
            Reservation::Ended(ended) => {
                return match &ended.end {
                    End::Committed(settled) if settled.fingerprint == fingerprint => Ok(settled.charged(true)),
                    End::Committed(_) => Err(Conflict::SettledOtherwise),
                    end @ End::Released { .. } => Err(ended_otherwise(end)),
                };
            }
        };
        let reserved = &hold.reserved;
        let other = commit.model.as_ref().filter(|model| **model != reserved.model);
        let Ran { usage, price, cost, touches } = self.ran(&hold, other, &commit.usage)?;
        let expired = hold.expired.as_ref().and_then(|expired| expired.charged.as_deref());
        let bill = Bill {
            fingerprint,
            model: other.unwrap_or(&reserved.model).clone(),
            reserved_model: other.map(|_| reserved.model.clone()),
            price,
            before: expired.filter(|_| other.is_none()).map(|charged| charged.booked).unwrap_or_default(),
            touches,
            ..Bill::of(&hold, commit_kind(&hold), usage, Amounts::new(&usage, cost, reserved.factor))
        };
        let taken_back = expired.filter(|_| other.is_some());
        let overage = self.overage(&bill, taken_back)?;
        if let Some(charged) = taken_back {
            self.take_back(&hold, charged);
        }
        Ok(self.book(bill, overage))
    }

    /// Returns what ran where a hold is committed, read and priced, with the limits that bind it.
    fn ran(&self, hold: &Hold, other: Option<&Model>, usage: &Usage) -> Outcome<Ran> {
        let Hold { reserved, admit_time, .. } = hold;
        let (usage, price, cost) = self.settling_cost(hold, other, usage)?;
        let touches = match other {
            None => Arc::clone(&reserved.touches),
            Some(other) => {
                // Providers answer with dated names: only one that has a price takes the reserved model's place.
                let replaces = self.context.prices.price(other).is_some();
                let touches = touches_of_ran(self.state, reserved, *admit_time, (other, replaces));
                Arc::from(touches.as_slice())
            }
        };
        Ok(Ran { usage, price, cost, touches })
    }

    /// Takes back what expiry charged on the reserved model's limits, because another model ran.
    fn take_back(&mut self, hold: &Hold, charged: &Settled) {
        let bill = Bill {
            price: charged.price,
            usage: Usage::default(),
            before: charged.booked,
            takes_back: true,
            wallet: charged.wallet != Nanos::ZERO,
            ..Bill::of(hold, EntryKind::Expiry, Usage::default(), Amounts::ZERO)
        };
        // What the balance and the limits are then is for a moment only: the charge that follows is judged.
        let settled = self.settled(bill, Amounts::ZERO);
        self.emit(Event::Settled(settled));
    }

    /// Returns what of a bill puts limits above their caps, once what is `taken_back` before it is gone.
    ///
    /// # Errors
    /// [`SumTooLarge`] when a limit or the balance can't count the bill.
    pub(super) fn overage(&self, bill: &Bill, taken_back: Option<&Settled>) -> Result<Amounts, SumTooLarge> {
        let back = taken_back.map_or(Amounts::ZERO, |charged| charged.booked.amounts());
        overage(self.state, bill, back, self.now)
    }

    /// Reads and prices what was used of a hold, where another model ran by the price of that. A settlement is never refused for a
    /// price: without one the reserved price counts, and where there was none, what was held is what it costs.
    pub(super) fn settling_cost(
        &self,
        hold: &Hold,
        other: Option<&Model>,
        usage: &Usage,
    ) -> Outcome<(Usage, Option<Price>, Nanos)> {
        let (reserved, prices) = (&hold.reserved, self.context.prices);
        let price = match other {
            Some(model) => prices.price(model).or(reserved.price),
            None => reserved.price.or_else(|| prices.price(&reserved.model)),
        };
        let usage = usage.read(hold.cache_is_outside(), price.as_ref());
        let price = price.filter(|_| usage.cost.is_none());
        let cost = cost_of(&usage, price.as_ref(), reserved.factor)?.unwrap_or(hold.held().usd);
        Ok((usage, price, cost))
    }

    /// Books a bill under the next entry number and stops the work that it leaves no money for.
    pub(super) fn book(&mut self, bill: Bill, overage: Amounts) -> Charged {
        let settled = self.settled(bill, overage);
        let (exhausted, crossed) = (self.exhausted_by(&settled), self.crossed_by(&settled));
        self.emit(Event::Settled(Arc::clone(&settled)));
        self.revoke_exhausted(exhausted);
        self.tell_crossed(crossed);
        if settled.wallet != Nanos::ZERO {
            self.check_low_balance();
            self.check_auto_top_up();
        }
        Settlement::from(&*settled).charged(false)
    }

    /// Makes the entry of a bill.
    fn settled(&self, bill: Bill, overage: Amounts) -> Arc<Settled> {
        let booked = bill.booked();
        let is_nothing = bill.kind == EntryKind::LateCommit && booked.is_nothing();
        let wallet = if bill.wallet { -booked.cost } else { Nanos::ZERO };
        let (member, team) = match self.state.keys.find(&bill.key) {
            Some(row) => (row.entity.key.member.clone(), row.entity.key.team.clone()),
            // A key's row stays as long as anything of it can be settled.
            None => (MemberId::trusted(""), TeamId::trusted("")),
        };
        let drawn = bill.drawn(self.state, booked.credits);
        Arc::new(Settled {
            entry: (!is_nothing).then_some(self.state.entry + 1),
            kind: bill.kind,
            reservation: bill.reservation,
            request: bill.request,
            fingerprint: bill.fingerprint,
            takes_back: bill.takes_back,
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
            drawn,
            touches: bill.touches,
            labels: bill.labels,
            reason: bill.reason,
        })
    }

    /// Gives a hold back, but for what was reported as used: that is charged, as expiry would charge it.
    ///
    /// # Errors
    /// [`Conflict`] when the reservation is unknown, too old or ended otherwise.
    pub fn release(&mut self, no: ReservationNo, reason: &SmolStr) -> Outcome<Released> {
        let hold = match self.find(no)? {
            Reservation::Hold(hold) => match &hold.expired {
                None => Hold::clone(hold),
                // Nothing was charged and nothing is held any more: what the caller asks for has happened.
                Some(Expired { charged: None }) => return Ok(self.released(Amounts::ZERO, None, true)),
                Some(Expired { charged: Some(_) }) => return Err(Conflict::ReservationExpired),
            },
            Reservation::Ended(ended) => {
                return match &ended.end {
                    End::Released { held, reason: before, charged } if before == reason => {
                        let charged = charged.as_ref().map(|settlement| settlement.charged(true));
                        let held = *held;
                        Ok(self.released(held, charged.as_ref(), true))
                    }
                    End::Released { .. } => Err(Conflict::SettledOtherwise),
                    end @ End::Committed(_) => Err(ended_otherwise(end)),
                };
            }
        };
        let Some((usage, total)) = hold.progress() else {
            let drawn = self.freed(&hold);
            self.emit(Event::Released { reservation: no, reason: reason.clone(), drawn });
            return Ok(self.released(hold.held(), None, false));
        };
        let bill = Bill { reason: Some(reason.clone()), ..Bill::of(&hold, EntryKind::Release, usage, total) };
        let overage = self.overage(&bill, None)?;
        let charged = self.book(bill, overage);
        Ok(self.released(hold.held(), Some(&charged), false))
    }

    fn released(&self, held: Amounts, charged: Option<&Charged>, replayed: bool) -> Released {
        let (total, entry, balance) = match charged {
            Some(Charged { charged, entry, balance, .. }) => (*charged, *entry, *balance),
            None => (Amounts::ZERO, 0, self.state.wallet.balance),
        };
        Released { released: held.minus(total).max(Amounts::ZERO), charged: total, entry, balance, replayed }
    }

    /// Returns the change of what the team's pool holds once a hold is gone.
    pub(super) fn freed(&self, hold: &Hold) -> Nanos {
        let Reserved { key, touches, .. } = &*hold.reserved;
        self.state.redrawn(key, touches, Nanos::ZERO, Nanos::ZERO - hold.held().credits).held
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
            drawn: Nanos::ZERO,
            touches: Arc::from(touches.as_slice()),
            narrowed: Box::from(narrowed(self.state, key, &forgotten.model).as_slice()),
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

/// Says as what a hold is committed: in time, or after it expired.
fn commit_kind(hold: &Hold) -> EntryKind {
    if hold.is_open() { EntryKind::Commit } else { EntryKind::LateCommit }
}

/// Returns what of the bill was not held and puts the team's pool above its cap, once what is taken `back` is gone.
fn over_pool(state: &OrganizationState, bill: &Bill, back: Amounts) -> Nanos {
    let pool = state.pool_of(&bill.key).and_then(|no| state.limit(no)).filter(|_| state.binds(Unit::Credits));
    let room = pool.and_then(|entry| entry.room(&entry.standing(state.allocations.cycle.start)));
    let Some(room) = room else { return Nanos::ZERO };
    let gone = state.redrawn(&bill.key, &bill.touches, Nanos::ZERO - back.credits, Nanos::ZERO).total();
    let more = bill.drawn(state, bill.booked().credits - back.credits).total() - gone;
    (more - (Nanos::new(room) - gone).at_least_zero()).min(more).at_least_zero()
}

/// What of the bill was not held and puts a limit above its cap: in each unit the worst of its limits. `back` is what its own expiry
/// charged on the limits that it was held on, and is taken back before.
///
/// # Errors
/// [`SumTooLarge`] when a limit or the balance can't count the bill.
fn overage(state: &OrganizationState, bill: &Bill, back: Amounts, now: Timestamp) -> Result<Amounts, SumTooLarge> {
    let booked = bill.booked().amounts();
    let mut overage = Amounts { credits: over_pool(state, bill, back), ..Amounts::ZERO };
    for touch in bill.touches.iter().filter(|touch| touch.unit != Unit::InFlight) {
        let Some(entry) = state.limit(touch.limit) else { continue };
        let own = bill.own_on(touch);
        let gives_back = back != Amounts::ZERO && bill.held_on.contains(touch) && entry.gives_back(touch, now);
        let gone = if gives_back { back } else { Amounts::ZERO };
        let excess = entry.excess_after(touch, booked.minus(gone), Amounts::ZERO.minus(own), now)?;
        if !state.binds(touch.unit) || state.is_over(entry, touch.window) {
            continue;
        }
        let not_held = amount_in(touch.unit, booked).saturating_sub(amount_in(touch.unit, own)).max(0);
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
        let left = state.wallet.balance + back.usd - booked.usd - (state.wallet.held - bill.own.usd);
        // With what the other holds may still charge.
        if left < -Nanos::MAX_SUM && not_held.is_positive() {
            return Err(SumTooLarge { what: String::from("what the balance is below zero") });
        }
        overage.usd = overage.usd.max((-left).at_least_zero().min(not_held));
    }
    Ok(overage)
}
