//! Puts events into effect: the only code that changes an organization's state, live and in replay.
//!
//! Never consults prices, settings, zone data or a clock: all that is needed stands in the record.

use std::sync::Arc;

use smol_str::SmolStr;

use super::{Closed, ClosedWhat, OrganizationState, Taken, Whose};
use crate::{
    domain::{
        event::{EntryKind, Event, Extended, Record, Reserved, Settled, Touch},
        id::{KeyId, RequestId},
        money::Nanos,
        operation::MAX_AGE,
        payment::{CorrectedLimit, Correction},
        reservation_id::ReservationNo,
        time::Timestamp,
        usage::Amounts,
    },
    engine::{
        limit::Counter,
        reservation::{End, Expired, Hold, Reservation, Settlement},
    },
};

/// How an open reservation ends.
enum Closing {
    Expired(Expired),
    Committed(Settlement),
    Released(SmolStr, Option<Box<Settlement>>),
}

/// A record that doesn't continue the state: the journal and the snapshot don't belong together, or one is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {sequence} of {organization}: {problem}")]
pub struct Inconsistent {
    pub organization: String,
    pub sequence: u64,
    pub problem: String,
}

impl OrganizationState {
    /// # Errors
    /// [`Inconsistent`] when the record doesn't continue the state. Live records always do.
    pub fn apply(&mut self, record: &Record) -> Result<(), Inconsistent> {
        let inconsistent = |problem: String| Inconsistent {
            organization: self.organization.id.to_string(),
            sequence: record.sequence,
            problem,
        };
        if record.sequence != self.sequence + 1 {
            return Err(inconsistent(format!("event {} was expected", self.sequence + 1)));
        }
        if let Some(unknown) = self.unknown_reservation(&record.event) {
            return Err(inconsistent(format!("reservation {unknown:?} isn't open")));
        }
        self.note_record(record);
        match &record.event {
            Event::RequestTaken { request, fingerprint, created } => {
                let taken = Taken::Created { fingerprint: *fingerprint, id: created.clone() };
                self.take(request, taken, record.time);
            }
            Event::Reserved(reserved) => {
                let no = ReservationNo { epoch: record.epoch, sequence: record.sequence };
                self.apply_reserved(no, record.time, reserved, record.time);
            }
            Event::Restored { reservation, admit_time, reserved } => {
                self.restored.retain(|_, admitted| record.time - *admitted <= MAX_AGE);
                self.restored.insert(*reservation, *admit_time);
                self.apply_reserved(*reservation, *admit_time, reserved, record.time);
            }
            Event::Extended(extended) => self.apply_extended(extended, record.time),
            Event::Released { reservation, reason, drawn } => {
                self.free_drawn(*reservation, *drawn, record.time);
                self.close(*reservation, None, Closing::Released(reason.clone(), None), record.time);
            }
            Event::Expired { reservation, drawn } => {
                self.free_drawn(*reservation, *drawn, record.time);
                let expired = Expired { charged: None };
                self.close(*reservation, None, Closing::Expired(expired), record.time);
            }
            Event::Settled(settled) => self.apply_settled(settled, record.time),
            Event::Revoked { reservation, cause } => {
                if let Some(hold) = self.hold_mut(*reservation) {
                    hold.revoke(cause, record.time);
                    hold.sequence = record.sequence;
                    if let Some(holder) = hold.reserved.holder.clone() {
                        self.revoked.insert((holder, *reservation));
                    }
                }
            }
            Event::ToppedUp(top_up) => {
                self.wallet.balance = top_up.balance;
                self.entry = top_up.entry;
            }
            Event::Corrected(correction) => self.apply_corrected(correction, record.time),
            other => {
                self.note_frequency(record);
                self.administer(other, record.time);
                self.note_end(record);
            }
        }
        // What is taken back is charged again at once.
        if !matches!(&record.event, Event::Settled(settled) if settled.takes_back) {
            self.payments.note_free(self.wallet.balance - self.wallet.held);
        }
        Ok(())
    }

    /// The reservation that an event presumes open and that isn't.
    fn unknown_reservation(&self, event: &Event) -> Option<ReservationNo> {
        let no = match event {
            Event::Extended(extended) => extended.reservation,
            Event::Released { reservation, .. }
            | Event::Expired { reservation, .. }
            | Event::Revoked { reservation, .. } => *reservation,
            _ => return None,
        };
        let open = self.reservation(no).is_some_and(Reservation::is_open);
        (!open).then_some(no)
    }

    fn apply_reserved(&mut self, no: ReservationNo, admitted: Timestamp, reserved: &Arc<Reserved>, now: Timestamp) {
        self.touch(&reserved.touches, Amounts::ZERO, reserved.held, 1, now);
        self.hold_of_pool(&reserved.key, reserved.drawn, now);
        if reserved.wallet {
            self.wallet.held += reserved.held.usd;
        }
        self.expiries.insert((reserved.expire_time, no));
        self.count_open(&reserved.key, 1);
        if let Some(request) = &reserved.request {
            self.requests.insert(request.clone(), Taken::Reservation(no));
        }
        let hold = Hold::open(no, admitted, Arc::clone(reserved), self.sequence);
        self.reservations.insert(no, Reservation::Hold(Box::new(hold)));
    }

    fn count_open(&mut self, key: &KeyId, by: i32) {
        if let Some(row) = self.keys.place(key).and_then(|at| self.keys.row_mut(at)) {
            row.entity.open = row.entity.open.saturating_add_signed(by);
        }
    }

    fn apply_extended(&mut self, extended: &Extended, now: Timestamp) {
        let sequence = self.sequence;
        let Some(hold) = self.hold_mut(extended.reservation) else { return };
        let reserved = Arc::clone(&hold.reserved);
        let (before, more) = (hold.expire_time(), extended.held.minus(hold.held()));
        hold.extend(extended);
        hold.sequence = sequence;
        self.expiries.remove(&(before, extended.reservation));
        self.expiries.insert((extended.expire_time, extended.reservation));
        if reserved.wallet {
            self.wallet.held += more.usd;
        }
        self.touch(&reserved.touches, Amounts::ZERO, more, 0, now);
        self.hold_of_pool(&reserved.key, extended.drawn, now);
    }

    fn apply_settled(&mut self, settled: &Arc<Settled>, now: Timestamp) {
        if let Some(entry) = settled.entry {
            self.entry = entry;
            self.wallet.balance = settled.balance;
        }
        let booked = settled.booked.amounts();
        let whose = Whose { key: &settled.key, team: &settled.team, member: &settled.member };
        self.draw_on_pool(whose, settled.drawn, now);
        if booked.credits != Nanos::ZERO
            && self.is_of_this_cycle(self.allocations.total, &settled.touches)
            && let Some(places) = self.places_of(whose)
        {
            self.allocations.use_credits(places.team, places.member, booked.credits);
        }
        match settled.reservation {
            Some(no) if self.reservation(no).is_some_and(Reservation::is_open) => {
                let closing = match settled.kind {
                    EntryKind::Expiry => Closing::Expired(Expired { charged: Some(Arc::clone(settled)) }),
                    EntryKind::Release => {
                        let charged = Box::new(Settlement::from(&**settled));
                        Closing::Released(settled.reason.clone().unwrap_or_default(), Some(charged))
                    }
                    _ => Closing::Committed(Settlement::from(&**settled)),
                };
                self.close(no, Some((&settled.touches, booked)), closing, now);
            }
            Some(no) => {
                self.touch(&settled.touches, booked, Amounts::ZERO, 0, now);
                if settled.takes_back {
                    self.forget_charge(no);
                } else {
                    self.end(no, End::Committed(Settlement::from(&**settled)));
                }
            }
            None => {
                self.touch(&settled.touches, booked, Amounts::ZERO, 0, now);
                if let Some(request) = &settled.request {
                    self.take(request, Taken::Charge(Arc::new(Settlement::from(&**settled))), now);
                }
            }
        }
    }

    fn apply_corrected(&mut self, correction: &Correction, now: Timestamp) {
        self.wallet.balance = correction.balance;
        self.entry = correction.entry;
        self.requests.insert(correction.request.clone(), Taken::Correction(Box::new(correction.clone())));
        self.payments.correct(correction);
        let Some(usage) = &correction.usage else { return };
        for corrected in usage.limits.iter() {
            if let Some(entry) = self.counter_mut(corrected.limit)
                && let Counter::Budget(windows) = &mut entry.counter
            {
                windows.add(corrected.window, corrected.amount, Nanos::ZERO, now);
            }
        }
        let whose = Whose { key: &usage.key, team: &usage.team, member: &usage.member };
        self.draw_on_pool(whose, usage.drawn, now);
        let of_total = |corrected: &CorrectedLimit| {
            Some(corrected.limit) == self.allocations.total && corrected.window == self.allocations.cycle.start
        };
        if usage.limits.iter().any(of_total)
            && let Some(places) = self.places_of(whose)
        {
            self.allocations.use_credits(places.team, places.member, usage.credits);
        }
    }

    /// Changes what a pool holds for an open reservation.
    fn free_drawn(&mut self, no: ReservationNo, held: Nanos, now: Timestamp) {
        if held != Nanos::ZERO
            && let Some(key) = self.hold(no).map(|hold| hold.reserved.key.clone())
        {
            self.hold_of_pool(&key, held, now);
        }
    }

    /// Leaves an expired hold without the charge that was taken back, so that it can't be taken back twice.
    fn forget_charge(&mut self, no: ReservationNo) {
        let sequence = self.sequence;
        if let Some(hold) = self.hold_mut(no) {
            hold.expired = Some(Expired { charged: None });
            hold.sequence = sequence;
        }
    }

    /// Ends an open reservation: its hold goes, what was charged counts on the limits that it was charged on.
    fn close(&mut self, no: ReservationNo, charged: Option<(&[Touch], Amounts)>, closing: Closing, now: Timestamp) {
        let sequence = self.sequence;
        let Some(reservation) = self.hold_mut(no) else { return };
        let reserved = Arc::clone(&reservation.reserved);
        let (expire_time, held) = (reservation.expire_time(), reservation.held());
        let revoked = reservation.revoked().and_then(|_| reserved.holder.clone());
        match closing {
            Closing::Expired(expired) => {
                reservation.expired = Some(expired);
                reservation.sequence = sequence;
            }
            Closing::Committed(settlement) => self.end(no, End::Committed(settlement)),
            Closing::Released(reason, charged) => self.end(no, End::Released { held, reason, charged }),
        }
        self.expiries.remove(&(expire_time, no));
        if let Some(holder) = revoked {
            self.revoked.remove(&(holder, no));
        }
        self.count_open(&reserved.key, -1);
        if reserved.wallet {
            self.wallet.held -= held.usd;
        }
        let charged = charged.unwrap_or((&reserved.touches, Amounts::ZERO));
        self.replace_hold((&reserved.touches, held), charged, now);
        self.closed.push_back(Closed { time: now, sequence: self.sequence, what: ClosedWhat::Reservation(no) });
    }

    /// Nothing of it can be settled any more: only what answers repeats is kept.
    fn end(&mut self, no: ReservationNo, end: End) {
        let sequence = self.sequence;
        if let Some(reservation) = self.reservations.get_mut(&no)
            && let Reservation::Hold(hold) = reservation
        {
            *reservation = Reservation::Ended(Arc::new(hold.ended(end, sequence)));
        }
    }

    fn take(&mut self, request: &RequestId, taken: Taken, now: Timestamp) {
        self.requests.insert(request.clone(), taken);
        let what = ClosedWhat::Request(request.clone());
        self.closed.push_back(Closed { time: now, sequence: self.sequence, what });
    }
}
