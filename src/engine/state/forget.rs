//! What memory needn't keep, and what it takes back from the books. No part of the history: the answers are the same.

use super::{ClosedWhat, OrganizationState, Taken};
use crate::{
    domain::{id::RequestId, reservation_id::ReservationNo, time::Timestamp},
    engine::reservation::Reservation,
};

/// Most that one call forgets, so that it holds the organization's lock only shortly.
const AT_ONCE: usize = 256;

impl OrganizationState {
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
