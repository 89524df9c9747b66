//! What memory needn't keep, and what it takes back from the books. No part of the history: the answers are the same.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{ClosedWhat, OrganizationState, Taken};
use crate::{
    domain::{
        access::{Invitation, InvitationState},
        allocation::CreditRequestState,
        ended::{Ended, EndedName, ended_by},
        event::Record,
        fold,
        id::{KeyId, OrderId, RequestId},
        payment::OrderState,
        reservation_id::ReservationNo,
        time::{Span, Timestamp},
    },
    engine::{reservation::Reservation, table::KeyRow},
};

/// The queue of what ended gives room back once it uses less than this part of it.
const SPARSE: usize = 8;
/// Most that one call forgets, so that it holds the organization's lock only shortly.
const AT_ONCE: usize = 256;

/// What an automatic order was before is known as long as it counts on the cap of its month.
const MONTH: Span = Span::seconds(32 * 86_400);
/// Nothing of a key can be settled any more so long after it was deleted: reservations live for a day, and a late Commit may come
/// for another.
const SETTLED: Span = Span::seconds(2 * 86_400);
/// How long something of the control plane stays that was taken back, and how much of it.
const RECALLED_FOR: Span = Span::seconds(60);
const RECALLED: usize = 1024;

/// When something of the control plane was over, or was changed after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndedAt {
    time: Timestamp,
    sequence: u64,
    name: EndedName,
}

/// No part of the history: two states are the same whatever was taken back.
#[derive(Debug, Clone, Default)]
pub(super) struct Recalled(VecDeque<(Timestamp, EndedName)>);

impl PartialEq for Recalled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Recalled {}

/// Holds the time at which something was forgotten last. No part of the history either.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct ForgottenAt(Timestamp);

impl Default for ForgottenAt {
    fn default() -> Self {
        Self(Timestamp::EPOCH)
    }
}

impl PartialEq for ForgottenAt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ForgottenAt {}

impl OrganizationState {
    pub(super) fn note_end(&mut self, record: &Record) {
        if let Some(name) = ended_by(&record.event) {
            self.ended.push_back(EndedAt { time: record.time, sequence: record.sequence, name });
        }
    }

    /// Forgets what of the control plane has been over for `remember`, as far as the books have it (`stored` is the last sequence
    /// in them). Answers how much it forgot; call again while that is not 0. Adds the `keys` among it: others know those too.
    pub fn forget_ended(&mut self, now: Timestamp, remember: Span, stored: u64, keys: &mut Vec<KeyId>) -> usize {
        while self.recalled.0.front().is_some_and(|(since, _)| *since + RECALLED_FOR <= now) {
            self.end_recall();
        }
        let mut forgotten = 0;
        while forgotten < AT_ONCE {
            let Some(oldest) = self.ended.front() else { break };
            if oldest.sequence > stored || !self.is_due(oldest, now, remember) {
                break;
            }
            let Some(EndedAt { time, sequence, name }) = self.ended.pop_front() else { break };
            forgotten += 1;
            if self.ends_later(&name, now, remember) {
                self.ended.push_back(EndedAt { time: now, sequence, name });
                continue;
            }
            self.forget_one(&name, time);
            self.forgotten_at.0 = now;
            if let EndedName::Key(id) = name {
                keys.push(id);
            }
        }
        if self.ended.len() < self.ended.capacity() / SPARSE {
            self.ended.shrink_to(self.ended.len() * 2);
        }
        forgotten
    }

    /// Returns whether an invitation can be accepted still, or ended only lately: it is looked at again as long after.
    fn ends_later(&self, name: &EndedName, now: Timestamp, remember: Span) -> bool {
        let EndedName::Invitation(id) = name else { return false };
        let Some(Invitation { state, expire_time, update_time, .. }) = self.invitations.find(id).map(|row| &row.entity)
        else {
            return false;
        };
        let end = if *state == InvitationState::Pending { *expire_time } else { *update_time };
        end + remember > now
    }

    /// Returns whether what is missing here, or in the other state that the same events lead to, may have been forgotten because
    /// its time was over.
    pub(super) fn may_have_expired(&self, other: &Self, expire_time: Timestamp) -> bool {
        expire_time <= self.forgotten_at.0.max(other.forgotten_at.0)
    }

    fn is_due(&self, ended: &EndedAt, now: Timestamp, remember: Span) -> bool {
        let least = match &ended.name {
            EndedName::Order(_) => MONTH,
            // Looked at again once it has passed.
            EndedName::Invitation(_) => Span::DAY,
            EndedName::Key(_) => SETTLED,
            _ => Span::ZERO,
        };
        let is_held = match &ended.name {
            EndedName::Key(id) => self.keys.find(id).is_some_and(|row| {
                // The secret before its last one may be taken still.
                row.entity.open > 0 || row.entity.key.previous_until.is_some_and(|until| until > now)
            }),
            _ => false,
        };
        ended.time + remember.max(least) <= now && !is_held
    }

    /// Takes a deleted key away, with what it counted under rules.
    fn forget_key(&mut self, id: &KeyId) {
        let Some(place) = self.keys.place(id) else { return };
        let Some(KeyRow { key, counters, .. }) = self.keys.row(place).map(|row| &row.entity) else { return };
        if !key.deleted {
            return;
        }
        for (rule, no) in counters.clone() {
            self.drop_entry(no);
            if let Some(used) = self.rules.used(rule) {
                used.counters.remove(&place);
            }
        }
        self.keys.remove(id);
    }

    fn forget_one(&mut self, name: &EndedName, since: Timestamp) {
        match name {
            EndedName::CreditRequest(id) => {
                let state = self.credit_requests.find(id).map(|row| row.entity.state);
                if state.is_some_and(|state| state != CreditRequestState::Pending) {
                    self.credit_requests.remove(id);
                }
            }
            EndedName::Order(id) => {
                let order = self.payments.order(id);
                // One that failed may have been settled since.
                if order.is_some_and(|order| order.state != OrderState::Pending && order.update_time <= since)
                    && let Some(order) = self.payments.orders.remove(id)
                {
                    self.forget_order_request(&order.request, id);
                }
            }
            EndedName::Alert(id) => self.alerts.forget(id),
            EndedName::Invitation(id) => {
                if let Some(invitation) = self.invitations.remove(id) {
                    let email = fold::address(&invitation.email);
                    if self.invited.get(&email) == Some(id) {
                        self.invited.remove(&email);
                    }
                }
            }
            EndedName::PaymentMethod(id) => {
                if self.payments.methods.find(id).is_some_and(|row| row.entity.deleted) {
                    self.payments.methods.remove(id);
                }
            }
            EndedName::Key(id) => self.forget_key(id),
            EndedName::Rule(id) => self.rules.forget(id),
        }
        self.has_forgotten_ended = true;
    }

    fn forget_order_request(&mut self, request: &RequestId, id: &OrderId) {
        if matches!(self.requests.get(request), Some(Taken::Order(taken)) if taken == id) {
            self.requests.remove(request);
        }
    }

    /// Whether the books may know something of this name that memory doesn't.
    pub fn may_have_ended(&self, name: &EndedName) -> bool {
        let is_known = match name {
            EndedName::CreditRequest(id) => self.credit_requests.find(id).is_some(),
            EndedName::Order(id) => self.payments.order(id).is_some(),
            // Those beyond a count are forgotten whenever they ended.
            EndedName::Alert(id) => return self.alerts.may_have_forgotten(id, self.sequence),
            EndedName::Invitation(id) => self.invitations.find(id).is_some(),
            EndedName::PaymentMethod(id) => self.payments.methods.find(id).is_some(),
            EndedName::Key(id) => self.keys.find(id).is_some(),
            EndedName::Rule(id) => self.rules.rules.find(id).is_some(),
        };
        self.has_forgotten_ended && !is_known
    }

    /// Whether the books may know an order under this request id that memory doesn't.
    pub fn may_have_ordered(&self, request: &RequestId) -> bool {
        self.has_forgotten_ended && self.taken(request).is_none()
    }

    /// Takes back from the books, for a while, what is over: so that it is found by its id.
    pub fn recall_ended(&mut self, ended: Ended, now: Timestamp) {
        self.recalled.0.push_back((now, ended.name()));
        match ended {
            Ended::CreditRequest(request) => self.credit_requests.recall(*request),
            Ended::Order(order) => {
                let taken = || Taken::Order(order.id.clone());
                self.requests.entry(order.request.clone()).or_insert_with(taken);
                self.payments.orders.recall(*order);
            }
            Ended::Alert(alert) => self.alerts.recall(*alert),
            Ended::Invitation(invitation) => self.invitations.recall(*invitation),
            Ended::PaymentMethod(method) => self.payments.methods.recall(*method),
            Ended::Rule(rule) => self.rules.rules.recall(*rule),
            Ended::Key(key) => {
                if let Some(row) = self.row_of(&key) {
                    self.keys.recall(row);
                }
            }
        }
        while self.recalled.0.len() > RECALLED {
            self.end_recall();
        }
    }

    /// Gives up again what was taken back first.
    fn end_recall(&mut self) {
        let Some((_, name)) = self.recalled.0.pop_front() else { return };
        match name {
            EndedName::CreditRequest(id) => self.credit_requests.end_recall(&id),
            EndedName::Order(id) => {
                let request = self.payments.order(&id).map(|order| order.request.clone());
                self.payments.orders.end_recall(&id);
                if let (Some(request), None) = (request, self.payments.order(&id)) {
                    self.forget_order_request(&request, &id);
                }
            }
            EndedName::Alert(id) => self.alerts.end_recall(&id),
            EndedName::Invitation(id) => self.invitations.end_recall(&id),
            EndedName::PaymentMethod(id) => self.payments.methods.end_recall(&id),
            EndedName::Key(id) => self.keys.end_recall(&id),
            EndedName::Rule(id) => self.rules.rules.end_recall(&id),
        }
    }

    /// Forgets what was over before `before`, and the oldest beyond `keep`, as far as the books have it (`stored` is the
    /// last sequence in them). Answers how much it forgot; call again while that is not 0.
    pub fn forget(&mut self, before: Timestamp, keep: usize, stored: u64) -> usize {
        let mut forgotten = 0;
        while forgotten < AT_ONCE {
            let Some(oldest) = self.closed.front() else { break };
            let due = oldest.time < before || self.closed.len() > keep;
            let sequence = match &oldest.what {
                // A late commit may have come since.
                ClosedWhat::Reservation(no) => self.reservation(*no).map_or(oldest.sequence, Reservation::sequence),
                ClosedWhat::Request(_) => oldest.sequence,
            };
            if !due || sequence > stored {
                break;
            }
            let Some(oldest) = self.closed.pop_front() else { break };
            match oldest.what {
                ClosedWhat::Reservation(no) => self.forget_reservation(no),
                ClosedWhat::Request(request) => {
                    let taken = self.requests.remove(&request);
                    self.has_forgotten |= matches!(taken, Some(Taken::Charge(_)));
                }
            }
            forgotten += 1;
        }
        forgotten
    }

    fn forget_reservation(&mut self, no: ReservationNo) {
        let Some(reservation) = self.reservations.remove(&no) else { return };
        let Some(request) = reservation.request() else { return };
        // The id may have been used anew meanwhile.
        if matches!(self.requests.get(request), Some(Taken::Reservation(taken)) if *taken == no) {
            self.requests.remove(request);
        }
    }

    /// Takes back from the books how a reservation ended, unless memory knows it.
    pub fn recall(&mut self, reservation: Reservation, now: Timestamp) {
        let no = reservation.no();
        if reservation.is_open() || self.reservations.contains_key(&no) {
            return;
        }
        let what = ClosedWhat::Reservation(no);
        self.closed.push_back(super::Closed { time: now, sequence: reservation.sequence(), what });
        self.reservations.insert(no, reservation);
    }

    /// Takes back from the books what a request id was used for, unless memory knows it.
    pub fn recall_request(&mut self, request: &RequestId, taken: Taken, now: Timestamp) {
        if self.requests.contains_key(request) {
            return;
        }
        self.requests.insert(request.clone(), taken);
        let what = ClosedWhat::Request(request.clone());
        self.closed.push_back(super::Closed { time: now, sequence: 0, what });
    }
}
